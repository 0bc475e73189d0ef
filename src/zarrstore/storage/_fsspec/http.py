"""Reads over HTTP: one request for a value, whose answer is checked against the request."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from zarrstore._core.requests import OffsetByteRequest, RangeByteRequest, SuffixByteRequest, cut, span
from zarrstore.errors import BackendError
from zarrstore.storage._fsspec.errors import unconfirmed
from zarrstore.storage._fsspec.parts import check_answer, is_proven, note_version, read_body, unplaced
from zarrstore.storage._remote.answers import is_encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Data
    from zarrstore.storage._fsspec.protocol import FileSystem, Untyped

_SIZE = re.compile(r"bytes \*/(\d+)")
_CODE = re.compile(r"<Code>(\w+)</Code>(?:\s*<Message>([^<]*)</Message>)?")
_DECODED = ("gzip", "deflate", "br", "zstd")  # supported by aiohttp


class HTTPError(OSError):
    """A web server's refusal, with its status and, from object stores, its error code."""

    def __init__(self, status: int, reason: str, code: str, message: str) -> None:
        told = ": ".join(filter(None, (code, message)))
        super().__init__(f"{status} {reason}" + (f" ({told})" if told else ""))
        self.status = status
        self.error_code = code


def join(base: str, key: str) -> str:
    """Append a key to a base URL, before its query; quotes special characters and drops a fragment."""
    path, mark, query = base.partition("#")[0].partition("?")
    return f"{path.rstrip('/')}/{quote(key)}{mark}{query}"


async def fetch(fs: FileSystem, url: str, request: ByteRequest | None) -> Data | None:
    """Read a value, or part of it; None if it is proven to be absent.

    If the server encodes the value, it is decoded, and a part is cut from the whole. If the server sends a
    part without saying which, the part is requested again by start and end, and must have exactly that
    length.
    """
    asked = None if request is None else f"bytes={_header(request)}"
    async with _sent(fs, "GET", url, asked) as answer:
        if _is_absent(answer, fs, url):
            return None
        told = answer.headers.get("Content-Range", "")
        if answer.status == 416 and request is not None and (found := _SIZE.fullmatch(told)):
            span(request, int(found[1]))
            return b""
        await _check(answer, fs, url)
        note_version(answer.headers.get("ETag"))
        encoded = _is_encoded(answer)
        if answer.status == 200:
            return cut(await read_body(answer.content, answer.content_length), request)
        if not encoded:
            body = await read_body(answer.content, answer.content_length)
            if is_proven(asked, answer.status, told, len(body)):
                return body
    if encoded:
        whole = await fetch(fs, url, None)
        return None if whole is None else cut(whole, request)
    size = await look(fs, url)
    if size is None:
        return None
    start, stop = span(request, size)
    if start == stop:
        return b""
    plain = RangeByteRequest(start, stop)
    if request == plain:
        raise unplaced()
    return await fetch(fs, url, plain)


async def look(fs: FileSystem, url: str) -> int | None:
    """Return a value's size in bytes; None if it is proven absent. If HEAD doesn't give it, GET must."""
    for method in ("HEAD", "GET"):
        async with _sent(fs, method, url, None) as answer:
            known = answer.headers.get("Content-Length", "") if not _is_encoded(answer) else ""
            if method == "HEAD" and not (answer.status == 200 and known):
                continue
            if _is_absent(answer, fs, url):
                return None
            await _check(answer, fs, url)
            check_answer(None, answer.status, None, None)
            return int(known) if known else len(await answer.read())
    raise AssertionError


@asynccontextmanager
async def _sent(fs: FileSystem, method: str, url: str, asked: str | None) -> AsyncIterator[Untyped]:
    headers = {**fs.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    if asked is not None:
        headers["Range"] = asked
    session = await fs.set_session()
    options = {"allow_redirects": True, **fs.kwargs, "headers": headers}
    async with session.request(method, fs.encode_url(url), **options) as answer:
        yield answer


def _is_absent(answer: Untyped, fs: FileSystem, url: str) -> bool:
    """Whether there is no value at a URL: the server says so, or redirects to a directory's page."""
    return answer.status in (404, 410) or answer.url.path == fs.encode_url(url).path + "/"


def _is_encoded(answer: Untyped) -> bool:
    return is_encoded(answer.headers.get("Content-Encoding", ""))


async def _check(answer: Untyped, fs: FileSystem, url: str) -> None:
    """Raise for a refusal, for a redirect to another page, and for an unknown encoding."""
    if answer.status >= 400:
        found = _CODE.search((await answer.content.read(1 << 16)).decode(errors="replace"))
        raise HTTPError(answer.status, answer.reason or "", *(found.groups("") if found else ("", "")))
    path = answer.url.path
    is_page = answer.content_type == "text/html" and not fs.encode_url(url).path.endswith((".html", ".htm"))
    if answer.history and (is_page or path.endswith("/")):
        raise BackendError(
            f"the server sends to another page instead, {path!r}.",
            hint="Log in, or renew the credentials: a login page answers so.",
        )
    if _is_encoded(answer) and answer.headers["Content-Encoding"].strip().lower() not in _DECODED:
        raise unconfirmed(f"it is encoded as {answer.headers['Content-Encoding']!r}")


def _header(request: ByteRequest) -> str:
    if isinstance(request, RangeByteRequest):
        return f"{request.start}-{request.end - 1}"
    if isinstance(request, OffsetByteRequest):
        return f"{request.offset}-"
    assert isinstance(request, SuffixByteRequest)
    return f"-{request.suffix}"
