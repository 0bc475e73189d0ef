"""Many requests at once, for stores that await: how many, and what becomes of those that nobody awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

T = TypeVar("T")

# How many requests of one call may be under way at once.
CONCURRENCY = 32


async def finished(awaitable: Awaitable[T]) -> T:
    """Await a request to its end even if cancelled: once sent, it may yet take effect."""
    task = asyncio.ensure_future(awaitable)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()  # looked at, so that nobody is told about an error nobody waits for
        raise


async def gather(coroutines: list[Coroutine[object, object, T]]) -> list[T]:
    """Await coroutines, some at a time; the first failure stops those that haven't begun."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def gated(coroutine: Coroutine[object, object, T]) -> T:
        async with gate:
            return await coroutine

    tasks = [asyncio.ensure_future(gated(coroutine)) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for coroutine in coroutines:
            coroutine.close()  # those that never began
        raise
