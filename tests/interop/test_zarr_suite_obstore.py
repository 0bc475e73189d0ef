"""zarr-python's own suite for stores, run on ours over obstore's memory and its folders."""

import pickle

import pytest
from obstore.store import LocalStore, MemoryStore
from zarr_python_suite import ObstoreSuite

pytestmark = [pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")]


class TestMemory(ObstoreSuite):
    @pytest.fixture
    def store_kwargs(self):
        return {"store": MemoryStore()}

    def test_serializable_store(self, store):
        with pytest.raises(TypeError):  # obstore's memory can't be pickled
            pickle.dumps(store)


class TestLocal(ObstoreSuite):
    @pytest.fixture
    def store_kwargs(self, tmp_path):
        return {"store": LocalStore(tmp_path)}
