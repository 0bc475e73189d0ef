"""A pool of threads for the blocking calls of coroutines, and a mailbox per loop for their results.

A burst of results wakes a loop once, not once for each. A cancelled call that hasn't begun is withdrawn. One
that has begun is awaited, since otherwise it could take effect after a later, acknowledged call. Where
threads can't be started (WebAssembly), calls are made in place. After ``os.fork`` everything is made anew.

No thread of the pool waits for another one to become free; a pool full of such threads would wait for ever.
This is ensured as follows:

- A thread that waits for a loop makes the blocking calls of the coroutine it waits for, unless a thread of
  the pool is faster (`wait_on`).
- A value that arrives from a loop in pieces is written by an extra thread (`to_extra_thread`).
- A thread that waits for a lock which may be held for long doesn't count towards the pool (`PatientLock`).
- A thread waits for a shared part of its work only if another thread has begun it (`share`).
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

from zarrstore._core.forks import in_forked_child
from zarrstore._core.later import asyncio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence

T = TypeVar("T")

# Blocking I/O mostly waits, so there are more threads than cores; local disks gain nothing beyond 32.
POOL_SIZE = int(os.environ.get("ZARRSTORE_THREADS", "0")) or min(32, (os.cpu_count() or 1) + 4)

# A thread may run a job in one of the first two states.
_WAITING, _SUSPENDED, _RUNNING, _WITHDRAWN, DELIVERED = range(5)

# How often a loop with running calls checks the pool, in seconds, and the mean duration of a call above which
# more threads help: shorter calls only compete for the interpreter's lock.
_WATCH = 0.002
_SLOW = 0.00015

# How long a thread of the pool waits for a lock before another thread replaces it, in seconds.
_SHORTLY = 0.01
# How long interpreter exit waits for calls that have begun, in seconds.
_LEAVING = 5.0


class NoThreadError(RuntimeError):
    """No thread can be started here."""


class Continuation:
    """Returned by a call in the pool to let queued calls go first: ``rest`` does the remaining work."""

    __slots__ = ("rest",)

    def __init__(self, rest: Callable[[], object]) -> None:
        self.rest = rest


class _Postbox(Protocol):
    """Where a finished job is posted."""

    def post(self, job: Job, /) -> None: ...


class Job:
    """One call, from its submission to the pool to the delivery of its result."""

    __slots__ = ("args", "error", "function", "future", "mailbox", "result", "state", "waiter")

    def __init__(
        self,
        mailbox: _Postbox,
        future: asyncio.Future[Any] | None = None,
        function: Callable[..., object] | None = None,
        args: tuple[object, ...] = (),
    ) -> None:
        self.function = function
        self.args = args
        self.mailbox = mailbox
        self.future = future
        self.waiter = _waiter.get()
        self.state = _WAITING
        self.result: object = None
        self.error: BaseException | None = None

    def run(self, *, helping: bool = False) -> None:
        """Make the call, unless it was withdrawn or another thread has begun it."""
        with _state_lock:
            if self.state > _SUSPENDED:
                return
            self.state = _RUNNING
        assert self.function is not None
        try:
            result = self.function(*self.args)
            if type(result) is Continuation:
                self.function, self.args, self.state = result.rest, (), _SUSPENDED
                if _offer(self, self.waiter):
                    return
                result = result.rest()
            self.result = result
        except BaseException as error:
            if helping and not isinstance(error, Exception):
                raise
            self.error = error
        self.function, self.args = None, ()
        self.mailbox.post(self)

    def help(self) -> None:
        """Make the call in the thread that waits for its loop; that thread keeps exceptions from signals."""
        try:
            self.run(helping=True)
        except BaseException:
            if self.state is _RUNNING:
                self.error = asyncio.CancelledError()
                self.mailbox.post(self)
            raise

    def withdraw(self) -> bool:
        """Withdraw the call unless it has begun; return whether it was withdrawn."""
        with _state_lock:
            if self.state is _WAITING:
                self.state = _WITHDRAWN
        return self.state is _WITHDRAWN

    def deliver(self) -> None:
        """Deliver the result, on the loop that waits for it."""
        self.state = DELIVERED
        future, error = self.future, self.error
        if future is not None and not future.done():
            if error is None:
                future.set_result(self.result)
            elif isinstance(error, StopIteration):
                # A future can't carry StopIteration, which would end the wrong loop anyway.
                future.set_exception(RuntimeError(f"a store's verb raised {error!r}"))
            else:
                future.set_exception(error)
        # Otherwise error, traceback, frames and job would form a cycle that keeps buffers alive.
        self.error = self.result = None


# Takes a list of argument tuples; returns a list with a result, or an exception to raise, for each.
_BatchFunction: TypeAlias = "Callable[..., Sequence[object]]"


class _Batch:
    """Items for one function. Whenever it is free, it is called with all items that have accumulated."""

    __slots__ = ("function", "jobs", "others", "running")

    def __init__(self, function: _BatchFunction, others: dict[Hashable, _Batch]) -> None:
        self.function = function
        self.others = others
        self.jobs: list[Job] = []
        self.running = False

    def add(self, job: Job) -> bool:
        """Add an item; return whether the caller must have the batch run."""
        with _state_lock:
            self.jobs.append(job)
            if self.function in self.others:
                return False
            self.others[self.function] = self
            return True

    def run(self, *, helping: bool = False) -> None:
        """Run as long as there are items, unless another thread does."""
        with _state_lock:
            if self.running or not self.jobs:
                return
            self.running = True
        while jobs := self._take():
            signalled: BaseException | None = None
            answers: Sequence[object]
            try:
                answers = self.function([job.args for job in jobs])
            except BaseException as error:
                if helping and not isinstance(error, Exception):
                    signalled = error
                answers = [asyncio.CancelledError() if signalled else error] * len(jobs)
            for job, answer in zip(jobs, answers, strict=True):
                if isinstance(answer, BaseException):
                    job.error = answer
                else:
                    job.result = answer
                job.mailbox.post(job)
            if signalled is not None:
                self.running = False
                _offer(self, None)  # for the other tasks' items
                raise signalled

    def help(self) -> None:
        """Run in the thread that waits for its loop; that thread keeps exceptions from signals."""
        self.run(helping=True)

    def _take(self) -> list[Job]:
        with _state_lock:
            jobs, self.jobs = [job for job in self.jobs if job.state is not _WITHDRAWN], []
            for job in jobs:
                job.state = _RUNNING
            if not jobs:
                self.running = False
                del self.others[self.function]
            return jobs


class _Mailbox:
    """Finished jobs of one event loop; one wake-up delivers many."""

    __slots__ = ("_finished", "_lock", "_loop", "_watching", "_woken", "batches", "extra_threads")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.batches: dict[Hashable, _Batch] = {}
        self.extra_threads = asyncio.Semaphore(POOL_SIZE)
        self._loop = loop
        self._finished: deque[Job] = deque()
        self._lock = threading.Lock()
        self._woken = False
        self._watching = False

    def watch(self) -> None:
        """Check the pool regularly while this loop has jobs in its queue."""
        if not self._watching:
            self._watching = True
            self._loop.call_later(_WATCH, self._look)

    def _look(self) -> None:
        self._watching = False
        if _pool.adapt():
            self.watch()

    def post(self, job: Job) -> None:
        with self._lock:
            self._finished.append(job)
            if self._woken:
                return
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            pass  # the loop was closed meanwhile: nobody is waiting any more

    def _deliver(self) -> None:
        with self._lock:
            jobs = list(self._finished)
            self._finished.clear()
            self._woken = False
        for job in jobs:
            job.deliver()


class _Pool:
    """Daemon threads that take jobs from one queue; slow jobs get more threads.

    Short jobs are fastest in one thread, since more threads only pass the interpreter's lock around. Jobs
    that wait for a medium need many threads. So the pool starts with one, and doubles while slow jobs are
    queued.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: SimpleQueue[Job | _Batch | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._extra: set[threading.Thread] = set()
        self._taken = 0  # incremented without a lock: an estimate, not a count
        self._looked = 0

    def submit(self, job: Job | _Batch) -> bool:
        """Queue a job; return False if there is no thread and none can be started."""
        if not self._threads and not self._grow(1):
            return False
        self._jobs.put(job)
        return True

    def adapt(self) -> bool:
        """Start threads if the queue moves too slowly; return False once the queue is empty."""
        done, self._looked = self._taken - self._looked, self._taken
        if self._jobs.empty():
            return False
        count = len(self._threads)
        if count < self._size and done * _SLOW < _WATCH * count:
            self._grow(min(2 * count, self._size))
        return True

    def spread(self, count: int) -> None:
        """Start up to ``count`` threads, within the pool's size, for work that they share."""
        count = min(count, self._size)
        if len(self._threads) < count:
            self._grow(count)

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Let another thread replace the calling thread while it waits, if it belongs to the pool."""
        if threading.current_thread() not in self._threads:
            yield
            return
        self._resize(1)
        self._grow(len(self._threads) + 1)
        try:
            yield
        finally:
            self._resize(-1)  # the next thread that finishes a job retires

    def _resize(self, change: int) -> None:
        with self._lock:
            self._size += change

    def _grow(self, count: int) -> bool:
        with self._lock:
            while len(self._threads) < min(count, self._size):
                name = f"zarrstore-{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # threads aren't supported, or no more can be started
                    break
                self._threads.append(thread)
        return bool(self._threads)

    def _work(self) -> None:
        jobs = self._jobs
        while (job := jobs.get()) is not None:
            self._taken += 1
            job.run()
            del job
            if len(self._threads) > self._size and self._retire():
                return

    def _retire(self) -> bool:
        with self._lock:
            surplus = len(self._threads) > self._size
            if surplus:
                self._threads.remove(threading.current_thread())
        return surplus

    def start_extra(self, job: Job) -> None:
        """Make a call in a thread outside the pool."""

        def run() -> None:
            try:
                job.run()
            finally:
                self._extra.discard(thread)

        thread = threading.Thread(target=run, name="zarrstore-extra", daemon=True)
        self._extra.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._extra.discard(thread)
            raise NoThreadError from None

    def finish(self) -> None:
        """Let jobs that have begun finish, so that interpreter exit interrupts no write.

        Later jobs find no thread here: they get a new one, or run in the calling thread.
        """
        with self._lock:
            threads, self._threads = self._threads, []
            jobs, self._jobs = self._jobs, SimpleQueue()
        for _ in threads:
            jobs.put(None)
        latest = time.monotonic() + _LEAVING
        for thread in (*threads, *self._extra):
            thread.join(timeout=max(0.0, latest - time.monotonic()))


class PatientLock:
    """A re-entrant lock that may be held for long; a thread of the pool that waits for it is replaced."""

    __slots__ = ("_lock", "release")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.release = self._lock.release

    def acquire(self, *, blocking: bool = True) -> bool:
        """Acquire the lock; without ``blocking`` only if it is free."""
        if self._lock.acquire(blocking=False):
            return True
        if not blocking:
            return False
        if self._lock.acquire(timeout=_SHORTLY):
            return True
        with _pool.replaced():
            return self._lock.acquire()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


class _Waiter:
    """A thread that waits for a loop; it receives calls to make meanwhile, and the end of the wait."""

    __slots__ = ("_inbox", "post")

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Job | _Batch | list[bool]] = SimpleQueue()
        self.post = self._inbox.put

    def wait(self, ended: list[bool]) -> None:
        """Make calls until ``ended`` is not empty; the list itself is posted to mark the end.

        A call may itself wait, and so receive the end of an outer wait.
        """
        while not ended:
            got = self._inbox.get()
            if isinstance(got, list):
                got.append(True)
            else:
                got.help()
            del got


class _Own(threading.local):
    """Data of one thread."""

    def __init__(self) -> None:
        self.waiter = _Waiter()


# The thread, if any, that waits for what runs in this context.
_waiter: ContextVar[_Waiter | None] = ContextVar("zarrstore_waiter", default=None)
_own = _Own()
_state_lock = threading.Lock()
_pool = _Pool(POOL_SIZE)
_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Mailbox] = WeakKeyDictionary()


@in_forked_child
def _after_fork() -> None:
    """Drop the parent's threads, which don't exist in the child."""
    global _state_lock, _pool, _mailboxes, _own
    _own = _Own()
    _state_lock = threading.Lock()
    _pool = _Pool(POOL_SIZE)
    _mailboxes = WeakKeyDictionary()


atexit.register(lambda: _pool.finish())


async def to_thread(function: Callable[..., T], *args: object, abandon_on_cancel: bool = False) -> T:
    """Make a blocking call in the pool.

    Parameters
    ----------
    function : callable
        Called with ``args`` in a thread of the pool. It may return a `Continuation`.
    abandon_on_cancel : bool
        Whether cancellation abandons a call that has begun, which suits calls without side effects. By
        default it waits for the call to end.

    Returns
    -------
    object
        What the function returned.
    """
    loop = asyncio.get_running_loop()
    mailbox = mailbox_of(loop)
    future: asyncio.Future[T] = loop.create_future()
    job = Job(mailbox, future, function, args)
    if not _offer(job, job.waiter):
        return function(*args)
    mailbox.watch()
    try:
        return await future
    except asyncio.CancelledError:
        if not job.withdraw() and not abandon_on_cancel:
            await settle(job, loop)
        raise


async def to_extra_thread(function: Callable[..., T], *args: object) -> T:
    """Make a blocking call that waits for this loop, in a thread outside the pool.

    At most as many of these run at once as the pool has threads; the others wait on the loop.

    Raises
    ------
    NoThreadError
        If no thread can be started.
    """
    loop = asyncio.get_running_loop()
    mailbox = mailbox_of(loop)
    async with mailbox.extra_threads:
        future: asyncio.Future[T] = loop.create_future()
        job = Job(mailbox, future, function, args)
        _pool.start_extra(job)
        try:
            return await future
        except asyncio.CancelledError:
            if not job.withdraw():
                await settle(job, loop)
            raise


async def to_thread_batched(function: _BatchFunction, *args: object) -> object:
    """Make a blocking call in the pool, combined with the calls of other tasks.

    Arguments that arrive while the function runs form its next list.

    Parameters
    ----------
    function : callable
        Called with a list of argument tuples; returns a result, or an exception to raise, for each.

    Returns
    -------
    object
        The result for these arguments.
    """
    loop = asyncio.get_running_loop()
    mailbox = mailbox_of(loop)
    future: asyncio.Future[object] = loop.create_future()
    job = Job(mailbox, future, None, args)
    batch = mailbox.batches.get(function) or _Batch(function, mailbox.batches)
    if batch.add(job) and not _offer(batch, None):
        batch.run()
    elif job.waiter is not None:
        job.waiter.post(batch)
    mailbox.watch()
    try:
        return await future
    except asyncio.CancelledError:
        if not job.withdraw():
            await settle(job, loop)
        raise


def _offer(job: Job | _Batch, waiter: _Waiter | None) -> bool:
    """Queue a call for the pool, and for the thread waiting for it, if any; False if there are no threads."""
    if not _pool.submit(job):
        return False
    if waiter is not None:
        waiter.post(job)
    return True


def share(function: Callable[[], T], *, among: int = 2) -> Callable[[], T]:
    """Offer part of the caller's work to the pool; return a function that gives the result.

    If no thread has begun the part when the result is needed, the caller does it itself. So threads of the
    pool may share work too, and no thread ever waits for one that doesn't exist.

    Parameters
    ----------
    function : callable
        The part of the work.
    among : int
        How many threads should work on the whole.
    """
    ended = threading.Event()

    class Notice:
        def post(self, job: Job) -> None:
            ended.set()

    job = Job(Notice(), None, function)
    if not _pool.submit(job):
        return function
    _pool.spread(among)

    def result() -> T:
        if job.withdraw():
            return function()
        ended.wait()
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    return result


def mailbox_of(loop: asyncio.AbstractEventLoop) -> _Mailbox:
    """Return the mailbox of an event loop."""
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _mailboxes[loop] = _Mailbox(loop)
    return mailbox


async def settle(job: Job, loop: asyncio.AbstractEventLoop) -> None:
    """Wait until a job that has begun ends, however often the wait is cancelled."""
    while job.state is not DELIVERED:
        job.future = loop.create_future()
        try:
            await job.future
        except BaseException:
            pass


def wait_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[object, object, T]) -> T:
    """Run a coroutine on a loop that runs in another thread, and wait for it.

    The blocking calls that it needs are made here meanwhile, unless a thread of the pool is faster. So a
    pool whose threads all wait like this can't deadlock.
    """
    if sys.is_finalizing():  # threads are stopped by now
        coroutine.close()
        raise RuntimeError("the interpreter is ending, and no event loop runs any more")
    tasks: list[asyncio.Task[T]] = []
    ended: list[bool] = []
    waiter = _own.waiter

    def start() -> None:
        task = loop.create_task(coroutine)
        tasks.append(task)
        task.add_done_callback(lambda _: waiter.post(ended))

    # Callbacks, and tasks created in them, inherit the context of this moment.
    before = _waiter.set(waiter)
    try:
        loop.call_soon_threadsafe(start)
    finally:
        _waiter.reset(before)
    try:
        waiter.wait(ended)
    except BaseException:
        # Ctrl-C in the caller must not leave the call running unnoticed: wait for its end as well.
        loop.call_soon_threadsafe(lambda: tasks[0].cancel())
        waiter.wait(ended)
        raise
    task = tasks.pop()
    try:
        return task.result()
    finally:
        del task  # otherwise an error, its traceback, this frame and the task would form a cycle
