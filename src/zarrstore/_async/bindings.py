"""Binds a store's verbs to the calling thread, to an event loop, or to the verbs below a wrapper.

`SyncVerbs` calls blocking verbs in the calling thread. `ThreadedVerbs` calls them in a pool of threads, for
an event loop. `NativeAsyncVerbs` passes coroutines on. `WrapperVerbs` puts a wrapper's verbs on top of those
below it, and `ReadOnlyVerbs` refuses changes.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from zarrstore._async import concurrency, threads
from zarrstore._core.later import asyncio
from zarrstore._core.verbs import ANY, DEFAULT_USES, LISTINGS, NAMES, OPTIONAL, Verbs, defines, drive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator

    from typing_extensions import TypeIs

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data, Pieces
    from zarrstore._core.verbs import Conflict, Entry, Precondition, Request, Write

# How long a thread goes on with a listing before it hands over its pages, in seconds.
_MOMENT = 0.001

S = TypeVar("S")
T = TypeVar("T")
T_Store = TypeVar("T_Store")
T_Bound = TypeVar("T_Bound", bound="_Bound[BlockingStore] | _Bound[AwaitingStore]")


class BlockingStore(Protocol):
    """A store whose verbs block."""

    def _read(self, key: str, request: ByteRequest | None, allocate: Allocate, /) -> Data | None: ...
    def _write(self, key: str, pieces: Pieces, condition: Precondition, /) -> str | Conflict | None: ...
    def _remove(self, key: str, condition: Precondition, /) -> Conflict | None: ...
    def _scan(self, prefix: str, deep: bool, sizes: bool, /) -> Iterable[list[Entry]]: ...
    def _read_many(self, requests: Iterable[Request], allocate: Allocate, /) -> Iterable[Data | None]: ...
    def _stat(self, key: str, /) -> Entry | None: ...
    def _remove_many(self, keys: Iterable[str], /) -> None: ...


class AwaitingStore(Protocol):
    """A store whose verbs await."""

    def _read(
        self, key: str, request: ByteRequest | None, allocate: Allocate, /
    ) -> Awaitable[Data | None]: ...
    def _write(
        self, key: str, pieces: AnyPieces, condition: Precondition, /
    ) -> Awaitable[str | Conflict | None]: ...
    def _remove(self, key: str, condition: Precondition, /) -> Awaitable[Conflict | None]: ...
    def _scan(self, prefix: str, deep: bool, sizes: bool, /) -> AsyncIterator[list[Entry]]: ...


def weak(store: T) -> Callable[[], T]:
    """Return a weak reference to a store. It is never dead, since users of the verbs hold the store."""
    return weakref.ref(store)  # type: ignore[return-value]


class _Bound(Verbs, Generic[T_Store]):
    """Verbs that their store keeps; they refer to it weakly, which avoids a reference cycle."""

    __slots__ = ("store",)

    def __init__(self, store: T_Store) -> None:
        self.store = weak(store)

    @classmethod
    def optional(cls, name: str) -> Callable[..., object]:
        """Make the method for an optional verb that a store defines."""
        raise NotImplementedError


class SyncVerbs(_Bound[BlockingStore]):
    """Blocking verbs, called in the calling thread."""

    __slots__ = ()

    async def sleep(self, seconds: float) -> None:
        """Block the thread."""
        time.sleep(seconds)  # noqa: ASYNC251 - this coroutine is driven, so there is no loop to block

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Call in the calling thread."""
        return function(*args)

    async def for_each(self, call: Callable[[S], Awaitable[T]], items: Iterable[S]) -> list[T]:
        """Make the calls one after the other."""
        return [await call(item) for item in items]

    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        """Call the store's verb."""
        return self.store()._read(key, request, allocate)

    async def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> str | Conflict | None:
        """Call the store's verb; async pieces are driven one by one."""
        return self.store()._write(key, _driven(pieces), condition)

    async def write_many(self, writes: list[Write]) -> list[object]:
        """Write one after the other, or with the store's own method for many writes."""
        return write_each(self.store(), writes)

    async def remove(self, key: str, condition: Precondition = ANY) -> Conflict | None:
        """Call the store's verb."""
        return self.store()._remove(key, condition)

    async def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Iterate over the store's verb."""
        for page in self.store()._scan(prefix, deep, sizes):
            yield page

    @classmethod
    def optional(cls, name: str) -> Callable[..., object]:
        """Make the method for an optional verb that a store defines."""
        attribute = "_" + name

        async def verb(self: SyncVerbs, *args: object) -> object:
            return getattr(self.store(), attribute)(*args)

        async def listing(self: SyncVerbs, prefix: str) -> AsyncIterator[list[str]]:
            for page in getattr(self.store(), attribute)(prefix):
                yield page

        return listing if name in LISTINGS else verb


def _driven(pieces: AnyPieces) -> Pieces:
    """Return pieces that a blocking verb can iterate over without a loop."""
    return drive_each(pieces) if is_stream(pieces) else pieces


def drive_each(items: AsyncIterable[T]) -> Iterator[T]:
    """Iterate without a loop over an async iterator that never suspends."""
    iterator = aiter(items)
    while True:
        try:
            yield drive(anext(iterator))
        except StopAsyncIteration:
            return


class ThreadedVerbs(_Bound[BlockingStore]):
    """Blocking verbs for an event loop: each call is made in a thread of the pool."""

    __slots__ = ()

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run."""
        await asyncio.sleep(seconds)

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Call in a thread."""
        return await threads.to_thread(function, *args, abandon_on_cancel=True)

    async def for_each(self, call: Callable[[S], Awaitable[T]], items: Iterable[S]) -> list[T]:
        """Make the calls one after the other; bulk verbs distribute larger amounts of work."""
        return [await call(item) for item in items]

    def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Awaitable[Data | None]:
        """Read in a thread."""
        return threads.to_thread(self.store()._read, key, request, allocate, abandon_on_cancel=True)

    async def read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Distribute the reads among threads, for media that serve many at once."""
        asked = list(requests)
        return await self.read_in_threads(asked, allocate) if asked else []

    async def read_in_threads(self, asked: list[Request], allocate: Allocate) -> list[Data | None]:
        """Read many values in the pool; results are in the order of the requests."""
        share = -(-len(asked) // threads.POOL_SIZE)
        parts = [asked[start : start + share] for start in range(0, len(asked), share)]
        calls = [
            threads.to_thread(read_each, self.store(), part, allocate, abandon_on_cancel=True)
            for part in parts
        ]
        return [value for values in await asyncio.gather(*calls) for value in values]

    async def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> str | Conflict | None:
        """Write in a thread."""
        write = self.store()._write
        if is_stream(pieces):
            return await self.write_stream(write, key, pieces, condition)
        return await threads.to_thread(write, key, pieces, condition)

    async def write_stream(
        self, write: Callable[..., T], key: str, pieces: AsyncIterable[Data], condition: Precondition
    ) -> T:
        """Write pieces that this loop awaits, in a thread outside the pool, as that thread waits for it."""
        try:
            each = _fetch_each(pieces, asyncio.get_running_loop())
            return await threads.to_extra_thread(write, key, each, condition)
        except threads.NoThreadError:
            return await threads.to_thread(write, key, [piece async for piece in pieces], condition)

    async def write_many(self, writes: list[Write]) -> list[object]:
        """Write in one thread."""
        return await threads.to_thread(write_each, self.store(), writes)

    async def remove(self, key: str, condition: Precondition = ANY) -> Conflict | None:
        """Remove in a thread."""
        return await threads.to_thread(self.store()._remove, key, condition)

    async def stat(self, key: str) -> Entry | None:
        """Look up in a thread."""
        return await threads.to_thread(self.store()._stat, key, abandon_on_cancel=True)

    async def remove_many(self, keys: Iterable[str]) -> None:
        """Remove in one thread."""
        await threads.to_thread(self.store()._remove_many, keys)

    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """List in a thread, page by page."""
        return self.listed(self.store()._scan, prefix, deep, sizes)

    async def listed(self, verb: Callable[..., Iterable[T]], *args: object) -> AsyncIterator[T]:
        """Iterate in threads over a verb that yields pages."""
        iterator, error = _lazily(verb, args), None
        try:
            while error is None:
                pages, error = await threads.to_thread(_some, iterator)
                for page in pages:
                    yield page
            if not isinstance(error, StopIteration):
                raise error
        finally:
            error = None  # otherwise it, its traceback and this frame would form a cycle
            iterator.close()

    @classmethod
    def optional(cls, name: str) -> Callable[..., object]:
        """Make the method for an optional verb that a store defines."""
        attribute = "_" + name
        idle = name == "read_versioned"

        async def verb(self: ThreadedVerbs, *args: object) -> object:
            return await threads.to_thread(getattr(self.store(), attribute), *args, abandon_on_cancel=idle)

        def listing(self: ThreadedVerbs, prefix: str) -> AsyncIterator[list[str]]:
            return self.listed(getattr(self.store(), attribute), prefix)

        return listing if name in LISTINGS else verb


def read_each(store: BlockingStore, requests: list[Request], allocate: Allocate) -> list[Data | None]:
    """Read many values in the calling thread."""
    if defines(type(store), "read_many"):
        return list(store._read_many(requests, allocate))
    return [store._read(key, request, allocate) for key, request in requests]


def write_each(store: BlockingStore, writes: list[Write]) -> list[object]:
    """Write many values in the calling thread; return the results up to and including the first error."""
    together: Callable[[list[Write]], list[object]] | None = getattr(store, "_write_many", None)
    if together is not None:
        return together(writes)
    answers: list[object] = []
    try:
        answers.extend(store._write(*write) for write in writes)
    except Exception as error:
        answers.append(error)
    return answers


def _lazily(verb: Callable[..., Iterable[T]], args: tuple[object, ...]) -> Generator[T]:
    """Call a verb once its first page is wanted."""
    yield from verb(*args)


def _some(pages: Iterator[T]) -> tuple[list[T], Exception | None]:
    """Take pages for a moment, since a thread costs more than a short page.

    Returns
    -------
    pages : list
        What was taken.
    error : Exception or None
        What ended the listing, `StopIteration` if nothing went wrong; None if there may be more.
    """
    taken: list[T] = []
    until = time.monotonic() + _MOMENT
    try:
        while not taken or time.monotonic() < until:
            taken.append(next(pages))
    except Exception as error:
        return taken, error
    return taken, None


def is_stream(pieces: AnyPieces) -> TypeIs[AsyncIterable[Data]]:
    """Whether pieces must be awaited one by one."""
    return not isinstance(pieces, tuple) and isinstance(pieces, AsyncIterable)


def _fetch_each(pieces: AsyncIterable[Data], loop: asyncio.AbstractEventLoop) -> Iterator[Data]:
    """Iterate, in a thread outside the pool, over pieces that are awaited on a loop."""
    iterator = aiter(pieces)
    while True:
        try:
            yield threads.wait_on(loop, _next(iterator))
        except StopAsyncIteration:
            return


async def _next(iterator: AsyncIterator[T]) -> T:
    return await anext(iterator)


class NativeAsyncVerbs(_Bound[AwaitingStore]):
    """Verbs that are already coroutines: returned rather than awaited, which saves time on each request."""

    __slots__ = ()

    sleep = ThreadedVerbs.sleep
    call = ThreadedVerbs.call
    sends_requests = True

    @property
    def looks_up(self) -> bool:
        """Whether the store defines ``_stat``."""
        return defines(type(self.store()), "stat")

    async def for_each(self, call: Callable[[S], Awaitable[T]], items: Iterable[S]) -> list[T]:
        """Make all calls at once; the store limits how many requests run concurrently."""
        return await concurrency.gather([call(item) for item in items])

    def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Awaitable[Data | None]:
        """Return the store's verb to be awaited."""
        return self.store()._read(key, request, allocate)

    def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> Awaitable[str | Conflict | None]:
        """Return the store's verb to be awaited."""
        return self.store()._write(key, pieces, condition)

    def remove(self, key: str, condition: Precondition = ANY) -> Awaitable[Conflict | None]:
        """Return the store's verb to be awaited."""
        return self.store()._remove(key, condition)

    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Iterate over the store's verb."""
        return self.store()._scan(prefix, deep, sizes)

    @classmethod
    def optional(cls, name: str) -> Callable[..., object]:
        """Make the method for an optional verb that a store defines."""
        attribute = "_" + name

        def verb(self: NativeAsyncVerbs, *args: object) -> object:
            return getattr(self.store(), attribute)(*args)

        return verb


_classes: weakref.WeakKeyDictionary[type, dict[type, type]] = weakref.WeakKeyDictionary()


def bind(binding: type[T_Bound], store: object) -> T_Bound:
    """Bind a store's verbs: those that its class defines, and defaults for the rest.

    A binding class is made once for each store class. It is kept outside the store class, so that store
    classes defined at run time can be pickled.
    """
    made = _classes.setdefault(type(store), {})
    if binding not in made:
        methods = {
            name: binding.optional(name)
            for name in OPTIONAL
            # If the binding overrides a verb itself, it uses the store's verb there, defined or not.
            if defines(type(store), name) and getattr(binding, name) is getattr(Verbs, name)
        }
        name = f"{type(store).__name__}{binding.__name__}"
        made[binding] = type(name, (binding,), {"__slots__": (), **methods})
    bound: T_Bound = made[binding](store)
    return bound


class WrapperVerbs(Verbs):
    """A wrapper's verbs: those that its class defines get the verbs below first; the rest pass through."""

    __slots__ = ("below", "store")

    def __init__(self, store: object, below: Verbs) -> None:
        # Can't be typed: each verb that a wrapper may define takes one argument more than a store's.
        self.store: Callable[[], Any] = weak(store)
        self.below = below

    @property
    def sends_requests(self) -> bool:
        """Whether the wrapped store sends requests."""
        return self.below.sends_requests

    @property
    def looks_up(self) -> bool:
        """Whether the wrapped store can look up values."""
        return self.below.looks_up

    async def sleep(self, seconds: float) -> None:
        """Wait as the wrapped store does."""
        await self.below.sleep(seconds)

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Call as the wrapped store does."""
        return await self.below.call(function, *args)

    async def for_each(self, call: Callable[[S], Awaitable[T]], items: Iterable[S]) -> list[T]:
        """Make many calls as the wrapped store does."""
        return await self.below.for_each(call, items)

    # The four required verbs; `bind_wrapper` replaces them for each wrapper class.
    def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Awaitable[Data | None]:
        """Pass through."""
        return self.below.read(key, request, allocate)

    def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> Awaitable[str | Conflict | None]:
        """Pass through."""
        return self.below.write(key, pieces, condition)

    def remove(self, key: str, condition: Precondition = ANY) -> Awaitable[Conflict | None]:
        """Pass through."""
        return self.below.remove(key, condition)

    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Pass through."""
        return self.below.scan(prefix, deep, sizes)


_wrapper_classes: weakref.WeakKeyDictionary[type, type[WrapperVerbs]] = weakref.WeakKeyDictionary()


def bind_wrapper(wrapper: object, below: Verbs) -> Verbs:
    """Bind a wrapper's verbs to those below: its own, the defaults built on those, and the rest as below."""
    wrapper_class = type(wrapper)
    made = _wrapper_classes.get(wrapper_class)
    if made is None:
        defined = {name for name in NAMES if defines(wrapper_class, name)}
        methods = {name: _over_below("_" + name) for name in defined}
        if "read" in defined:
            methods["read"] = _read_over_below
        if "remove" in defined:
            methods["remove"] = _remove_over_below
        for name in OPTIONAL:
            if name not in defined and defined.isdisjoint(DEFAULT_USES.get(name, ())):
                methods[name] = _from_below(name)
        if hasattr(wrapper_class, "_read_ranges"):
            methods["read_ranges"] = _over_below("_read_ranges")
        elif defined.isdisjoint(("read", "read_many")):
            methods["read_ranges"] = _from_below("read_ranges")
        made = type(f"{wrapper_class.__name__}Verbs", (WrapperVerbs,), {"__slots__": (), **methods})
        _wrapper_classes[wrapper_class] = made
    return made(wrapper, below)


def _over_below(attribute: str) -> Callable[..., object]:
    def verb(self: WrapperVerbs, *args: object) -> object:
        return getattr(self.store(), attribute)(self.below, *args)

    return verb


def _read_over_below(
    self: WrapperVerbs, key: str, request: ByteRequest | None, allocate: Allocate
) -> Awaitable[Data | None]:
    # The same as from `_over_below`, but faster without it: this one is called millions of times.
    value: Awaitable[Data | None] = self.store()._read(self.below, key, request, allocate)
    return value


def _remove_over_below(
    self: WrapperVerbs, key: str, condition: Precondition = ANY
) -> Awaitable[Conflict | None]:
    answer: Awaitable[Conflict | None] = self.store()._remove(self.below, key, condition)
    return answer


def _from_below(name: str) -> Callable[..., object]:
    def verb(self: WrapperVerbs, *args: object) -> object:
        return getattr(self.below, name)(*args)

    return verb


class ReadOnlyVerbs(WrapperVerbs):
    """The verbs of a read-only store, as wrappers see them."""

    __slots__ = ()


def _refused(name: str) -> Callable[..., object]:
    async def verb(self: ReadOnlyVerbs, *args: object) -> object:
        self.store()._check_writable(args[0] if args and isinstance(args[0], str) else None)
        # A wrapper may meanwhile wrap another store, which can be written.
        return await getattr(self.below, name)(*args)

    return verb


for _name in (*OPTIONAL, "read_ranges", "write", "remove"):
    if _name in ("write", "remove", "patch", "copy", "remove_many", "remove_below"):
        setattr(ReadOnlyVerbs, _name, _refused(_name))
    else:
        setattr(ReadOnlyVerbs, _name, _from_below(_name))
