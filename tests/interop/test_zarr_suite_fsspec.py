"""zarr-python's own suite for stores, run on ours over fsspec and on the logging store."""

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from zarr.core.buffer import cpu
from zarr.testing.store import StoreTests

from zarrstore.storage import FsspecStore, LoggingStore, MemoryStore

pytestmark = [pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")]


class TestFsspec(StoreTests[FsspecStore, cpu.Buffer]):
    store_cls = FsspecStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self, tmp_path):
        fs = AsyncFileSystemWrapper(fsspec.filesystem("memory"), asynchronous=True)
        return {"fs": fs, "path": f"{tmp_path}/root"}

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(store.fs.sync_fs.cat_file(f"{store.path}/{key}"))

    async def set(self, store, key, value):
        store.fs.sync_fs.pipe_file(f"{store.path}/{key}", value.to_bytes())

    def test_store_supports_writes(self, store):
        assert store.supports_writes

    def test_store_supports_partial_writes(self, store):
        assert not store.supports_partial_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing

    def test_store_repr(self, store):
        assert repr(store) == f"FsspecStore('memory://{store.path}')"


class Logged(LoggingStore):
    """Takes what its inner store takes, as the suite constructs by keyword."""

    def __init__(self, store_dict, read_only=False):
        super().__init__(MemoryStore(store_dict, read_only=read_only), "WARNING")

    @classmethod
    async def open(cls, *args, **kwargs):
        store = cls(*args, **kwargs)
        await store._open()
        return store


class TestLogging(StoreTests[Logged, cpu.Buffer]):
    store_cls = Logged
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self):
        return {"store_dict": {}}

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(store._store._store_dict[key].to_bytes())

    async def set(self, store, key, value):
        store._store._store_dict[key] = value

    def test_store_supports_writes(self, store):
        assert store.supports_writes

    def test_store_supports_partial_writes(self, store):
        assert store.supports_partial_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing

    def test_store_repr(self, store):
        assert str(store) == f"logging-{store._store}"
