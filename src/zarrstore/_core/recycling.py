"""Reuses the memory of large values after they are dropped: new memory costs a page fault per 4 KiB."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    _Memory: TypeAlias = npt.NDArray[np.uint8]

# Sizes, in bytes, of values whose memory is reused. Smaller ones gain nothing, larger ones are rare.
SMALLEST: Final = 32 << 10
LARGEST: Final = 16 << 20

# How many pieces of memory to try in search of an unused one.
_LOOKS = 4
BYTE: Final = np.dtype(np.uint8)


class Recycler:
    """Allocates memory, keeps a reference to it, and reuses it once nobody else has one.

    Callers get views. Anything that shows the bytes (a slice, another type, a ``memoryview``) holds a
    reference to the memory, directly or through a view. So if the only reference is ours, nobody can see the
    memory, and nobody else can obtain it. This requires CPython's reference counts and its global lock.

    Parameters
    ----------
    limit : int
        How many bytes to keep; 0 for none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._largest = min(LARGEST, limit) if _counts_references() else 0
        # By size; the size that grew last is last. Threads take memory out to look at it, which is atomic.
        self._rings: dict[int, deque[_Memory]] = {}
        # Guards growth. Nobody ever waits for it, since the process may fork while it is held.
        self._lock = threading.Lock()

    def allocate(self, size: int) -> _Memory:
        """Allocate ``size`` bytes with arbitrary contents."""
        if not SMALLEST <= size <= self._largest:
            return np.empty(size, BYTE)
        memory = self.reuse(size)
        return self._grow(_room(size))[:size] if memory is None else memory

    def reuse(self, size: int) -> _Memory | None:
        """Return memory of ``size`` bytes that was used before, or None if there is none."""
        ring = self._rings.get(_room(size))
        if ring:
            for _ in range(_LOOKS):
                memory, count = _take(ring)
                if memory is None:
                    break
                # Make the view first: once the memory is back in the ring, another thread may look at it.
                view = memory[:size] if count == _UNSEEN else None
                ring.append(memory)
                if view is not None:
                    return view
        return None

    def _grow(self, room: int) -> _Memory:
        memory = np.empty(room, BYTE)
        view = memory[:]
        if not self._lock.acquire(blocking=False):
            return view
        try:
            ring = self._rings.pop(room, None) or deque()
            self._rings[room] = ring
            ring.append(memory)
            held = sum(size * len(ring) for size, ring in self._rings.items())
            while held > self._limit:
                size, oldest = next(iter(self._rings.items()))
                if _take(oldest)[0] is not None:
                    held -= size
                else:
                    del self._rings[size]
        finally:
            self._lock.release()
        return view


def _room(size: int) -> int:
    """Round a size up by at most an eighth: chunks compressed to nearly the same size share memory."""
    step = 1 << (size.bit_length() - 4)
    return -(-size // step) * step


def _take(ring: deque[_Memory]) -> tuple[_Memory | None, int]:
    """Take out the oldest memory, and return it with its reference count."""
    try:
        memory = ring.popleft()
    except IndexError:
        return None, 0
    return memory, sys.getrefcount(memory)


def _counts_references() -> bool:
    return hasattr(sys, "getrefcount") and getattr(sys, "_is_gil_enabled", lambda: True)()


# The count that `_take` returns for memory that nobody else refers to.
_UNSEEN = _take(deque([np.empty(0, BYTE)]))[1] if _counts_references() else 0

_recycler: Final = Recycler(int(os.environ.get("ZARRSTORE_RECYCLED_BYTES", 64 << 20)))
allocate: Final = _recycler.allocate
reuse: Final = _recycler.reuse
