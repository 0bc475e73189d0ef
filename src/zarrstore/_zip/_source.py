"""Where an archive's bytes come from: a file by its descriptor, an open file object, or a store's value.

A source has no position, so that any number of threads may read it at once.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import Any, Protocol

_HAS_PREAD = hasattr(os, "pread")
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Source(Protocol):
    """Bytes that can be read at any place."""

    def size(self) -> int:
        """How many bytes there are now."""

    def read(self, start: int, size: int) -> Any:
        """Return ``size`` bytes from ``start``; fewer only at the end."""

    def read_into(self, start: int, memory: Any) -> int:
        """Fill memory from ``start``; returns how many bytes there were."""


class FileSource:
    """An open file, by its descriptor, which it owns.

    The descriptor is closed when nobody uses the source any more: a read that is under way while the
    archive is closed must not find another file under its number.
    """

    __slots__ = ("_lock", "descriptor", "identity", "in_place", "now_flags")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        # Whether reads that never wait are possible, and by which flags; the first one refused settles it.
        self.in_place: bool | None = bool(_NOWAIT)
        self.now_flags = _NOWAIT
        found = os.fstat(descriptor)
        self.identity = (found.st_dev, found.st_ino)
        self._lock = None if _HAS_PREAD else threading.Lock()

    def __del__(self) -> None:
        os.close(self.descriptor)

    def size(self) -> int:
        """How many bytes the file has now."""
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        data = self._pread(size, start)
        if len(data) == size or not data:
            return data
        parts = [data]
        done = len(data)
        while done < size and (data := self._pread(size - done, start + done)):
            parts.append(data)
            done += len(data)
        return b"".join(parts)

    def read_into(self, start: int, memory: Any) -> int:
        """Fill memory from ``start``; returns how many bytes there were."""
        view = memoryview(memory)
        done = 0
        while done < len(view):
            if hasattr(os, "preadv"):
                count = os.preadv(self.descriptor, [view[done:]], start + done)
            else:
                data = self._pread(min(len(view) - done, 1 << 20), start + done)
                count = len(data)
                view[done : done + count] = data
            if not count:
                break
            done += count
        return done

    def read_now(self, start: int, memory: Any) -> int:
        """Fill memory without waiting for the medium; fewer bytes than it takes mean that this can't be."""
        try:
            return os.preadv(self.descriptor, [memory], start, self.now_flags)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self.in_place = None if self.now_flags else False
            return 0

    def _pread(self, size: int, start: int) -> bytes:
        if self._lock is None:
            return os.pread(self.descriptor, size, start)
        with self._lock:
            os.lseek(self.descriptor, start, os.SEEK_SET)
            return os.read(self.descriptor, size)


class ObjectSource:
    """An open binary file object; it stays its owner's, and its position is moved."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._lock = threading.Lock()

    def size(self) -> int:
        """How many bytes it has now."""
        with self._lock:
            self._file.seek(0, os.SEEK_END)
            return int(self._file.tell())

    def read(self, start: int, size: int) -> Any:
        """Return ``size`` bytes from ``start``; fewer only at the end."""
        parts = []
        with self._lock:
            self._file.seek(start)
            while size > 0 and (data := self._file.read(size)):
                parts.append(data)
                size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, start: int, memory: Any) -> int:
        """Fill memory from ``start``; returns how many bytes there were."""
        view = memoryview(memory)
        data = self.read(start, len(view))
        view[: len(data)] = data
        return len(data)
