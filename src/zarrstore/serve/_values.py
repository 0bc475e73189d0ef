"""Answers with a value, whole or in part, in pieces that all come from one version."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from starlette.responses import Response

from zarrstore._core.checksum import Checksum
from zarrstore._core.requests import RangeByteRequest
from zarrstore._core.verbs import host_memory
from zarrstore._hierarchy.documents import NAMES
from zarrstore.errors import ByteRequestError, ChangedError, changes_always
from zarrstore.serve._ranges import Part, part_for

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Entry
    from zarrstore.serve._served import Served

    _Raw: TypeAlias = list[tuple[bytes, bytes]]

# How much of a value is in memory at once, in bytes; more if each piece is a request to a server. And how
# much is passed to a connection at once, which keeps it as long as its client doesn't read.
PIECE = 1 << 20
_REMOTE_PIECE = 4 << 20
_SENT = 1 << 18
# How many times to start an answer again if the value was replaced.
_TRIES = 10
# A value may be replaced, so caches must revalidate. Stored content must never run as a page of this server.
_FIXED = [
    (b"accept-ranges", b"bytes"),
    (b"cache-control", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
]


async def value_response(served: Served, key: str, request: Request) -> Response | None:
    """Answer with a value; None if there is none.

    Raises
    ------
    TransientError
        If the value was replaced during every attempt.
    """
    for _ in range(_TRIES):
        entry = await served.verbs.stat(key)
        if entry is None:
            return None
        etag, size = served.etag(entry), entry.size or 0
        part = part_for(request.headers, size, etag)
        headers = _headers(entry, size, etag, part)
        if request.method == "HEAD" or part.start == part.stop:
            return _Headers(part.status, headers)
        first = await read_piece(served, entry, part.start, part.stop)
        if first is not None:
            return _Pieces(served, entry, part, first, headers)
    raise changes_always(served.store, key)


def _headers(entry: Entry, size: int, etag: str | None, part: Part) -> _Raw:
    headers = list(_FIXED)
    if etag is not None:
        headers.append((b"etag", etag.encode()))
    if entry.modified is not None:
        headers.append((b"last-modified", _date(int(entry.modified))))
    if part.status in (200, 206):
        is_document = entry.key.rpartition("/")[2] in NAMES
        headers.append((b"content-type", b"application/json" if is_document else b"application/octet-stream"))
    if part.status != 304:
        headers.append((b"content-length", b"%d" % (part.stop - part.start)))
    if part.status == 206:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (part.start, part.stop - 1, size)))
    elif part.status == 416:
        headers.append((b"content-range", b"bytes */%d" % size))
    return headers


@lru_cache(4096)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


async def read_piece(served: Served, entry: Entry, start: int, stop: int) -> Data | None:
    """Read the first piece of a range; None if the value has changed since the entry was read."""
    end = min(stop, start + (_REMOTE_PIECE if served.verbs.sends_requests else PIECE))
    is_whole = end - start == entry.size
    request, allocate = (None, host_memory) if is_whole else (RangeByteRequest(start, end), _fresh_memory)
    verbs, key = served.verbs, entry.key
    try:
        if entry.version is not None and served.store.capabilities.versions:
            value, version = await verbs.read_versioned(key, request, allocate) or (None, None)
            is_same = version == entry.version
        else:
            value = await verbs.read(key, request, allocate)
            is_same = entry.version is None or await verbs.stat(key) == entry
    except ByteRequestError:  # it is shorter now
        return None
    return value if is_same and value is not None and len(value) == end - start else None


def _fresh_memory(size: int) -> npt.NDArray[np.uint8]:
    """Allocate new memory for a piece: recycled memory would grow with each slow client."""
    return np.empty(size, np.uint8)


class _Headers(Response):
    """An answer without a body, with headers in the form in which they are sent."""

    def __init__(self, status: int, headers: _Raw) -> None:
        self.status_code, self.raw_headers = status, headers
        self.body, self.background = b"", None


class _Pieces(_Headers):
    """An answer whose first piece has been read; the others are read as they are sent.

    If the value is replaced meanwhile, or can't be read, an error closes the connection before the answer is
    complete. A client notices this by the announced length.
    """

    def __init__(self, served: Served, entry: Entry, part: Part, first: Data, headers: _Raw) -> None:
        super().__init__(part.status, headers)
        self.body = memoryview(first)
        self.served, self.entry, self.part = served, entry, part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(head)
        at, stop = self.part.start, self.part.stop
        piece, self.body = self.body, b""  # free it once it is sent
        if len(piece) == stop - at:
            await send({"type": "http.response.body", "body": piece})
            return
        is_whole = stop - at == self.entry.size
        checksum = Checksum(self.entry.version if is_whole else None)
        gone = asyncio.ensure_future(_gone(receive))
        try:
            while not gone.done():
                checksum.update(piece)
                if at + len(piece) == stop:
                    checksum.check()
                for start in range(0, len(piece), _SENT):
                    body = piece[start : start + _SENT]
                    at += len(body)
                    await send({"type": "http.response.body", "body": body, "more_body": at < stop})
                if at == stop:
                    return
                del piece, body
                piece = await self._next(at)
        finally:
            gone.cancel()

    async def _next(self, at: int) -> memoryview:
        piece = await read_piece(self.served, self.entry, at, self.part.stop)
        if piece is None:
            raise ChangedError(
                "the value was replaced while it was sent, so the answer was broken off.",
                store=self.served.store,
                key=self.entry.key,
            )
        return memoryview(piece)


async def _gone(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
