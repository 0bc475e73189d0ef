"""GpuMemoryStore answers every question of the contract, over a stand-in for cupy on NumPy."""

import numpy_cupy
import pytest

from zarrstore.storage import GpuMemoryStore, WrapperStore
from zarrstore.testing import StoreContract


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    return numpy_cupy.install(monkeypatch)


class TestGpu(StoreContract):
    @pytest.fixture
    def store(self):
        return GpuMemoryStore()


class TestGpuOnADict(StoreContract):
    """On a mapping of the caller's, without the tree."""

    @pytest.fixture
    def store(self):
        return GpuMemoryStore({})


class TestWrappedGpu(StoreContract):
    @pytest.fixture
    def store(self):
        return WrapperStore(GpuMemoryStore())
