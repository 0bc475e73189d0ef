"""What a served store answers: values, ranges, conditions, absences, failures; and what all answers have."""

import http.client
import logging
import socket

import pytest
from served import filled, serving
from starlette.applications import Starlette
from starlette.routing import Mount

from zarrstore import LocalStore, MemoryStore, ZipStore, errors
from zarrstore.serve import app
from zarrstore.serve._running import listening
from zarrstore.serve._values import PIECE

VALUE = b"0123456789"
SIZE = 2 << 20  # an archive tells versions of large values only
ODD = [
    "with space",
    "50%",
    "a?b#c",
    "ümlaut/日本",
    "a+b",
    "back\\slash",
    "new\nline",
    "<b>&",
    "c:d",
    "%2e%2e/x",
]


@pytest.fixture(scope="module")
def served():
    store = filled(
        {"a/k": VALUE, "empty": b"", "zarr.json": b"{}", **{f"odd/{key}": key.encode() for key in ODD}}
    )
    with serving(store) as web:
        yield web, store


@pytest.fixture
def web(served):
    return served[0]


def test_a_value(web):
    answer = web.ask("/a/k", accept_encoding="gzip, br")
    assert (answer.status, answer.body) == (200, VALUE)
    assert answer.headers["content-length"] == "10"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in answer.headers
    assert web.ask("/zarr.json").headers["content-type"] == "application/json"
    assert web.ask("/empty").headers["content-length"] == "0"


@pytest.mark.parametrize("path", ["/a/k", "/empty", "/nothing", "/", "/a/", "/../x"])
def test_head_tells_what_get_does(web, path):
    whole, head = web.ask(path), web.ask(path, "HEAD")
    assert head.body == b""
    assert head.status == whole.status
    for headers in (head.headers, whole.headers):
        del headers["date"]
    assert head.headers == whole.headers
    assert int(head.headers["content-length"]) == len(whole.body)


@pytest.mark.parametrize(
    ("asked", "told", "part"),
    [
        ("bytes=2-4", "2-4", b"234"),
        ("bytes=0-0", "0-0", b"0"),
        ("bytes=7-", "7-9", b"789"),
        ("bytes=-3", "7-9", b"789"),
        ("bytes=-99", "0-9", VALUE),
        ("bytes=8-99", "8-9", b"89"),
        ("BYTES=0-99999999999999999", "0-9", VALUE),
    ],
)
def test_a_range(web, asked, told, part):
    answer = web.ask("/a/k", range=asked)
    assert (answer.status, answer.body) == (206, part)
    assert answer.headers["content-range"] == f"bytes {told}/10"
    assert answer.headers["content-length"] == str(len(part))


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99-100"])
def test_a_range_outside(web, asked):
    answer = web.ask("/a/k", range=asked)
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == "bytes */10"
    assert web.ask("/empty", range="bytes=0-").status == 416


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,3-4",
        "bytes=5-2",
        "bytes=-",
        "bytes=a-b",
        "items=0-1",
        "bytes 0-1",
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_what_is_no_single_range_is_ignored(web, asked):
    answer = web.ask("/a/k", range=asked)
    assert (answer.status, answer.body) == (200, VALUE)
    assert "content-range" not in answer.headers


def test_conditions(web):
    etag = web.ask("/a/k").headers["etag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = web.ask("/a/k", if_none_match=known)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert web.ask("/a/k", if_none_match='"x"').status == 200
    assert web.ask("/a/k", if_match=etag).status == web.ask("/a/k", if_match="*").status == 200
    assert web.ask("/a/k", if_match='"x"').status == 412
    assert web.ask("/a/k", range="bytes=0-1", if_range=etag).status == 206
    for other in ('"x"', f"W/{etag}", "Sat, 29 Oct 1994 19:43:31 GMT"):
        assert web.ask("/a/k", range="bytes=0-1", if_range=other).body == VALUE


@pytest.mark.parametrize("kind", ["memory", "folder", "zip"])
def test_an_etag_changes_with_its_value(tmp_path, kind):
    make = {
        "memory": MemoryStore,
        "folder": lambda: LocalStore(tmp_path),
        "zip": lambda: ZipStore(tmp_path / "x.zip", mode="w"),
    }
    store = make[kind]()
    store.set_sync("k", bytes(SIZE))
    with serving(store) as web:
        etag = web.ask("/k").headers["etag"]
        assert web.ask("/k", if_none_match=etag).status == 304
        store.set_sync("k", b"1" * SIZE)
        answer = web.ask("/k", if_none_match=etag)
        assert (answer.status, answer.body) == (200, b"1" * SIZE)
    store.close()


def test_values_in_memory_have_other_etags_in_another_process():
    store = MemoryStore()
    store.set_sync("k", VALUE)
    with serving(store) as one, serving(store) as other:
        assert one.ask("/k").headers["etag"] != other.ask("/k").headers["etag"]


@pytest.mark.parametrize("key", ODD)
def test_odd_keys(web, key):
    from urllib.parse import quote

    assert web.ask(f"/odd/{quote(key)}").body == key.encode()
    assert web.ask(f"/odd/{quote(key, safe='')}").body == key.encode()


@pytest.mark.parametrize("path", ["/nothing", "/a", "/a/k/below", "/nothing/", "/a/k/"])
def test_what_is_not_there(web, path):
    answer = web.ask(path)
    assert answer.status == 404
    assert b"<Code>NoSuchKey</Code>" in answer.body


@pytest.mark.parametrize(
    "path", ["/../a/k", "/a/../k", "/%2e%2e/k", "/a//k", "//a/k", "/a%00", "/%ff", "/a/./k"]
)
def test_what_is_no_key(web, path):
    assert web.ask(path).status == 400


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_nothing_can_be_changed(served, method):
    web, store = served
    answer = web.ask("/a/k", method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert store.get_sync("a/k").to_bytes() == VALUE


@pytest.mark.parametrize("origin", ["*", "https://example.org"])
def test_pages_elsewhere_may_read_every_answer(served, origin):
    with serving(served[1], origin=origin, token="hush") as web:
        for path, known in (
            ("/a/k", True),
            ("/nothing", True),
            ("/../x", True),
            ("/", True),
            ("/a/k", False),
        ):
            token = {"authorization": "Bearer hush"} if known else {}
            for answer in (web.ask(path, **token), web.ask(path, "PUT"), web.ask(path, "OPTIONS")):
                assert answer.headers["access-control-allow-origin"] == origin
                assert "content-range" in answer.headers["access-control-expose-headers"]
                assert answer.headers.get("vary") == (None if origin == "*" else "origin")
        asked = {"access_control_request_headers": "range, x-other", "access_control_request_method": "GET"}
        answer = web.ask("/a/k", "OPTIONS", access_control_request_private_network="true", **asked)
        assert answer.status == 204
        assert answer.headers["access-control-allow-headers"] == "range, x-other"
        assert answer.headers["access-control-allow-private-network"] == "true"


def test_a_token(served):
    with serving(served[1], token="hush") as web:
        assert web.ask("/a/k", authorization="Bearer hush").body == VALUE
        for wrong in ("Bearer Hush", "Basic hush", "hush", "Bearer ", "Bearer ü"):
            answer = web.ask("/a/k", authorization=wrong.encode("latin-1"))
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        for path in ("/a/k", "/a/k?token=hush", "/nothing", "/", "/?list-type=2", "/?node", "/?stored"):
            assert web.ask(path).status == 401
        # The page itself holds nothing of the store, and finds the token behind the hash of its address.
        page = web.ask("/", accept="text/html")
        assert page.status == 401
        assert b"zarr.json" not in page.body
        assert web.ask("/?asset=page.js").status == 200


def test_failures_are_no_absences_and_show_no_secret(caplog):
    class Failing(MemoryStore):
        def _stat(self, key):
            raise {
                "busy": errors.TransientError("s3://me:hush@b/k is busy."),
                "refused": errors.AccessDeniedError("sig=hush is refused."),
                "odd": RuntimeError("password=hush"),
            }[key]

    with serving(Failing()) as web, caplog.at_level(logging.WARNING, "zarrstore.serve"):
        for key, status in (("busy", 503), ("refused", 500), ("odd", 500)):
            answer = web.ask(f"/{key}")
            assert answer.status == status
            assert b"hush" not in answer.body
            assert "access-control-allow-origin" in answer.headers
            assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    assert len(caplog.messages) == 3
    assert "hush" not in caplog.text


def test_a_store_that_cant_be_listed(served):
    class Unlisted(MemoryStore):
        supports_listing = False

    store = Unlisted()
    store.set_sync("k", VALUE)
    with serving(store) as web:
        assert web.ask("/k").body == VALUE
        for path in ("/", "/?list-type=2", "/?stored"):
            assert web.ask(path).status == 501


# -- values that are replaced -----------------------------------------------------------------------


class Restless(MemoryStore):
    """Replaces each value after it was looked up, so many times."""

    times = 0

    def _stat(self, key):
        entry = super()._stat(key)
        if self.times:
            self.times -= 1
            super().set_sync(key, b"x" * entry.size)
        return entry


@pytest.mark.parametrize(("times", "status"), [(1, 200), (100, 503)])
def test_an_etag_is_that_of_the_bytes_beside_it(times, status):
    store = Restless()
    store.set_sync("k", VALUE)
    store.times = times
    with serving(store) as web:
        answer = web.ask("/k")
        assert answer.status == status
        if status == 200:
            assert answer.body == b"x" * 10
            assert web.ask("/k").headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_value_that_is_replaced_while_it_is_sent_is_broken_off(tmp_path, kind):
    store = MemoryStore() if kind == "memory" else LocalStore(tmp_path)
    size = 64 * PIECE  # far more than sockets hold
    store.set_sync("k", b"a" * size)
    with serving(store) as web:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
        connection.request("GET", "/k")
        answer = connection.getresponse()
        assert int(answer.headers["content-length"]) == size
        start = answer.read(10)
        store.set_sync("k", b"b" * size)
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
        connection.close()
        assert set(start + caught.value.partial) == set(b"a")
        assert web.ask("/k", range=f"bytes=0-{2 * PIECE}").body == b"b" * (2 * PIECE + 1)


def test_a_large_value_is_sent_whole_and_in_parts(tmp_path):
    value = bytes(range(256)) * (PIECE // 100)
    with ZipStore(tmp_path / "x.zip", mode="w") as store:
        store.set_sync("k", value)
        with serving(store) as web:
            assert web.ask("/k").body == value
            assert web.ask("/k", range="bytes=1-").body == value[1:]
            assert (
                web.ask("/k", range=f"bytes={PIECE - 1}-{2 * PIECE}").body == value[PIECE - 1 : 2 * PIECE + 1]
            )


def test_the_end_of_an_answer_is_not_held_back():
    with listening("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# -- within another service -------------------------------------------------------------------------


async def test_it_can_be_mounted():
    store = MemoryStore()
    store.set_sync("a b/k", VALUE)
    mounted = Starlette(routes=[Mount("/here", app(store))])
    for path, raw, status in (
        ("/here/a b/k", b"/here/a%20b/k", 200),
        ("/here/a b/k", None, 200),
        ("/here/here/k", b"/here/here/k", 404),
        ("/here/", b"/here/", 200),
    ):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
        sent = []

        async def send(message, sent=sent):
            sent.append(message)

        async def receive():
            return {"type": "http.request"}

        await mounted({**scope, **({} if raw is None else {"raw_path": raw})}, receive, send)
        assert sent[0]["status"] == status
