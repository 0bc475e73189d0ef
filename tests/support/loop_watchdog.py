"""How long an event loop leaves a task waiting, measured by one that has nothing to do."""

import asyncio
import gc
import time
from contextlib import asynccontextmanager


@asynccontextmanager
async def gaps(clock=time.thread_time, pause=0.0):
    """Yield a list that grows by the time between two turns of an idle task, while the block awaits.

    By default it is the loop's thread's own processor time, so that other processes and threads don't count.
    """
    found = []

    async def watch():
        last = clock()
        while True:
            await asyncio.sleep(pause)
            now = clock()
            found.append(now - last)
            last = now

    watcher = asyncio.ensure_future(watch())
    await asyncio.sleep(pause)
    try:
        yield found
    finally:
        watcher.cancel()


def check_longest(attempt, limit, most=10):
    """Check that the longest gap, which a coroutine function returns, is within a limit in some attempt."""
    longest = []
    gc.disable()
    try:
        while len(longest) < most and min(longest, default=limit) >= limit:
            longest.append(asyncio.run(attempt()))
    finally:
        gc.enable()
    assert min(longest) < limit, longest
