"""Sends a remote store's requests: limits and timeouts, retries, and sharing of equal reads."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary, ref

from zarrstore._async.concurrency import finished

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Hashable

    from zarrstore._core.retry import RetryPolicy

T = TypeVar("T")


def default_concurrency() -> int:
    """Return how many requests a store may send at once by default.

    Servers accept hundreds, and answer "slow down" if that is too many. Each request needs a connection,
    which counts as an open file. A process may have 256 of those on macOS and 1,024 on most Linux systems,
    and needs some for other purposes.
    """
    try:
        import resource
    except ImportError:  # Windows, where sockets aren't files
        return 512
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 512 if files == resource.RLIM_INFINITY else max(16, min(512, files // 4))


CONCURRENCY = default_concurrency()


class _LastWrite:
    """Identifies the last acknowledged write of any remote store in this process by a new object for each."""

    mark: object = object()


class AdaptiveLimiter:
    """Limits how many requests run at once, adapting to what the server can handle.

    Each throttled request halves the limit, and each success raises it by the reciprocal of the limit. So it
    settles near what the server can handle (additive increase, multiplicative decrease).

    Parameters
    ----------
    most : int
        The highest limit, which is also the initial one.
    """

    __slots__ = ("_most", "_used", "_waiters", "generation", "limit")

    def __init__(self, most: int) -> None:
        self._most = most
        # How many requests may run now.
        self.limit = float(most)
        self._used = 0
        # Counts the halvings. A request sent before the last halving says nothing about the current limit.
        self.generation = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    def acquire_nowait(self) -> bool:
        """Take a permit if one is free and nobody is waiting."""
        if self._used < self.limit and not self._waiters:
            self._used += 1
            return True
        return False

    async def acquire(self) -> None:
        """Wait for a permit; first come, first served."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()  # the permit was granted just before
            raise

    def release(self) -> None:
        """Return a permit, and grant free permits to waiting requests."""
        self._used -= 1
        while self._waiters and self._used < self.limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._used += 1
                waiter.set_result(None)

    def on_success(self) -> None:
        """Raise the limit a little."""
        if self.limit < self._most:
            self.limit = min(self._most, self.limit + 1 / self.limit)

    def on_throttled(self, generation: int) -> None:
        """Halve the limit, once for all requests sent in the same generation."""
        if generation == self.generation:
            self.generation += 1
            self.limit = max(1.0, self.limit / 2)


class _Permit:
    """A limiter's permit; on exit the outcome of the request adjusts the limit."""

    __slots__ = ("_generation", "_is_throttled", "_limiter")

    def __init__(self, limiter: AdaptiveLimiter, is_throttled: Callable[[BaseException], bool]) -> None:
        self._limiter = limiter
        self._is_throttled = is_throttled

    def __enter__(self) -> None:
        self._generation = self._limiter.generation

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self._limiter.on_success()
        elif isinstance(error, Exception) and self._is_throttled(error):
            self._limiter.on_throttled(self._generation)
        self._limiter.release()


class _Read:
    """A running read, whose answer equal reads may share."""

    __slots__ = ("after", "answer")

    def __init__(self) -> None:
        self.after = _LastWrite.mark
        # Contains the answer in a list, which is empty if the read was cancelled. Created by the first read
        # that shares it, since most reads are not shared.
        self.answer: asyncio.Future[list[Any]] | None = None


class _LoopState:
    """A dispatcher's state for one event loop."""

    __slots__ = ("limiter", "reads")

    def __init__(self, most: int) -> None:
        self.limiter = AdaptiveLimiter(most)
        self.reads: dict[Hashable, _Read] = {}


def _no_loop() -> None:
    """Stand in for a weak reference to an event loop that is gone."""


_NO_LOOP = _no_loop, _LoopState(0)


class Dispatcher:
    """Sends one store's requests.

    Parameters
    ----------
    retry : RetryPolicy or None
        When to retry a call; None means never.
    concurrency : int
        How many requests may run at once on an event loop.
    is_throttled : callable
        Whether an error of the client means that the server asks for fewer requests.
    timed : bool
        Whether to apply the policy's timeout here. Not for blocking calls, which can't be interrupted, nor if
        the client applies it.

    Raises
    ------
    ValueError
        If ``concurrency`` is less than 1.
    """

    def __init__(
        self,
        retry: RetryPolicy | None,
        concurrency: int,
        is_throttled: Callable[[BaseException], bool],
        *,
        timed: bool = True,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is at least 1, not {concurrency!r}")
        self.retry = retry
        self.concurrency = concurrency
        self._is_throttled = is_throttled
        self._timeout = retry.timeout if timed and retry is not None else None
        self._clear_loops()

    def _clear_loops(self) -> None:
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState] = WeakKeyDictionary()
        self._last: tuple[Callable[[], asyncio.AbstractEventLoop | None], _LoopState] = _NO_LOOP

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_loops": None, "_last": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._clear_loops()

    def _for_loop(self) -> _LoopState:
        loop = asyncio.get_running_loop()
        last, state = self._last
        if last() is not loop:  # cached, since a dictionary lookup takes half a microsecond
            found = self._loops.get(loop)
            if found is None:
                found = self._loops[loop] = _LoopState(self.concurrency)
            state = found
            self._last = ref(loop), state
        return state

    def limits(self) -> list[float]:
        """Return how many requests may run now, for each event loop."""
        return [state.limiter.limit for state in self._loops.values()]

    # Each extra coroutine costs every request time, so awaitables are returned as they are where possible.

    def retry_call(self, call: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        """Make a call, which raises our errors, as often as the policy allows."""
        return call() if self.retry is None else self.retry.call(call, asyncio.sleep)

    def dispatch(self, send: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Send a request without side effects; cancelling abandons it."""
        return self._send(send) if self._timeout is None else self._send_in_time(send)

    async def _send(self, send: Callable[[], Awaitable[T]]) -> T:
        with self._permit_nowait() or await self._permit():
            return await send()

    async def _send_in_time(self, send: Callable[[], Awaitable[T]]) -> T:
        with self._permit_nowait() or await self._permit():
            async with asyncio.timeout(self._timeout):
                return await send()

    async def dispatch_write(self, send: Callable[[], Awaitable[T]]) -> T:
        """Send a request with side effects; once sent, it is awaited to its end, even if cancelled."""
        try:
            with self._permit_nowait() or await self._permit():
                return await finished(send(), self._timeout)
        finally:
            _LastWrite.mark = object()

    async def send_stream(self, send: Callable[[], Awaitable[T]]) -> T:
        """Send a value that arrives in pieces, with many requests, and await the end.

        It takes no permit, since the reads that supply the pieces may be waiting for one.
        """
        try:
            return await finished(send())
        finally:
            _LastWrite.mark = object()

    def _permit_nowait(self) -> _Permit | None:
        """Return a permit for one request; None if it would have to wait."""
        limiter = self._for_loop().limiter
        return _Permit(limiter, self._is_throttled) if limiter.acquire_nowait() else None

    async def _permit(self) -> _Permit:
        limiter = self._for_loop().limiter
        await limiter.acquire()
        return _Permit(limiter, self._is_throttled)

    async def single_flight(self, what: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Read with retries, or share the answer of an equal read that is running.

        A read that began before the last acknowledged write is not shared, since its answer may be older.
        """
        reads = self._for_loop().reads
        while (other := reads.get(what)) is not None and other.after is _LastWrite.mark:
            if other.answer is None:
                other.answer = asyncio.get_running_loop().create_future()
            shared: list[T] = await asyncio.shield(other.answer)
            if shared:
                return shared[0]
        own = reads[what] = _Read()
        answer: list[T] = []
        retry = self.retry
        retried = retry.errors if retry is not None and retry.attempts > 1 else ()
        try:
            # The first attempt is made here, since `retry.call` would add a coroutine to each read.
            delay = None
            try:
                answer.append(await read())
            except retried as error:
                delay = None if retry is None else retry.told(1, error)
            if delay is not None and retry is not None:
                answer.append(await retry.call(read, asyncio.sleep, delay=delay))
            return answer[0]
        except Exception as error:
            if own.answer is not None:
                own.answer.set_exception(error)
                own.answer.exception()  # retrieve it, so asyncio doesn't log "never retrieved"
            raise
        finally:
            if reads.get(what) is own:
                del reads[what]
            if own.answer is not None and not own.answer.done():
                own.answer.set_result(answer)
