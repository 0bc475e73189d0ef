"""Checks by status and Content-Range whether an answer to a read contains the requested bytes."""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from zarrstore.errors import BackendError, TruncatedError, UnsupportedOperationError
from zarrstore.storage._fsspec.errors import unconfirmed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarrstore._core.types import Data
    from zarrstore.storage._fsspec.protocol import Untyped

_ASKED = re.compile(r"bytes=(\d*)-(\d*)")
# For an empty value, some servers send "bytes 0--1/0".
_TOLD = re.compile(r"bytes (\d+)-(-?\d+)/(\d+|\*)")

# Bodies larger than this are read in chunks, in bytes.
_LARGE = 8 << 20
_CHUNK = 1 << 20

# Where to record the versions of the values that a call reads.
_noted: ContextVar[list[str] | None] = ContextVar("_noted", default=None)


@contextmanager
def told_versions() -> Iterator[list[str]]:
    """Collect the versions that answers give within the block; the last one belongs to the returned value."""
    versions: list[str] = []
    token = _noted.set(versions)
    try:
        yield versions
    finally:
        _noted.reset(token)


def note_version(version: str | None) -> None:
    """Record the version from an answer, since clients return only the bytes."""
    versions = _noted.get()
    if versions is not None and version:
        versions.append(version)


async def read_body(stream: Untyped, length: int | None) -> Data:
    """Read an answer's body. A large one grows in place, as joining its chunks takes twice its memory."""
    if (length or 0) <= _LARGE:
        whole: bytes = await stream.read()
        return whole
    value = bytearray()
    while chunk := await stream.read(_CHUNK):
        value += chunk
    return memoryview(value).toreadonly()


def check_answer(asked: str | None, status: int, told: str | None, length: int | None) -> None:
    """Raise unless a successful answer contains what was requested; for the rest see `is_proven`."""
    if not is_proven(asked, status, told, length):
        raise unplaced()


def is_proven(asked: str | None, status: int, told: str | None, length: int | None) -> bool:
    """Whether a successful answer confirms that it contains what was requested.

    Parameters
    ----------
    asked : str or None
        The request's ``Range`` header; None for the whole value.
    status : int
        The answer's status.
    told : str or None
        The answer's ``Content-Range`` header.
    length : int or None
        How many bytes the answer has, if known.

    Returns
    -------
    bool
        False if it contains a part but doesn't say which, or of how many bytes.

    Raises
    ------
    TruncatedError
        If it contains another part, or less than it announces.
    UnsupportedOperationError
        If the server sends only whole values.
    BackendError
        If the status means that the answer contains no value.
    """
    if asked is None:
        if status != 200:
            raise unconfirmed(f"its status is {status}")
        return True
    if status == 200:
        raise UnsupportedOperationError("the server ignores which bytes are asked for.")
    if status != 206:
        raise unconfirmed(f"its status is {status}")
    wanted, part = _ASKED.fullmatch(asked), _TOLD.fullmatch(told or "")
    assert wanted is not None
    is_plain = all(wanted.groups())
    if part is None:
        return is_plain and length == int(wanted[2]) + 1 - int(wanted[1])
    first, last, size = int(part[1]), int(part[2]), None if part[3] == "*" else int(part[3])
    if size is None and not is_plain:
        return False
    if (first, last) != _expected(wanted[1], wanted[2], size) or length not in (None, last + 1 - first):
        raise TruncatedError(f"asked for {asked!r}, the server announced {told!r} and sent {length} bytes.")
    return True


def unplaced() -> BackendError:
    """Return the error for a part of a value that may not be the requested one."""
    return BackendError(
        "the server sent a part of the value without saying which, or of how many bytes.",
        hint="See whether a proxy alters the header Content-Range.",
    )


def _expected(first: str, last: str, size: int | None) -> tuple[int, int]:
    """Return the first and last byte that an answer must have; without a size only for a plain range."""
    if size is None:
        return int(first), int(last)
    start = int(first) if first else max(0, size - int(last))
    return start, min(int(last), size - 1) if first and last else size - 1
