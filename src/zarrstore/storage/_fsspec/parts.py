"""Whether an answer to a read holds the bytes that were asked for, by its status and its Content-Range."""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from zarrstore.errors import BackendError, TruncatedError, UnsupportedOperationError
from zarrstore.storage._fsspec.errors import unconfirmed

if TYPE_CHECKING:
    from collections.abc import Iterator

_ASKED = re.compile(r"bytes=(\d*)-(\d*)")
# Some servers say "bytes 0--1/0" of an empty value.
_TOLD = re.compile(r"bytes (\d+)-(-?\d+)/(\d+|\*)")


# Where the versions of the values that a call reads are noted.
_noted: ContextVar[list[str] | None] = ContextVar("_noted", default=None)


@contextmanager
def told_versions() -> Iterator[list[str]]:
    """Collect the versions that answers tell within the block; the last one is of what is returned."""
    versions: list[str] = []
    token = _noted.set(versions)
    try:
        yield versions
    finally:
        _noted.reset(token)


def note_version(version: str | None) -> None:
    """Note which version an answer brings, since clients return its bytes alone."""
    versions = _noted.get()
    if versions is not None and version:
        versions.append(version)


def check_answer(asked: str | None, status: int, told: str | None, length: int | None) -> None:
    """Raise unless an answer of success holds what was asked for; parameters and errors as of `is_proven`."""
    if not is_proven(asked, status, told, length):
        raise unplaced()


def is_proven(asked: str | None, status: int, told: str | None, length: int | None) -> bool:
    """Whether an answer of success says that it holds what was asked for.

    Parameters
    ----------
    asked : str or None
        The request's header ``Range``; None for the whole value.
    status : int
        The answer's status.
    told : str or None
        The answer's header ``Content-Range``.
    length : int or None
        How many bytes the answer has, where that is known.

    Returns
    -------
    bool
        False if it has a part, and doesn't say which, or of how many bytes.

    Raises
    ------
    TruncatedError
        If it has another part, or less than it says.
    UnsupportedOperationError
        If the server sends whole values only.
    BackendError
        If the status says that there is no value in the answer.
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
    """Make the error for a part of a value that may be another than was asked for."""
    return BackendError(
        "the server sent a part of the value without saying which, or of how many bytes.",
        hint="See whether a proxy alters the header Content-Range.",
    )


def _expected(first: str, last: str, size: int | None) -> tuple[int, int]:
    """Return the first and last byte that an answer must have; without a size for a plain range only."""
    if size is None:
        return int(first), int(last)
    start = int(first) if first else max(0, size - int(last))
    return start, min(int(last), size - 1) if first and last else size - 1
