"""Compares a store's content, in every way to read it, with what must be found."""

import asyncio
import warnings

import numpy as np
import zarr
from hierarchies import directories


async def _of_keys(store, keys):
    listed = [key async for key in store.list()]
    values = await store.get_partial_values(None, [(key, None) for key in keys])
    sizes = await asyncio.gather(*map(store.getsize, keys))
    assert all(await asyncio.gather(*map(store.exists, keys)))
    return listed, [None if value is None else value.to_bytes() for value in values], sizes


async def _of_directory(store, above):
    below = [key async for key in store.list_prefix(above)]
    level = [name async for name in store.list_dir(above)]
    if above:
        assert await store.get(above) is None
        assert not await store.exists(above)
    assert not await store.is_empty(above)
    return sorted(below), sorted(level)


async def _of_directories(store, directories):
    return await asyncio.gather(*(_of_directory(store, above) for above in directories))


def assert_found(store, values):
    """Assert that nothing is lost or invented: in listings, sizes and values, blocking and awaited."""
    keys, contents = sorted(values), [values[key] for key in sorted(values)]
    sizes = list(map(len, contents))
    assert sorted(store.list_sync()) == keys
    assert [store.get_sync(key).to_bytes() for key in keys] == contents
    assert store.getsize_prefix_sync("") == sum(sizes)
    listed, read, told = asyncio.run(_of_keys(store, keys))
    assert (sorted(listed), read, told) == (keys, contents, sizes)
    above = ["", *directories(values)]
    for prefix, (below, level) in zip(above, asyncio.run(_of_directories(store, above)), strict=True):
        start = f"{prefix}/" if prefix else ""
        inside = [key for key in keys if key.startswith(start)]
        assert below == inside
        assert level == sorted({key[len(start) :].partition("/")[0] for key in inside})


def assert_arrays(store, arrays):
    """Read all arrays with zarr-python, also through the members of groups."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from zarr-python: litter, and parts of the format that aren't final
        root = zarr.open_group(store, mode="r")
        for path, data in arrays.items():
            read = root[path][...]
            assert np.array_equal(read, data), path
            assert read.shape == data.shape, path
        members = {name for name, member in root.members(max_depth=None) if isinstance(member, zarr.Array)}
    assert members == set(arrays)
