"""Acceptance by zarr-python in any order of imports and in any process; readers in many processes."""

import asyncio
import multiprocessing
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import zarr
import zarr.storage
from zarr.abc.store import Store as ZarrStore

from zarrstore.storage import LocalStore, MemoryStore, StorePath, WrapperStore, ZipStore

DATA = np.arange(40, dtype="<i4")


def python(code, *args, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        timeout=120,
        capture_output=True,
        **options,
    )


@pytest.fixture
def filled(tmp_path):
    store = LocalStore(tmp_path / "data")
    array = zarr.create_array(store, shape=(40,), chunks=(4,), dtype="<i4")
    array[:] = DATA
    return store


@pytest.mark.parametrize("order", ["zarr, zarrstore.storage", "zarrstore.storage, zarr"])
def test_either_import_order(order, tmp_path):
    code = f"""
    import sys, {order}
    store = zarrstore.storage.LocalStore(sys.argv[1])
    array = zarr.create_array(store, shape=(4,), dtype="i4")
    array[:] = 1
    assert isinstance(store, zarr.abc.store.Store) and type(store) is zarrstore.storage.LocalStore
    assert not isinstance(zarrstore.storage.StorePath(store), zarr.abc.store.Store)
    """
    done = python(code, tmp_path / "r")
    assert not done.returncode, done.stderr.decode()


def test_a_store_made_before_zarr_is_imported(tmp_path):
    code = """
    import sys
    from zarrstore.storage import LocalStore, MemoryStore, WrapperStore
    stores = [LocalStore(sys.argv[1]), MemoryStore(), WrapperStore(MemoryStore())]
    assert "zarr" not in sys.modules
    import zarr
    for store in stores:
        zarr.create_array(store, shape=(4,), dtype="i4")[:] = 1
    """
    done = python(code, tmp_path / "r")
    assert not done.returncode, done.stderr.decode()


def test_unpickled_where_zarr_is_not_yet_imported(filled):
    code = """
    import pickle, sys
    store = pickle.load(sys.stdin.buffer)
    assert "zarr" not in sys.modules
    import zarr
    assert zarr.open_array(store, mode="r")[:].sum() == sum(range(40))
    """
    done = python(code, input=pickle.dumps(filled))
    assert not done.returncode, done.stderr.decode()


def test_types_stay_true(filled):
    for store in (filled, MemoryStore(), WrapperStore(filled)):
        assert isinstance(store, ZarrStore)
        assert store.__class__ is type(store)
    assert not isinstance(StorePath(filled), ZarrStore)


@pytest.mark.skipif(
    tuple(map(int, zarr.__version__.split(".")[:2])) < (3, 4),
    reason="needs zarr-python 3.4: earlier ones destroy any store's array here",
)
def test_an_array_is_not_overwritten_from_another_spelling_of_its_own_folder(filled, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    for spelling in ("link", "./data", tmp_path / "link" / ".." / "data"):
        source = zarr.open_array(LocalStore(spelling))
        with pytest.raises(ValueError, match="overlap"):
            zarr.from_array(filled, data=source, overwrite=True)
        assert np.array_equal(zarr.open_array(filled)[:], DATA)


def _read_often(store, count):
    array = zarr.open_array(store, mode="r")
    failed = 0
    for i in range(count):
        start = i * 7 % 36
        failed += not np.array_equal(array[start : start + 4], DATA[start : start + 4])
    return failed


def _make_local(folder):
    return LocalStore(folder / "data")


def _make_zip(folder):
    return ZipStore(folder / "data.zip", mode="w")


def _make_zip_of_deflated(folder):
    return ZipStore(folder / "data.zip", mode="w", compression=8)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("make", [_make_local, _make_zip, _make_zip_of_deflated])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_readers_in_worker_processes(make, method, tmp_path):
    store = make(tmp_path)  # an archive is still being written: what was set is there all the same
    zarr.create_array(store, shape=(40,), chunks=(4,), dtype="<i4")[:] = DATA
    _read_often(store, 5)  # the parent has used it, pools and all
    context = multiprocessing.get_context(method)
    with context.Pool(3) as pool:
        assert pool.starmap(_read_often, [(store, 300)] * 3) == [0, 0, 0]
    _read_often(store, 5)
    store.close()


_inherited = None


def _read_inherited(count):
    return _read_often(_inherited, count)


@pytest.mark.parametrize("make", [_make_local, _make_zip, _make_zip_of_deflated])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_forked_readers_of_the_very_same_store(make, tmp_path):
    """Not pickled: descriptors, index and locks are those that the parent had open."""
    global _inherited
    _inherited = store = make(tmp_path)
    zarr.create_array(store, shape=(40,), chunks=(4,), dtype="<i4")[:] = DATA
    _read_often(store, 5)
    try:
        with multiprocessing.get_context("fork").Pool(4) as pool:
            assert pool.map(_read_inherited, [300] * 4, chunksize=1) == [0] * 4
            zarr.open_array(store)[:] = DATA  # the parent writes on, whatever its children do
        assert _read_often(store, 20) == 0
    finally:
        _inherited = None
        store.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_memory_store_in_a_worker_reads_and_refuses_writes():
    store = MemoryStore()
    zarr.create_array(store, shape=(40,), chunks=(4,), dtype="<i4")[:] = DATA
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read_often, (store, 20)) == 0
        assert "would be lost" in pool.apply(_try_to_write, (store,))


def _try_to_write(store):
    try:
        zarr.open_array(store, mode="r+")[0] = 5
    except ValueError as error:
        return str(error)
    return "written"


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_real_workers_writes_and_reads_one_store(tmp_path):
    import dask.array as da
    from distributed import Client, LocalCluster

    store = LocalStore(tmp_path / "cluster")
    data = np.arange(400, dtype="<i8").reshape(20, 20)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster),
    ):
        array = zarr.create_array(store, name="x", shape=(20, 20), chunks=(5, 5), dtype="<i8")
        da.from_array(data, chunks=(5, 5)).store(array, lock=False)
        assert int(da.from_zarr(zarr.open_array(store, path="x")).sum().compute()) == data.sum()
    assert np.array_equal(zarr.open_array(store, path="x")[:], data)


def test_type_checkers_see_what_is_needed_of_a_store():
    """Every name that zarr-python touches on a store is there."""
    names = [
        "_ensure_open",
        "_open",
        "_is_open",
        "_check_writable",
        "_get_many",
        "_set_many",
        "_supports_sync_io",
        "read_only",
        "get",
        "set",
        "with_read_only",
        "delete_dir",
        "delete",
        "exists",
        "set_if_not_exists",
        "is_empty",
        "supports_deletes",
        "supports_listing",
        "supports_writes",
        "supports_partial_writes",
        "supports_consolidated_metadata",
        "list_dir",
        "list_prefix",
        "list",
        "getsize_prefix",
        "getsize",
        "get_ranges",
        "get_ranges_sync",
        "get_sync",
        "set_sync",
        "delete_sync",
        "close",
        "clear",
        "open",
        "get_partial_values",
        "set_partial_values",
        "__enter__",
        "__exit__",
        "__eq__",
        "_get_bytes",
        "_get_json",
    ]
    for store in (MemoryStore(), WrapperStore(MemoryStore()), ZipStore("a.zip")):
        assert [name for name in names if not hasattr(store, name)] == []


def test_a_store_of_zarrs_is_opened_once_and_stays_closed_if_that_fails(tmp_path):
    async def main():
        store = WrapperStore(zarr.storage.MemoryStore())
        await store._open()
        with pytest.raises(ValueError, match="already open"):
            await store._below._open()
        missing = WrapperStore(zarr.storage.LocalStore(tmp_path / "missing", read_only=True))
        with pytest.raises(FileNotFoundError):
            await missing._below._open()
        assert not missing._below._is_open

    asyncio.run(main())
