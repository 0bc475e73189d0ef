"""Holds what a store gives against what has to be found in it, by every way to ask."""

import asyncio
import warnings

import numpy as np
import zarr
from hierarchies import directories


def _as_dict(pairs):
    return dict(sorted(pairs))


async def _awaited(store, keys):
    listed = [key async for key in store.list()]
    parts = await store.get_partial_values(None, [(key, None) for key in keys])
    sizes = await asyncio.gather(*map(store.getsize, keys))
    return listed, [None if part is None else part.to_bytes() for part in parts], sizes


def assert_found(store, values):
    """Nothing lost and nothing invented: in listings, sizes and values, blocking and awaited."""
    listed = list(store.list_sync())
    assert sorted(listed) == sorted(values)
    assert _as_dict((key, store.get_sync(key).to_bytes()) for key in values) == _as_dict(values.items())
    sizes = [len(value) for value in values.values()]
    assert [store.getsize_sync(key) for key in values] == sizes
    assert store.getsize_prefix_sync("") == sum(sizes)
    assert all(map(store.exists_sync, values))
    awaited, parts, awaited_sizes = asyncio.run(_awaited(store, list(values)))
    assert sorted(awaited) == sorted(values)
    assert parts == list(values.values())
    assert awaited_sizes == sizes
    for above in ("", *directories(values)):
        below = f"{above}/" if above else ""
        inside = [key for key in values if key.startswith(below)]
        assert sorted(store.list_prefix_sync(above)) == sorted(inside)
        assert sorted(store.list_dir_sync(above)) == sorted(
            {key[len(below) :].partition("/")[0] for key in inside}
        )
        assert not store.is_empty_sync(above)
        if above:
            assert store.get_sync(above) is None
            assert not store.exists_sync(above)


def assert_arrays(store, arrays):
    """Read all arrays by zarr-python, by the members of groups, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr-python's: litter, and parts of the format that aren't final
        root = zarr.open_group(store, mode="r")
        for path, data in arrays.items():
            read = root[path][...]
            assert np.array_equal(read, data), path
            assert read.shape == data.shape, path
        members = {name for name, member in root.members(max_depth=None) if isinstance(member, zarr.Array)}
    assert members == set(arrays)
