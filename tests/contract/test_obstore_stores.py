"""ObjectStore answers every question of the contract, on obstore's memory and on its folders."""

import pytest
from obstore.store import LocalStore, MemoryStore

from zarrstore.storage import ObjectStore
from zarrstore.testing import QUESTIONS, StoreContract


class TestObstoreMemory(StoreContract):
    # obstore's memory can't be pickled, which that question wants.
    questions = tuple(question for question in QUESTIONS if question.name != "identity")

    @pytest.fixture
    def store(self):
        return ObjectStore(MemoryStore())


class TestObstoreLocal(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return ObjectStore(LocalStore(tmp_path))
