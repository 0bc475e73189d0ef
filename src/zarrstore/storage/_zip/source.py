"""Where an archive's bytes come from: a file by its descriptor, an open file object, or a store's value.

A source has no position, so that any number of threads may read it at once.
"""

from __future__ import annotations

import errno
import os
import threading
from bisect import bisect_right
from typing import TYPE_CHECKING, BinaryIO, Protocol

from zarrstore._core.requests import RangeByteRequest
from zarrstore._os import files
from zarrstore.errors import KeyNotFoundError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from zarrstore.abc.store import Store
    from zarrstore.buffer import Buffer

# A member's header is read with its data up to this size, in bytes: twice the reads cost more than a copy.
_AT_ONCE = 1 << 17


class Source(Protocol):
    """Bytes that can be read at any place.

    Attributes
    ----------
    at_once : int
        Up to which size a member's header and data had better be read in one go.
    """

    at_once: int

    def size(self) -> int:
        """How many bytes there are now."""

    def read(self, start: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``start``; fewer only at the end."""


def stamp_of(descriptor: int) -> tuple[int, int, int, int]:
    """Return what tells one state of a file from another: device, inode, size and time of its last change."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class FileSource:
    """An open file, by its descriptor, which it owns.

    The descriptor is closed when nobody uses the source any more: a read that is under way while the
    archive is closed must not find another file under its number.
    """

    __slots__ = ("at_once", "descriptor", "in_place", "now_flags", "stamp")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.at_once = _AT_ONCE
        # Whether reads that never wait are possible, and by which flags; the first one refused settles it.
        self.in_place: bool | None = bool(files.NOWAIT)
        self.now_flags = files.NOWAIT
        self.stamp = stamp_of(descriptor)

    def __del__(self) -> None:
        os.close(self.descriptor)

    def size(self) -> int:
        """How many bytes the file has now."""
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        return files.read_bytes(self.descriptor, size, start)

    def read_nowait(self, start: int, memory: npt.NDArray[np.uint8]) -> int:
        """Fill memory without waiting for the medium; fewer bytes than it takes mean that this can't be."""
        try:
            return os.preadv(self.descriptor, [memory], start, self.now_flags)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self.in_place = None if self.now_flags else False
            return 0


class ObjectSource:
    """An open binary file object; it stays its owner's, and its position is moved."""

    def __init__(self, file: BinaryIO) -> None:
        self.at_once = _AT_ONCE
        self._file = file
        self.lock = threading.Lock()

    def size(self) -> int:
        """How many bytes it has now."""
        with self.lock:
            self._file.seek(0, os.SEEK_END)
            return self._file.tell()

    def read(self, start: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        parts = []
        with self.lock:
            self._file.seek(start)
            while size > 0 and (data := self._file.read(size)):
                parts.append(data)
                size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class StoreSource:
    """A value of another store, read in parts.

    Each read may be a request over a network, so the fewest and largest are the best.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.at_once = 1 << 62
        self._store = store
        self._key = key
        self._size: int | None = None

    def size(self) -> int:
        """How many bytes it has; asked once."""
        if self._size is None:
            self._size = self._store.getsize_sync(self._key)
        return self._size

    def read(self, start: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        return self.read_many([(start, size)])[0]

    def read_many(self, parts: list[tuple[int, int]]) -> list[bytes | memoryview]:
        """Return many parts, given as ``(start, size)``; the store may fetch them all at once."""
        end = self.size()
        spans = [(min(start, end), min(start + size, end)) for start, size in parts]
        asked = [(self._key, RangeByteRequest(start, stop)) for start, stop in spans if start < stop]
        if len(asked) == 1:
            answers = [self._store.get_sync(self._key, byte_range=asked[0][1])]
        else:
            answers = self._store.get_partial_values_sync(None, asked) if asked else []
        found = iter(answers)
        return [self._bytes(next(found)) if start < stop else b"" for start, stop in spans]

    def _bytes(self, answer: Buffer | None) -> memoryview:
        if answer is None:
            raise KeyNotFoundError("the archive is gone.", store=self._store, key=self._key)
        return memoryview(answer.as_numpy_array())


class FetchedSource:
    """A source of which some parts have been read beforehand, all at once."""

    def __init__(self, source: StoreSource, parts: list[tuple[int, int]]) -> None:
        self.at_once = source.at_once
        self._source = source
        self._starts = sorted({start for start, _ in parts})
        longest: dict[int, int] = {}
        for start, size in parts:
            longest[start] = max(size, longest.get(start, 0))
        self._data = source.read_many([(start, longest[start]) for start in self._starts])

    def size(self) -> int:
        """How many bytes there are."""
        return self._source.size()

    def read(self, start: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        place = bisect_right(self._starts, start) - 1
        if place >= 0:
            skip = start - self._starts[place]
            data = self._data[place][skip : skip + size]
            if len(data) == size:
                return data
        return self._source.read(start, size)
