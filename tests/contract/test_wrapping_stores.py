"""Wrappers that look on or look at a part answer every question of the contract."""

import logging

import numpy_cupy
import pytest
from bucket_fs import BUCKETS, BucketFileSystem

from zarrstore.storage import (
    FsspecStore,
    GpuMemoryStore,
    LocalStore,
    LoggingStore,
    MemoryStore,
    PrefetchStore,
)
from zarrstore.testing import StoreContract


class TestLogging(StoreContract):
    @pytest.fixture
    def store(self):
        return LoggingStore(MemoryStore(), log_handler=logging.NullHandler())


class TestPrefetching(StoreContract):
    @pytest.fixture
    def store(self):
        return PrefetchStore(MemoryStore())


class TestPrefetchingFsspec(StoreContract):
    @pytest.fixture
    def store(self):
        BUCKETS["b"] = {}
        yield PrefetchStore(FsspecStore(BucketFileSystem(asynchronous=True), path="b"))
        BUCKETS.clear()


class TestGpuMemory(StoreContract):
    """On a stand-in for cupy."""

    @pytest.fixture
    def store(self, monkeypatch):
        numpy_cupy.install(monkeypatch)
        return GpuMemoryStore()


class TestSubOfMemory(StoreContract):
    @pytest.fixture
    def store(self):
        outer = MemoryStore()
        outer.set_sync("a/bb", b"beside")
        yield outer.sub("a/b")
        assert outer.get_sync("a/bb").to_bytes() == b"beside"


class TestSubOfLocal(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path).sub("a").sub("b")


class TestSubOfFsspec(StoreContract):
    @pytest.fixture
    def store(self):
        BUCKETS["b"] = {}
        yield FsspecStore(BucketFileSystem(asynchronous=True), path="b").sub("a")
        BUCKETS.clear()


class TestSubOfLogging(StoreContract):
    @pytest.fixture
    def store(self):
        return LoggingStore(MemoryStore(), "WARNING").sub("a")
