"""Every store answers every question of the contract."""

import pytest

from zarrstore.storage import LocalStore, MemoryStore, WrapperStore
from zarrstore.testing import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestMemoryOnADict(StoreContract):
    """On a mapping of the caller's, without the tree."""

    @pytest.fixture
    def store(self):
        return MemoryStore({})


class TestLocal(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path / "root")


class TestLocalInPlace(StoreContract):
    """As on file systems that can't rename; what that loses isn't asked."""

    questions = tuple(
        question
        for question in StoreContract.questions
        if question.name not in ("readers_see_whole_values", "concurrent_writers_of_one_key")
    )

    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path / "root", atomic=False)


class TestLocalByPoolAlone(StoreContract):
    """As on systems without reads that can't block."""

    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(tmp_path / "root")
        store._surveyed = True
        return store


class TestWrapper(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return WrapperStore(LocalStore(tmp_path / "root"))


class PassingOn(WrapperStore):
    """A wrapper that overrides the four verbs, as bodies written once for both faces."""

    async def _read(self, below, key, request, allocate):
        return await below.read(key, request, allocate)

    async def _write(self, below, key, pieces, condition):
        return await below.write(key, pieces, condition)

    async def _remove(self, below, key, condition):
        return await below.remove(key, condition)

    async def _scan(self, below, prefix, deep, sizes):
        async for page in below.scan(prefix, deep, sizes):
            yield page


class TestWrapperOfVerbs(StoreContract):
    @pytest.fixture
    def store(self):
        return PassingOn(PassingOn(MemoryStore()))
