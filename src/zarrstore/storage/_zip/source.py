"""Sources of an archive's bytes: a file descriptor, an open file object, or a value in a store.

A source has no position, so that any number of threads may read it at once.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from bisect import bisect_right
from typing import TYPE_CHECKING, BinaryIO, Protocol

from zarrstore._core.requests import RangeByteRequest
from zarrstore._core.verbs import Entry
from zarrstore._os import files
from zarrstore.errors import ChangedError, ForkError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from zarrstore.abc.store import Store
    from zarrstore.buffer import Buffer

# Up to this size in bytes, one read gets a member's header and data: a copy costs less than a second read.
_AT_ONCE = 1 << 17
# Data are compressed, checksummed and copied in blocks of this size in bytes, which fit the CPU's cache.
BLOCK = 1 << 20


class Source(Protocol):
    """Bytes that can be read from any position.

    Attributes
    ----------
    at_once : int
        Up to this size, a member's header and data are read at once.
    """

    at_once: int

    def size(self) -> int:
        """Return the current number of bytes."""

    def read(self, start: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``start``; fewer only at the end."""


def read_blocks(source: Source, start: int, size: int) -> Iterator[bytes | memoryview]:
    """Yield bytes in blocks; fewer only at the end of the source."""
    done = 0
    while done < size and len(block := source.read(start + done, min(BLOCK, size - done))):
        yield block
        done += len(block)


def stamp_of(descriptor: int) -> tuple[int, int, int, int]:
    """Return what identifies a file's state: device, inode, size and time of the last change."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class FileSource:
    """An open file, given by its descriptor, which this object owns.

    The descriptor is closed with the last reference to the source. If it were closed with the archive, a read
    in progress might get another file with the same number.

    Attributes
    ----------
    can_nowait : bool or None
        Whether reads that never wait are possible; None if the system has refused them with `now_flags`.
    now_flags : int
        Flags for such reads.
    stamp : tuple of int
        See `stamp_of`.
    """

    __slots__ = ("at_once", "can_nowait", "descriptor", "now_flags", "stamp")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.at_once = _AT_ONCE
        self.can_nowait: bool | None = bool(files.NOWAIT)
        self.now_flags = files.NOWAIT
        self.stamp = stamp_of(descriptor)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file early, if nobody else reads it."""
        descriptor, self.descriptor = self.descriptor, -1
        files.close_quietly(descriptor)

    def size(self) -> int:
        """Return the file's current size."""
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        return files.read_bytes(self.descriptor, size, start)

    def read_nowait(self, start: int, memory: npt.NDArray[np.uint8]) -> int:
        """Fill memory without waiting for the medium; return how many bytes that gave."""
        try:
            return os.preadv(self.descriptor, [memory], start, self.now_flags)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self.can_nowait = None if self.now_flags else False
            return 0


def source_of(file: BinaryIO) -> Source:
    """Return a source for an open file; it doesn't use the file's position if it can avoid it."""
    plain = getattr(file, "file", file) if type(file).__module__ == "tempfile" else file
    raw = getattr(plain, "raw", plain)
    if isinstance(raw, io.FileIO) and isinstance(plain, (io.FileIO, io.BufferedReader, io.BufferedRandom)):
        descriptor = raw.fileno()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            plain.flush()
            return FileSource(os.dup(descriptor))
    return ObjectSource(file)


class ObjectSource:
    """An open binary file object, which the caller closes; reads move its position."""

    def __init__(self, file: BinaryIO) -> None:
        self.at_once = _AT_ONCE
        self._file = file
        self.lock = threading.Lock()
        self._process = os.getpid()

    def _check_process(self) -> None:
        """Refuse to share a file position with the process that this one was forked from."""
        if os.getpid() != self._process and not isinstance(self._file, io.BytesIO):
            raise ForkError(
                f"the open file ({type(self._file).__name__}) of this archive is read by the process that "
                "this one was forked from.",
                hint="Open the archive by its path, or in each process anew.",
            )

    def size(self) -> int:
        """Return the current size."""
        self._check_process()
        with self.lock:
            self._file.seek(0, os.SEEK_END)
            return self._file.tell()

    def read(self, start: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        self._check_process()
        parts = []
        with self.lock:
            self._file.seek(start)
            while size > 0 and (data := self._file.read(size)):
                parts.append(data)
                size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class StoreSource:
    """A value of another store, read by ranges.

    Each read may be a network request, so reads are few and large.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.at_once = 1 << 62
        self._store = store
        self._key = key
        self._entry: Entry | None = None

    def size(self) -> int:
        """Return the size, which is looked up once."""
        if self._entry is None:
            self._entry = self._look()
        return self._entry.size or 0

    def _look(self) -> Entry:
        found = self._store._run("", self._store._do_stat, self._key)
        if found is None:
            raise KeyNotFoundError("the archive is gone.", store=self._store, key=self._key)
        return found

    def read(self, start: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        return self.read_many([(start, size)])[0]

    def read_many(self, parts: list[tuple[int, int]]) -> list[bytes | memoryview]:
        """Return many parts, given as ``(start, size)``; the store may fetch them concurrently."""
        end = self.size()
        spans = [(min(start, end), min(start + size, end)) for start, size in parts]
        asked = [(self._key, RangeByteRequest(start, stop)) for start, stop in spans if start < stop]
        answers: list[Buffer | None] = []
        if len(asked) == 1:
            answers = [self._read_one(asked[0][1])]
        elif asked:
            answers = self._store.get_partial_values_sync(None, asked)
            if self._store._blocks or self._store.capabilities.versions:
                self._check_same(self._look())
        found = iter(answers)
        return [self._bytes(next(found)) if start < stop else b"" for start, stop in spans]

    def _read_one(self, request: RangeByteRequest) -> Buffer | None:
        if self._store.capabilities.versions:
            found = self._store.get_versioned_sync(self._key, byte_range=request)
            if found is not None:
                self._check_same(Entry(self._key, self.size(), found[1]))
            return None if found is None else found[0]
        answer = self._store.get_sync(self._key, byte_range=request)
        # If results have no version and a lookup is a request, checksums must suffice.
        if self._store._blocks:
            self._check_same(self._look())
        return answer

    def _check_same(self, now: Entry) -> None:
        """Raise if the value isn't the one seen first: what was read may belong to another."""
        then = self._entry or now
        if now.size != then.size or (None not in (now.version, then.version) and now.version != then.version):
            raise ChangedError(
                "the archive was replaced while it was open.",
                store=self._store,
                key=self._key,
                hint="Open it anew.",
            )

    def _bytes(self, answer: Buffer | None) -> memoryview:
        if answer is None:
            raise KeyNotFoundError("the archive is gone.", store=self._store, key=self._key)
        return memoryview(answer.as_numpy_array())


class FetchedSource:
    """A source with some parts fetched in advance."""

    def __init__(self, source: StoreSource, parts: list[tuple[int, int]]) -> None:
        self.at_once = source.at_once
        self._source = source
        self._starts = sorted({start for start, _ in parts})
        longest: dict[int, int] = {}
        for start, size in parts:
            longest[start] = max(size, longest.get(start, 0))
        self._data = source.read_many([(start, longest[start]) for start in self._starts])

    def size(self) -> int:
        """Return the size."""
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
