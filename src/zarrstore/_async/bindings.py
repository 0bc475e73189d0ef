"""What binds verbs to a world: the calling thread, an event loop, a wrapper, a read-only view.

`Inline` calls blocking verbs where we are, `ThreadedVerbs` and `NonBlockingVerbs` serve an event loop with them,
`NativeAsyncVerbs` passes coroutines on; `WrapperVerbs` puts a wrapper's verbs over those below.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from contextlib import closing
from typing import TYPE_CHECKING, Any

from zarrstore._async import threads as _threads
from zarrstore._async.concurrency import gather
from zarrstore._core.verbs import (
    ANY,
    DEFAULT_USES,
    NAMES,
    OPTIONAL,
    WOULD_BLOCK,
    Entry,
    Verbs,
    drive,
    host_memory,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.verbs import Allocate, Condition, T

# Optional verbs that answer with pages.
_LISTINGS = ("_names", "_keys")


class _Bound(Verbs):
    """Verbs of a store, which keeps them: so they know it weakly, and form no reference cycle with it.

    Whoever uses them holds the store meanwhile.
    """

    __slots__ = ("store",)

    def __init__(self, store: Any) -> None:
        self.store: Callable[[], Any] = weakref.ref(store)

    # As on an event loop; `Inline` has its own.

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run."""
        await asyncio.sleep(seconds)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Hop."""
        return await _threads.to_thread(function, *args, abandon_on_cancel=True)


class SyncVerbs(_Bound):
    """Blocking verbs, called where we are."""

    __slots__ = ()

    async def sleep(self, seconds: float) -> None:
        """Block."""
        time.sleep(seconds)  # noqa: ASYNC251 - this coroutine is driven, no loop is there to block

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Block."""
        return function(*args)

    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Any:
        """Call the store's verb."""
        return self.store()._read(key, request, allocate)

    async def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Call the store's verb; async pieces are driven one by one."""
        if hasattr(pieces, "__aiter__"):
            pieces = _driven(pieces)
        return self.store()._write(key, pieces, condition)

    async def remove(self, key: str, condition: Condition | str = ANY) -> Any:
        """Call the store's verb."""
        return self.store()._remove(key, condition)

    async def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Iterate over the store's verb."""
        for page in self.store()._scan(prefix, deep, sizes):
            yield page

    @staticmethod
    def optional(attribute: str) -> Callable[..., Any]:
        """Make the method for an optional verb that the store has."""

        async def verb(self: SyncVerbs, *args: Any) -> Any:
            return getattr(self.store(), attribute)(*args)

        async def listing(self: SyncVerbs, prefix: str) -> AsyncIterator[list[str]]:
            for page in getattr(self.store(), attribute)(prefix):
                yield page

        return listing if attribute in _LISTINGS else verb


def _driven(pieces: AsyncIterator[Any]) -> Iterator[Any]:
    """Iterate, without a loop, over an async iterator that never suspends."""
    iterator = pieces.__aiter__()
    while True:
        try:
            yield drive(iterator.__anext__())  # type: ignore[arg-type]
        except StopAsyncIteration:
            return


class ThreadedVerbs(_Bound):
    """Blocking verbs for an event loop: what can't block is called in place, the rest hops to the pool.

    A run of calls in place yields to the loop once in 32 small ones, so that other tasks go on.
    """

    __slots__ = ()

    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Any:
        """Answer in place if that needs no waiting, else hop."""
        store = self.store()
        value = store._read_nowait(key, request, allocate)
        if value is WOULD_BLOCK:
            return await self.read_in_thread(key, request, allocate)
        # A turn is a small read; large ones count for as many as they take the time of.
        store._turns -= 1 if value is None else 1 + (len(value) >> 13)
        if store._turns < 0:
            await store._give_turn()
        return value

    def read_in_thread(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Awaitable[Any]:
        """Hop."""
        return _threads.to_thread(self.store()._read, key, request, allocate, abandon_on_cancel=True)

    async def read_many(
        self, requests: Iterable[tuple[str, ByteRequest | None]], allocate: Allocate
    ) -> list[Any]:
        """Answer in place what needs no waiting, and share hops for the rest."""
        store = self.store()
        requests = list(requests)
        if store._reads_together(len(requests), allocate):
            return await _threads.to_thread(store._read_many, requests, allocate, abandon_on_cancel=True)
        answers: list[Any] = []
        cold: list[int] = []
        turns = store._turns
        with closing(store._read_many_nowait(requests, allocate)) as values:
            for index, value in enumerate(values):
                answers.append(value)
                if value is WOULD_BLOCK:
                    cold.append(index)
                    continue
                turns -= 1 if value is None else 1 + (len(value) >> 13)
                if turns < 0:
                    await store._give_turn()
                    turns = store._allowance
        store._turns = turns
        if cold:
            # Several hops, so that a medium which serves many requests at once is asked many at once.
            share = -(-len(cold) // _threads.POOL_SIZE)
            shares = [cold[i : i + share] for i in range(0, len(cold), share)]
            hops = [
                _threads.to_thread(
                    _read_each, store, [requests[i] for i in part], allocate, abandon_on_cancel=True
                )
                for part in shares
            ]
            for part, values in zip(shares, await asyncio.gather(*hops), strict=True):
                for index, value in zip(part, values, strict=True):
                    answers[index] = value
        return answers

    async def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Write in place if that needs no waiting, else hop; async pieces are fetched one by one."""
        store = self.store()
        if hasattr(pieces, "__aiter__"):
            pieces = _fetched(pieces, asyncio.get_running_loop())
        else:
            answer = store._write_nowait(key, pieces, condition)
            if answer is not WOULD_BLOCK:
                store._turns -= 2 + (sum(map(len, pieces)) >> 13)
                if store._turns < 0:
                    await store._give_turn()
                return answer
            if hasattr(store, "_write_many"):
                return await _threads.to_thread_batched(store._write_many, key, pieces, condition)
        return await _threads.to_thread(store._write_staged, key, pieces, condition)

    async def stat(self, key: str) -> Entry | None:
        """Answer in place if that needs no waiting, else hop."""
        store = self.store()
        found: Any = store._stat_nowait(key)
        if found is WOULD_BLOCK:
            entry: Entry | None = await _threads.to_thread(_stat_of, store, key, abandon_on_cancel=True)
            return entry
        store._turns -= 1
        if store._turns < 0:
            await store._give_turn()
        return found  # type: ignore[no-any-return]

    async def remove(self, key: str, condition: Condition | str = ANY) -> Any:
        """Hop."""
        return await _threads.to_thread(self.store()._remove, key, condition)

    async def remove_many(self, keys: Iterable[str]) -> None:
        """Hop once."""
        await _threads.to_thread(_remove_each, self.store(), keys)

    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """List in place if that needs no waiting, else hop once a page."""
        store = self.store()
        return _paged(store, store._scan, prefix, deep, sizes)

    @staticmethod
    def optional(attribute: str) -> Callable[..., Any]:
        """Make the method for an optional verb that the store has."""
        idle = attribute == "_read_versioned"

        async def verb(self: ThreadedVerbs, *args: Any) -> Any:
            return await _threads.to_thread(getattr(self.store(), attribute), *args, abandon_on_cancel=idle)

        def listing(self: ThreadedVerbs, prefix: str) -> AsyncIterator[list[str]]:
            store = self.store()
            return _paged(store, getattr(store, attribute), prefix)

        if attribute in _LISTINGS:
            return listing
        own: dict[str, Callable[..., Any]] = {
            "_read_many": ThreadedVerbs.read_many,
            "_stat": ThreadedVerbs.stat,
        }
        return own.get(attribute, verb)


def _read_each(store: Any, requests: list[tuple[str, Any]], allocate: Allocate) -> list[Any]:
    if hasattr(store, "_read_many"):
        return list(store._read_many(requests, allocate))
    return [store._read(key, request, allocate) for key, request in requests]


def _stat_of(store: Any, key: str) -> Entry | None:
    if hasattr(store, "_stat"):
        found: Entry | None = store._stat(key)
        return found
    value = store._read(key, None, host_memory)
    return None if value is None else Entry(key, len(value))


def _remove_each(store: Any, keys: Iterable[str]) -> None:
    if hasattr(store, "_remove_many"):
        store._remove_many(keys)
        return
    for key in keys:
        store._remove(key, ANY)


async def _paged(store: Any, verb: Callable[..., Iterable[Any]], *args: Any) -> AsyncIterator[Any]:
    """Pages of a listing for an event loop: in place if that needs no waiting, else by a hop each."""
    if store._can_list_nowait():
        for page in verb(*args):
            yield page
            # As many lines as a small read takes the time of are a turn.
            store._turns -= 1 + (len(page) >> 4)
            if store._turns < 0:
                await store._give_turn()
        return
    iterator = await _threads.to_thread(_begin, verb, *args)
    try:
        while (page := await _threads.to_thread(next, iterator, None)) is not None:
            yield page
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


def _begin(verb: Callable[..., Iterable[T]], *args: Any) -> Iterator[T]:
    return iter(verb(*args))


def _fetched(pieces: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """Iterate, in a thread of the pool, over an async iterator that lives on a loop."""
    iterator = pieces.__aiter__()
    while True:
        try:
            yield asyncio.run_coroutine_threadsafe(_next(iterator), loop).result()
        except StopAsyncIteration:
            return


async def _next(iterator: AsyncIterator[T]) -> T:
    return await iterator.__anext__()


class NonBlockingVerbs(SyncVerbs):
    """Verbs of a store in memory for an event loop: nothing to wait for, but turns to give.

    What lists hops all the same where much is to be done before.
    """

    __slots__ = ()

    sleep = _Bound.sleep
    call = _Bound.call

    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Any:
        """Call the store's verb."""
        store = self.store()
        store._turns -= 1
        if store._turns < 0:
            await store._give_turn()
        return store._read(key, request, allocate)

    async def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Call the store's verb."""
        store = self.store()
        if hasattr(pieces, "__aiter__"):
            pieces = [piece async for piece in pieces]
        store._turns -= 1
        if store._turns < 0:
            await store._give_turn()
        return store._write(key, pieces, condition)

    scan = ThreadedVerbs.scan

    @staticmethod
    def optional(attribute: str) -> Callable[..., Any]:
        """Make the method for an optional verb that the store has."""
        if attribute in _LISTINGS:
            return ThreadedVerbs.optional(attribute)
        if attribute not in ("_is_empty", "_remove_below"):
            return SyncVerbs.optional(attribute)

        async def verb(self: NonBlockingVerbs, *args: Any) -> Any:
            store = self.store()
            if store._can_list_nowait():
                return getattr(store, attribute)(*args)
            return await _threads.to_thread(getattr(store, attribute), *args)

        return verb


class NativeAsyncVerbs(_Bound):
    """Verbs that are coroutines already."""

    __slots__ = ()

    # Not coroutines themselves, which would cost each request some time more.

    def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Any:
        """Return the store's verb to be awaited."""
        return self.store()._read(key, request, allocate)

    async def read_many(
        self, requests: Iterable[tuple[str, ByteRequest | None]], allocate: Allocate
    ) -> list[Any]:
        """Await all reads at once."""
        return await gather([self.read(key, request, allocate) for key, request in requests])

    def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Return the store's verb to be awaited."""
        return self.store()._write(key, pieces, condition)

    def remove(self, key: str, condition: Condition | str = ANY) -> Any:
        """Return the store's verb to be awaited."""
        return self.store()._remove(key, condition)

    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Iterate over the store's verb."""
        pages: AsyncIterator[list[Entry]] = self.store()._scan(prefix, deep, sizes)
        return pages

    @staticmethod
    def optional(attribute: str) -> Callable[..., Any]:
        """Make the method for an optional verb that the store has."""

        async def verb(self: NativeAsyncVerbs, *args: Any) -> Any:
            return await getattr(self.store(), attribute)(*args)

        def listing(self: NativeAsyncVerbs, prefix: str) -> Any:
            return getattr(self.store(), attribute)(prefix)

        return listing if attribute in _LISTINGS else verb


def bind_class(binding: Any, store_class: type) -> Any:
    """Make the class that binds stores of a class: its optional verbs where it has them, else defaults."""
    methods: dict[str, Any] = {
        name: binding.optional("_" + name) for name in OPTIONAL if hasattr(store_class, "_" + name)
    }
    return type(f"{store_class.__name__}{binding.__name__}", (binding,), {"__slots__": (), **methods})


class WrapperVerbs(Verbs):
    """A wrapper's verbs: an overridden one gets the verbs below first, the rest pass through."""

    __slots__ = ("below", "store")

    def __init__(self, store: Any, below: Verbs) -> None:
        self.store: Callable[[], Any] = weakref.ref(store)
        self.below = below

    async def sleep(self, seconds: float) -> None:
        """Wait as the wrapped store does."""
        await self.below.sleep(seconds)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call as the wrapped store does."""
        return await self.below.call(function, *args)

    # The four that must be there; `wrap_class` gives every wrapper class its own.
    def read(self, key: str, request: Any, allocate: Allocate) -> Any:
        """Pass through."""
        return self.below.read(key, request, allocate)

    def write(self, key: str, pieces: Any, condition: Any) -> Any:
        """Pass through."""
        return self.below.write(key, pieces, condition)

    def remove(self, key: str, condition: Any = ANY) -> Any:
        """Pass through."""
        return self.below.remove(key, condition)

    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Pass through."""
        return self.below.scan(prefix, deep, sizes)


def wrap_class(wrapper_class: type) -> Any:
    """Make the class that binds wrappers of a class: overridden verbs, their defaults, the rest below."""
    changed = {name for name in NAMES if hasattr(wrapper_class, "_" + name)}
    methods: dict[str, Any] = {name: _overridden("_" + name) for name in changed}
    if "read" in changed:
        methods["read"] = _overridden_read
    for name in OPTIONAL:
        if name not in changed and changed.isdisjoint(DEFAULT_USES.get(name, ())):
            methods[name] = _passed(name)
    return type(f"{wrapper_class.__name__}Wrapped", (WrapperVerbs,), {"__slots__": (), **methods})


def _overridden(attribute: str) -> Callable[..., Any]:
    def verb(self: WrapperVerbs, *args: Any) -> Any:
        return getattr(self.store(), attribute)(self.below, *args)

    return verb


def _overridden_read(self: WrapperVerbs, key: str, request: Any, allocate: Allocate) -> Any:
    # What `_overridden` would make, spelled out: this one is called millions of times.
    return self.store()._read(self.below, key, request, allocate)


def _passed(name: str) -> Callable[..., Any]:
    def verb(self: WrapperVerbs, *args: Any) -> Any:
        return getattr(self.below, name)(*args)

    return verb


class ReadOnlyVerbs(WrapperVerbs):
    """The verbs of a read-only store, as wrappers see them: those that change anything are refused."""

    __slots__ = ()

    async def _refuse(self, *args: Any) -> None:
        self.store()._check_writable()

    write = remove = patch = copy = remove_many = remove_below = _refuse  # type: ignore[assignment]
    read_many = _passed("read_many")
    read_versioned = _passed("read_versioned")
    stat = _passed("stat")
    names = _passed("names")
    keys = _passed("keys")
    is_empty = _passed("is_empty")
