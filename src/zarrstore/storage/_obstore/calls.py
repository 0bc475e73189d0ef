"""Calls to obstore that the process waits for before the interpreter exits.

A thread of obstore that delivers an answer wakes the event loop, and then needs the interpreter once more. If
the interpreter is exiting by then, CPython (until 3.14) ends the thread, which makes Rust abort the process:
SIGABRT. Such a thread keeps the future of its answer until it has finished, so that is what is waited for.
"""

from __future__ import annotations

import asyncio
import atexit
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import ref

from zarrstore._core.forks import in_forked_child
from zarrstore.errors import MissingDependencyError

try:
    import obstore
    from obstore.store import MemoryStore
except ImportError as error:
    raise MissingDependencyError(
        "stores over obstore need the package obstore.", hint="pip install 'zarrstore[obstore]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from obstore import Bytes, GetResult, ObjectMeta
    from obstore.store import ObjectStore as ObstoreStore

P = ParamSpec("P")
T = TypeVar("T")

# How long exit waits, in seconds: for answers that a running loop expects; for futures that may never be
# finished, such as those in the queue of a stopped loop; and between two checks.
_LEAVING, _SHORTLY, _STEP = 5.0, 1.0, 0.0005

_held: set[ref[asyncio.Future[Any]]] = set()
_has_left = False


def _watched(call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Wrap a function of obstore so that exit waits for its futures."""

    def watched(*args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        if _has_left:
            return to_the_end(*args, **kwargs)
        future = call(*args, **kwargs)
        _hold(future)
        return future

    async def to_the_end(*args: P.args, **kwargs: P.kwargs) -> T:
        """Wait at once, for exit handlers that run after ours, since nothing else waits for them."""
        future = call(*args, **kwargs)
        held = _hold(future)
        try:
            return await future
        finally:
            del future
            latest = time.monotonic() + _SHORTLY
            while held in _held and time.monotonic() < latest:
                _let_go()
                await asyncio.sleep(_STEP)

    return watched


def _hold(future: Any) -> ref[asyncio.Future[Any]]:
    """Remember a future as long as anything, Rust included, refers to it."""
    held = ref(future, _held.discard)
    _held.add(held)
    return held


def _let_go() -> None:
    """Make Rust release objects that it dropped without the interpreter's lock; any call into it does."""
    MemoryStore()


@atexit.register
def _leave() -> None:
    """Wait for obstore's threads."""
    global _has_left
    _has_left = True
    held = _held.copy()  # only those that exist now: other threads may continue for ever
    begun = last = time.monotonic()
    while not held.isdisjoint(_held):
        now = time.monotonic()
        if any(map(_is_expected, held)):
            last = now
        if now > last + _SHORTLY or now > begun + _LEAVING:
            return
        _let_go()
        time.sleep(_STEP)


def _is_expected(held: ref[asyncio.Future[Any]]) -> bool:
    future = held()
    return future is not None and not future.done() and future.get_loop().is_running()


in_forked_child(_held.clear)  # threads stay in the parent

copy = _watched(obstore.copy_async)
delete = _watched(obstore.delete_async)
get = _watched(obstore.get_async)
get_range = _watched(obstore.get_range_async)
head = _watched(obstore.head_async)
list_level = _watched(obstore.list_with_delimiter_async)
put = _watched(obstore.put_async)


@_watched
def buffer(answer: GetResult) -> Awaitable[Bytes]:
    """Return the bytes of an answer."""
    return answer.buffer_async()


class Pages:
    """The pages of a listing of what comes after a path.

    Parameters
    ----------
    store : obstore.store.ObjectStore
        The store to list.
    prefix, start : str or None
        The directory, and the path to start after.
    size : int
        How many entries a page has.
    """

    __slots__ = ("_next",)

    def __init__(self, store: ObstoreStore, prefix: str | None, start: str | None, size: int) -> None:
        self._next = _watched(obstore.list(store, prefix, offset=start, chunk_size=size).__anext__)

    def __aiter__(self) -> Pages:
        return self

    def __anext__(self) -> Awaitable[Sequence[ObjectMeta]]:
        return self._next()
