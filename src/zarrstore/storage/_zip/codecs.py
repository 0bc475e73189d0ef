"""Compression methods of zip members: compresses piece by piece, decompresses into bounded memory."""

from __future__ import annotations

import struct
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from zarrstore.errors import CorruptError, MissingDependencyError, UnsupportedOperationError
from zarrstore.storage._zip.format import BZIP2, DEFLATED, LZMA, ZSTANDARD

if TYPE_CHECKING:
    from types import ModuleType

    from zarrstore._core.types import Data

_NAMES = {DEFLATED: "deflate", BZIP2: "bzip2", LZMA: "lzma", ZSTANDARD: "zstandard"}

# Deflate expands a byte to at most 1,032, so a larger declared size must be wrong.
_DEFLATE_RATIO = 1032
# LZMA expands a byte to about 7,000. Its dictionary is allocated first, so a wrong size would cost memory.
_LZMA_RATIO = 1 << 14
# LZMA parameters for writing: xz's defaults, with a dictionary of 8 MiB.
_LC, _LP, _PB, _DICTIONARY = 3, 0, 2, 1 << 23


class Packer(Protocol):
    """Compresses a value piece by piece."""

    def compress(self, piece: Data, /) -> bytes:
        """Take a piece; return the output that is ready."""

    def flush(self) -> bytes:
        """Return the rest of the output."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


def packer(method: int) -> Packer:
    """Return a compressor for a method.

    Raises
    ------
    UnsupportedOperationError
        If the method can't be written.
    MissingDependencyError
        If this Python was built without it.
    """
    try:
        if method == DEFLATED:
            import zlib

            return zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -15)
        if method == BZIP2:
            import bz2

            return bz2.BZ2Compressor()
        if method == LZMA:
            return _LzmaPacker()
        if method == ZSTANDARD:
            compressor: Packer = _zstd().ZstdCompressor()
            return compressor
    except ImportError as error:
        raise _missing(method) from error
    raise UnsupportedOperationError(
        f"zip's compression method {method} can't be written.",
        hint="Use zipfile.ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2 or ZIP_LZMA.",
    )


def unpack(data: bytes | memoryview, method: int, size: int) -> bytes:
    """Decompress a value of ``size`` bytes; memory is bounded by that size.

    Raises
    ------
    CorruptError
        If the data are broken, or decompress to another size.
    UnsupportedOperationError
        If the method is unknown.
    MissingDependencyError
        If this Python was built without it.
    """
    try:
        if method == DEFLATED:
            if size > _DEFLATE_RATIO * len(data) + 64:
                raise CorruptError(f"{len(data)} deflated bytes can't make {size}.")
            return _unpack_deflated(data, size)
        if method == BZIP2:
            import bz2

            return _unpack_bounded(bz2.BZ2Decompressor(), data, size)
        if method == LZMA:
            return _unpack_lzma(data, size)
        if method == ZSTANDARD:
            return _unpack_bounded(_zstd().ZstdDecompressor(), data, size)
    except ImportError as error:
        raise _missing(method) from error
    except CorruptError:
        raise
    except Exception as error:  # each module has its own error class
        raise CorruptError(f"its data can't be unpacked ({error}).") from error
    raise UnsupportedOperationError(f"its compression method {method} is unknown here.")


def _unpack_deflated(data: bytes | memoryview, size: int) -> bytes:
    import zlib

    engine = zlib.decompressobj(-15)
    # One byte more than declared, to detect members with more data.
    value = engine.decompress(data, size + 1)
    if not engine.eof and len(value) <= size:
        value += engine.decompress(engine.unconsumed_tail, size + 1 - len(value))
    return _checked(value, size, ended=engine.eof)


def _unpack_bounded(engine: _Unpacker, data: bytes | memoryview, size: int) -> bytes:
    parts = []
    done = 0
    while not engine.eof and done <= size:
        part = engine.decompress(data, size + 1 - done)
        if not part and (engine.eof or engine.needs_input):
            break
        parts.append(part)
        done += len(part)
        data = b""
    return _checked(parts[0] if len(parts) == 1 else b"".join(parts), size, ended=engine.eof)


def _checked(value: bytes, size: int, *, ended: bool) -> bytes:
    if len(value) != size:
        how = "more" if len(value) > size else f"only {len(value)}"
        raise CorruptError(f"its data make {how} bytes, and {size} were promised.")
    if not ended:
        raise CorruptError("its compressed data have no end.")
    return value


class _LzmaPacker:
    """LZMA in zip's layout: four bytes of version and size, the properties, then a raw stream."""

    def __init__(self) -> None:
        import lzma

        self._engine = lzma.LZMACompressor(
            lzma.FORMAT_RAW,
            filters=[{"id": lzma.FILTER_LZMA1, "lc": _LC, "lp": _LP, "pb": _PB, "dict_size": _DICTIONARY}],
        )
        self._head = struct.pack("<BBHBL", 9, 4, 5, (_PB * 5 + _LP) * 9 + _LC, _DICTIONARY)

    def compress(self, piece: Data, /) -> bytes:
        head, self._head = self._head, b""
        return head + self._engine.compress(piece)

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return head + self._engine.flush()


def _unpack_lzma(data: bytes | memoryview, size: int) -> bytes:
    import lzma

    if len(data) < 9:
        raise CorruptError("its LZMA properties are cut off.")
    _, _, properties_size, packed, dictionary = struct.unpack_from("<BBHBL", data)
    if properties_size != 5 or packed >= 225:
        raise CorruptError("its LZMA properties are invalid.")
    if size > _LZMA_RATIO * len(data):
        raise CorruptError(f"{len(data)} bytes of LZMA can't make {size}.")
    engine = lzma.LZMADecompressor(
        lzma.FORMAT_RAW,
        filters=[
            {
                "id": lzma.FILTER_LZMA1,
                "lc": packed % 9,
                "lp": packed // 9 % 5,
                "pb": packed // 45,
                # A dictionary larger than the value is allocated but never used.
                "dict_size": max(4096, min(dictionary, size)),
            }
        ],
    )
    value = b""
    body = memoryview(data)[9:]
    parts = []
    done = 0
    while not engine.eof and done <= size:
        value = engine.decompress(body, size + 1 - done)
        body = memoryview(b"")
        if not value:
            break
        parts.append(value)
        done += len(value)
    # Writers may omit the end mark (a flag says so); then only the size tells where the data end.
    return _checked(b"".join(parts), size, ended=True)


def _zstd() -> ModuleType:
    """Return the zstd module of Python 3.14, or its backport."""
    try:
        return import_module("compression.zstd")
    except ImportError:
        return import_module("backports.zstd")


def _missing(method: int) -> MissingDependencyError:
    hint = "pip install backports.zstd" if method == ZSTANDARD else "Use a Python that was built with it."
    return MissingDependencyError(f"{_NAMES[method]} isn't available in this Python.", hint=hint)
