"""What zarr-python, xarray and dask do to a store, one function each; a table of how ours take it.

python tests/interop/scenarios.py
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import zarr

from zarrstore.storage import LocalStore, MemoryStore, WrapperStore

try:
    from zarrstore.storage import ZipStore
except ImportError:
    ZipStore = None

try:
    from zarrstore.storage import FsspecStore
except ImportError:
    FsspecStore = None

SCENARIOS = {}
DATA = np.arange(60, dtype="<i4").reshape(6, 10)
FUSED = hasattr(zarr.core.codec_pipeline, "FusedCodecPipeline")


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def since(version):
    """Add a scenario that zarr-python itself gets wrong, with any store, before a version."""
    here = tuple(map(int, zarr.__version__.split(".")[:2]))
    return scenario if here >= version else (lambda function: function)


def same(left, right):
    assert np.array_equal(np.asarray(left), np.asarray(right)), (np.asarray(left), np.asarray(right))


def small(store, path="a", **options):
    array = zarr.create_array(store, name=path, shape=(6, 10), chunks=(2, 5), dtype="<i4", **options)
    array[:] = DATA
    return array


# -- zarr-python ----------------------------------------------------------------------------------


@scenario
def open_array_mode_w(store):
    array = zarr.open_array(store, mode="w", shape=(6, 10), chunks=(2, 5), dtype="<i4")
    array[:] = DATA
    same(zarr.open_array(store, mode="r")[:], DATA)


@scenario
def open_array_mode_w_replaces(store):
    zarr.open_array(store, mode="w", shape=(6, 10), chunks=(2, 5), dtype="<i4")[:] = DATA
    array = zarr.open_array(store, mode="w", shape=(3,), chunks=(2,), dtype="<i4")
    array[:] = 7
    assert zarr.open_array(store, mode="r").shape == (3,)


@scenario
def open_array_mode_r_refuses(store):
    small(store)
    array = zarr.open_array(store, path="a", mode="r")
    assert array.read_only
    try:
        array[0] = 1
    except ValueError:
        return
    raise AssertionError("written")


@scenario
def open_array_mode_r_plus(store):
    small(store)
    array = zarr.open_array(store, path="a", mode="r+")
    array[0, 0] = 99
    assert zarr.open_array(store, path="a", mode="r")[0, 0] == 99


@scenario
def open_array_mode_a(store):
    array = zarr.open_array(store, path="x", mode="a", shape=(4,), chunks=(2,), dtype="<i4")
    array[:] = 5
    same(zarr.open_array(store, path="x", mode="a")[:], [5] * 4)


@scenario
def open_array_mode_w_minus(store):
    zarr.open_array(store, mode="w-", shape=(4,), chunks=(2,), dtype="<i4")
    try:
        zarr.open_array(store, mode="w-", shape=(4,), chunks=(2,), dtype="<i4")
    except FileExistsError:
        return
    raise AssertionError("created twice")


@scenario
def create_array_overwrite(store):
    small(store)
    array = zarr.create_array(store, name="a", shape=(2,), chunks=(2,), dtype="<i2", overwrite=True)
    array[:] = 3
    same(zarr.open_array(store, path="a", mode="r")[:], [3, 3])


@scenario
def format_v2(store):
    array = zarr.create_array(store, name="a", shape=(6, 10), chunks=(2, 5), dtype="<i4", zarr_format=2)
    array[:] = DATA
    same(zarr.open_array(store, path="a", mode="r", zarr_format=2)[:], DATA)
    group = zarr.open_group(store, path="g", mode="a", zarr_format=2)
    group.attrs["x"] = 1
    assert zarr.open_group(store, path="g", mode="r").attrs["x"] == 1


@scenario
def open_guesses(store):
    small(store)
    assert isinstance(zarr.open(store, path="a", mode="r"), zarr.Array)
    zarr.create_group(store, path="g")
    assert isinstance(zarr.open(store, path="g", mode="r"), zarr.Group)


@scenario
def nested_parents(store):
    small(store, "a/b/c")
    root = zarr.open_group(store, mode="a")
    same(root["a/b/c"][:], DATA)
    assert isinstance(root["a/b"], zarr.Group)


@scenario
def group_members(store):
    root = zarr.create_group(store)
    root.create_group("g").create_array("x", shape=(2,), dtype="i1")
    root.create_array("y", shape=(2,), dtype="i1")
    assert sorted(root) == ["g", "y"]
    assert sorted(name for name, _ in root.members(max_depth=None)) == ["g", "g/x", "y"]
    assert len(list(root.arrays())) == 1
    assert len(list(root.groups())) == 1
    assert "g" in root


@scenario
def group_delete(store):
    root = zarr.create_group(store)
    root.create_group("g").create_array("x", shape=(2,), dtype="i1")[:] = 1
    del root["g"]
    assert "g" not in root
    assert sorted(root) == []


@scenario
def info_and_sizes(store):
    array = small(store, compressors=None)
    assert array.nchunks_initialized == 6
    assert array.nbytes_stored() >= DATA.nbytes
    assert "No. chunks initialized" in str(array.info_complete()).replace("_", " ") or array.info_complete()


@scenario
def neighbours_with_one_beginning(store):
    root = zarr.create_group(store)
    for name in ("t", "temp"):
        array = root.create_array(name, shape=(4,), chunks=(2,), dtype="<i4")
        array[:] = 1
    assert root["t"].nchunks_initialized == 2
    assert root["t"].info_complete() is not None
    del root["t"]
    same(root["temp"][:], [1] * 4)


@scenario
def consolidated(store):
    root = zarr.create_group(store)
    root.create_array("x", shape=(2,), dtype="i1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)
    opened = zarr.open_consolidated(store)
    assert sorted(opened) == ["x"]


@scenario
def consolidated_v2(store):
    root = zarr.create_group(store, zarr_format=2)
    root.create_array("x", shape=(2,), dtype="i1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store, zarr_format=2)
    assert sorted(zarr.open_consolidated(store, zarr_format=2)) == ["x"]


@scenario
def create_hierarchy(store):
    from zarr.core.group import GroupMetadata

    nodes = {"": GroupMetadata(), "g": GroupMetadata(attributes={"x": 1})}
    dict(zarr.create_hierarchy(store=store, nodes=nodes, overwrite=True))
    assert zarr.open_group(store, path="g", mode="r").attrs["x"] == 1
    dict(zarr.create_hierarchy(store=store, nodes=nodes, overwrite=True))


@scenario
def sharded(store):
    array = zarr.create_array(store, name="s", shape=(20, 20), shards=(10, 10), chunks=(2, 5), dtype="<i4")
    data = np.arange(400, dtype="<i4").reshape(20, 20)
    array[:] = data
    same(array[3:9, 7:13], data[3:9, 7:13])
    array[4, 4:7] = -1
    data[4, 4:7] = -1
    same(zarr.open_array(store, path="s", mode="r")[2:6], data[2:6])
    same(array[:], data)


@scenario
def fused_pipeline(store):
    if not FUSED:
        return
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.FusedCodecPipeline"}):
        array = small(store)
        same(array[1:5, 3:8], DATA[1:5, 3:8])
        sharded(store)


@scenario
def all_fill_chunks_are_deleted(store):
    array = small(store)
    array[:2, :5] = 0
    assert array.nchunks_initialized == 5
    array[:] = 0
    assert array.nchunks_initialized == 0
    same(array[:], np.zeros((6, 10)))


@scenario
def resize_and_append(store):
    array = small(store)
    array.append(DATA)
    same(array[:], np.concatenate([DATA, DATA]))
    array.resize((3, 4))
    same(array[:], DATA[:3, :4])


@scenario
def save_and_load(store):
    zarr.save(store, DATA)
    same(zarr.load(store), DATA)


@scenario
def save_group_and_load(store):
    zarr.save_group(store, one=DATA, two=DATA + 1)
    loaded = zarr.open_group(store, mode="r")
    same(loaded["two"][:], DATA + 1)


@scenario
def from_array(store):
    source = zarr.create_array({}, shape=(6, 10), chunks=(2, 5), dtype="<i4")
    source[:] = DATA
    array = zarr.from_array(store, data=source, name="copied")
    same(array[:], DATA)


@since((3, 4))
def from_array_onto_itself(store):
    """Refused, or the data stays: never fill values."""
    array = small(store)
    try:
        zarr.from_array(store.with_read_only(False), data=array, name="a", overwrite=True)
    except ValueError:
        pass
    same(zarr.open_array(store, path="a", mode="r")[:], DATA)


@scenario
def as_a_store_path(store):
    from zarr.storage import StorePath

    small(StorePath(store, "sub"), "a")
    same(zarr.open_array(store, path="sub/a", mode="r")[:], DATA)


@scenario
def read_only_instance(store):
    small(store)
    reader = store.with_read_only(True)
    same(zarr.open_array(reader, path="a")[:], DATA)
    try:
        zarr.create_array(reader, name="b", shape=(1,), dtype="i1")
    except ValueError:
        return
    raise AssertionError("written")


@scenario
def inside_its_wrappers(store):
    from zarr.storage import LoggingStore
    from zarr.storage import WrapperStore as Theirs

    small(Theirs(store))
    logged = LoggingStore(store, log_level="CRITICAL")
    same(zarr.open_array(logged, path="a", mode="r")[:], DATA)
    assert logged.counter


@scenario
def pickled_array(store):
    array = small(store)
    same(pickle.loads(pickle.dumps(array))[:], DATA)


@scenario
def array_equality(store):
    small(store)
    assert zarr.open_array(store, path="a") == zarr.open_array(store, path="a")


@scenario
def as_a_context(store):
    with store as opened:
        small(opened)
    same(zarr.open_array(store, path="a", mode="r")[:], DATA)


@scenario
def attributes(store):
    array = small(store)
    array.attrs["units"] = "K"
    array.attrs.update({"x": [1, 2]})
    assert dict(zarr.open_array(store, path="a", mode="r").attrs) == {"units": "K", "x": [1, 2]}


@scenario
def strings_and_bytes(store):
    values = np.array(["a", "bb", "", "日本"], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.create_array(store, name="s", shape=(4,), chunks=(2,), dtype=str)
        array[:] = values
        assert list(zarr.open_array(store, path="s", mode="r")[:]) == list(values)


# -- xarray ---------------------------------------------------------------------------------------


def dataset():
    import xarray as xr

    return xr.Dataset(
        {"t2m": (("time", "x"), np.random.default_rng(0).random((8, 6)))},
        coords={"time": np.arange(8), "x": np.arange(6.0)},
        attrs={"title": "test"},
    )


def _xarray(store, **options):
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = dataset()
        expected.to_zarr(store, **options)
        with xr.open_zarr(store, consolidated=options.get("consolidated", True)) as opened:
            xr.testing.assert_identical(opened.load(), expected)


@scenario
def xarray_v3(store):
    _xarray(store, zarr_format=3, consolidated=False)


@scenario
def xarray_v3_consolidated(store):
    _xarray(store, zarr_format=3, consolidated=True)


@scenario
def xarray_v2(store):
    _xarray(store, zarr_format=2, consolidated=True)


@scenario
def xarray_append_and_region(store):
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full = dataset()
        full.isel(time=slice(0, 4)).to_zarr(store, consolidated=False)
        full.isel(time=slice(4, 8)).to_zarr(store, append_dim="time", consolidated=False)
        changed = (full.isel(time=slice(2, 5)) + 1).drop_vars("x")
        changed.to_zarr(store, region={"time": slice(2, 5)}, consolidated=False)
        with xr.open_zarr(store, consolidated=False) as opened:
            same(opened["t2m"][2:5], full["t2m"][2:5] + 1)
            same(opened["t2m"][5:], full["t2m"][5:])


@scenario
def xarray_overwrite(store):
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset().to_zarr(store, consolidated=False)
        try:
            dataset().to_zarr(store, mode="w-", consolidated=False)
        except FileExistsError:
            pass
        else:
            raise AssertionError("overwritten")
        (dataset() + 1).to_zarr(store, mode="w", consolidated=False)
        with xr.open_zarr(store, consolidated=False, chunks={"time": 3}) as opened:
            same(opened["t2m"].compute(), dataset()["t2m"] + 1)


@scenario
def xarray_datatree(store):
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = xr.DataTree.from_dict({"/": dataset(), "/child": dataset() + 1})
        tree.to_zarr(store, consolidated=False)
        with xr.open_datatree(store, engine="zarr", consolidated=False) as opened:
            same(opened["child/t2m"], tree["child/t2m"])


@scenario
def xarray_lazy_dask_write(store):
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lazy = dataset().chunk({"time": 2, "x": 3})
        task = lazy.to_zarr(store, compute=False, consolidated=False)
        task.compute()
        with xr.open_zarr(store, consolidated=False) as opened:
            same(opened["t2m"], dataset()["t2m"])


# -- dask -----------------------------------------------------------------------------------------


@scenario
def dask_to_zarr_and_back(store):
    import dask.array as da

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        da.from_array(DATA, chunks=(2, 5)).to_zarr(store, component="d")
        same(da.from_zarr(store, component="d").compute(), DATA)


@scenario
def dask_into_an_array(store):
    import dask.array as da

    array = zarr.create_array(store, name="t", shape=(6, 10), chunks=(2, 5), dtype="<i4")
    da.from_array(DATA, chunks=(2, 5)).store(array, lock=False)
    same(da.from_zarr(array).sum().compute(), DATA.sum())


@scenario
def dask_processes(store):
    import dask.array as da

    array = small(store)
    if hasattr(store, "close"):
        store.close()  # an archive's writer lets its readers in
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        reader = zarr.open_array(store.with_read_only(True), path="a", mode="r")
        same(
            da.from_zarr(reader).map_blocks(lambda b: b + 1).compute(scheduler="processes", num_workers=2),
            DATA + 1,
        )
    same(array[:], DATA)


@scenario
def dask_tokens(store):
    from dask.base import tokenize

    assert tokenize(store) == tokenize(store.with_read_only(store.read_only))
    assert tokenize(store) != tokenize(store.with_read_only(True))
    assert tokenize(store) == tokenize(pickle.loads(pickle.dumps(store)))


# -- which stores ---------------------------------------------------------------------------------


def stores(folder):
    """Name and maker of each kind of store, on a fresh place below a folder."""
    count = iter(range(10**6))

    def place():
        return Path(folder) / f"s{next(count)}"

    kinds = {
        "local": lambda: LocalStore(place()),
        "memory": MemoryStore,
        "wrapper": lambda: WrapperStore(LocalStore(place())),
    }
    if ZipStore is not None:
        kinds["zip"] = lambda: ZipStore(f"{place()}.zip", mode="w", deletes=True)
    if FsspecStore is not None:
        kinds["fsspec"] = lambda: FsspecStore.from_url(
            f"file://{place()}", storage_options={"auto_mkdir": True}
        )
    return kinds


def main():
    names = list(SCENARIOS)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        kinds = stores(folder)
        print(f"zarr-python {zarr.__version__}, Python {sys.version.split()[0]}")
        print(f"{'':34}" + "".join(f"{kind:>9}" for kind in kinds))
        for name in names:
            row = []
            for make in kinds.values():
                try:
                    SCENARIOS[name](make())
                    row.append("ok")
                except Exception:
                    if os.environ.get("SHOW"):
                        traceback.print_exc()
                    row.append("FAILED")
                    failures += 1
            print(f"{name:34}" + "".join(f"{cell:>9}" for cell in row))
    print(f"{len(names)} scenarios, {len(names) * len(kinds) - failures} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
