"""FsspecStore answers every question of the contract, whatever file system is below."""

import fsspec
import pytest
from bucket_fs import BUCKETS, BucketFileSystem
from local_fs import OtherLocalFileSystem, through_fsspec

from zarrstore.storage import FsspecStore
from zarrstore.testing import StoreContract


class TestFsspecLocal(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return FsspecStore.from_url(f"file://{tmp_path}/root")


class TestFsspecOtherLocal(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return through_fsspec(OtherLocalFileSystem(), tmp_path / "root")


class TestFsspecMemory(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return FsspecStore.from_url(f"memory://{tmp_path}/root")


class TestFsspecMapper(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return FsspecStore.from_mapper(fsspec.get_mapper(f"memory://{tmp_path}/mapped"))


class TestFsspecBuckets(StoreContract):
    """An awaiting file system, on a thread of its own."""

    @pytest.fixture
    def store(self):
        BUCKETS["b"] = {}
        yield FsspecStore(BucketFileSystem(asynchronous=True), path="b/root")
        BUCKETS.clear()
