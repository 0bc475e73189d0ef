"""zarr-python's suite and arrays over buffers on a GPU, on a stand-in for cupy on NumPy."""

import numpy as np
import numpy_cupy
import pytest
import zarr
import zarr.core.buffer.gpu as theirs
from zarr.core.buffer import cpu
from zarr.registry import register_buffer
from zarr.testing.store import StoreTests

from zarrstore.buffer import _staging
from zarrstore.buffer import gpu as ours
from zarrstore.storage import GpuMemoryStore, LocalStore, MemoryStore, WrapperStore, ZipStore

pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    monkeypatch.setattr(_staging, "BLOCK", 1000)
    return numpy_cupy.install_under_zarr(monkeypatch)


class TestGpu(StoreTests[GpuMemoryStore, theirs.Buffer]):
    """As zarr-python runs it on its own, partial writes aside, which the listing has."""

    store_cls = GpuMemoryStore
    buffer_cls = theirs.Buffer

    @pytest.fixture
    def store_kwargs(self):
        return {"store_dict": {}}

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(store._store_dict[key].to_bytes())

    async def set(self, store, key, value):
        store._store_dict[key] = self.buffer_cls.from_bytes(value.to_bytes())

    def test_store_repr(self, store):
        assert repr(store) == f"GpuMemoryStore({str(store)!r})"

    def test_store_supports_writes(self, store):
        assert store.supports_writes

    def test_store_supports_partial_writes(self, store):
        assert store.supports_partial_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing


MAKERS = {
    "gpu": lambda path: GpuMemoryStore(),
    "memory": lambda path: MemoryStore(),
    "local": lambda path: LocalStore(path / "root"),
    "wrapper": lambda path: WrapperStore(LocalStore(path / "root")),
    "zip": lambda path: ZipStore(path / "a.zip", mode="w"),
    "theirs": lambda path: zarr.storage.MemoryStore(),
}


@pytest.fixture(params=MAKERS)
def store(request, tmp_path):
    store = MAKERS[request.param](tmp_path)
    yield store
    store.close()


@pytest.mark.parametrize("kind", ["theirs", "ours"])
def test_arrays_of_zarr_python_on_the_device(store, kind):
    """The whole way: ``zarr.config.enable_gpu()``, or the same with our buffers."""
    if kind == "theirs":
        config = zarr.config.enable_gpu()
    else:
        register_buffer(ours.Buffer, qualname="zarrstore.buffer.gpu.Buffer")
        # Its own n-dimensional ones: zarr-python 3.1 takes no others.
        config = zarr.config.set(
            {"buffer": "zarrstore.buffer.gpu.Buffer", "ndbuffer": "zarr.buffer.gpu.NDBuffer"}
        )
    data = np.arange(60 * 50, dtype="i4").reshape(60, 50)
    with config:
        array = zarr.create_array(
            store, name="a", shape=data.shape, dtype=data.dtype, chunks=(25, 20), compressors=None
        )
        array[:] = numpy_cupy.asarray(data)
        numpy_cupy.copies.clear()
        found = array[:]
        part = array[10:30, 5:6]
        assert "to device" not in numpy_cupy.copies
        if not isinstance(store, zarr.storage.MemoryStore):
            assert "to host" not in numpy_cupy.copies  # chunks, that is; metadata is read on the host
    assert type(found) is type(part) is numpy_cupy.ndarray
    np.testing.assert_array_equal(found.held, data)
    np.testing.assert_array_equal(part.held, data[10:30, 5:6])
    np.testing.assert_array_equal(zarr.open_array(store, path="a", mode="r")[:], data)  # on the host


def test_the_stores_take_the_buffers_of_zarr_python():
    mine = theirs.Buffer(numpy_cupy.asarray(np.arange(5, dtype="u1")))
    host = cpu.Buffer.from_bytes(b"host")
    store = GpuMemoryStore({"mine": mine})
    numpy_cupy.copies.clear()
    store.set_sync("copy", mine)
    for key in ("mine", "copy"):
        value = store.get_sync(key, theirs.buffer_prototype)
        assert type(value) is theirs.Buffer
        assert value.as_array_like().held.tolist() == [0, 1, 2, 3, 4]
    assert numpy_cupy.copies == []
    store.set_sync("host", host)
    assert store.get_sync("host", theirs.buffer_prototype).to_bytes() == b"host"
    assert type(store.get_sync("host", ours.buffer_prototype)) is ours.Buffer
