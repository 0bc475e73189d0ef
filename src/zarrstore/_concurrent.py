"""Many requests at once, for stores that await, and what becomes of those that nobody awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

T = TypeVar("T")

# Servers take long for a bulk request, since they carry out one part after the other: a few of them
# side by side take less, as long as each is worth its request.
_SIDE_BY_SIDE = 3
_WORTH_A_REQUEST = 100


async def finished(awaitable: Awaitable[T], timeout: float | None = None) -> T:
    """Await a request to its end even if cancelled: once sent, it may yet take effect.

    Raises
    ------
    TimeoutError
        If it takes longer than ``timeout`` seconds; then it is cut off.
    """
    # A future stays what it is; a task is made of a coroutine only.
    task = asyncio.ensure_future(awaitable)
    alarm = None if timeout is None else task.get_loop().call_later(timeout, task.cancel)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if alarm is not None and task.cancelled():
            raise TimeoutError(f"no answer within {timeout} seconds") from None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()  # looked at, so that nobody is told about an error nobody waits for
        raise
    finally:
        if alarm is not None:
            alarm.cancel()


async def gather(coroutines: list[Coroutine[object, object, T]]) -> list[T]:
    """Await coroutines side by side; the first failure stops the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def batches(items: list[T], most: int) -> list[list[T]]:
    """Cut what a server is to work on into bulk requests, each for so many items at the most."""
    size = min(most, max(_WORTH_A_REQUEST, -(-len(items) // _SIDE_BY_SIDE)))
    return [items[first : first + size] for first in range(0, len(items), size)]
