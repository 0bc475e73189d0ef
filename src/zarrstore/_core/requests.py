"""Byte requests and their arithmetic.

Our own classes are strict: a request that selects no byte is an error. Any other object with the same
fields, such as zarr-python's, works like a Python slice: `as_request` converts it to one of the lenient
subclasses below. Stores and wrappers need not know about those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zarrstore.errors import ByteRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from zarr.abc import store as theirs

    from zarrstore._core.types import Data


@dataclass(frozen=True, slots=True)
class RangeByteRequest:
    """Bytes from ``start`` up to but not including ``end``; an end past the value's end is cut.

    Parameters
    ----------
    start, end : int
        Offsets in bytes, ``0 <= start < end``.
    """

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class OffsetByteRequest:
    """All bytes from ``offset`` on, like the HTTP header ``Range: bytes=offset-``.

    Parameters
    ----------
    offset : int
        Offset in bytes, at least 0.
    """

    offset: int


@dataclass(frozen=True, slots=True)
class SuffixByteRequest:
    """The last ``suffix`` bytes, or the whole value if it is shorter (HTTP ``bytes=-suffix``).

    Parameters
    ----------
    suffix : int
        Number of bytes, at least 1.
    """

    suffix: int


ByteRequest = RangeByteRequest | OffsetByteRequest | SuffixByteRequest

# What public methods accept: zarr-python's own requests too. For type checkers it is Any where zarr-python
# isn't installed. At runtime its classes are not imported; `as_request` looks at the fields.
if TYPE_CHECKING:
    ByteRequestLike: TypeAlias = (
        ByteRequest | theirs.RangeByteRequest | theirs.OffsetByteRequest | theirs.SuffixByteRequest
    )
else:
    ByteRequestLike = ByteRequest


class _LenientRange(RangeByteRequest):
    __slots__ = ()


class _LenientOffset(OffsetByteRequest):
    __slots__ = ()


class _LenientSuffix(SuffixByteRequest):
    __slots__ = ()


_LENIENT = (_LenientRange, _LenientOffset, _LenientSuffix)
_FIELDS: tuple[tuple[tuple[str, ...], type[ByteRequest], Callable[..., ByteRequest]], ...] = (
    (("start", "end"), RangeByteRequest, _LenientRange),
    (("offset",), OffsetByteRequest, _LenientOffset),
    (("suffix",), SuffixByteRequest, _LenientSuffix),
)


def as_request(value: object, store: object = None, key: str | None = None) -> ByteRequest:
    """Check a byte request before any I/O; convert foreign ones to our lenient classes.

    Raises
    ------
    ByteRequestError
        If the request is invalid in itself: negative, inverted, zero-length, or not a request.
    """
    try:
        start, end = value.start, value.end  # type: ignore[attr-defined]
        if type(start) is type(end) is int and 0 <= start < end:  # the usual case, which must be fast
            return value if isinstance(value, RangeByteRequest) else _LenientRange(start, end)
    except AttributeError:
        pass
    for names, strict, lenient in _FIELDS:
        try:
            numbers = [getattr(value, name) for name in names]
        except AttributeError:
            continue
        for number in numbers:
            if type(number) is not int and (isinstance(number, bool) or not hasattr(number, "__index__")):
                raise ByteRequestError(f"{value!r} needs whole numbers of bytes.", store=store, key=key)
            if number < 0:
                raise ByteRequestError(
                    f"{value!r} has a negative number.",
                    store=store,
                    key=key,
                    hint="Use SuffixByteRequest to count from the end.",
                )
        if not isinstance(value, strict):
            return lenient(*map(int, numbers))
        if isinstance(value, _LENIENT):
            return value
        if isinstance(value, RangeByteRequest) and value.end <= value.start:
            kind = "zero-length" if value.end == value.start else "inverted"
            raise ByteRequestError(
                f"{value!r} is {kind}.", store=store, key=key, hint="end must be past start."
            )
        if isinstance(value, SuffixByteRequest) and value.suffix == 0:
            raise ByteRequestError(f"{value!r} is zero-length.", store=store, key=key)
        return value
    raise ByteRequestError(
        f"Unexpected byte_range, got {value!r}.",
        store=store,
        key=key,
        hint="Use RangeByteRequest, OffsetByteRequest or SuffixByteRequest.",
    )


def span(request: ByteRequest | None, size: int) -> tuple[int, int]:
    """Resolve a request against a value's size.

    Parameters
    ----------
    request : ByteRequest or None
        A request that `as_request` returned; None is the whole value.
    size : int
        The value's size in bytes.

    Returns
    -------
    start, stop : int
        ``0 <= start <= stop <= size``.

    Raises
    ------
    ByteRequestError
        If a strict request starts at or past the end.
    """
    if request is None:
        return 0, size
    if isinstance(request, SuffixByteRequest):
        return max(0, size - request.suffix), size
    if isinstance(request, RangeByteRequest):
        start, stop = request.start, min(request.end, size)
    else:
        start, stop = request.offset, size
    if start >= size:
        if isinstance(request, _LENIENT):
            return size, size
        raise ByteRequestError(
            f"{request!r} starts at or past the end of a value of {size} bytes.",
            hint="Ask getsize() first, or ask for a suffix.",
        )
    return start, max(start, stop)


def cut(value: Data, request: ByteRequest | None) -> Data:
    """Return the requested part of a whole value, sliced without a copy where its type allows."""
    if request is None:
        return value
    start, stop = span(request, len(value))
    return value[start:stop]


def by_key(requests: Iterable[tuple[str, ByteRequest | None]]) -> dict[str, list[int]]:
    """Return, for each key, the positions of its requests."""
    found: dict[str, list[int]] = {}
    for index, (key, _) in enumerate(requests):
        found.setdefault(key, []).append(index)
    return found


def coalesce(
    requests: Sequence[ByteRequest | None], max_gap_bytes: int, max_coalesced_bytes: int
) -> list[tuple[ByteRequest | None, list[tuple[int, int, int]]]]:
    """Plan few reads for many requests for one key.

    Parameters
    ----------
    requests : sequence of ByteRequest or None
        Only ranges with a start and an end are merged; each other request is sent by itself.
    max_gap_bytes, max_coalesced_bytes : int
        Ranges at most this many bytes apart are merged, up to this size in bytes.

    Returns
    -------
    list of (request, members)
        Each request to send, with ``(index, start, stop)`` for each input that it serves: the position of
        that input's bytes in the answer. ``stop`` is -1 if the whole answer is used.
    """
    if len(requests) == 1:
        return [(requests[0], [(0, 0, -1)])]
    plan: list[tuple[ByteRequest | None, list[tuple[int, int, int]]]] = []
    ranges: list[tuple[int, RangeByteRequest]] = []
    for index, request in enumerate(requests):
        if isinstance(request, RangeByteRequest) and request.end > request.start:
            ranges.append((index, request))
        else:
            plan.append((request, [(index, 0, -1)]))
    ranges.sort(key=lambda pair: (pair[1].start, pair[1].end))
    group: list[tuple[int, RangeByteRequest]] = []
    start = end = 0
    for index, request in ranges:
        stretched = max(end, request.end)
        if group and request.start - end <= max_gap_bytes and stretched - start <= max_coalesced_bytes:
            group.append((index, request))
            end = stretched
            continue
        if group:
            plan.append(_merged(group, start, end))
        group, start, end = [(index, request)], request.start, request.end
    if group:
        plan.append(_merged(group, start, end))
    return plan


def _merged(
    group: list[tuple[int, RangeByteRequest]], start: int, end: int
) -> tuple[ByteRequest, list[tuple[int, int, int]]]:
    if len(group) == 1:
        return group[0][1], [(group[0][0], 0, -1)]
    # A merged read is lenient: each member is checked afterwards against the real length of the answer.
    return _LenientRange(start, end), [(index, r.start - start, r.end - start) for index, r in group]


def cut_member(answer: Data, start: int, stop: int, request: ByteRequest | None, base: int) -> Data:
    """Cut one member out of a merged answer, with the same errors as if it had been requested alone."""
    if stop < 0:
        return answer
    if start >= len(answer) and not isinstance(request, _LENIENT):
        span(request, base + len(answer))  # raises, naming the value's size
    return answer[start:stop]
