"""Whether an answer to a read holds the bytes that were asked for, by its status and its Content-Range."""

from __future__ import annotations

import re

from zarrstore.errors import BackendError, TruncatedError, UnsupportedOperationError
from zarrstore.storage._fsspec.errors import unconfirmed

_ASKED = re.compile(r"bytes=(\d*)-(\d*)")
# Some servers say "bytes 0--1/0" of an empty value.
_TOLD = re.compile(r"bytes (\d+)-(-?\d+)/(\d+|\*)")


class UnprovenError(BackendError):
    """A part of a value that may be another than was asked for: the server doesn't say which it is."""


def check_answer(asked: str | None, status: int, told: str | None, length: int | None) -> None:
    """Raise unless an answer of success holds what was asked for.

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

    Raises
    ------
    UnprovenError
        If the answer has a part, and doesn't say which, or not of how many bytes.
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
        return
    if status == 200:
        raise UnsupportedOperationError("the server ignores which bytes are asked for.")
    if status != 206:
        raise unconfirmed(f"its status is {status}")
    wanted, part = _ASKED.fullmatch(asked), _TOLD.fullmatch(told or "")
    assert wanted is not None
    if part is None:
        if all(wanted.groups()) and length == int(wanted[2]) + 1 - int(wanted[1]):
            return
        raise UnprovenError("the server sent a part of the value without saying which.")
    first, last, size = int(part[1]), int(part[2]), None if part[3] == "*" else int(part[3])
    if size is None and not all(wanted.groups()):
        raise UnprovenError("the server sent a part of the value without saying how long that is.")
    if (first, last) != _expected(wanted[1], wanted[2], size) or length not in (None, last + 1 - first):
        raise TruncatedError(f"asked for {asked!r}, the server announced {told!r} and sent {length} bytes.")


def _expected(first: str, last: str, size: int | None) -> tuple[int, int]:
    """Return the first and last byte that an answer must have; without a size for a plain range only."""
    if size is None:
        return int(first), int(last)
    start = int(first) if first else max(0, size - int(last))
    return start, min(int(last), size - 1) if first and last else size - 1
