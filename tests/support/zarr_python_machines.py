"""zarr-python's state machines for stores, as run on all of ours."""

from hypothesis import HealthCheck, assume, settings
from zarr.testing.stateful import ZarrHierarchyStateMachine, ZarrStoreStateMachine

from zarrstore.errors import KeyConflictError

SETTINGS = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def hierarchy(make):
    """Return a machine that makes a new store each time."""

    class Machine(ZarrHierarchyStateMachine):
        def __init__(self):
            super().__init__(make())

    return Machine


class NoClashes(ZarrStoreStateMachine):
    """Skips examples that need a value and a folder with the same name."""

    @property
    def store(self):
        return self._store

    @store.setter
    def store(self, store):
        self._store = store
        real = store.set

        def set_(key, data):
            try:
                return real(key, data)
            except KeyConflictError:
                assume(False)

        store.set = set_
