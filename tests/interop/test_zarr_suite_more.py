"""zarr-python's own suite and state machines on views, wrappers and other places of ours.

Deviations, each forced:

- ``supports_partial_writes`` is what the store below says; the suite wants it false everywhere.
- The machine over keys sets both ``k`` and ``k/child``, which no folder can hold; on folders such
  examples are passed over.
"""

import logging
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from hypothesis.stateful import run_state_machine_as_test
from zarr.core.buffer import cpu
from zarr.storage import LocalStore as TheirLocalStore
from zarr.storage import MemoryStore as TheirMemoryStore
from zarr.testing.store import StoreTests
from zarr_python_machines import SETTINGS, NoClashes, hierarchy

from zarrstore.storage import FsspecStore, LocalStore, LoggingStore, MemoryStore, SubStore, WrapperStore
from zarrstore.storage._wrappers.adapter import ZarrStoreAdapter

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning"),
    # The machine draws data types whose metadata zarr-python itself warns about.
    pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification"),
]


class _Suite(StoreTests):
    buffer_cls = cpu.Buffer

    def test_store_supports_writes(self, store):
        assert store.supports_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing

    def test_store_repr(self, store):
        assert repr(store) == f"{type(store).__name__}({str(store)!r})"


class _Opened:
    """The suite constructs by keyword what the store below takes, through ``open`` as well."""

    @classmethod
    async def open(cls, *args, **kwargs):
        store = cls(*args, **kwargs)
        await store._open()
        return store


class _InFolder(_Suite):
    """Whose values the suite looks at as files below ``place(store)``."""

    @pytest.fixture
    def store_kwargs(self, tmp_path):
        return {"root": str(tmp_path / "root")}

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(self.place(store).joinpath(key).read_bytes())

    async def set(self, store, key, value):
        path = self.place(store).joinpath(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.to_bytes())


class TestFsspecLocal(_InFolder, StoreTests[FsspecStore, cpu.Buffer]):
    store_cls = FsspecStore

    @pytest.fixture
    def store_kwargs(self, tmp_path):
        fs = AsyncFileSystemWrapper(fsspec.filesystem("file"), asynchronous=True)
        return {"fs": fs, "path": f"{tmp_path}/root"}

    def place(self, store):
        return Path(store.path)

    def test_store_supports_partial_writes(self, store):
        assert not store.supports_partial_writes

    def test_store_repr(self, store):
        assert repr(store) == f"FsspecStore('file://{store.path}')"


class Part(_Opened, SubStore):
    """A directory of a local store."""

    def __init__(self, root, read_only=False):
        super().__init__(LocalStore(root, read_only=read_only), "a/b")


class TestSub(_InFolder, StoreTests[Part, cpu.Buffer]):
    store_cls = Part

    def place(self, store):
        return store._store.root / "a" / "b"

    def test_store_supports_partial_writes(self, store):
        assert store.supports_partial_writes


class Spoken(_Opened, LoggingStore):
    """A logging store that makes its records."""

    def __init__(self, root, read_only=False):
        super().__init__(LocalStore(root, read_only=read_only), "DEBUG", logging.NullHandler())


class TestLoggingLocal(_InFolder, StoreTests[Spoken, cpu.Buffer]):
    store_cls = Spoken

    def place(self, store):
        return store._store.root

    def test_store_supports_partial_writes(self, store):
        assert store.supports_partial_writes

    def test_store_repr(self, store):
        assert repr(store) == f"Spoken(LocalStore, {str(store._store)!r})"


class Foreign(_Opened, ZarrStoreAdapter):
    """zarr-python's local store in our adapter."""

    def __init__(self, root, read_only=False):
        super().__init__(TheirLocalStore(root, read_only=read_only))


class TestForeign(_InFolder, StoreTests[Foreign, cpu.Buffer]):
    store_cls = Foreign

    @pytest.fixture
    def store_kwargs(self, tmp_path):
        # zarr-python's local store opens read-only only a folder that exists; ours takes it for empty.
        (tmp_path / "root").mkdir()
        return {"root": str(tmp_path / "root")}

    def place(self, store):
        return store._store.root

    def test_store_supports_partial_writes(self, store):
        assert not store.supports_partial_writes


# -- state machines -------------------------------------------------------------------------------

_MAKERS = {
    "foreign": lambda place: WrapperStore(TheirMemoryStore()),
    "fsspec-local": lambda place: FsspecStore.from_url(f"file://{place}"),
    "fsspec-memory": lambda place: FsspecStore.from_url(f"memory://{place}"),
    "logging": lambda place: LoggingStore(MemoryStore(), "WARNING"),
    "sub-local": lambda place: LocalStore(place).sub("a/b"),
    "sub-memory": lambda place: MemoryStore().sub("a/b"),
}


_QUICK = ("foreign", "sub-local")


@pytest.fixture(
    params=[name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in _MAKERS]
)
def make(request, tmp_path_factory):
    return lambda: _MAKERS[request.param](tmp_path_factory.mktemp("machine"))


def test_hierarchy_machine(make):
    run_state_machine_as_test(hierarchy(make), settings=SETTINGS)


def test_key_machine(make):
    run_state_machine_as_test(lambda: NoClashes(make()), settings=SETTINGS)
