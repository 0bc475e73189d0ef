"""Many requests at once, for stores that await, and what becomes of those that nobody awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

T = TypeVar("T")


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
    """Await coroutines side by side; the first failure stops the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
