"""Reading over HTTP: one request for a value, whose answer is checked against the request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from zarrstore._core.requests import OffsetByteRequest, RangeByteRequest, SuffixByteRequest, cut, span
from zarrstore.errors import TruncatedError

if TYPE_CHECKING:
    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Data
    from zarrstore.storage._fsspec.protocol import FileSystem

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


def join(base: str, key: str) -> str:
    """Append a key to a base URL, before its query; special characters are quoted."""
    path, mark, query = base.partition("?")
    return f"{path.rstrip('/')}/{quote(key)}{mark}{query}"


def is_directory(asked: str, answered: str) -> bool:
    """Whether a server redirected from a URL to one that ends in a slash: the page of a directory."""
    return urlsplit(answered).path.endswith("/") and not urlsplit(asked).path.endswith("/")


async def fetch(fs: FileSystem, url: str, request: ByteRequest | None) -> Data | None:
    """Read a value, or part of it; None for a proven absence."""
    headers = {**fs.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    if request is not None:
        headers["Range"] = f"bytes={_header(request)}"
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), **{**fs.kwargs, "headers": headers}) as answer:
        if answer.status in (404, 410) or is_directory(url, str(answer.url)):
            return None
        part = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status == 416 and request is not None and part is not None and part[3] != "*":
            span(request, int(part[3]))
            return b""
        answer.raise_for_status()
        body: bytes = await answer.read()
        if answer.status != 206 or request is None:
            return cut(body, request)
        if part is None or part[1] is None:
            raise TruncatedError("the server sent a part of the value without saying which.")
        first, last = int(part[1]), int(part[2])
        expected = (first, last + 1) if part[3] == "*" else span(request, int(part[3]))
        if (first, last + 1) != expected or len(body) != last + 1 - first:
            raise TruncatedError(
                f"asked for bytes {expected[0]} to {expected[1]}, the server announced {first} to {last + 1} "
                f"and sent {len(body)} bytes."
            )
        return body


def _header(request: ByteRequest) -> str:
    if isinstance(request, RangeByteRequest):
        return f"{request.start}-{request.end - 1}"
    if isinstance(request, OffsetByteRequest):
        return f"{request.offset}-"
    assert isinstance(request, SuffixByteRequest)
    return f"-{request.suffix}"
