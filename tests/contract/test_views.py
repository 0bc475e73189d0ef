"""Wrappers that look on or look at a part answer every question of the contract."""

import logging

import pytest

from zarrstore.storage import LoggingStore, MemoryStore
from zarrstore.testing import StoreContract


class TestLogging(StoreContract):
    @pytest.fixture
    def store(self):
        return LoggingStore(MemoryStore(), log_handler=logging.NullHandler())
