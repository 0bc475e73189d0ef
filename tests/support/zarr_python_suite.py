"""zarr-python's test suites for stores: the parts shared by several of ours."""

import asyncio

import obstore
from zarr.core.buffer import cpu
from zarr.testing.store import StoreTests

from zarrstore.storage import FsspecStore, ObjectStore


class _Suite(StoreTests):
    buffer_cls = cpu.Buffer

    def test_store_supports_writes(self, store):
        assert store.supports_writes

    def test_store_supports_partial_writes(self, store):
        assert not store.supports_partial_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing


class FsspecSuite(_Suite):
    """Uses ``store_kwargs`` of a subclass; accesses outside the store use another connection."""

    store_cls = FsspecStore

    def _beside(self, store):
        return type(store.fs)(
            **{**store.fs.storage_options, "asynchronous": False, "use_listings_cache": False}
        )

    async def get(self, store, key):
        fs = self._beside(store)
        return self.buffer_cls.from_bytes(await asyncio.to_thread(fs.cat_file, f"{store.path}/{key}"))

    async def set(self, store, key, value):
        fs = self._beside(store)
        await asyncio.to_thread(fs.pipe_file, f"{store.path}/{key}", value.to_bytes())

    def test_store_repr(self, store):
        assert repr(store) == f"FsspecStore('{store._protocol}://{store.path}')"


class ObstoreSuite(_Suite):
    """Uses ``store_kwargs`` of a subclass."""

    store_cls = ObjectStore

    async def get(self, store, key):
        answer = await obstore.get_async(store.store, key)
        return self.buffer_cls.from_bytes(bytes(await answer.bytes_async()))

    async def set(self, store, key, value):
        await obstore.put_async(store.store, key, value.to_bytes())

    def test_store_repr(self, store):
        assert repr(store) == f"ObjectStore('object_store://{store.store}')"


# The tests that only read; the others write through the store itself.
READS = (
    "test_store_type",
    "test_store_eq",
    "test_get",
    "test_get_not_open",
    "test_get_raises",
    "test_get_many",
    "test_getsize",
    "test_getsize_raises",
    "test_get_partial_values",
    "test_get_sync",
    "test_get_sync_missing",
)


class ReadSuite:
    """The reading tests, with ``store_kwargs`` of a subclass, whose ``writer`` writes to the same place."""

    buffer_cls = cpu.Buffer
    _require_get_sync = staticmethod(lambda store: store)

    async def set(self, store, key, value):
        await self.writer.set(key, value)

    for _name in ("store", "store_not_open", "open_kwargs", *READS):
        locals()[_name] = vars(StoreTests)[_name]
    del _name
