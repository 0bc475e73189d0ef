"""Reading over HTTP: one request a value, its answer held against what was asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from zarrstore._core.requests import OffsetByteRequest, RangeByteRequest, SuffixByteRequest, cut, span
from zarrstore.errors import TruncatedError

if TYPE_CHECKING:
    from zarrstore._core.requests import ByteRequest

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


def join(base: str, key: str) -> str:
    """Append a key to a base URL, in front of its query; what has a meaning in URLs is quoted."""
    path, mark, query = base.partition("?")
    return f"{path.rstrip('/')}/{quote(key)}{mark}{query}"


def is_directory(asked: str, answered: str) -> bool:
    """Whether a server led from a URL to one that ends in a slash: the page of a directory."""
    return urlsplit(answered).path.endswith("/") and not urlsplit(asked).path.endswith("/")


async def fetch(fs: Any, url: str, request: ByteRequest | None) -> Any:
    """Read a value, or part of it; None for a proven absence."""
    headers = {**fs.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    if request is not None:
        headers["Range"] = f"bytes={_header(request)}"
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), **{**fs.kwargs, "headers": headers}) as answer:
        if answer.status in (404, 410) or is_directory(url, str(answer.url)):
            return None
        told = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status == 416 and told is not None and told[3] != "*":
            span(request, int(told[3]))
            return b""
        answer.raise_for_status()
        body = await answer.read()
        if answer.status != 206 or request is None:
            return cut(body, request)
        if told is None or told[1] is None:
            raise TruncatedError("the server sent a part of the value without saying which.")
        first, last = int(told[1]), int(told[2])
        expected = (first, last + 1) if told[3] == "*" else span(request, int(told[3]))
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
