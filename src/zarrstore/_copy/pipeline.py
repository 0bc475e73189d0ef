"""Workers of a copy: the calling thread and, for slow media, further threads; or tasks of a loop.

`Threads` is for two stores that block. The calling thread handles batch after batch itself, which costs no
wake-ups. If values are slow, further threads join in. They aren't from the common pool, whose threads must
not wait for each other. `Tasks` is for an event loop. Both take work through `put`, and count what is done in
the caller's thread or task.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import asynccontextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from zarrstore._copy.value import StoppedError
from zarrstore._core.verbs import drive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from zarrstore._copy.plan import Todo

    # Called with the number of keys and bytes done.
    Tell: TypeAlias = Callable[[int, int], None]
    # Handles a batch.
    Do: TypeAlias = Callable[[list[Todo], Tell], Coroutine[object, object, None]]

# The most values that the calling thread handles at once, and the most bytes in total.
_MOST = 64
_BATCH = 1 << 20
# Every _LOOK seconds the number of threads is doubled if a value took a thread longer than _SLOW seconds on
# average, a sign that they wait for the medium.
_FIRST = 4
# From this size in bytes, two threads pay off on any medium: most of the time goes into copying bytes.
_BULKY = 1 << 18
_LOOK = 0.1
_SLOW = 0.002


T = TypeVar("T")


class Workers(Protocol[T]):
    """Something that handles batches."""

    async def put(self, todos: list[T]) -> None:
        """Hand over work; waits until there is room for it."""

    async def drain(self) -> None:
        """Wait until all is done."""

    async def close(self) -> None:
        """Stop, and wait until work that has begun ends."""


class Here(Generic[T]):
    """No workers: work is done as soon as it is handed over."""

    def __init__(self, do: Callable[[list[T]], Coroutine[object, object, None]]) -> None:
        self.put = do

    async def drain(self) -> None:
        """Wait for nothing."""

    async def close(self) -> None:
        """Stop nothing."""


@asynccontextmanager
async def closing_workers(workers: Workers[T]) -> AsyncIterator[None]:
    """Close workers at the end of a block."""
    try:
        yield
    finally:
        await workers.close()


def batches(todos: list[Todo], most: int, large: int) -> Iterator[list[Todo]]:
    """Split work into batches of at most ``most`` values; values above ``large`` bytes are alone."""
    batch: list[Todo] = []
    size = 0
    for todo in todos:
        own = todo.entry.size or 0
        if batch and (len(batch) >= most or size + own > _BATCH or max(own, size) > large):
            yield batch
            batch, size = [], 0
        batch.append(todo)
        size += own
    if batch:
        yield batch


class Threads:
    """The calling thread, and others if they pay off.

    Parameters
    ----------
    do : callable
        Handles a batch: a coroutine that never suspends.
    tell : callable
        Called in the calling thread with the keys and bytes done.
    concurrency : int
        The most threads.
    large : int
        Size in bytes above which a value is a batch of its own.
    stopped : threading.Event
        Set here when something fails.
    """

    def __init__(self, do: Do, tell: Tell, concurrency: int, large: int, stopped: threading.Event) -> None:
        self._do = do
        self._tell = tell
        self._concurrency = concurrency
        self._large = large
        self._stopped = stopped
        self._size = _FIRST
        self._threads: list[threading.Thread] = []
        self._todo: SimpleQueue[list[Todo] | None] = SimpleQueue()
        # Keys and bytes done, an error, or None at the end of a batch.
        self._events: SimpleQueue[tuple[int, int] | BaseException | None] = SimpleQueue()
        self._queued = 0
        self._last = 0.0
        # Since the last check: seconds of work or of waiting for threads, and values copied.
        self._passed, self._done = 0.0, 0

    async def put(self, todos: list[Todo]) -> None:
        """Handle work here, or hand it to threads."""
        while todos and not self._threads:
            if self._stopped.is_set():
                raise StoppedError
            todos = await self._handle(todos)
        self._share(todos)

    async def _handle(self, todos: list[Todo]) -> list[Todo]:
        """Handle a batch here; return the remaining work."""
        batch = next(batches(todos, self._size, self._large))
        began = time.perf_counter()
        await self._do(batch, self._tell)
        took = time.perf_counter() - began
        self._size = min(_MOST, 2 * self._size) if took < _SLOW * len(batch) else 1
        if self._is_slow(took, len(batch), 1) or (batch[0].entry.size or 0) >= _BULKY:
            self._last = time.perf_counter()
            self._size = 1
            self._start(2)
        return todos[len(batch) :]

    def _is_slow(self, passed: float, done: int, threads: int) -> bool:
        """Whether values are slow, judged by the time since the last check."""
        self._passed += passed
        self._done += done
        if self._passed < _LOOK:
            return False
        mean = self._passed * threads / max(1, self._done)
        self._passed, self._done = 0.0, 0
        if self._threads:
            self._size = max(1, min(_MOST // 4, int(_LOOK / 5 / mean)))
        return mean > _SLOW

    def _share(self, todos: list[Todo]) -> None:
        for batch in batches(todos, self._size, self._large):
            self._todo.put(batch)
            self._queued += 1
            while self._queued > 2 * len(self._threads):
                self._receive()

    def _receive(self) -> None:
        """Count what a thread has done, and start more threads if they are slow."""
        event = self._events.get()
        if isinstance(event, BaseException):
            raise event
        if event is None:
            self._queued -= 1
            return
        self._tell(*event)
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        if self._is_slow(passed, event[0], len(self._threads)):
            self._start(len(self._threads))

    def _start(self, count: int) -> None:
        for _ in range(min(count, self._concurrency - len(self._threads)) if self._concurrency > 1 else 0):
            thread = threading.Thread(target=self._work, name=f"zarrstore-copy-{len(self._threads)}")
            try:
                thread.start()
            except RuntimeError:  # no threads on this platform, or none left
                return
            self._threads.append(thread)

    def _work(self) -> None:
        def tell(keys: int, size: int) -> None:
            self._events.put((keys, size))

        while (batch := self._todo.get()) is not None:
            try:
                if not self._stopped.is_set():
                    drive(self._do(batch, tell))
            except BaseException as error:
                self._stopped.set()
                self._events.put(error)
            self._events.put(None)

    async def drain(self) -> None:
        """Wait until all is done."""
        while self._queued:
            self._receive()

    async def close(self) -> None:
        """End the threads; a second Ctrl-C doesn't wait for them."""
        if self._queued:
            self._stopped.set()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()


class Room:
    """A limiter for one event loop: lets in up to ``most`` at a time, first come, first served."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int) -> int:
        """Wait until there is room; return the size to pass to `leave`."""
        size = min(size, self._most)
        if self._waiting or self._used + size > self._most:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave(size)
                raise
        else:
            self._used += size
        return size

    def leave(self, size: int) -> None:
        """Give room back."""
        self._used -= size
        while self._waiting and (
            self._waiting[0][1].done() or self._used + self._waiting[0][0] <= self._most
        ):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._used += size
                turn.set_result(None)


class Tasks:
    """Tasks of the running loop.

    Parameters
    ----------
    do, tell, large, stopped
        See `Threads`.
    concurrency : int
        How many values are in flight at once.
    memory : int
        How many bytes of values are in flight at once.
    weigh : callable
        Returns how many bytes of memory a batch takes.
    """

    def __init__(
        self,
        do: Do,
        tell: Tell,
        concurrency: int,
        large: int,
        stopped: threading.Event,
        *,
        memory: int,
        weigh: Callable[[list[Todo]], int],
    ) -> None:
        self._do = do
        self._tell = tell
        self._large = large
        self._stopped = stopped
        self._weigh = weigh
        self._size = max(1, concurrency // 16)
        self._values, self._bytes = Room(concurrency), Room(memory)
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    async def put(self, todos: list[Todo]) -> None:
        """Start a task for each batch once there is room for it."""
        for batch in batches(todos, self._size, self._large):
            values = await self._values.enter(len(batch))
            size = await self._bytes.enter(self._weigh(batch))
            self._raise()
            task = asyncio.create_task(self._run(batch, values, size))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[Todo], values: int, size: int) -> None:
        try:
            await self._do(batch, self._tell)
        except BaseException as error:
            if self._error is None:
                self._error = error
                self._stopped.set()
                for task in self._tasks - {asyncio.current_task()}:
                    task.cancel()
        finally:
            self._values.leave(values)
            self._bytes.leave(size)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    async def drain(self) -> None:
        """Wait until all is done, or something fails."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._raise()

    async def close(self) -> None:
        """Cancel what is in flight, and wait until it ends."""
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._error = None  # its traceback keeps all current values alive
