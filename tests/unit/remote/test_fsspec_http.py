"""FsspecStore over HTTP, against a web server on the loopback."""

import asyncio
import gc

import pytest
from file_server import serve

from zarrstore.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarrstore.errors import (
    AccessDeniedError,
    BackendError,
    ByteRequestError,
    TransientError,
    TruncatedError,
    UnsupportedOperationError,
)
from zarrstore.storage import FsspecStore

VALUE = bytes(range(100))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/empty").write_bytes(b"")
    (tmp_path / "data/a/k").write_bytes(VALUE)
    (tmp_path / "data/what? #1 50%.x").write_bytes(b"odd")
    return tmp_path


@pytest.fixture
def server(folder):
    with serve(folder) as (url, handler):
        yield url, handler
    gc.collect()


@pytest.fixture
def store(server):
    return FsspecStore.from_url(server[0] + "/data", retry=None)


def test_values_are_read(store, server):
    assert store.get_sync("a/k").to_bytes() == VALUE
    assert store.get_sync("empty").to_bytes() == b""
    assert store.get_sync("what? #1 50%.x").to_bytes() == b"odd"
    assert store.get_sync("missing") is None
    assert store.exists_sync("a/k")
    assert not store.exists_sync("missing")
    assert store.getsize_sync("a/k") == 100
    assert store.getsize_sync("empty") == 0
    with pytest.raises(FileNotFoundError):
        store.getsize_sync("missing")


def test_a_directorys_page_is_no_value(store):
    assert store.get_sync("a") is None
    assert not store.exists_sync("a")
    with pytest.raises(FileNotFoundError):
        store.getsize_sync("a")


def test_ranges_are_one_request_each(store, server):
    _, handler = server
    cases = [
        (RangeByteRequest(10, 20), VALUE[10:20]),
        (RangeByteRequest(90, 200), VALUE[90:]),
        (OffsetByteRequest(95), VALUE[95:]),
        (SuffixByteRequest(3), VALUE[-3:]),
        (SuffixByteRequest(300), VALUE),
    ]
    for request, expected in cases:
        handler.requests.clear()
        assert store.get_sync("a/k", byte_range=request).to_bytes() == expected
        assert handler.requests == [("GET", "/data/a/k")]
    for request in (RangeByteRequest(100, 101), OffsetByteRequest(100)):
        with pytest.raises(ByteRequestError, match="100 bytes"):
            store.get_sync("a/k", byte_range=request)
    assert store.get_sync("empty", byte_range=SuffixByteRequest(3)).to_bytes() == b""
    assert store.get_sync("missing", byte_range=SuffixByteRequest(3)) is None


def test_many_loops(store):
    for _ in range(3):
        assert asyncio.run(store.get("a/k")).to_bytes() == VALUE


def test_server_without_ranges(store, server):
    server[1].plan["/data/a/k"] = (200, VALUE)
    assert store.get_sync("a/k", byte_range=RangeByteRequest(10, 20)).to_bytes() == VALUE[10:20]


def test_cut_answers_are_errors(store, server):
    _, handler = server
    handler.plan["/data/a/k"] = lambda request: request.answer(200, VALUE[:50], length=100)
    with pytest.raises(TruncatedError):
        store.get_sync("a/k")
    handler.plan["/data/a/k"] = (206, VALUE[10:15], {"Content-Range": "bytes 10-14/100"})
    with pytest.raises(TruncatedError) as caught:
        store.get_sync("a/k", byte_range=RangeByteRequest(10, 20))
    assert caught.value.key == "a/k"
    handler.plan["/data/a/k"] = (206, VALUE[0:10], {"Content-Range": "bytes 0-9/100"})
    with pytest.raises(TruncatedError):
        store.get_sync("a/k", byte_range=RangeByteRequest(10, 20))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AccessDeniedError), (403, AccessDeniedError), (429, TransientError), (500, TransientError),
     (503, TransientError), (418, BackendError)],
)  # fmt: skip
def test_failures_are_never_missing_data(store, server, status, kind):
    server[1].plan["/data/a/k"] = (status, b"no")
    for call in (store.get_sync, store.exists_sync, store.getsize_sync):
        with pytest.raises(kind) as caught:
            call("a/k")
        assert type(caught.value) is kind
        assert caught.value.key == "a/k"


def test_server_that_is_gone(folder):
    with serve(folder) as (url, _):
        store = FsspecStore.from_url(url + "/data", retry=None)
    for call in (store.get_sync, store.exists_sync, lambda key: list(store.list_sync())):
        with pytest.raises(BackendError):
            call("a/k")


def test_listing_where_the_server_lists(store):
    assert sorted(store.list_sync()) == ["a/k", "empty", "what? #1 50%.x"]
    assert sorted(store.list_dir_sync("")) == ["a", "empty", "what? #1 50%.x"]
    assert list(store.list_prefix_sync("a")) == ["a/k"]
    assert list(store.list_prefix_sync("missing")) == []
    assert store.getsize_prefix_sync("") == 103
    assert not store.is_empty_sync()


@pytest.mark.parametrize("lists", [False, None])
def test_listing_where_the_server_does_not(folder, lists):
    with serve(folder, lists=False) as (url, handler):
        store = FsspecStore.from_url(url + "/data")
        if lists is None:
            handler.plan["/data/"] = (404, b"")
        for call in (lambda: list(store.list_sync()), store.is_empty_sync):
            with pytest.raises(UnsupportedOperationError, match="doesn't list"):
                call()
        assert store.get_sync("a/k").to_bytes() == VALUE


def test_writing_is_not_supported(store):
    for call in (lambda: store.set_sync("a/k", b"v"), lambda: store.delete_sync("a/k")):
        with pytest.raises(UnsupportedOperationError):
            call()
    assert store.get_sync("a/k").to_bytes() == VALUE


def test_query_stays_behind_the_key(folder):
    with serve(folder) as (url, handler):
        store = FsspecStore.from_url(url + "/data?token=hush")
        assert store.get_sync("a/k").to_bytes() == VALUE
        assert handler.requests == [("GET", "/data/a/k?token=hush")]
        assert "hush" not in str(store)
        fragment = FsspecStore.from_url(url + "/data?token=hush#part")
        assert fragment.get_sync("a/k").to_bytes() == VALUE


def test_redirects_without_end(store, server):
    server[1].plan["/data/a/k"] = (302, b"", {"Location": "/data/a/k"})
    with pytest.raises(BackendError, match="TooManyRedirects"):
        store.get_sync("a/k")


def test_a_web_server_only_serves():
    store = FsspecStore.from_url("http://127.0.0.1:9/x")
    assert not store.supports_writes
    assert not store.supports_deletes
    assert not store.sub("a").supports_deletes
    assert FsspecStore.from_url("memory://x").supports_writes
