"""What workers of a copy tell whoever looks on, in a thread or on an event loop."""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    # Keys and bytes done, a failure, or (None) that a worker has ended.
    Event: TypeAlias = tuple[int, int] | BaseException | None
    Tell: TypeAlias = Callable[[Event], None]


class Inbox:
    """What workers tell the thread that looks on."""

    def __init__(self) -> None:
        self._events: SimpleQueue[Event] = SimpleQueue()
        self.put: Tell = self._events.put

    async def get(self) -> Event:
        return self._events.get()


class LoopInbox:
    """What workers, in threads or on the loop, tell the task that looks on."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._async_verbs = asyncio.get_running_loop()
        self._turns = 0

    def put(self, event: Event) -> None:
        # From a task of the loop itself too: so events keep their order, and come one turn later.
        self._async_verbs.call_soon_threadsafe(self._events.put_nowait, event)

    async def get(self) -> Event:
        self._turns += 1
        if not self._turns % 64:
            await asyncio.sleep(0)  # a queue that is never empty would keep the loop to itself
        return await self._events.get()
