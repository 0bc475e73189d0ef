"""Copies values to GPU memory: reads fill a ring of pinned blocks, which are copied out concurrently.

A device can fetch bytes itself, at the full speed of its bus, only from pinned memory, which the system never
moves. Each device has a few blocks, which all reads share. A read fills a block, and a stream of its own
copies it to the device. When an event reports that the copy is done, the block is free again. Meanwhile the
next block is being filled. So a thread holds one block at a time and doesn't wait for another thread while it
does, and memory use is bounded.

Order: a copy into new memory begins after the work that was queued on the reader's current stream when the
memory was allocated, since that work may still use the old contents. A value is returned once its last copy
is done, so that any stream, thread or library may use it at once.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from zarrstore._async.threads import share
from zarrstore._core.later import np
from zarrstore.buffer import _direct
from zarrstore.buffer._cupy import cupy

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from zarrstore._core.types import Data
    from zarrstore.buffer._cupy import Untyped

    # Fills host memory with a value's bytes from an offset on; returns how many there were.
    Read = Callable[[npt.NDArray[np.uint8], int], int]

# Block size in bytes: large against the cost of starting a copy, small against a large value.
BLOCK = 4 << 20
# How many threads read one large value: one copies some 10 GB/s from the page cache, a bus takes 25 to 60.
READERS = min(8, os.cpu_count() or 1)
# How many blocks a device's ring has at most: for each reader, one to fill and one being copied.
BLOCKS = 2 * READERS


class _Block:
    """Pinned memory, and a stream that copies its contents to the device."""

    __slots__ = ("copied", "host", "pinned", "stream")

    def __init__(self) -> None:
        cuda = cupy().cuda
        self.pinned = cuda.alloc_pinned_memory(BLOCK)
        self.host = np.frombuffer(self.pinned, np.uint8, BLOCK)
        self.stream = cuda.Stream(non_blocking=True)
        self.copied: Untyped = None

    def send(self, address: int, size: int, after: Untyped) -> Untyped:
        """Start copying ``size`` bytes to an address on the device; return an event for its end."""
        cuda = cupy().cuda
        self.stream.wait_event(after)
        cuda.runtime.memcpyAsync(
            address, self.pinned.ptr, size, cuda.runtime.memcpyHostToDevice, self.stream.ptr
        )
        self.copied = _mark(self.stream)
        return self.copied


def _mark(stream: Untyped) -> Untyped:
    """Record an event on a stream; waiting for it sleeps instead of spinning."""
    event = cupy().cuda.Event(block=True, disable_timing=True)
    event.record(stream)
    return event


class _Ring:
    """The blocks of one device, allocated when first needed, and kept."""

    def __init__(self) -> None:
        self._free: deque[_Block] = deque()  # the block whose copy began first is first
        self._made = 0
        self._changed = threading.Condition()

    def take(self) -> _Block:
        """Return a block for the calling thread to fill; waits until there is one."""
        block: _Block | None
        with self._changed:
            while True:
                full = self._made >= BLOCKS
                if self._free and (full or self._free[0].copied is None or self._free[0].copied.done):
                    block = self._free.popleft()
                    break
                if not full:
                    self._made += 1
                    block = None
                    break
                self._changed.wait()
        if block is None:
            return self._make()
        try:
            if block.copied is not None:
                block.copied.synchronize()
        except BaseException:
            self.give(block)
            raise
        return block

    def _make(self) -> _Block:
        try:
            return _Block()
        except BaseException:
            with self._changed:
                self._made -= 1
                self._changed.notify()
            raise

    def give(self, block: _Block) -> None:
        """Return a block to the ring; its copy may still be running."""
        with self._changed:
            self._free.append(block)
            self._changed.notify()


_rings: dict[int, _Ring] = {}
_rings_lock = threading.Lock()


def _ring(device: int) -> _Ring:
    with _rings_lock:
        return _rings.setdefault(device, _Ring())


class Staging:
    """Allocates memory for reads on the device and stream that are current in the calling thread.

    When called with a size it returns host memory, like any allocator; `put` then copies the value to the
    device. A verb that can read block by block uses `fill` instead, which saves a copy.
    """

    __slots__ = ("device", "stream")

    def __init__(self) -> None:
        cuda = cupy().cuda
        self.device: int = cuda.runtime.getDevice()
        stream = cuda.get_current_stream()
        # In another thread, "the calling thread's default stream" is a different stream. CUDA's legacy
        # default stream, the null stream, waits for those of all threads.
        self.stream = cuda.Stream.null if stream.ptr == cuda.Stream.ptds.ptr else stream

    def __call__(self, size: int) -> npt.NDArray[np.uint8]:
        """Return ``size`` bytes of host memory."""
        return np.empty(size, np.uint8)

    def fill(self, size: int, read: Read, file: tuple[int, int] | None = None) -> tuple[Untyped, int]:
        """Read a value into memory on the device.

        Parameters
        ----------
        size : int
            The value's size in bytes.
        read : callable
            ``read(memory, at)`` fills host memory with the value's bytes from ``at`` on and returns how many
            there were. Several threads may call it at once.
        file : (int, int), optional
            Descriptor and offset, if an open file contains the value's bytes as they are; the device may then
            read them itself.

        Returns
        -------
        array : cupy.ndarray
            The bytes.
        count : int
            How many bytes there were; fewer than ``size`` if a read fell short.
        """
        module = cupy()
        with module.cuda.Device(self.device):
            with self.stream:
                array = module.empty(size, np.uint8)
            if not size:
                return array, 0
            idle = _mark(self.stream)
            if file is not None and _direct.read(array, *file, after=idle):
                return array, size
            return array, _Flight(self.device, array, size, read, idle).run()

    def put(self, value: Data) -> Untyped:
        """Return a copy, on the device, of something bytes-like in host memory."""
        host = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)

        def read(memory: npt.NDArray[np.uint8], at: int) -> int:
            memory[:] = host[at : at + len(memory)]
            return len(memory)

        return self.fill(host.size, read)[0]


class _Flight:
    """The transfer of one value, block by block, by several threads."""

    __slots__ = ("address", "copies", "device", "ends", "idle", "read", "size", "starts")

    def __init__(self, device: int, array: Untyped, size: int, read: Read, idle: Untyped) -> None:
        self.device = device
        self.address: int = array.data.ptr
        self.size = size
        self.read = read
        self.idle = idle
        self.starts = deque(range(0, size, BLOCK))  # of the blocks that no thread has begun yet
        self.copies: deque[Untyped] = deque()
        self.ends: deque[int] = deque()  # where reads fell short

    def run(self) -> int:
        """Transfer everything; return how many bytes there were.

        However this ends, no copy is running any more, since the memory may be reused then.
        """
        count = min(READERS, len(self.starts))
        helpers = [share(self.carry, among=count) for _ in range(count - 1)]
        errors = []
        for work in (self.carry, *helpers):
            try:
                work()
            except BaseException as error:
                errors.append(error)
        for copied in self.copies:
            copied.synchronize()
        try:
            if errors:
                raise errors[0]
        finally:
            errors.clear()  # otherwise an error, its traceback and this frame would form a cycle
        return min(self.ends, default=self.size)

    def carry(self) -> None:
        """Transfer one block after another until none is left."""
        ring = _ring(self.device)
        try:
            with cupy().cuda.Device(self.device):
                while self.starts:
                    try:
                        start = self.starts.popleft()
                    except IndexError:  # another thread took the last one
                        return
                    block = ring.take()
                    try:
                        self._fill(block, start)
                    finally:
                        ring.give(block)
        except BaseException:
            self.starts.clear()
            raise

    def _fill(self, block: _Block, start: int) -> None:
        memory = block.host[: self.size - start]
        count = self.read(memory, start)
        if count:
            self.copies.append(block.send(self.address + start, count, self.idle))
        if count < len(memory):
            self.ends.append(start + count)
            self.starts.clear()
