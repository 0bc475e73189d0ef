"""The process's private event loop, in its own thread, which runs awaiting stores for any thread and loop.

A server's client belongs to the loop that opened its connections. So all clients belong to this loop, and
blocking code and other loops make their calls here. After ``os.fork`` a new loop is made.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from zarrstore._async.threads import DELIVERED, Job, mailbox_of, settle, wait_on
from zarrstore._core.forks import in_forked_child
from zarrstore._core.later import asyncio

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_io_lock = threading.Lock()
_io_loop: asyncio.AbstractEventLoop | None = None


@in_forked_child
def _after_fork() -> None:
    """Drop the parent's thread, which doesn't exist in the child."""
    global _io_lock, _io_loop
    _io_lock = threading.Lock()
    _io_loop = None


def io_loop() -> asyncio.AbstractEventLoop:
    """Return the process's private event loop, running in its own thread."""
    global _io_loop
    if _io_loop is None:
        with _io_lock:
            if _io_loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=_run_loop, args=(loop,), name="zarrstore-io", daemon=True).start()
                _io_loop = loop
    return _io_loop


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def on_io_thread() -> bool:
    """Whether the caller is on the private event loop."""
    try:
        return asyncio.get_running_loop() is _io_loop
    except RuntimeError:
        return False


def run_on_io(coroutine: Coroutine[object, object, T]) -> T:
    """Run a coroutine on the private event loop and wait for it, from any other thread.

    Raises
    ------
    RuntimeError
        If called on the private loop itself, where the wait would never end.
    """
    if on_io_thread():
        coroutine.close()
        raise RuntimeError(
            "a synchronous call on zarrstore's own I/O thread would wait for itself; await instead"
        )
    return wait_on(io_loop(), coroutine)


async def await_on_io(coroutine: Coroutine[object, object, T]) -> T:
    """Await a coroutine on the private event loop, from any loop; if cancelled, wait for it to end."""
    if on_io_thread():
        return await coroutine
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    job = Job(mailbox_of(loop), future)
    tasks: list[asyncio.Task[T]] = []

    def start() -> None:
        task = asyncio.ensure_future(coroutine)
        tasks.append(task)
        task.add_done_callback(ended)

    def ended(task: asyncio.Task[T]) -> None:
        if task.cancelled():
            job.error = asyncio.CancelledError()
        else:
            job.error = task.exception()
            if job.error is None:
                job.result = task.result()
        job.mailbox.post(job)

    remote = io_loop()
    remote.call_soon_threadsafe(start)
    try:
        return await future
    except asyncio.CancelledError:
        if job.state is not DELIVERED:
            remote.call_soon_threadsafe(lambda: tasks[0].cancel())
            await settle(job, loop)
        raise
