"""Decodes chunks far enough to detect damage, with the standard library and, if installed, numcodecs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from zarrstore._hierarchy.crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarrstore._core.types import Data
    from zarrstore._hierarchy.documents import Array, Codec

    Decoder: TypeAlias = Callable[[bytes], bytes]

# Version 3 codecs that turn an array into bytes, and codecs before them that keep its size.
_TO_BYTES = {
    "bytes",
    "endian",
    "sharding_indexed",
    "vlen-utf8",
    "vlen-bytes",
    "vlen-array",
    "packbits",
    "zfp",
    "pcodec",
}
_TO_BYTES |= {f"numcodecs.{name}" for name in ("pcodec", "zfpy")}
_KEEPS_SIZE = {"transpose"}


class UndecodableError(ValueError):
    """A value that its codecs can't have produced."""


class UnknownCodecError(Exception):
    """A codec that nothing here can decode, so its values can't be verified."""


def split(codecs: tuple[Codec, ...]) -> tuple[tuple[Codec, ...], Codec | None, tuple[Codec, ...]]:
    """Split a version 3 codec chain at the codec that turns the array into bytes."""
    for number, codec in enumerate(codecs):
        if codec.name in _TO_BYTES:
            return codecs[:number], codec, codecs[number + 1 :]
    return codecs, None, ()


def stored_size(array: Array) -> int | None:
    """Return the size in bytes of every stored chunk; None if sizes may differ."""
    if array.item_size is None or not array.regular:
        return None
    size = prod(array.chunks) * array.item_size
    if array.format == 2:
        return None if array.codecs or array.filters else size
    before, to_bytes, after = split(array.codecs)
    if to_bytes is None or to_bytes.name not in ("bytes", "endian") or not is_plain(before):
        return None
    if any(codec.name != "crc32c" for codec in after):
        return None
    return size + 4 * len(after)


def is_plain(before: tuple[Codec, ...]) -> bool:
    """Whether codecs keep an array's size in bytes."""
    return all(codec.name in _KEEPS_SIZE for codec in before)


def check_value(array: Array, data: Data) -> None:
    """Decode a chunk that isn't a shard, to check it.

    Raises
    ------
    UndecodableError
        If it can't be decoded, or the result isn't a chunk.
    UnknownCodecError
        If a codec isn't known here.
    """
    size = None
    if array.item_size is not None and array.regular:
        size = prod(array.chunks) * array.item_size
    if array.format == 2:
        _check_v2(array, bytes(data), size)
    else:
        count = prod(array.chunks) if array.regular else None
        check_chunk(array.codecs, data, size, count)


def check_chunk(codecs: tuple[Codec, ...], data: Data, size: int | None, count: int | None) -> None:
    """Decode a version 3 chunk with its codecs, as `check_value` does.

    Parameters
    ----------
    codecs : tuple of Codec
        From the array to the stored bytes.
    data : bytes-like
        What is stored.
    size : int or None
        Bytes of the decoded chunk, if known.
    count : int or None
        Elements of the chunk, if known.
    """
    before, to_bytes, after = split(codecs)
    plain = unpacked(after, data)
    if to_bytes is None:
        raise UnknownCodecError(codecs[0].name)
    if to_bytes.name in ("bytes", "endian"):
        if size is not None and is_plain(before):
            _expect_size(len(plain), size)
    elif to_bytes.name in ("vlen-utf8", "vlen-bytes"):
        _check_words(plain, count, is_text=to_bytes.name == "vlen-utf8")
    else:
        raise UnknownCodecError(to_bytes.name)


def unpacked(codecs: tuple[Codec, ...], data: Data) -> bytes:
    """Undo bytes-to-bytes codecs.

    Raises
    ------
    UndecodableError, UnknownCodecError
        See `check_value`.
    """
    value = bytes(data)
    for codec in reversed(codecs):
        value = _undone(codec, value)
    return value


def _undone(codec: Codec, value: bytes) -> bytes:
    if codec.name.removeprefix("numcodecs.") == "blosc":
        _check_blosc(value)
    try:
        return decoder(codec)(value)
    except UnknownCodecError:
        raise
    except Exception as error:  # each decoder raises its own kinds
        raise UndecodableError(f"{codec.name} can't decode it: {error or type(error).__name__}") from None


def _check_blosc(value: bytes) -> None:
    """Check a value's size against its header, since blosc itself reads past the end."""
    size = int.from_bytes(value[12:16], "little")
    if len(value) < 16 or size != len(value):
        raise UndecodableError(f"it has {len(value):,} bytes, and blosc wrote {size:,}")


def decoder(codec: Codec) -> Decoder:
    """Return the function that decodes a codec's values.

    Raises
    ------
    UnknownCodecError
        If there is none.
    """
    name = codec.name.removeprefix("numcodecs.")
    return _OWN.get(name) or _of_numcodecs(name, codec)


def _of_numcodecs(name: str, codec: Codec) -> Decoder:
    try:
        from numcodecs import get_codec

        found = get_codec({**codec.options, "id": name})
    except Exception:
        raise UnknownCodecError(codec.name) from None
    return lambda value: found.decode(value)


def _without_crc32c(value: bytes) -> bytes:
    body = memoryview(value)[:-4]
    if len(value) < 4 or crc32c(body) != int.from_bytes(value[-4:], "little"):
        raise ValueError("the checksum is another one")
    return bytes(body)


_OWN: dict[str, Decoder] = {
    "gzip": gzip.decompress,
    "zlib": zlib.decompress,
    "bz2": bz2.decompress,
    "lzma": lzma.decompress,
    "crc32c": _without_crc32c,
}


def _check_v2(array: Array, value: bytes, size: int | None) -> None:
    """Decode a version 2 chunk. Its filters may produce anything, so they are left to numcodecs."""
    found = unpacked(array.codecs, value)
    if not array.filters:
        if size is not None:
            _expect_size(_length(found), size)
        return
    for codec in reversed(array.filters):
        found = _undone(codec, found)


def _length(value: Data) -> int:
    return memoryview(value).nbytes


def _expect_size(found: int, size: int) -> None:
    if found != size:
        raise UndecodableError(f"decoded it has {found:,} bytes, and a chunk has {size:,}")


def _check_words(value: bytes, count: int | None, *, is_text: bool) -> None:
    """Check variable-length values: a 32-bit count, and each value after its 32-bit length."""
    at = 4
    number = int.from_bytes(value[:4], "little")
    if len(value) < 4 or count not in (None, number):
        raise UndecodableError(f"decoded it has {number:,} elements, and a chunk has {count:,}")
    for _ in range(number):
        end = at + 4 + int.from_bytes(value[at : at + 4], "little")
        if at + 4 > len(value) or end > len(value):
            raise UndecodableError("decoded it ends within an element")
        if is_text:
            try:
                value[at + 4 : end].decode()
            except UnicodeDecodeError:
                raise UndecodableError("decoded it has text that isn't UTF-8") from None
        at = end
    if at != len(value):
        raise UndecodableError("decoded it goes on behind its last element")
