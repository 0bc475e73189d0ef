"""zarr-python, xarray and dask take our store paths as their own, in any order of imports."""

import copy
import pickle
import subprocess
import sys
import textwrap

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
import zarr.storage
from dask.base import tokenize

from zarrstore import LocalStore, MemoryStore, StorePath, WrapperStore, ZipStore, make_store_path

DATA = np.arange(40, dtype="<i4")


class Own(StorePath):
    """A subclass with more in it."""

    note = ""


@pytest.fixture(params=["folder", "memory", "zip", "wrapper"])
def store(request, tmp_path):
    made = {
        "folder": lambda: LocalStore(tmp_path / "data"),
        "memory": MemoryStore,
        "zip": lambda: ZipStore(tmp_path / "data.zip", mode="w", deletes=True),
        "wrapper": lambda: WrapperStore(MemoryStore()),
    }[request.param]()
    yield made
    made.close()


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("kind", [StorePath, Own])
def test_zarr_makes_and_opens_nodes_at_a_path(store, kind, zarr_format):
    place = kind(store, "a")
    group = zarr.open_group(place, mode="w", zarr_format=zarr_format)
    array = group.create_array("t", shape=(40,), chunks=(4,), dtype="<i4")
    array[:] = DATA
    assert type(array.store_path) is kind
    zarr.create_array(place / "u", data=DATA, zarr_format=zarr_format)
    zarr.save_array(place / "v", DATA, zarr_format=zarr_format)
    for path in ("t", "u", "v"):
        assert np.array_equal(zarr.open_array(place / path, mode="r")[:], DATA)
        assert np.array_equal(zarr.open_array(store, path=f"a/{path}")[:], DATA)
        assert np.array_equal(zarr.open(place, path=path)[3:9], DATA[3:9])
    assert sorted(zarr.open_group(place, mode="r").array_keys()) == ["t", "u", "v"]
    zarr.create_array(place / "t", data=DATA[::-1], zarr_format=zarr_format, overwrite=True)
    assert np.array_equal(zarr.open_array(place / "t")[:], DATA[::-1])
    if zarr_format == 3:
        sharded = zarr.create_array(place / "s", shape=(40,), chunks=(4,), shards=(20,), dtype="<i4")
        sharded[5:25] = DATA[5:25]
        assert np.array_equal(sharded[5:25], DATA[5:25])


async def test_zarr_takes_what_make_store_path_returns(tmp_path):
    place = await make_store_path(tmp_path / "data", path="a/b", mode="a")
    array = await zarr.api.asynchronous.create(shape=(40,), dtype="<i4", store=place)
    await array.setitem(slice(None), DATA)
    again = await zarr.api.asynchronous.open_array(store=place, mode="r")
    assert np.array_equal(await again.getitem(slice(None)), DATA)
    assert (await zarr.storage._common.make_store_path(place, path="c")).path == "a/b/c"


def test_xarray_and_dask_take_a_path(store):
    place = StorePath(store, "weather")
    data = xr.Dataset({"t": ("x", DATA)}, coords={"x": np.arange(40)})
    data.to_zarr(place, consolidated=False)
    with xr.open_zarr(place, consolidated=False) as opened:
        assert opened.load().identical(data)
    with xr.open_dataset(place, engine="zarr", consolidated=False, chunks={}) as opened:
        assert opened.load().identical(data)
    assert np.array_equal(da.from_zarr(zarr.open_array(place / "t", mode="r")).compute(), DATA)


def test_what_a_path_is_stays_true(tmp_path):
    store = LocalStore(tmp_path)
    for path in (StorePath(store, "a"), Own(store, "a")):
        path.note = "kept"
        assert isinstance(path, zarr.storage.StorePath)
        assert isinstance(path, StorePath)
        assert not isinstance(path, zarr.abc.store.Store)
        assert not isinstance(path, str)
        for other in (pickle.loads(pickle.dumps(path)), copy.copy(path), copy.deepcopy(path)):
            assert type(other) is type(path)
            assert other == path
            assert other.note == "kept"
        assert tokenize(path) == tokenize(pickle.loads(pickle.dumps(path)))
        assert tokenize(path) != tokenize(path / "b")
    assert isinstance(Own(store), Own)
    assert not isinstance(StorePath(store), Own)
    assert not isinstance(zarr.storage.StorePath(store), StorePath)
    # It is a class that both are bases of, whatever asks.
    assert issubclass(path.__class__, StorePath)
    assert issubclass(path.__class__, zarr.storage.StorePath)


@pytest.mark.parametrize("order", ["before", "after", "pickled"])
def test_a_path_made_before_zarr_is_imported(order, tmp_path):
    code = """
    import pickle, sys
    if sys.argv[2] == "after":
        import zarr
    from zarrstore import LocalStore, StorePath
    path = StorePath(LocalStore(sys.argv[1]), "a")
    assert path.__class__ is StorePath or sys.argv[2] == "after"
    if sys.argv[2] == "pickled":
        path = pickle.loads(pickle.dumps(path))
    assert ("zarr" in sys.modules) == (sys.argv[2] == "after")
    import zarr
    zarr.create_array(path, shape=(4,), dtype="i4")[:] = 1
    assert zarr.open_array(path, mode="r")[:].sum() == 4
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), tmp_path / "r", order]
    done = subprocess.run(command, timeout=120, capture_output=True)
    assert not done.returncode, done.stderr.decode()
