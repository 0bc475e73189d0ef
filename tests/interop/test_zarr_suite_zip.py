"""zarr-python's own suite for stores, and its state machines, run on archives of ours.

Deviations, each forced:

- The suite puts values behind the store's back and expects it to see them. An archive has one writer,
  and a reader sees it as it was opened: so the test's `get` and `set` go through other stores on the same
  open archive, as zarr-python's own suite does for its zip store.
- ``repr`` names the archive by this library's scheme for all stores, without zarr-python's quotes within.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from zarr.core.buffer import cpu
from zarr.testing.stateful import ZarrHierarchyStateMachine, ZarrStoreStateMachine
from zarr.testing.store import StoreTests

from zarrstore.storage import ZipStore

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning"),
    # The machine draws data types whose metadata zarr-python itself warns about.
    pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification"),
]


class TestZip(StoreTests[ZipStore, cpu.Buffer]):
    store_cls = ZipStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self, tmp_path):
        return {"path": str(tmp_path / "data.zip"), "mode": "w", "deletes": True}

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(store.with_read_only(True).get_sync(key).to_bytes())

    async def set(self, store, key, value):
        store.with_read_only(False).set_sync(key, value.to_bytes())

    def test_store_supports_writes(self, store):
        assert store.supports_writes

    def test_store_supports_partial_writes(self, store):
        assert not store.supports_partial_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing

    def test_store_repr(self, store):
        assert str(store) == f"zip://{store.path.as_posix()}"
        assert repr(store) == f"ZipStore({str(store)!r})"


_SETTINGS = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def make(tmp_path_factory):
    return lambda: ZipStore(tmp_path_factory.mktemp("machine") / "data.zip", mode="w", deletes=True)


def test_key_machine(make):
    run_state_machine_as_test(lambda: ZarrStoreStateMachine(make()), settings=_SETTINGS)


def test_hierarchy_machine(make):
    run_state_machine_as_test(lambda: ZarrHierarchyStateMachine(make()), settings=_SETTINGS)
