"""Runs long jobs (a copy, comparison, check or digest) in the calling thread or on an event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import closing
from typing import TYPE_CHECKING, Generic, TypeVar

from zarrstore._async import io_loop, threads
from zarrstore._core.verbs import drive

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from zarrstore._copy.meter import Meter

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(ABC, Generic[T_co]):
    """One job. Its body is a single coroutine, which never suspends if all its stores block."""

    stopped: threading.Event  # set to make a job in a thread end
    meter: Meter

    @property
    @abstractmethod
    def blocks(self) -> bool:
        """Whether all its stores block."""

    @abstractmethod
    async def _run(self, *, sync: bool) -> T_co:
        """Do the job with verbs that block (``sync``) or are awaited."""

    def run_here(self) -> T_co:
        """Do the job in the calling thread, with stores that block."""
        return drive(self._run(sync=True))

    async def run_on_loop(self) -> T_co:
        """Do the job on the running loop; stores that block are used in a thread outside the pool."""
        with closing(self.meter):
            if self.blocks:
                self.meter.show_on(asyncio.get_running_loop())
                return await to_the_end(self.run_here, self.stopped)
            return await self._run(sync=False)

    def run_blocking(self) -> T_co:
        """Do the job before returning, whatever the stores."""
        with closing(self.meter):
            return self.run_here() if self.blocks else io_loop.run_on_io(self.run_on_loop())


async def to_the_end(call: Callable[[], T], stopped: threading.Event) -> T:
    """Make a blocking call in a thread outside the pool; if cancelled, stop it and wait until it ends."""
    try:
        running = asyncio.ensure_future(threads.to_extra_thread(call))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stopped.set()
            while not running.done():
                await asyncio.wait([running])
            running.exception()
            raise
    except threads.NoThreadError:
        return call()
