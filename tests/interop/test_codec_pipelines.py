"""Each codec pipeline on each kind of store: right, without a warning, and by the quick way that it has.

Warnings are errors here, as in all tests.
"""

import threading

import numpy as np
import obstore.store
import pytest
import zarr
import zarr.storage

from zarrstore import LoggingStore
from zarrstore.storage import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    ObjectStore,
    RetryStore,
    StorePath,
    ZipStore,
)
from zarrstore.testing import LatencyStore

DEFAULT = "zarr.core.codec_pipeline.BatchedCodecPipeline"
FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"  # since zarr-python 3.3
ZARRS = "zarrs.ZarrsCodecPipeline"
PIPELINES = [DEFAULT, ZARRS] + [FUSED] * hasattr(zarr.core.codec_pipeline, "FusedCodecPipeline")
DATA = np.arange(60, dtype="<i4").reshape(6, 10)

STORES = {
    "folder": lambda folder: LocalStore(folder),
    "memory": lambda folder: MemoryStore(),
    "archive": lambda folder: ZipStore(folder / "a.zip", mode="w", deletes=True),
    "latency": lambda folder: LatencyStore(MemoryStore(), get_latency=0.0001),
    "retrying": lambda folder: RetryStore(LocalStore(folder)),
    "view": lambda folder: LocalStore(folder).sub("a"),
    "fsspec": lambda folder: FsspecStore.from_url(f"memory://{folder}"),
    "fsspec-file": lambda folder: FsspecStore.from_url(f"file://{folder}"),
    "obstore": lambda folder: ObjectStore(obstore.store.MemoryStore()),
}


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    with STORES[request.param](tmp_path) as made:
        yield made


def check(store, **options):
    """Write whole chunks, parts of chunks and fill values, and read all and parts."""
    array = zarr.create_array(store, shape=(6, 10), dtype="<i4", overwrite=True, **options)
    expected = DATA.copy()
    array[:] = DATA
    array[1:4, 3:8] = expected[1:4, 3:8] = -7
    array[4:, :5] = expected[4:, :5] = 0
    opened = zarr.open_array(store, mode="r")
    assert np.array_equal(opened[:], expected)
    assert np.array_equal(opened[2:5, 4:9], expected[2:5, 4:9])
    assert np.array_equal(opened.oindex[[0, 5], :], expected[[0, 5], :])
    return opened


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_right_and_without_a_warning(pipeline, store):
    if pipeline == ZARRS and isinstance(store, ObjectStore):
        pytest.skip("zarrs 0.2.3 raises on obstore's MemoryStore, in zarr-python's store too")
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        check(StorePath(store, "plain"), chunks=(2, 5))
        check(StorePath(store, "raw"), chunks=(2, 5), compressors=None)
        check(StorePath(store, "sharded"), chunks=(2, 5), shards=(4, 10))


@pytest.mark.skipif(FUSED not in PIPELINES, reason="zarr-python has no fused pipeline before 3.3")
@pytest.mark.parametrize("kind", STORES)
def test_the_fused_pipeline_makes_blocking_calls_where_verbs_block(kind, tmp_path):
    with STORES[kind](tmp_path) as inner:
        store = LoggingStore(inner, "ERROR")
        with zarr.config.set({"codec_pipeline.path": FUSED}):
            array = zarr.create_array(store, shape=(6, 10), chunks=(2, 5), dtype="<i4")
            store.counter.clear()
            array[:] = DATA
            assert np.array_equal(array[:], DATA)
        chunks = {name: count for name, count in store.counter.items() if name.startswith(("get", "set"))}
        assert chunks == ({"get_sync": 6, "set_sync": 6} if store._blocks else {"get": 6, "set": 6})


@pytest.mark.skipif(FUSED not in PIPELINES, reason="zarr-python has no fused pipeline before 3.3")
def test_slow_reads_of_the_fused_pipeline_are_made_at_once():
    """Not one after the other: that the store blocks costs no concurrency."""
    barrier = threading.Barrier(2, timeout=20)

    class Meeting(MemoryStore):
        def _read(self, key, request, allocate):
            if key.startswith("c/"):
                barrier.wait()
            return super()._read(key, request, allocate)

    store = Meeting()
    with zarr.config.set({"codec_pipeline.path": FUSED, "threading.max_workers": 2}):
        array = zarr.create_array(store, data=DATA, chunks=(3, 10))
        assert np.array_equal(array[:], DATA)


def test_zarrs_reads_and_writes_the_files_of_a_folder_itself(tmp_path):
    """And asks neither wrappers nor subclasses to: those go by zarr-python's own pipeline."""
    with zarr.config.set({"codec_pipeline.path": ZARRS}):
        array = zarr.create_array(LocalStore(tmp_path), shape=(4,), dtype="<i4", chunks=(2,))
        assert array._async_array.codec_pipeline.impl is not None
        store = LoggingStore(LocalStore(tmp_path / "b"), "ERROR")
        zarr.create_array(store, shape=(4,), dtype="<i4", chunks=(2,))[:] = 1
        assert store.counter["set"] >= 2
