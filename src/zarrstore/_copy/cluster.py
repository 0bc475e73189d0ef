"""Work on a Dask cluster: sends pieces of it to workers, a few at a time, and collects the results.

Dask isn't imported: the caller's client is all that is needed. A piece whose worker dies goes to another one,
so running a piece twice must be safe.
"""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast
from uuid import uuid4

from zarrstore._copy.places import innermost
from zarrstore._copy.running import to_the_end
from zarrstore._copy.value import StoppedError
from zarrstore.errors import BackendError, RefusedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping

    from zarrstore.abc.store import Store

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")

# The most keys and bytes in a piece (one value alone may have more). That much is repeated if a worker dies,
# and it keeps a worker busy for longer than it takes to send a piece.
_KEYS = 1000
_BYTES = 256 << 20
# How many pieces are in flight per thread of the cluster: one runs, and one waits.
_AHEAD = 2
# Seconds between checks for a stop, while waiting for a piece.
_LOOK = 0.1


class Future(Protocol):
    """The part of `distributed.Future` that is used here."""

    def add_done_callback(self, fn: Callable[[Future], object], /) -> object:
        """Have a function called when it is done."""

    def result(self) -> object:
        """Return the result, or raise the error."""

    def cancel(self) -> object:
        """Drop it; a worker that has begun finishes it anyway."""


class Client(Protocol):
    """The part of `distributed.Client` that is used here."""

    @property
    def asynchronous(self) -> bool:
        """Whether its results must be awaited in the calling context."""

    def submit(self, func: Callable[..., object], /, *args: object, pure: bool) -> Future:
        """Have a worker call a function."""

    def nthreads(self) -> object:
        """Return the number of threads of each worker, by address."""


class Pieces(Generic[T, R]):
    """Hands out items to a cluster in pieces, and gathers the results.

    Parameters
    ----------
    client : Client
        The cluster's client.
    run : callable
        Does a piece in a worker; it is pickled once, and unpickled once in each worker.
    take : callable
        Called with the result of each piece, in any order, while `put` or `drain` is awaited.
    size_of : callable
        Returns an item's size in bytes.
    stopped : threading.Event
        Ends the wait when set.
    sync : bool
        Whether to wait in the calling thread instead of on an event loop.
    """

    def __init__(
        self,
        client: Client,
        run: Callable[[list[T]], R],
        take: Callable[[R], object],
        size_of: Callable[[T], int],
        stopped: threading.Event,
        *,
        sync: bool,
    ) -> None:
        self._client = client
        # With a unique name, so that no worker mistakes it for an earlier job on the same places.
        self._job = pickle.dumps((uuid4().hex, run))
        self._take = take
        self._size_of = size_of
        self._stopped = stopped
        self._sync = sync
        self._held: list[T] = []
        self._size = 0
        self._started = 0
        self._running: dict[int, Future] = {}
        self._done: SimpleQueue[int] = SimpleQueue()

    async def put(self, todos: list[T]) -> None:
        """Hand over work; waits while enough pieces are in flight."""
        for item in todos:
            size = self._size_of(item)
            if self._held and (len(self._held) >= _KEYS or self._size + size > _BYTES):
                await self._send()
            self._held.append(item)
            self._size += size

    async def drain(self) -> None:
        """Wait until all is done."""
        if self._held:
            await self._send()
        while self._running:
            self._take(await self._call(self._receive))

    async def close(self) -> None:
        """Drop pieces that are still in flight."""
        if self._running:
            await self._call(self._cancel)

    async def _send(self) -> None:
        most = await self._call(self._start)
        self._held, self._size = [], 0
        while len(self._running) >= most:
            self._take(await self._call(self._receive))

    async def _call(self, call: Callable[[], A]) -> A:
        return call() if self._sync else await to_the_end(call, self._stopped)

    def _start(self) -> int:
        """Send the held items to a worker; return how many pieces may be in flight."""
        number = self._started
        with _cluster_errors():
            future = self._client.submit(run_piece, self._job, self._held, pure=False)
            self._running[number] = future
            self._started += 1
            future.add_done_callback(lambda _: self._done.put(number))
            threads = cast("Mapping[str, int]", self._client.nthreads())
            return _AHEAD * max(1, sum(threads.values()))

    def _receive(self) -> R:
        """Wait until a piece is done; return its result."""
        while not self._stopped.is_set():
            try:
                number = self._done.get(timeout=_LOOK)
            except Empty:
                continue
            with _cluster_errors():
                return cast("R", self._running.pop(number).result())
        raise StoppedError

    def _cancel(self) -> None:
        try:
            for future in self._running.values():
                future.cancel()
        except Exception:
            pass  # a cluster that is gone has dropped all pieces
        self._running.clear()


@contextmanager
def _cluster_errors() -> Iterator[None]:
    """Raise `BackendError` if the cluster fails; errors of a piece are raised as they are."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "distributed":
            raise
        raise BackendError(
            f"the cluster failed: {error}", hint="See what its scheduler and its workers have logged."
        ) from error


@lru_cache(maxsize=4)
def _loaded(job: bytes) -> Callable[[list[object]], object]:
    """Unpickle a job, once in each worker, since opening an archive is slow."""
    run: Callable[[list[object]], object] = pickle.loads(job)[1]
    return run


def run_piece(job: bytes, piece: list[object]) -> object:
    """Do a piece in a worker; Dask's dashboard shows this function's name."""
    return _loaded(job)(piece)


def refuse_own_loop(client: Client | None) -> None:
    """Refuse to block the event loop that a client runs on.

    Raises
    ------
    RuntimeError
        If a blocking call would wait for the loop that it runs on.
    """
    if client is not None and client.asynchronous:
        raise RuntimeError(
            "this client runs on the event loop that the call would block: await the async form instead"
        )


def refuse_unreachable(store: Store, *, writes: bool = False) -> None:
    """Refuse a store that workers can't open, or can't write to concurrently.

    Raises
    ------
    RefusedError
        If it is in this process, allows only one writer, or can't be pickled.
    """
    from zarrstore.storage._zip.store import ZipStore

    inner, _ = innermost(store)
    reason = hint = ""
    if not store.capabilities.shared:
        reason = "this store is in the memory of one process, which no worker of a cluster sees."
        hint = "Use a folder or a bucket that all workers reach, or no cluster."
    elif isinstance(inner, ZipStore) and writes:
        reason = "a zip archive has one writer, and a cluster's workers are many."
        hint = "Write to a folder or a bucket, or use no cluster."
    elif isinstance(inner, ZipStore) and not inner.read_only:
        reason = "this archive is open for writing, so no worker of a cluster can open it."
        hint = "Close it, and open it with mode='r'."
    elif writes and store.capabilities.transactional:
        reason = "what a cluster's workers write would be in sessions of theirs, and not in this one."
        hint = "Use no cluster."
    else:
        try:
            pickle.dumps(store)
        except Exception as error:
            reason = f"this store can't be pickled, so no worker of a cluster can open it: {error}."
            hint = "Make it from a path, a URL or plain options."
    if reason:
        raise RefusedError(reason, store=store, hint=hint)
