"""Selects the part of a value to send, and checks conditions: RFC 9110, sections 13 and 14."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from zarrstore._core.verbs import Entry

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[^"]*")')


class Part(NamedTuple):
    """The status of an answer, and which bytes of the value it contains."""

    status: int
    start: int = 0
    stop: int = 0


def etag_of(entry: Entry, salt: str) -> str | None:
    """Return a value's ETag; None if the store gives no version.

    It isn't 32 hexadecimal digits, which S3 clients would interpret as an MD5.
    """
    if entry.version is None:
        return None
    text = f"{salt} {entry.size} {entry.version}"
    return f'"v{blake2b(text.encode("utf-8", "backslashreplace"), digest_size=10).hexdigest()}"'


def part_for(headers: Headers, size: int, etag: str | None) -> Part:
    """Decide what to answer: 200 with a whole value, 206 with a part, or 304, 412, 416 without any."""
    if not _holds(headers.get("if-match"), etag, otherwise=True):
        return Part(412)
    if _holds(headers.get("if-none-match"), etag, otherwise=False):
        return Part(304)
    asked = headers.get("range")
    if asked is None or headers.get("if-range", etag) != etag:
        return Part(200, 0, size)
    return _part(asked, size)


def _holds(condition: str | None, etag: str | None, *, otherwise: bool) -> bool:
    """Whether a list of ETags contains this one, or is a star."""
    if condition is None:
        return otherwise
    return condition.strip() == "*" or etag in _TAG.findall(condition)


def _part(asked: str, size: int) -> Part:
    """Parse a single range. An invalid one, or several, are ignored, as the standard allows."""
    found = _RANGE.fullmatch(asked.strip())
    first, last = found.groups() if found else ("", "")
    if not (first or last) or (first and last and int(last) < int(first)):
        return Part(200, 0, size)
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    return Part(206, start, stop) if start < stop else Part(416)
