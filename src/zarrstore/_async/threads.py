"""Threads: one pool, one mailbox an event loop, one I/O loop thread; all re-made after ``os.fork``.

A hop is a blocking call made for a coroutine. Results come back through one mailbox an event loop,
so that a burst of them wakes the loop once, not once each. A hop that is cancelled before it began
is withdrawn; one that began is waited for, since its effect could otherwise land after a later,
acknowledged call's. Where threads can't be started (WebAssembly) the call is made in place.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

# Blocking I/O waits more than it computes, so more threads than cores; 32 is where local disks level off.
POOL_SIZE = int(os.environ.get("ZARRSTORE_THREADS", "0")) or min(32, (os.cpu_count() or 1) + 4)

_WAITING, _RUNNING, _WITHDRAWN, _DELIVERED = range(4)

# How often a loop with hops under way looks at the pool, in seconds, and the mean time of a job
# above which more threads help: shorter ones only hand the interpreter's lock around.
_WATCH = 0.002
_SLOW = 0.00015


class Continuation:
    """What a call in the pool returns that wants to go on behind those that are waiting: the rest of it."""

    __slots__ = ("rest",)

    def __init__(self, rest: Callable[[], Any]) -> None:
        self.rest = rest


class _Job:
    """One call on its way through the pool and back."""

    __slots__ = ("args", "error", "function", "future", "mailbox", "result", "state")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        mailbox: _Mailbox,
        future: asyncio.Future[Any],
    ) -> None:
        self.function = function
        self.args = args
        self.mailbox = mailbox
        self.future = future
        self.state = _WAITING
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        with _state_lock:
            if self.state is _WITHDRAWN:
                return
            self.state = _RUNNING
        try:
            result = self.function(*self.args)
            if type(result) is Continuation:
                self.function, self.args = result.rest, ()
                if _pool.submit(self):
                    return
                result = result.rest()
            self.result = result
        except BaseException as error:
            self.error = error
        self.mailbox.post(self)

    def withdraw(self) -> bool:
        with _state_lock:
            if self.state is _WAITING:
                self.state = _WITHDRAWN
        return self.state is _WITHDRAWN

    def deliver(self) -> None:
        self.state = _DELIVERED
        future, error = self.future, self.error
        if not future.done():
            if error is None:
                future.set_result(self.result)
            elif isinstance(error, StopIteration):
                # A future can't carry it; it would end the wrong loop anyway.
                future.set_exception(RuntimeError(f"a store's verb raised {error!r}"))
            else:
                future.set_exception(error)
        # Error, traceback, frames and job would otherwise form a cycle that keeps buffers alive.
        self.error = self.result = None


class _Batch:
    """Items for one function, which is called with as many as there are whenever it is free."""

    __slots__ = ("function", "jobs", "others")

    def __init__(self, function: Callable[[list[Any]], list[Any]], others: dict[Any, _Batch]) -> None:
        self.function = function
        self.others = others
        self.jobs: list[_Job] = []

    def add(self, job: _Job) -> bool:
        """Take up an item; whether somebody has to run the batch."""
        with _state_lock:
            self.jobs.append(job)
            if self.function in self.others:
                return False
            self.others[self.function] = self
            return True

    def run(self) -> None:
        while jobs := self._take():
            try:
                answers = self.function([job.args for job in jobs])
            except BaseException as error:
                answers = [error] * len(jobs)
            for job, answer in zip(jobs, answers, strict=True):
                if isinstance(answer, BaseException):
                    job.error = answer
                else:
                    job.result = answer
                job.mailbox.post(job)

    def _take(self) -> list[_Job]:
        with _state_lock:
            jobs, self.jobs = [job for job in self.jobs if job.state is not _WITHDRAWN], []
            for job in jobs:
                job.state = _RUNNING
            if not jobs:
                del self.others[self.function]
            return jobs


class _Mailbox:
    """Finished jobs of one event loop, delivered many at a wake-up."""

    __slots__ = ("_finished", "_lock", "_loop", "_watching", "_woken", "batches")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.batches: dict[Any, _Batch] = {}
        self._loop = loop
        self._finished: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._woken = False
        self._watching = False

    def watch(self) -> None:
        """Look after the pool for as long as this loop has jobs in its queue."""
        if not self._watching:
            self._watching = True
            self._loop.call_later(_WATCH, self._look)

    def _look(self) -> None:
        self._watching = False
        if _pool.adapt():
            self.watch()

    def post(self, job: _Job) -> None:
        with self._lock:
            self._finished.append(job)
            if self._woken:
                return
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            pass  # the loop was closed meanwhile: nobody waits any more

    def _deliver(self) -> None:
        with self._lock:
            jobs = list(self._finished)
            self._finished.clear()
            self._woken = False
        for job in jobs:
            job.deliver()


class _Pool:
    """Daemon threads that take jobs from one queue; as many as the jobs' slowness is worth.

    One thread serves short jobs best, since more of them only hand the interpreter's lock around;
    jobs that wait for a medium want many. So the pool starts with one and doubles while its queue
    holds jobs that take long.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: SimpleQueue[_Job | _Batch | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._taken = 0  # grows without a lock: a hint, not a count
        self._looked = 0

    def submit(self, job: _Job | _Batch) -> bool:
        """Queue a job; False if there is no thread and none can be started."""
        if not self._threads and not self._grow(1):
            return False
        self._jobs.put(job)
        return True

    def adapt(self) -> bool:
        """Start threads if the queue moves too slowly; False once there is nothing to look after."""
        done, self._looked = self._taken - self._looked, self._taken
        if self._jobs.empty():
            return False
        count = len(self._threads)
        if count < self._size and done * _SLOW < _WATCH * count:
            self._grow(min(2 * count, self._size))
        return True

    def spread(self, count: int) -> None:
        """Have so many threads, as far as may be, for work that they share."""
        count = min(count, self._size)
        if len(self._threads) < count:
            self._grow(count)

    def _grow(self, count: int) -> bool:
        with self._lock:
            while len(self._threads) < count:
                name = f"zarrstore-{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no threads here, or none left
                    break
                self._threads.append(thread)
        return bool(self._threads)

    def _work(self) -> None:
        jobs = self._jobs
        while (job := jobs.get()) is not None:
            self._taken += 1
            job.run()
            del job

    def finish(self) -> None:
        """Let jobs that have begun end, so that leaving the interpreter tears no write apart."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=5)


_state_lock = threading.Lock()
_pool = _Pool(POOL_SIZE)
_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Mailbox] = WeakKeyDictionary()
_io_lock = threading.Lock()
_io_loop: asyncio.AbstractEventLoop | None = None


def _after_fork() -> None:
    """Forget the parent's threads, which don't exist in the child."""
    global _state_lock, _pool, _mailboxes, _io_lock, _io_loop
    _state_lock = threading.Lock()
    _pool = _Pool(POOL_SIZE)
    _mailboxes = WeakKeyDictionary()
    _io_lock = threading.Lock()
    _io_loop = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pool.finish())


async def to_thread(function: Callable[..., T], *args: Any, abandon_on_cancel: bool = False) -> T:
    """Make a blocking call in the pool.

    Parameters
    ----------
    function : callable
        Called with ``args`` in a thread of the pool. It may return `Continuation`.
    abandon_on_cancel : bool
        What cancellation does to a call that has begun: wait for its end (False, the default) or
        leave it behind, for calls that have no effect on anything.

    Returns
    -------
    object
        What the function returned.
    """
    loop = asyncio.get_running_loop()
    mailbox = _mailbox(loop)
    job = _Job(function, args, mailbox, loop.create_future())
    if not _pool.submit(job):
        return function(*args)
    mailbox.watch()
    try:
        return await job.future  # type: ignore[no-any-return]
    except asyncio.CancelledError:
        if not job.withdraw() and not abandon_on_cancel:
            await _settle(job, loop)
        raise


async def to_thread_batched(function: Callable[[list[Any]], list[Any]], *args: Any) -> Any:
    """Have a blocking call made in the pool for some arguments, and for those of other tasks with them.

    What comes while the function is at work waits, and is its next list.

    Parameters
    ----------
    function : callable
        Called with a list of tuples of arguments; returns an answer for each, or an exception to raise.

    Returns
    -------
    object
        Its answer for these arguments.
    """
    loop = asyncio.get_running_loop()
    mailbox = _mailbox(loop)
    job = _Job(function, args, mailbox, loop.create_future())
    batch = mailbox.batches.get(function) or _Batch(function, mailbox.batches)
    if batch.add(job) and not _pool.submit(batch):
        batch.run()
    mailbox.watch()
    try:
        return await job.future
    except asyncio.CancelledError:
        if not job.withdraw():
            await _settle(job, loop)
        raise


def share(function: Callable[[], T], *, among: int = 2) -> Callable[[], T]:
    """Offer a part of one's own work to the pool; returns what gives its result.

    If no thread has taken it up by the time that the result is wanted, the caller does it itself: so
    threads of the pool may share work too, and none ever waits for a thread that isn't there.

    Parameters
    ----------
    function : callable
        The part.
    among : int
        How many threads are to have a part of the whole.
    """
    ended = threading.Event()

    class Notice:
        def post(self, job: _Job) -> None:
            ended.set()

    job = _Job(function, (), Notice(), None)  # type: ignore[arg-type]
    if not _pool.submit(job):
        return function
    _pool.spread(among)

    def result() -> T:
        if job.withdraw():
            return function()
        ended.wait()
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[no-any-return]

    return result


def _mailbox(loop: asyncio.AbstractEventLoop) -> _Mailbox:
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _mailboxes[loop] = _Mailbox(loop)
    return mailbox


async def _settle(job: _Job, loop: asyncio.AbstractEventLoop) -> None:
    """Wait until a job that has begun ends, however often the waiting is cancelled."""
    while job.state is not _DELIVERED:
        job.future = loop.create_future()
        try:
            await job.future
        except BaseException:
            pass


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


def run_on_io(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the private event loop and wait for it, from any other thread.

    Raises
    ------
    RuntimeError
        If called on the private loop itself, where waiting would never end.
    """
    if on_io_thread():
        coroutine.close()
        raise RuntimeError(
            "a synchronous call on zarrstore's own I/O thread would wait for itself; await instead"
        )
    loop = io_loop()
    tasks: list[asyncio.Task[T]] = []
    ended: SimpleQueue[None] = SimpleQueue()

    def start() -> None:
        task = loop.create_task(coroutine)
        tasks.append(task)
        task.add_done_callback(lambda _: ended.put(None))

    loop.call_soon_threadsafe(start)
    try:
        ended.get()
    except BaseException:
        # Ctrl-C in the caller must not leave the call running unseen: its end is waited for as well.
        loop.call_soon_threadsafe(lambda: tasks[0].cancel())
        ended.get()
        raise
    task = tasks.pop()
    try:
        return task.result()
    finally:
        del task  # else an error, its traceback, this frame and the task form a cycle


async def await_on_io(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine on the private event loop, from any loop; cancelled, it waits for its end."""
    if on_io_thread():
        return await coroutine
    loop = asyncio.get_running_loop()
    job = _Job(_no_call, (), _mailbox(loop), loop.create_future())
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
        return await job.future  # type: ignore[no-any-return]
    except asyncio.CancelledError:
        if job.state is not _DELIVERED:
            remote.call_soon_threadsafe(lambda: tasks[0].cancel())
            await _settle(job, loop)
        raise


def _no_call() -> None:
    """Stand where a job of the pool has its function: a job of the I/O loop has none."""
