"""How long an event loop makes tasks wait, measured with an idle task."""

import asyncio
import gc
import time
from contextlib import asynccontextmanager


@asynccontextmanager
async def gaps(clock=time.thread_time, pause=0.0):
    """Yield a list of the times between two runs of an idle task, which grows while the block awaits.

    By default this is CPU time of the loop's thread, so that other processes and threads don't count.
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
    """Check that the longest gap, returned by a coroutine function, is within a limit in some attempt."""
    longest = []
    gc.disable()
    try:
        while len(longest) < most and min(longest, default=limit) >= limit:
            longest.append(asyncio.run(attempt()))
    finally:
        gc.enable()
    assert min(longest) < limit, longest
