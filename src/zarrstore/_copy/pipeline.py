"""The workers of a copy, and their supervisor.

If both stores block, the workers are threads of their own, which drive the verbs directly. They aren't the
common pool's: those must not wait for each other. Otherwise they are tasks of an event loop. The supervisor
is the caller's thread or task: it counts what is done, and stops all workers when one fails.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from zarrstore._copy.inbox import Inbox, LoopInbox
from zarrstore._core.verbs import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from zarrstore._copy.inbox import Send

    Work: TypeAlias = Callable[[], Coroutine[object, object, None]]

T = TypeVar("T")

# A copy starts with this many threads. Every _LOOK seconds they are doubled if a value takes one of them
# longer than _SLOW seconds on average: then they wait for the medium.
_THREADS = 2
_LOOK = 0.1
_SLOW = 0.002


async def run_workers(
    items: Sequence[T],
    do: Callable[[T, Send], Coroutine[object, object, None]],
    count: Callable[[int, int], None],
    *,
    concurrency: int,
    in_threads: bool,
    sync: bool,
    stopped: threading.Event,
) -> None:
    """Handle items concurrently, and return or raise once the last worker has ended.

    Parameters
    ----------
    items : sequence
        What to handle.
    do : callable
        Handles one item; gets a function that sends keys and bytes done.
    count : callable
        Called by the supervisor with keys and bytes done.
    concurrency : int
        How many items are handled at once, at most.
    in_threads : bool
        Whether the workers are threads rather than tasks.
    sync : bool
        Whether the supervisor is a thread rather than a task.
    stopped : threading.Event
        Set here when a worker fails; no worker takes another item then.
    """
    inbox = Inbox() if sync else LoopInbox()
    todo, lock = iter(items), threading.Lock()

    async def work() -> None:
        while not stopped.is_set():
            with lock:
                item = next(todo, None)
            if item is None:
                return
            await do(item, inbox.put)

    most = min(concurrency, len(items))
    # Tasks only wait. Threads compete with each other and with the loop for the interpreter's lock, so there
    # are few unless the medium is slow.
    running = workers = min(_THREADS, most) if in_threads else most
    cancel = (
        _start_threads(work, workers, inbox.put) if in_threads else _start_tasks(work, workers, inbox.put)
    )
    began, moved = time.perf_counter(), 0
    failure: BaseException | None = None
    while running:
        try:
            event = await inbox.get()
            if event is None:
                running -= 1
            elif isinstance(event, BaseException):
                raise event
            elif failure is None:
                count(*event)
                moved += event[0]
                passed = time.perf_counter() - began
                if workers < most and passed > _LOOK:
                    if moved * _SLOW < passed * workers:
                        more = min(workers, most - workers)
                        _start_threads(work, more, inbox.put)
                        running += more
                        workers += more
                    began, moved = time.perf_counter(), 0
        except BaseException as error:
            if failure is None:
                failure = error
                stopped.set()
                cancel()
            elif isinstance(error, KeyboardInterrupt):
                raise  # the second Ctrl-C: don't wait for the workers
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # its traceback refers to this frame, and so to all values in hand


def _start_threads(work: Work, count: int, send: Send) -> Callable[[], None]:
    """Start threads, each of which sends its error, if any, and then None; they can't be cancelled."""

    def run() -> None:
        try:
            drive(work())
        except BaseException as error:
            send(error)
        finally:
            send(None)

    for index in range(count):
        try:
            threading.Thread(target=run, name=f"zarrstore-copy-{index}").start()
        except RuntimeError:  # no threads on this platform, or none left
            run()
    return lambda: None


def _start_tasks(work: Work, count: int, send: Send) -> Callable[[], None]:
    """Start tasks, each of which sends its error, if any, and then None; returns what cancels them."""

    def ended(task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            send(error)
        send(None)

    tasks = [asyncio.create_task(work()) for _ in range(count)]
    for task in tasks:
        task.add_done_callback(ended)

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    return cancel
