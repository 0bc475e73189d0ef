"""Our own stores read a served store: the contract's reading half, over HTTP and as if it were S3."""

import itertools

import pytest
from obstore.store import HTTPStore, S3Store
from s3fs import S3FileSystem
from served import serving

from zarrstore import LocalStore, MemoryStore
from zarrstore.storage import FsspecStore, ObjectStore
from zarrstore.testing import QUESTIONS, StoreContract

_numbers = itertools.count()
READING = tuple(
    question for question in QUESTIONS if {"seed", "read", "list"} >= {*question.needs.split()} - {"ours"}
)
# One of each kind: all of them are asked in the full tier.
FEW = tuple({question.name.partition("[")[0]: question for question in READING}.values())


@pytest.fixture(scope="module")
def served():
    store = MemoryStore()
    with serving(store) as web:
        yield web, store


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory):
    store = LocalStore(tmp_path_factory.mktemp("served"))
    with serving(store) as web:
        yield web, store


class _Served:
    """A new directory for each test, which is a bucket to clients of S3."""

    faces = ("await",)
    questions = FEW

    @pytest.fixture
    def place(self, served):
        return self.new_place(*served)

    def new_place(self, web, store):
        name = f"t{next(_numbers)}"
        self.writer = store.sub(name)
        return web.url, name


class TestFsspecHttpServed(_Served, StoreContract):
    # A page without links may be that of a server that makes no such pages: nothing is called empty there.
    questions = tuple(question for question in FEW if question.name != "empty_store")

    @pytest.fixture
    def store(self, place):
        return FsspecStore.from_url("/".join(place), read_only=True)


class TestFsspecS3Served(_Served, StoreContract):
    @pytest.fixture
    def store(self, place):
        url, bucket = place
        fs = S3FileSystem(endpoint_url=url, anon=True, asynchronous=True, skip_instance_cache=True)
        return FsspecStore(fs, path=bucket, read_only=True)


class TestObstoreS3Served(_Served, StoreContract):
    @pytest.fixture
    def store(self, place):
        url, bucket = place
        options = {"skip_signature": True, "region": "x", "client_options": {"allow_http": True}}
        return ObjectStore(S3Store(bucket, endpoint=url, **options), read_only=True)


class TestObstoreHttpServed(_Served, StoreContract):
    questions = tuple(question for question in FEW if "list" not in question.needs.split())

    @pytest.fixture
    def store(self, place):
        return ObjectStore(HTTPStore("/".join(place), client_options={"allow_http": True}), read_only=True)


class TestFolderServed(TestObstoreS3Served):
    """What is below makes no difference, as a folder shows: its values have versions that none can demand."""

    @pytest.fixture
    def place(self, served_folder):
        return self.new_place(*served_folder)


@pytest.mark.slow
class TestFsspecS3ServedWholly(TestFsspecS3Served):
    questions = READING


@pytest.mark.slow
class TestObstoreS3ServedWholly(TestObstoreS3Served):
    questions = READING


@pytest.mark.slow
class TestFsspecHttpServedWholly(TestFsspecHttpServed):
    questions = tuple(question for question in READING if question.name != "empty_store")
