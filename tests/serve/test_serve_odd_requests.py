"""Requests that no client should make: none makes the server fail, none gets what is beside the store."""

import asyncio
import random
import socket

import pytest
from served import serving

from zarrstore import LocalStore
from zarrstore.serve import app

VICTIM = b"what lies beside the store"


def words(text):
    return text.encode("latin-1").split()


SEGMENTS = [
    *words(
        r".. . %2e%2e %2E. ..%2f %2f ..%5c %00 % %zz %ff %c0%ae a k b%20c %e2%82%ac victim root etc passwd"
    ),
    *words(r"~ ;x %0a * \ link .zarrstore zarr.json c 0 %ed%a0%80 %F0%9F%90%98 con | ::$DATA"),
    *(b"", b"a" * 300),
]
QUERIES = [
    *words("list-type=2 list-type=1 list-type= list-type=2&prefix=../ list-type=2&prefix=a//"),
    *words("list-type=2&prefix=%00&delimiter=/ list-type=2&delimiter=x list-type=2&max-keys=-1"),
    *words(
        "list-type=2&max-keys=0 list-type=2&max-keys=99999999999999999999 list-type=2&start-after=..%2f.."
    ),
    *words("list-type=2&continuation-token=%ff list-type=2&encoding-type=url&prefix=%ed%a0%80"),
    *words("node stored node=1&stored=1 &&=& asset= asset=page.js asset=../_app.py asset=%2e%2e%2fx"),
    *words("list-type=2&list-type=3"),
    *[b""] * 10,
]
RANGES = [
    *words("bytes=0- bytes=- bytes=--1 bytes=1-0 bytes=0-0,1-1 bytes=-0 bytes=99- = bytes lines=0-1"),
    *(b"bytes=\xb2-\xb3", b"bytes=0-99999999999999999999999", b"bytes=" + b"9" * 400 + b"-", b"bytes= 0 - 1"),
]
TAGS = [b"*", b'"', b'""', b'W/"', b"W/", b"\xff\xfe", b'"a", "b', b"Mon, 99 Foo", b"x" * 500]
METHODS = [*["GET"] * 8, "HEAD", "OPTIONS", "PUT", "DELETE", "get", "TRACE", ""]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "victim").write_bytes(VICTIM)
    (tmp_path / "passwd").write_bytes(VICTIM)
    store = LocalStore(tmp_path / "root", follow_symlinks=False)
    for key in ("k", "a/k", "b c/0", "€/zarr.json", "zarr.json", "empty", "a/zarr.json"):
        store.set_sync(key, b"{}" if key.endswith(".json") else b"0123456789")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "victim")
    return store


def odd_request(chance):
    """One request: method, path, query and headers."""
    path = b"/" + b"/".join(chance.choices(SEGMENTS, k=chance.choice([1, 1, 2, 3, 5])))
    headers = []
    if chance.random() < 0.5:
        headers.append((b"range", chance.choice(RANGES)))
    names = (b"if-range", b"if-match", b"if-none-match", b"authorization", b"accept", b"origin")
    headers += [(name, chance.choice(TAGS)) for name in names if chance.random() < 0.15]
    return chance.choice(METHODS), path, chance.choice(QUERIES), headers


def is_failure(method, path, query, headers, status):
    """Whether it is right to fail: a link that leads out can't be read, nor listed with its size."""
    return (b"link" in path or b"list-type" in query or b"stored" in query) and status in (500, 501)


def test_ten_thousand_odd_requests(root):
    chance, statuses = random.Random(23), set()
    answer = app(root)

    async def ask(method, path, query, headers):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "path": "", "raw_path": path, "query_string": query}
        await answer({**scope, "headers": headers}, None, send)
        return (
            sent[0]["status"],
            dict(sent[0]["headers"]),
            b"".join(part.get("body", b"") for part in sent[1:]),
        )

    async def ask_all():
        for _ in range(10_000):
            request = odd_request(chance)
            status, headers, body = await ask(*request)
            statuses.add(status)
            assert status < 500 or is_failure(*request, status), request
            assert VICTIM not in body, request
            assert b"access-control-allow-origin" in headers
            if request[0] != "HEAD" and status != 304:
                assert int(headers.get(b"content-length", 0)) == len(body), request

    asyncio.run(ask_all())
    assert statuses >= {200, 204, 206, 304, 400, 404, 405, 412, 416, 501}


def test_odd_bytes_on_the_line(root):
    chance = random.Random(5)
    with serving(root) as web:
        for _ in range(200):
            method, path, query, headers = odd_request(chance)
            lines = [
                method.encode() + b" " + path + b"?" + query + b" HTTP/1.1",
                b"host: x",
                b"connection: close",
            ]
            lines += [name + b": " + value for name, value in headers]
            if chance.random() < 0.3:
                lines.insert(chance.randrange(len(lines)), chance.randbytes(20))
            with socket.create_connection(("127.0.0.1", web.port), timeout=10) as line:
                line.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
                line.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda line=line: line.recv(65536), b""))
            assert not answer.startswith(b"HTTP/1.1 5") or is_failure(
                method, path, query, headers, int(answer[9:12])
            ), lines
            assert VICTIM not in answer
        assert web.ask("/k").body == b"0123456789"
