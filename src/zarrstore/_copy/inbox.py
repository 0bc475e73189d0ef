"""Queues from the workers of a copy to its supervisor: a thread, or a task of an event loop."""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    # Keys and bytes done, an error, or None when a worker has ended.
    Event: TypeAlias = tuple[int, int] | BaseException | None
    Send: TypeAlias = Callable[[Event], None]


class Inbox:
    """A queue to a supervisor that is a thread."""

    def __init__(self) -> None:
        self._events: SimpleQueue[Event] = SimpleQueue()
        self.put: Send = self._events.put

    async def get(self) -> Event:
        return self._events.get()


class LoopInbox:
    """A queue to a supervisor that is a task, from threads or from tasks of its loop."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._received = 0

    def put(self, event: Event) -> None:
        # For the loop's own tasks too, which keeps all events in order.
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def get(self) -> Event:
        self._received += 1
        if not self._received % 64:
            await asyncio.sleep(0)  # `Queue.get` never yields while the queue has items
        return await self._events.get()
