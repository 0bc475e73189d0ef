"""Examines values of chunks and shards: whether they decode, and whether a shard's index can be right."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from zarrstore._core.requests import RangeByteRequest
from zarrstore._hierarchy.codecs import UndecodableError, check_chunk, check_value, split, unpacked
from zarrstore._hierarchy.shards import index_of, misplaced, place_in, shards_in, shards_within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import TypeAlias

    from zarrstore._check.report import Kind
    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Data
    from zarrstore._hierarchy.documents import Array, Codec
    from zarrstore._hierarchy.shards import Shards

    Read: TypeAlias = Callable[[ByteRequest], Awaitable[Data]]
    # The kind of problem, what is wrong, and the chunk's place in the shard, if any.
    Finding: TypeAlias = "tuple[Kind, str, tuple[int, ...] | None]"
    Place: TypeAlias = tuple[int, ...]


def is_wrapped(array: Array) -> bool:
    """Whether codecs around shards, or before them, make it impossible to read ranges of a value alone."""
    before, _, after = split(array.codecs)
    return bool(after or before)


def examined(array: Array, data: Data, complete: bool) -> list[Finding]:
    """Find what is wrong with a value in memory.

    Raises
    ------
    UnknownCodecError
        If a codec isn't known here.
    """
    try:
        if shards_in(array) is None:
            check_value(array, data)
            return []
        return list(_in_shard(array.codecs, array.chunks, array.item_size, data, complete))
    except UndecodableError as error:
        return [("value", str(error), None)]


def _in_shard(
    codecs: tuple[Codec, ...], shape: Place, item_size: int | None, data: Data, complete: bool
) -> Iterator[Finding]:
    shards = shards_within(codecs, shape)
    if shards is None:
        check_chunk(codecs, data, None if item_size is None else prod(shape) * item_size, prod(shape))
        return
    plain = memoryview(unpacked(split(codecs)[2], data))
    size = shards.index_size
    index = plain[:size] if shards.at_start else plain[max(0, len(plain) - size) :]
    good: list[tuple[int, int, int]] = []
    yield from _by_index(shards, index, len(plain), complete, good)
    for number, start, end in good:
        place = place_in(shards, number)
        try:
            inner = _in_shard(shards.codecs, shards.chunk_shape, item_size, plain[start:end], complete)
            yield from ((kind, text, place) for kind, text, _ in inner)
        except UndecodableError as error:
            yield "value", str(error), place


def _by_index(
    shards: Shards, data: Data, size: int, complete: bool, good: list[tuple[int, int, int]]
) -> Iterator[Finding]:
    """Find what is wrong with an index; chunks at possible places are added to ``good``."""
    try:
        index = index_of(shards, data)
    except UndecodableError as error:
        yield "shard", f"its index: {error}", None
        return
    wrong = dict(misplaced(shards, index, size))
    for number, text in wrong.items():
        yield "shard", text, place_in(shards, number)
    if complete and (missing := index.count(None)):
        yield "missing", f"{missing:,} of the {len(index):,} chunks inside aren't stored", None
    good += [(number, *span) for number, span in enumerate(index) if span is not None and number not in wrong]


async def examined_in_parts(array: Array, read: Read, size: int, complete: bool) -> list[Finding]:
    """Find what is wrong with a large shard, reading its chunks one by one.

    Raises
    ------
    UnknownCodecError
        If a codec isn't known here.
    """
    shards = shards_in(array)
    if shards is None:
        return []
    good: list[tuple[int, int, int]] = []
    found = list(_by_index(shards, await read(shards.index_request), size, complete, good))
    for number, start, end in good:
        data = await read(RangeByteRequest(start, end)) if end > start else b""
        place = place_in(shards, number)
        try:
            inner = _in_shard(shards.codecs, shards.chunk_shape, array.item_size, data, complete)
            found += [(kind, text, place) for kind, text, _ in inner]
        except UndecodableError as error:
            found.append(("value", str(error), place))
    return found
