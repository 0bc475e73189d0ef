"""Many requests at once, for stores that await, and what becomes of those that nobody awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

T = TypeVar("T")


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
