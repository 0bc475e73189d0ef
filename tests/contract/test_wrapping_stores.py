"""Wrappers that look on or look at a part answer every question of the contract."""

import logging

import numpy_cupy
import pytest

from zarrstore.storage import GpuMemoryStore, LoggingStore, MemoryStore
from zarrstore.testing import StoreContract


class TestLogging(StoreContract):
    @pytest.fixture
    def store(self):
        return LoggingStore(MemoryStore(), log_handler=logging.NullHandler())


class TestGpuMemory(StoreContract):
    """On a stand-in for cupy."""

    @pytest.fixture
    def store(self, monkeypatch):
        numpy_cupy.install(monkeypatch)
        return GpuMemoryStore()
