"""zarr-python's own suite for stores, and its state machines, run on ours.

Deviations, each forced:

- ``supports_partial_writes`` is True on the local and the memory store, as their documentation has it;
  the suite wants it false everywhere.
- The machine over keys sets both ``k`` and ``k/child``, which no folder can hold; on the local store
  such examples are passed over.
"""

import asyncio

import pytest
from hypothesis.stateful import run_state_machine_as_test
from zarr.core.buffer import cpu
from zarr.testing.stateful import ZarrStoreStateMachine
from zarr.testing.store import StoreTests
from zarr_python_machines import SETTINGS, NoClashes, hierarchy

from zarrstore.storage import LocalStore, MemoryStore, WrapperStore

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning"),
    # The machine draws data types whose metadata zarr-python itself warns about.
    pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification"),
]


class _Suite(StoreTests):
    buffer_cls = cpu.Buffer

    def test_store_supports_writes(self, store):
        assert store.supports_writes

    def test_store_supports_partial_writes(self, store):
        assert store.supports_partial_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing


class TestLocal(_Suite, StoreTests[LocalStore, cpu.Buffer]):
    store_cls = LocalStore

    @pytest.fixture
    def store_kwargs(self, tmp_path):
        return {"root": str(tmp_path / "root")}

    async def get(self, store, key):
        return self.buffer_cls.from_bytes((store.root / key).read_bytes())

    async def set(self, store, key, value):
        (store.root / key).parent.mkdir(parents=True, exist_ok=True)
        (store.root / key).write_bytes(value.to_bytes())

    def test_store_repr(self, store):
        assert str(store) == f"file://{store.root.as_posix()}"
        assert repr(store) == f"LocalStore('file://{store.root.as_posix()}')"


class TestMemory(_Suite, StoreTests[MemoryStore, cpu.Buffer]):
    store_cls = MemoryStore

    @pytest.fixture
    def store_kwargs(self):
        return {"store_dict": {}}

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(store._store_dict[key].to_bytes())

    async def set(self, store, key, value):
        store._store_dict[key] = value

    def test_store_repr(self, store):
        assert repr(store) == f"MemoryStore({str(store)!r})"


class WrapperVerbs(WrapperStore):
    """Takes what its inner store takes, as the suite constructs by keyword."""

    def __init__(self, root, read_only=False):
        super().__init__(LocalStore(root, read_only=read_only))

    @classmethod
    async def open(cls, *args, **kwargs):
        store = cls(*args, **kwargs)
        await store._open()
        return store


class TestWrapper(_Suite, StoreTests[WrapperVerbs, cpu.Buffer]):
    store_cls = WrapperVerbs

    @pytest.fixture
    def store_kwargs(self, tmp_path):
        return {"root": str(tmp_path / "root")}

    async def get(self, store, key):
        return self.buffer_cls.from_bytes((store._store.root / key).read_bytes())

    async def set(self, store, key, value):
        (store._store.root / key).parent.mkdir(parents=True, exist_ok=True)
        (store._store.root / key).write_bytes(value.to_bytes())

    def test_store_repr(self, store):
        assert str(store).startswith("wrapping-file://")


# -- state machines -------------------------------------------------------------------------------


@pytest.fixture
def make_local(tmp_path_factory):
    return lambda: LocalStore(tmp_path_factory.mktemp("machine"))


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_hierarchy_machine(kind, make_local):
    run_state_machine_as_test(hierarchy(MemoryStore if kind == "memory" else make_local), settings=SETTINGS)


def test_key_machine_on_memory():
    run_state_machine_as_test(lambda: ZarrStoreStateMachine(MemoryStore()), settings=SETTINGS)


def test_key_machine_on_local(make_local):
    run_state_machine_as_test(lambda: NoClashes(make_local()), settings=SETTINGS)


def test_its_wrapper_and_ours_nest(tmp_path):
    """zarr-python's wrappers take our stores, and ours take zarr-python's."""
    import zarr
    import zarr.storage

    async def both():
        theirs = zarr.storage.WrapperStore(LocalStore(tmp_path / "a"))
        await theirs.set("k", cpu.Buffer.from_bytes(b"123"))
        assert (await theirs.get("k", cpu.buffer_prototype)).to_bytes() == b"123"
        ours = WrapperStore(zarr.storage.LocalStore(tmp_path / "b"))
        await ours.set("k", b"123")
        assert (await ours.get("k")).to_bytes() == b"123"
        assert [key async for key in ours.list()] == ["k"]

    asyncio.run(both())
    array = zarr.create_array(WrapperStore(zarr.storage.MemoryStore()), shape=(10,), dtype="i4", chunks=(3,))
    array[:] = range(10)
    assert list(array[2:5]) == [2, 3, 4]
