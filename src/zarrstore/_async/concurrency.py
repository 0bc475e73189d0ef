"""Concurrent requests, and requests that run to their end even if their caller is cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from zarrstore._core.later import asyncio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable
    from contextvars import Context

T = TypeVar("T")

# Servers take long for a bulk request, since they process its parts one after the other. A few bulk requests
# side by side take less time, if each is large enough.
_SIDE_BY_SIDE = 3
_WORTH_A_REQUEST = 100


def finished(awaitable: Awaitable[T], timeout: float | None = None) -> Awaitable[T]:
    """Await a request to its end even if cancelled, since a request that was sent may still take effect.

    Raises
    ------
    TimeoutError
        If it takes longer than ``timeout`` seconds; it is then cut off.
    """
    # A future is used as it is; a coroutine becomes a task.
    future = asyncio.ensure_future(awaitable)
    return _Sent(future) if timeout is None else _in_time(future, timeout)


async def _in_time(future: asyncio.Future[T], timeout: float) -> T:
    alarm = future.get_loop().call_later(timeout, future.cancel)
    try:
        return await _Sent(future)
    except asyncio.CancelledError:
        if future.cancelled():
            raise TimeoutError(f"no answer within {timeout} seconds") from None
        raise
    finally:
        alarm.cancel()
        del future  # an error's traceback would hold it


class _Sent(Generic[T]):
    """A future that the awaiting task can't cancel.

    If the task is cancelled meanwhile, it keeps waiting and receives the cancellation when the future is
    done. `asyncio.shield` in a loop would do the same, but takes one more iteration of the event loop: a
    tenth of a small request's time. A task recognises what it can wait for by `_asyncio_future_blocking`.
    """

    __slots__ = ("_asyncio_future_blocking", "_future")

    def __init__(self, future: asyncio.Future[T]) -> None:
        self._future = future
        self._asyncio_future_blocking = False

    def __await__(self) -> Generator[object, None, T]:
        future = self._future
        try:
            if not future.done():
                self._asyncio_future_blocking = True
                try:
                    yield self
                except BaseException:
                    if future.done() and not future.cancelled():
                        future.exception()  # retrieve it, so asyncio doesn't log "never retrieved"
                    raise
            return future.result()
        finally:
            del self, future  # an error's traceback would hold them

    # Methods that a task calls on what it awaits.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._future.get_loop()

    def add_done_callback(
        self, call: Callable[[asyncio.Future[T]], object], *, context: Context | None = None
    ) -> None:
        self._future.add_done_callback(call, context=context)

    def cancel(self, msg: object = None) -> bool:
        return False


async def gather(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Await many concurrently; the first failure cancels the others.

    Pass coroutines as a generator: a task that is cancelled before it begins then makes none.
    """
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def batches(items: list[T], most: int) -> list[list[T]]:
    """Split items into bulk requests with at most ``most`` items each."""
    size = min(most, max(_WORTH_A_REQUEST, -(-len(items) // _SIDE_BY_SIDE)))
    return [items[first : first + size] for first in range(0, len(items), size)]
