"""Shards: the index of their inner chunks, and whether the byte ranges in it are plausible."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from zarrstore._core.later import np
from zarrstore._core.requests import RangeByteRequest, SuffixByteRequest
from zarrstore._hierarchy.codecs import UndecodableError, UnknownCodecError, split, unpacked
from zarrstore._hierarchy.documents import Codec, FormatError, codecs_of

if TYPE_CHECKING:
    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Data
    from zarrstore._hierarchy.documents import Array

# Marks the offset and the size of a chunk that isn't stored.
_ABSENT = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Shards:
    """The layout of an array's shards.

    Attributes
    ----------
    grid : tuple of int
        How many chunks a shard has along each dimension.
    chunk_shape : tuple of int
        Extent of an inner chunk.
    codecs : tuple of Codec
        Codecs of the inner chunks.
    index_codecs : tuple of Codec
        Codecs of the index, without those that its fixed size rules out.
    at_start : bool
        Whether the index is at the start.
    """

    grid: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    codecs: tuple[Codec, ...]
    index_codecs: tuple[Codec, ...]
    at_start: bool

    @property
    def index_size(self) -> int:
        """Size of the index in bytes."""
        return 16 * prod(self.grid) + 4 * sum(codec.name == "crc32c" for codec in self.index_codecs)

    @property
    def index_request(self) -> ByteRequest:
        """The bytes of a shard that are its index."""
        return RangeByteRequest(0, self.index_size) if self.at_start else SuffixByteRequest(self.index_size)


def shards_in(array: Array) -> Shards | None:
    """Return the layout of an array's shards, if it has any.

    Raises
    ------
    FormatError
        If their description is invalid.
    """
    return shards_within(array.codecs, array.chunks) if array.format == 3 and array.regular else None


def shards_within(codecs: tuple[Codec, ...], shape: tuple[int, ...]) -> Shards | None:
    """Return the layout of what codecs make of a chunk of this shape, if that is a shard.

    Raises
    ------
    FormatError
        If its description is invalid.
    """
    before, codec, _ = split(codecs)
    if codec is None or codec.name != "sharding_indexed":
        return None
    for turn in before:
        order = turn.options.get("order")
        if turn.name == "transpose" and isinstance(order, list):
            places = [at for at in order if type(at) is int]
            if sorted(places) != list(range(len(shape))):
                raise FormatError("the order of its transposition is no permutation of its dimensions")
            shape = tuple(shape[at] for at in places)
    return shards_of(shape, codec)


def shards_of(shape: tuple[int, ...], codec: Codec) -> Shards:
    """Read the options of the codec ``sharding_indexed``.

    Parameters
    ----------
    shape : tuple of int
        Extent of a shard.
    codec : Codec
        The codec.

    Raises
    ------
    FormatError
        If the options violate the format.
    """
    options = codec.options
    inner = options.get("chunk_shape")
    if not isinstance(inner, list) or len(inner) != len(shape):
        raise FormatError("the chunk_shape of its shards doesn't fit")
    sizes = tuple(size for size in inner if type(size) is int and size > 0)
    if len(sizes) != len(shape) or any(outer % size for outer, size in zip(shape, sizes, strict=True)):
        raise FormatError("its shards aren't multiples of the chunks inside")
    location = options.get("index_location", "end")
    if location not in ("start", "end"):
        raise FormatError("the index_location of its shards is neither start nor end")
    return Shards(
        tuple(outer // size for outer, size in zip(shape, sizes, strict=True)),
        sizes,
        codecs_of(options.get("codecs"), "codecs of its shards"),
        codecs_of(options.get("index_codecs"), "index_codecs of its shards"),
        location == "start",
    )


def index_of(shards: Shards, data: Data) -> list[tuple[int, int] | None]:
    """Return start and end of each chunk of a shard, in the grid's order; None if a chunk isn't stored.

    Raises
    ------
    UndecodableError
        If the index is truncated, or its checksum doesn't match.
    UnknownCodecError
        If its codecs aren't known here.
    """
    before, to_bytes, after = split(shards.index_codecs)
    if before or to_bytes is None or to_bytes.name not in ("bytes", "endian"):
        raise UnknownCodecError(shards.index_codecs[0].name)
    for codec in after:
        if codec.name != "crc32c":
            raise UnknownCodecError(codec.name)
    if len(data) != shards.index_size:
        raise UndecodableError(f"its index is missing: there are only {len(data):,} bytes")
    order = ">" if to_bytes.options.get("endian") == "big" else "<"
    found = np.frombuffer(unpacked(after, data), f"{order}u8").reshape(-1, 2)
    is_absent = found == np.uint64(_ABSENT)
    return [
        None if absent[0] and absent[1] else (start, start + size)
        for absent, (start, size) in zip(is_absent.tolist(), found.tolist(), strict=True)
    ]


def misplaced(shards: Shards, index: list[tuple[int, int] | None], size: int) -> list[tuple[int, str]]:
    """Return which chunks can't be where the index of a shard of this size says, with the reasons."""
    first, last = (shards.index_size, size) if shards.at_start else (0, size - shards.index_size)
    wrong = []
    placed = []
    for number, span in enumerate(index):
        if span is None:
            continue
        if span[0] < first or span[1] > last:
            wrong.append((number, f"its bytes {span[0]:,} to {span[1]:,} aren't in the shard's {size:,}"))
        else:
            placed.append((*span, number))
    placed.sort()
    reached, before = -1, (-1, -1)
    for start, end, number in placed:
        # Several chunks in one place aren't damage: a writer may store equal chunks once.
        if start < reached and end > start and (start, end) != before:
            wrong.append((number, f"its bytes {start:,} to {end:,} are partly another chunk's, too"))
        reached, before = max(reached, end), (start, end)
    return wrong


def place_in(shards: Shards, number: int) -> tuple[int, ...]:
    """Return a chunk's position in its shard."""
    return tuple(int(at) for at in np.unravel_index(number, shards.grid)) if shards.grid else ()
