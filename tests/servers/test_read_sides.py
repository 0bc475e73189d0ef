"""The contract's reading half, and that of zarr-python's suite, where a server is only read from here."""

import itertools

import pytest
from file_server import serve
from gcsfs import GCSFileSystem
from obstore.store import GCSStore, HTTPStore
from zarr_python_suite import ReadSuite

from zarrstore import errors, make_store_sync
from zarrstore.storage import FsspecStore, LocalStore, ObjectStore
from zarrstore.testing import QUESTIONS, StoreContract

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning"),
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

_numbers = itertools.count()
READING = tuple(
    question for question in QUESTIONS if {"seed", "read", "list"} >= {*question.needs.split()} - {"ours"}
)
NOT_LISTING = tuple(question for question in READING if "list" not in question.needs.split())


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A web server's URL and folder."""
    folder = tmp_path_factory.mktemp("web")
    with serve(folder) as (url, _):
        yield url, folder


class _OnTheWeb:
    """A new folder for each test: its URL, and a store that writes into it."""

    @pytest.fixture
    def url(self, web):
        url, folder = web
        name = f"t{next(_numbers)}"
        (folder / name).mkdir()
        self.writer = LocalStore(folder / name)
        return f"{url}/{name}"


class TestFsspecHttp(_OnTheWeb, StoreContract):
    faces = ("await",)
    # A page without links may be that of a server that makes no such pages: nothing is called empty there.
    questions = tuple(question for question in READING if question.name != "empty_store")

    @pytest.fixture
    def store(self, url):
        return FsspecStore.from_url(url, read_only=True)


class TestObstoreHttp(_OnTheWeb, StoreContract):
    faces = ("await",)
    # It lists WebDAV servers only, and doesn't tell that it was led on to the page of a directory.
    questions = tuple(
        question
        for question in NOT_LISTING
        if question.name not in ("no_such_value[d]", "no_such_value[d/e]")
    )

    @pytest.fixture
    def store(self, url):
        return ObjectStore(HTTPStore(url, client_options={"allow_http": True}), read_only=True)


class TestFsspecHttpInZarrsSuite(_OnTheWeb, ReadSuite):
    store_cls = FsspecStore

    @pytest.fixture
    def store_kwargs(self, url):
        fs = FsspecStore.from_url(url).fs
        return {"fs": fs, "path": url, "read_only": True}


class TestObstoreHttpInZarrsSuite(_OnTheWeb, ReadSuite):
    store_cls = ObjectStore

    @pytest.fixture
    def store_kwargs(self, url):
        return {"store": HTTPStore(url, client_options={"allow_http": True}), "read_only": True}


@pytest.mark.parametrize("backend", ["fsspec", "obstore"])
@pytest.mark.parametrize("lists", [False, None])
def test_a_web_server_that_does_not_list(tmp_path, backend, lists):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/k").write_bytes(b"0123456789")
    with serve(tmp_path, lists=False) as (url, handler):
        if lists is None:
            handler.plan["/data/"] = (404, b"")
        # obstore would try again, and wait, what this server says it can't do at all.
        options = {"retry_config": {"max_retries": 0}} if backend == "obstore" else None
        store = make_store_sync(f"{url}/data", storage_options=options, backend=backend)
        assert store.get_sync("k").to_bytes() == b"0123456789"
        for call in (
            lambda: list(store.list_sync()),
            lambda: list(store.list_prefix_sync("a")),
            lambda: list(store.list_dir_sync("")),
            lambda: store.is_empty_sync(""),
            lambda: store.getsize_prefix_sync(""),
        ):
            with pytest.raises(errors.UnsupportedOperationError, match="doesn't list"):
                call()


class _InGcs:
    """Puts by obstore go to Google's XML interface, which fake-gcs-server doesn't serve: gcsfs puts."""

    @pytest.fixture
    def theirs(self, gcs_server, place):
        bucket, prefix = place
        fs = GCSFileSystem(asynchronous=True, **gcs_server.fsspec_options())
        self.writer = FsspecStore(fs, path=f"{bucket}/{prefix}")
        return GCSStore(bucket, prefix=prefix, **gcs_server.obstore_options())


class TestObstoreGcs(_InGcs, StoreContract):
    faces = ("await",)
    questions = READING

    @pytest.fixture
    def store(self, theirs):
        return ObjectStore(theirs, read_only=True)


class TestObstoreGcsInZarrsSuite(_InGcs, ReadSuite):
    store_cls = ObjectStore

    @pytest.fixture
    def store_kwargs(self, theirs):
        return {"store": theirs, "read_only": True}
