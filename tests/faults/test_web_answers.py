"""What a web server's redirects and encodings mean: a login page is no value, and proves no absence."""

import gzip

import pytest
from scripted_server import HTML, on, store_of

from zarrstore import OffsetByteRequest, RangeByteRequest, RetryPolicy, SuffixByteRequest, errors

RETRY = RetryPolicy(attempts=2, base=0.001)
VALUE = bytes(range(200)) * 5
PAGE = {"Content-Type": "text/html; charset=utf-8"}
BACKENDS = ["http by fsspec", "http by obstore"]
CALLS = ["get_sync", "exists_sync", "getsize_sync"]


def sends_to(place):
    return lambda request: (302, "", {"Location": place})


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", ["/login/", "/login?next=/b/p/k", "/b/p/k/login/", "/b/"])
def test_a_login_page_is_neither_a_value_nor_an_absence(told, place, call):
    path = place.partition("?")[0]
    told.table[:] = [
        (lambda request: request.path == path, (200, HTML, PAGE)),
        (lambda request: True, sends_to(place)),
    ]
    with pytest.raises(errors.BackendError, match=r"(?i)log in") as caught:
        getattr(store_of(told, "http by fsspec", RETRY), call)("k")
    assert caught.value.key == "k"


def test_the_page_of_a_directory_is_no_value(told):
    told.table[:] = [
        (lambda request: request.path == "/b/p/a b/", (200, HTML, PAGE)),
        (lambda request: True, sends_to("/b/p/a%20b/")),
    ]
    store = store_of(told, "http by fsspec", RETRY)
    assert store.get_sync("a b") is None
    assert store.exists_sync("a b") is False


def test_a_value_may_lie_elsewhere(told):
    told.table[:] = [
        (lambda request: request.path == "/mirror/7", (200, VALUE, {"Content-Type": "binary/octet-stream"})),
        (lambda request: True, sends_to("/mirror/7")),
    ]
    store = store_of(told, "http by fsspec", RETRY)
    assert store.get_sync("k").to_bytes() == VALUE
    assert store.getsize_sync("k") == len(VALUE)


REQUESTS = [
    (None, VALUE),
    (RangeByteRequest(10, 20), VALUE[10:20]),
    (OffsetByteRequest(990), VALUE[990:]),
    (SuffixByteRequest(5), VALUE[-5:]),
]


def encoded(name, *, parts, body=None):
    body = gzip.compress(VALUE) if body is None else body

    def answer(request):
        told = {"Content-Encoding": name, "Content-Type": "binary/octet-stream"}
        told["Last-Modified"] = "Mon, 01 Jan 2024 00:00:00 GMT"
        asked = request.headers.get("range")
        if asked is None or not parts:
            return 200, body, told
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if first else len(body) - int(last)
        stop = min(int(last) + 1, len(body)) if first and last else len(body)
        return 206, body[start:stop], {**told, "Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}

    return answer


@pytest.mark.parametrize("parts", [False, True])
def test_what_is_encoded_is_decoded_by_every_call(told, parts):
    told.table[:] = [(lambda request: True, encoded("gzip", parts=parts))]
    store = store_of(told, "http by fsspec", RETRY)
    for request, expected in REQUESTS:
        assert store.get_sync("k", byte_range=request).to_bytes() == expected
    assert store.getsize_sync("k") == len(VALUE)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize(("which", "name"), [("http by fsspec", "exi"), ("http by obstore", "gzip")])
def test_what_cant_be_decoded_is_an_error_of_every_call(told, which, name, parts):
    told.table[:] = [(lambda request: True, encoded(name, parts=parts))]
    store = store_of(told, which, RETRY)
    for request, _ in REQUESTS:
        with pytest.raises(errors.BackendError, match=name):
            store.get_sync("k", byte_range=request)
    with pytest.raises(errors.BackendError, match=name):
        store.getsize_sync("k")


@pytest.mark.parametrize("which", BACKENDS)
@pytest.mark.parametrize("name", ["identity", "aws-chunked"])
def test_encodings_that_are_none(told, which, name):
    told.table[:] = [(lambda request: True, encoded(name, parts=True, body=VALUE))]
    store = store_of(told, which, RETRY)
    for request, expected in REQUESTS:
        assert store.get_sync("k", byte_range=request).to_bytes() == expected
    assert store.getsize_sync("k") == len(VALUE)


@pytest.mark.parametrize("refusal", [403, 404, 405, 501])
def test_a_size_that_head_doesnt_tell_is_told_by_get(told, refusal):
    told.table[:] = [(on("HEAD"), (refusal, "")), (on("GET"), (200, VALUE))]
    store = store_of(told, "http by fsspec", RETRY)
    assert store.getsize_sync("k") == len(VALUE)
    told.table[:] = [(on("HEAD"), (refusal, "")), (on("GET"), (404, HTML, PAGE))]
    assert store.exists_sync("k") is False


@pytest.mark.parametrize("status", [202, 206])
@pytest.mark.parametrize("call", CALLS)
def test_a_success_that_isnt_the_whole_value_is_an_error_of_every_call(told, status, call):
    """Through fsspec; obstore doesn't tell an answer's status."""
    told.table[:] = [(lambda request: True, (status, b"soon", {}))]
    with pytest.raises(errors.BackendError, match=f"status is {status}") as caught:
        getattr(store_of(told, "http by fsspec", RETRY), call)("k")
    assert caught.value.key == "k"
