"""The contract and zarr-python's suite, on a real S3 server."""

import pytest
from obstore.store import S3Store
from s3fs import S3FileSystem
from zarr_python_suite import FsspecSuite, ObstoreSuite

from zarrstore import RangeByteRequest
from zarrstore.storage import FsspecStore, ObjectStore
from zarrstore.testing import QUESTIONS, StoreContract

pytestmark = [pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")]


# This server, unlike S3 itself, takes a backslash for a slash, and lists folders that became empty as
# directories until it has swept them away.
SERVERS_OWN = ("emptied_directory_is_gone", "root_cleared")
ASKED = tuple(
    question
    for question in QUESTIONS
    if not question.name.startswith(SERVERS_OWN) and question.name != r"key_round_trip['a\\b']"
)


class TestFsspec(StoreContract):
    faces = ("await",)  # the blocking one is the same coroutines on the same thread
    questions = ASKED

    @pytest.fixture
    def store(self, s3_server, s3_place):
        fs = S3FileSystem(asynchronous=True, **s3_server.fsspec_options())
        return FsspecStore(fs, path="/".join(s3_place))


def test_clear_leaves_the_bucket_and_what_lies_beside(s3_server, s3_place):
    bucket, prefix = s3_place
    fs = S3FileSystem(asynchronous=True, **s3_server.fsspec_options())
    beside = FsspecStore(fs, path=f"{bucket}/{prefix}-beside")
    beside.set_sync("k", b"v")
    store = FsspecStore(fs, path=f"{bucket}/{prefix}")
    store.set_sync("a/b", b"v")
    store.set_sync("c", b"v")
    store.clear_sync()
    assert list(store.list_sync()) == []
    store.set_sync("c", b"again")
    assert list(beside.list_sync()) == ["k"]


class TestObstore(StoreContract):
    faces = ("await",)
    # On S3 a value that was changed and changed back has its old version again.
    questions = tuple(question for question in ASKED if question.name != "versions")

    @pytest.fixture
    def store(self, s3_server, s3_place):
        bucket, prefix = s3_place
        return ObjectStore(S3Store(bucket, prefix=prefix, **s3_server.obstore_options()))


def test_versions_are_etags(s3_server, s3_place):
    bucket, prefix = s3_place
    store = ObjectStore(S3Store(bucket, prefix=prefix, **s3_server.obstore_options()))
    store.set_sync("k", b"1")
    value, version = store.get_versioned_sync("k", byte_range=RangeByteRequest(0, 1))
    assert value.to_bytes() == b"1"
    newer = store.set_if_unchanged_sync("k", b"2", version)
    assert newer not in (None, version)
    assert store.set_if_unchanged_sync("k", b"3", version) is None
    assert not store.delete_if_unchanged_sync("k", version)
    assert store.get_sync("k").to_bytes() == b"2"
    assert store.delete_if_unchanged_sync("k", newer)
    assert store.get_versioned_sync("k") is None
    assert store.set_if_unchanged_sync("k", b"4", newer) is None


class TestFsspecInZarrsSuite(FsspecSuite):
    @pytest.fixture
    def store_kwargs(self, s3_server, s3_place):
        fs = S3FileSystem(asynchronous=True, **s3_server.fsspec_options())
        return {"fs": fs, "path": "/".join(s3_place)}


class TestObstoreInZarrsSuite(ObstoreSuite):
    @pytest.fixture
    def store_kwargs(self, s3_server, s3_place):
        bucket, prefix = s3_place
        return {"store": S3Store(bucket, prefix=prefix, **s3_server.obstore_options())}
