"""How a remote store makes its requests: how many at once, in what time, again when, and for whom."""

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

# Under this name, in a value's metadata, a conditional write leaves word of itself: an identifier, as Azure
# wants, and lower case, as others make it.
TOKEN = "zarrstorewrite"


def _most_at_once() -> int:
    """Return how many requests of one store may be under way at once, unless it is told.

    Servers bear hundreds, and say when it's too many. Each takes a connection, which counts as an open file:
    of those a process may have 256 on macOS and 1,024 on most of Linux, and others need some as well.
    """
    try:
        import resource
    except ImportError:  # Windows, where sockets are no files
        return 512
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 512 if files == resource.RLIM_INFINITY else max(16, min(512, files // 4))


CONCURRENCY = _most_at_once()

_LEFT = object()


class _Writes:
    """When something was last changed by a remote store of this process, as an object like no other."""

    last: object = object()


class AdaptiveLimiter:
    """Lets so many requests pass at once; fewer while the server says that these are too many.

    An answer of "slow down" halves the number, each success adds its share of one more: so it settles
    where the server bears it.
    """

    __slots__ = ("_allowed", "_busy", "_most", "_waiting", "generation")

    def __init__(self, most: int) -> None:
        self._most = most
        self._allowed = float(most)
        self._busy = 0
        # Halvings so far. What was sent before one says nothing about the number that it left.
        self.generation = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def acquire_nowait(self) -> bool:
        """Pass if there is a place; who isn't let in waits for his turn, which is his place then."""
        if self._busy < self._allowed and not self._waiting:
            self._busy += 1
            return True
        return False

    async def acquire(self) -> None:
        acquire = asyncio.get_running_loop().create_future()
        self._waiting.append(acquire)
        try:
            await acquire
        except asyncio.CancelledError:
            if acquire.done() and not acquire.cancelled():
                self.release()  # the place was given, and isn't wanted any more
            raise

    def release(self) -> None:
        self._busy -= 1
        while self._waiting and self._busy < self._allowed:
            acquire = self._waiting.popleft()
            if not acquire.done():
                self._busy += 1
                acquire.set_result(None)

    def on_success(self) -> None:
        if self._allowed < self._most:
            self._allowed = min(self._most, self._allowed + 1 / self._allowed)

    def on_throttled(self, generation: int) -> None:
        if generation == self.generation:
            self.generation += 1
            self._allowed = max(1.0, self._allowed / 2)


class _Permit:
    """A request's place among those of its loop, which its outcome is held to be the server's word on."""

    __slots__ = ("_generation", "_is_slow_down", "_limiter")

    def __init__(self, limiter: AdaptiveLimiter, is_slow_down: Callable[[BaseException], bool]) -> None:
        self._limiter = limiter
        self._is_slow_down = is_slow_down

    def __enter__(self) -> None:
        self._generation = self._limiter.generation

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None:
            self._limiter.on_success()
        elif isinstance(error, Exception) and self._is_slow_down(error):
            self._limiter.on_throttled(self._generation)
        self._limiter.release()


class _Flight:
    """A read under way, which equal ones may share."""

    __slots__ = ("answer", "since")

    def __init__(self) -> None:
        self.since = _Writes.last
        # Made by the first who shares it: most reads are nobody else's.
        self.answer: asyncio.Future[Any] | None = None


class _PerLoop:
    """What belongs to one event loop."""

    __slots__ = ("flights", "limiter")

    def __init__(self, most: int) -> None:
        self.limiter = AdaptiveLimiter(most)
        self.flights: dict[Hashable, _Flight] = {}


def _no_loop() -> None:
    """Stand where a weak reference to a loop will."""


class Dispatcher:
    """The requests of one store.

    Parameters
    ----------
    retry : RetryPolicy or None
        When a call is made again; None is never.
    concurrency : int
        How many requests may be under way at once on an event loop.
    is_slow_down : callable
        Whether an error of the client's says that the server wants fewer requests.
    timed : bool
        Whether the policy's time is kept here: a thread can't be cut off, and some clients keep it.
    """

    def __init__(
        self,
        retry: RetryPolicy | None,
        concurrency: int,
        is_slow_down: Callable[[BaseException], bool],
        *,
        timed: bool = True,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is at least 1, not {concurrency!r}")
        self.retry = retry
        self.concurrency = concurrency
        self._is_slow_down = is_slow_down
        self._timeout = retry.timeout if timed and retry is not None else None
        self._forget()

    def _forget(self) -> None:
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _PerLoop] = WeakKeyDictionary()
        self._last: tuple[Callable[[], asyncio.AbstractEventLoop | None], _PerLoop] = _no_loop, _PerLoop(0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loops": None, "_last": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _for_loop(self) -> _PerLoop:
        loop = asyncio.get_running_loop()
        last, state = self._last
        if last() is not loop:  # mostly it is, and looking takes half a microsecond
            found = self._loops.get(loop)
            if found is None:
                found = self._loops[loop] = _PerLoop(self.concurrency)
            state = found
            self._last = ref(loop), state
        return state

    # Each coroutine more costs every request some time: what can, returns what is to be awaited.

    def retry_call(self, call: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        """Make a call, which tells its failures as our errors, as often as the policy says."""
        return call() if self.retry is None else self.retry.call(call, asyncio.sleep)

    def dispatch(self, send: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Make a request that changes nothing; cancelled, it is left behind."""
        return self._ask(send) if self._timeout is None else self._ask_in_time(send)

    async def _ask(self, send: Callable[[], Awaitable[T]]) -> T:
        with self._permit_nowait() or await self._permit():
            return await send()

    async def _ask_in_time(self, send: Callable[[], Awaitable[T]]) -> T:
        with self._permit_nowait() or await self._permit():
            async with asyncio.timeout(self._timeout):
                return await send()

    async def dispatch_write(self, send: Callable[[], Awaitable[T]]) -> T:
        """Make a request that changes something; once sent it is waited for, cancelled or not."""
        try:
            with self._permit_nowait() or await self._permit():
                return await finished(send(), self._timeout)
        finally:
            _Writes.last = object()

    def _permit_nowait(self) -> _Permit | None:
        """Return a place for one request, to be made ``with`` it; None if it has to wait for its turn."""
        limiter = self._for_loop().limiter
        return _Permit(limiter, self._is_slow_down) if limiter.acquire_nowait() else None

    async def _permit(self) -> _Permit:
        """Wait for a place."""
        limiter = self._for_loop().limiter
        await limiter.acquire()
        return _Permit(limiter, self._is_slow_down)

    async def single_flight(self, what: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Make a read as `again` does, or wait for an equal one since the last change was acknowledged.

        An older one may have been answered before that change, so its answer would be out of date.
        """
        flights = self._for_loop().flights
        while (flight := flights.get(what)) is not None and flight.since is _Writes.last:
            if flight.answer is None:
                flight.answer = asyncio.get_running_loop().create_future()
            answer = await asyncio.shield(flight.answer)
            if answer is not _LEFT:
                return answer  # type: ignore[no-any-return]
        flight = flights[what] = _Flight()
        answer = _LEFT
        retry = self.retry
        passing = retry.errors if retry is not None and retry.attempts > 1 else ()
        try:
            try:
                answer = await read()
            except passing:
                pass
            if answer is _LEFT and retry is not None:
                answer = await retry.call(read, asyncio.sleep, made=1)
            return answer  # type: ignore[no-any-return]
        except Exception as error:
            if flight.answer is not None:
                flight.answer.set_exception(error)
                flight.answer.exception()  # looked at: those who share it may all have left
            raise
        finally:
            if flights.get(what) is flight:
                del flights[what]
            if flight.answer is not None and not flight.answer.done():
                flight.answer.set_result(answer)
