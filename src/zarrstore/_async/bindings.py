"""What binds verbs to a world: the calling thread, an event loop, a wrapper, a read-only view.

`Inline` calls blocking verbs where we are, `Hopping` and `Staying` serve an event loop with them,
`Awaiting` passes coroutines on; `Wrapped` puts a wrapper's verbs over those below.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from contextlib import closing
from typing import TYPE_CHECKING, Any

from zarrstore._async import threads as _threads
from zarrstore._async.concurrency import gather
from zarrstore._core.verbs import ANY, MADE_OF, NAMES, OPTIONAL, WAIT, Entry, Verbs, drive, host_memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.verbs import Condition, New, T

# Optional verbs that answer with pages.
_LISTINGS = ("_names", "_keys")


class _Bound(Verbs):
    """Verbs of a store, which keeps them: so they know it weakly, and form no reference cycle with it.

    Whoever uses them holds the store meanwhile.
    """

    __slots__ = ("of",)

    def __init__(self, store: Any) -> None:
        self.of: Callable[[], Any] = weakref.ref(store)

    # As on an event loop; `Inline` has its own.

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run."""
        await asyncio.sleep(seconds)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Hop."""
        return await _threads.hop(function, *args, abandon=True)


class Inline(_Bound):
    """Blocking verbs, called where we are."""

    __slots__ = ()

    async def sleep(self, seconds: float) -> None:
        """Block."""
        time.sleep(seconds)  # noqa: ASYNC251 - this coroutine is driven, no loop is there to block

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Block."""
        return function(*args)

    async def read(self, key: str, request: ByteRequest | None, new: New) -> Any:
        """Call the store's verb."""
        return self.of()._read(key, request, new)

    async def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Call the store's verb; async pieces are driven one by one."""
        if hasattr(pieces, "__aiter__"):
            pieces = _driven(pieces)
        return self.of()._write(key, pieces, condition)

    async def remove(self, key: str, condition: Condition | str = ANY) -> Any:
        """Call the store's verb."""
        return self.of()._remove(key, condition)

    async def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Iterate over the store's verb."""
        for page in self.of()._scan(prefix, deep, sizes):
            yield page

    @staticmethod
    def optional(attribute: str) -> Callable[..., Any]:
        """Make the method for an optional verb that the store has."""

        async def verb(self: Inline, *args: Any) -> Any:
            return getattr(self.of(), attribute)(*args)

        async def listing(self: Inline, prefix: str) -> AsyncIterator[list[str]]:
            for page in getattr(self.of(), attribute)(prefix):
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


class Hopping(_Bound):
    """Blocking verbs for an event loop: what can't block is called in place, the rest hops to the pool.

    A run of calls in place yields to the loop once in 32 small ones, so that other tasks go on.
    """

    __slots__ = ()

    async def read(self, key: str, request: ByteRequest | None, new: New) -> Any:
        """Answer in place if that needs no waiting, else hop."""
        store = self.of()
        value = store._read_now(key, request, new)
        if value is WAIT:
            return await self.read_late(key, request, new)
        # A turn is a small read; large ones count for as many as they take the time of.
        store._turns -= 1 if value is None else 1 + (len(value) >> 13)
        if store._turns < 0:
            await store._give_turn()
        return value

    def read_late(self, key: str, request: ByteRequest | None, new: New) -> Awaitable[Any]:
        """Hop."""
        return _threads.hop(self.of()._read, key, request, new, abandon=True)

    async def read_many(self, requests: Iterable[tuple[str, ByteRequest | None]], new: New) -> list[Any]:
        """Answer in place what needs no waiting, and share hops for the rest."""
        store = self.of()
        requests = list(requests)
        if store._reads_together(len(requests), new):
            return await _threads.hop(store._read_many, requests, new, abandon=True)
        answers: list[Any] = []
        cold: list[int] = []
        turns = store._turns
        with closing(store._read_many_now(requests, new)) as values:
            for index, value in enumerate(values):
                answers.append(value)
                if value is WAIT:
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
                _threads.hop(_read_each, store, [requests[i] for i in part], new, abandon=True)
                for part in shares
            ]
            for part, values in zip(shares, await asyncio.gather(*hops), strict=True):
                for index, value in zip(part, values, strict=True):
                    answers[index] = value
        return answers

    async def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Write in place if that needs no waiting, else hop; async pieces are fetched one by one."""
        store = self.of()
        if hasattr(pieces, "__aiter__"):
            pieces = _fetched(pieces, asyncio.get_running_loop())
        else:
            answer = store._write_now(key, pieces, condition)
            if answer is not WAIT:
                store._turns -= 2 + (sum(map(len, pieces)) >> 13)
                if store._turns < 0:
                    await store._give_turn()
                return answer
            if hasattr(store, "_write_many"):
                return await _threads.hop_together(store._write_many, key, pieces, condition)
        return await _threads.hop(store._write_staged, key, pieces, condition)

    async def stat(self, key: str) -> Entry | None:
        """Answer in place if that needs no waiting, else hop."""
        store = self.of()
        found: Any = store._stat_now(key)
        if found is WAIT:
            entry: Entry | None = await _threads.hop(_stat_of, store, key, abandon=True)
            return entry
        store._turns -= 1
        if store._turns < 0:
            await store._give_turn()
        return found  # type: ignore[no-any-return]

    async def remove(self, key: str, condition: Condition | str = ANY) -> Any:
        """Hop."""
        return await _threads.hop(self.of()._remove, key, condition)

    async def remove_many(self, keys: Iterable[str]) -> None:
        """Hop once."""
        await _threads.hop(_remove_each, self.of(), keys)

    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """List in place if that needs no waiting, else hop once a page."""
        store = self.of()
        return _paged(store, store._scan, prefix, deep, sizes)

    @staticmethod
    def optional(attribute: str) -> Callable[..., Any]:
        """Make the method for an optional verb that the store has."""
        idle = attribute == "_read_versioned"

        async def verb(self: Hopping, *args: Any) -> Any:
            return await _threads.hop(getattr(self.of(), attribute), *args, abandon=idle)

        def listing(self: Hopping, prefix: str) -> AsyncIterator[list[str]]:
            store = self.of()
            return _paged(store, getattr(store, attribute), prefix)

        if attribute in _LISTINGS:
            return listing
        own: dict[str, Callable[..., Any]] = {"_read_many": Hopping.read_many, "_stat": Hopping.stat}
        return own.get(attribute, verb)


def _read_each(store: Any, requests: list[tuple[str, Any]], new: New) -> list[Any]:
    if hasattr(store, "_read_many"):
        return list(store._read_many(requests, new))
    return [store._read(key, request, new) for key, request in requests]


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
    if store._lists_now():
        for page in verb(*args):
            yield page
            # As many lines as a small read takes the time of are a turn.
            store._turns -= 1 + (len(page) >> 4)
            if store._turns < 0:
                await store._give_turn()
        return
    iterator = await _threads.hop(_begin, verb, *args)
    try:
        while (page := await _threads.hop(next, iterator, None)) is not None:
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


class Staying(Inline):
    """Verbs of a store in memory for an event loop: nothing to wait for, but turns to give.

    What lists hops all the same where much is to be done before.
    """

    __slots__ = ()

    sleep = _Bound.sleep
    call = _Bound.call

    async def read(self, key: str, request: ByteRequest | None, new: New) -> Any:
        """Call the store's verb."""
        store = self.of()
        store._turns -= 1
        if store._turns < 0:
            await store._give_turn()
        return store._read(key, request, new)

    async def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Call the store's verb."""
        store = self.of()
        if hasattr(pieces, "__aiter__"):
            pieces = [piece async for piece in pieces]
        store._turns -= 1
        if store._turns < 0:
            await store._give_turn()
        return store._write(key, pieces, condition)

    scan = Hopping.scan

    @staticmethod
    def optional(attribute: str) -> Callable[..., Any]:
        """Make the method for an optional verb that the store has."""
        if attribute in _LISTINGS:
            return Hopping.optional(attribute)
        if attribute not in ("_is_empty", "_remove_below"):
            return Inline.optional(attribute)

        async def verb(self: Staying, *args: Any) -> Any:
            store = self.of()
            if store._lists_now():
                return getattr(store, attribute)(*args)
            return await _threads.hop(getattr(store, attribute), *args)

        return verb


class Awaiting(_Bound):
    """Verbs that are coroutines already."""

    __slots__ = ()

    # Not coroutines themselves, which would cost each request some time more.

    def read(self, key: str, request: ByteRequest | None, new: New) -> Any:
        """Return the store's verb to be awaited."""
        return self.of()._read(key, request, new)

    async def read_many(self, requests: Iterable[tuple[str, ByteRequest | None]], new: New) -> list[Any]:
        """Await all reads at once."""
        return await gather([self.read(key, request, new) for key, request in requests])

    def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Return the store's verb to be awaited."""
        return self.of()._write(key, pieces, condition)

    def remove(self, key: str, condition: Condition | str = ANY) -> Any:
        """Return the store's verb to be awaited."""
        return self.of()._remove(key, condition)

    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Iterate over the store's verb."""
        pages: AsyncIterator[list[Entry]] = self.of()._scan(prefix, deep, sizes)
        return pages

    @staticmethod
    def optional(attribute: str) -> Callable[..., Any]:
        """Make the method for an optional verb that the store has."""

        async def verb(self: Awaiting, *args: Any) -> Any:
            return await getattr(self.of(), attribute)(*args)

        def listing(self: Awaiting, prefix: str) -> Any:
            return getattr(self.of(), attribute)(prefix)

        return listing if attribute in _LISTINGS else verb


def bind_class(binding: Any, store_class: type) -> Any:
    """Make the class that binds stores of a class: its optional verbs where it has them, else defaults."""
    methods: dict[str, Any] = {
        name: binding.optional("_" + name) for name in OPTIONAL if hasattr(store_class, "_" + name)
    }
    return type(f"{store_class.__name__}{binding.__name__}", (binding,), {"__slots__": (), **methods})


class Wrapped(Verbs):
    """A wrapper's verbs: an overridden one gets the verbs below first, the rest pass through."""

    __slots__ = ("below", "of")

    def __init__(self, store: Any, below: Verbs) -> None:
        self.of: Callable[[], Any] = weakref.ref(store)
        self.below = below

    async def sleep(self, seconds: float) -> None:
        """Wait as the wrapped store does."""
        await self.below.sleep(seconds)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call as the wrapped store does."""
        return await self.below.call(function, *args)

    # The four that must be there; `wrap_class` gives every wrapper class its own.
    def read(self, key: str, request: Any, new: New) -> Any:
        """Pass through."""
        return self.below.read(key, request, new)

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
        if name not in changed and changed.isdisjoint(MADE_OF.get(name, ())):
            methods[name] = _passed(name)
    return type(f"{wrapper_class.__name__}Wrapped", (Wrapped,), {"__slots__": (), **methods})


def _overridden(attribute: str) -> Callable[..., Any]:
    def verb(self: Wrapped, *args: Any) -> Any:
        return getattr(self.of(), attribute)(self.below, *args)

    return verb


def _overridden_read(self: Wrapped, key: str, request: Any, new: New) -> Any:
    # What `_overridden` would make, spelled out: this one is called millions of times.
    return self.of()._read(self.below, key, request, new)


def _passed(name: str) -> Callable[..., Any]:
    def verb(self: Wrapped, *args: Any) -> Any:
        return getattr(self.below, name)(*args)

    return verb


class Gated(Wrapped):
    """The verbs of a read-only store, as wrappers see them: those that change anything are refused."""

    __slots__ = ()

    async def _refuse(self, *args: Any) -> None:
        self.of()._check_writable()

    write = remove = patch = copy = remove_many = remove_below = _refuse  # type: ignore[assignment]
    read_many = _passed("read_many")
    read_versioned = _passed("read_versioned")
    stat = _passed("stat")
    names = _passed("names")
    keys = _passed("keys")
    is_empty = _passed("is_empty")
