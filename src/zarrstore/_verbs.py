"""Verbs: the handful of operations that a store implements, and what binds them to a world.

A store defines, as plain functions if it blocks or as coroutines if it awaits:

=====================================  ==============================================================
``_read(key, request, new)``           the bytes that the request selects, or None for a proven
                                       absence; ``new(n)`` gives n bytes of memory to fill, which a
                                       store that owns its memory may ignore
``_write(key, pieces, condition)``     replace the value by the concatenated pieces in one step;
                                       returns its version (or None) or `CONFLICT`
``_remove(key, condition)``            remove the key; no error if it isn't there; None or `CONFLICT`
``_scan(prefix, deep, sizes)``         pages (lists) of `Entry` below a directory; not deep: one level,
                                       where a directory's key ends in ``/``; ``sizes`` only if true
=====================================  ==============================================================

and may define these, which otherwise are loops over the ones above:

=====================================  ==============================================================
``_read_now(key, request, new)``       what ``_read`` would answer if that needs no waiting, else `WAIT`
``_read_many(requests, new)``          a list of answers for a list of ``(key, request)``
``_read_versioned(key, request, new)`` ``(bytes, version)`` of one and the same value, or None
``_stat(key)``                         its `Entry` with size and version, or None
``_patch(key, parts)``                 overwrite ``(start, bytes)`` parts inside an existing value
``_remove_many(keys)``                 remove many keys
``_remove_below(prefix)``              remove all that lies below a directory, keys or not
``_copy(source, target)``              copy within the store
=====================================  ==============================================================

Versions are opaque text; ``condition`` is `ANY`, `ABSENT` or the version that must still be there.
``pieces`` is an iterable of bytes-like objects (for an awaiting store it may be an async iterable),
so that no value need fit into memory twice.

`Inline` binds blocking verbs where we are, `Hopping` binds them to an event loop, `Awaiting` binds
coroutines. Code written over the bound verbs is one coroutine for all three: bound to `Inline` it
never suspends, and `drive` runs it in the calling thread.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from zarrstore import _threads
from zarrstore._requests import cut
from zarrstore.errors import ByteRequestError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator

T = TypeVar("T")


class Entry(NamedTuple):
    """One line of a listing.

    Attributes
    ----------
    key : str
        Full key; a directory's ends in ``/``.
    size : int or None
        Size in bytes, where it was asked for.
    version : str or None
        Opaque version of the value, where the listing brings it.
    """

    key: str
    size: int | None = None
    version: str | None = None


class Condition(Enum):
    """What must hold for a write or a removal, beside a version."""

    ANY = "any"
    ABSENT = "absent"


class Signal(Enum):
    """Answers of verbs that are no values."""

    WAIT = "wait"
    CONFLICT = "conflict"


ANY = Condition.ANY
ABSENT = Condition.ABSENT
WAIT = Signal.WAIT
CONFLICT = Signal.CONFLICT


@dataclass(frozen=True)
class Capabilities:
    """What a store can promise; where it can't, its callers know beforehand.

    Attributes
    ----------
    atomic_create : bool
        Of several writers that create one key, exactly one wins, other processes' included.
    versions : bool
        Values have versions, and writes and removals can demand one.
    folders : bool
        ``k`` and ``k/child`` can't both be keys (`KeyConflictError`).
    recursive_delete : bool
        ``delete`` of a directory removes what lies below it.
    shared : bool
        Other processes see what is written.
    """

    atomic_create: bool = False
    versions: bool = False
    folders: bool = False
    recursive_delete: bool = False
    shared: bool = True


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, here and now."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    try:
        coroutine.close()
    except RuntimeError:
        pass  # what it was in the middle of can't be closed either; the reason is told below
    raise RuntimeError("a blocking verb suspended; define it with 'def', or all verbs with 'async def'")


def join_pieces(pieces: Iterable[Any]) -> bytes:
    """Concatenate pieces, for stores that need a value whole."""
    return b"".join(pieces)


async def gather_pieces(pieces: Any) -> bytes:
    """Concatenate pieces, async ones too, for awaiting stores that need a value whole."""
    if hasattr(pieces, "__aiter__"):
        return b"".join([piece async for piece in pieces])
    return join_pieces(pieces)


class Verbs:
    """Verbs bound to a world: every one a coroutine function, `scan` an async iterator of pages."""

    __slots__ = (
        "copy",
        "patch",
        "read",
        "read_many",
        "read_versioned",
        "remove",
        "remove_below",
        "remove_many",
        "scan",
        "sleep",
        "stat",
        "write",
    )

    read: Callable[..., Coroutine[Any, Any, Any]]
    read_many: Callable[..., Coroutine[Any, Any, list[Any]]]
    read_versioned: Callable[..., Coroutine[Any, Any, tuple[Any, str | None] | None]]
    stat: Callable[[str], Coroutine[Any, Any, Entry | None]]
    write: Callable[..., Coroutine[Any, Any, Any]]
    patch: Callable[..., Coroutine[Any, Any, None]]
    copy: Callable[[str, str], Coroutine[Any, Any, None]]
    remove: Callable[..., Coroutine[Any, Any, Any]]
    remove_many: Callable[[Iterable[str]], Coroutine[Any, Any, None]]
    remove_below: Callable[[str], Coroutine[Any, Any, None]]
    scan: Callable[[str, bool, bool], AsyncIterator[list[Entry]]]
    sleep: Callable[[float], Coroutine[Any, Any, None]]

    def derive(self, name: str) -> None:
        """Give a verb that is missing its default: a loop over the others."""
        setattr(self, name, partial(_DEFAULTS[name], self))


# -- defaults: what an optional verb is in terms of the others ------------------------------------


async def _default_read_many(verbs: Verbs, requests: Iterable[tuple[str, Any]], new: Any) -> list[Any]:
    return [await verbs.read(key, request, new) for key, request in requests]


async def _default_read_versioned(verbs: Verbs, key: str, request: Any, new: Any) -> Any:
    before = await verbs.stat(key)
    while before is not None:
        value = await verbs.read(key, request, new)
        after = await verbs.stat(key)
        if value is not None and after is not None and before.version == after.version:
            return value, before.version
        before = after
    return None


async def _default_stat(verbs: Verbs, key: str) -> Entry | None:
    value = await verbs.read(key, None, host_memory)
    return None if value is None else Entry(key, len(value))


async def _default_patch(verbs: Verbs, key: str, parts: Iterable[tuple[int, Any]]) -> None:
    value = await verbs.read(key, None, host_memory)
    if value is None:
        raise KeyNotFoundError("there is no value to write into.", key=key)
    await verbs.write(key, (patched(key, value, parts),), ANY)


async def _default_remove_many(verbs: Verbs, keys: Iterable[str]) -> None:
    for key in keys:
        await verbs.remove(key, ANY)


async def _default_remove_below(verbs: Verbs, prefix: str) -> None:
    async for page in verbs.scan(prefix, True, False):
        await verbs.remove_many([entry.key for entry in page])


async def _default_copy(verbs: Verbs, source: str, target: str) -> None:
    value = await verbs.read(source, None, host_memory)
    if value is None:
        raise KeyNotFoundError("there is no value to copy.", key=source)
    await verbs.write(target, (value,), ANY)


_DEFAULTS: dict[str, Callable[..., Any]] = {
    "read_many": _default_read_many,
    "read_versioned": _default_read_versioned,
    "stat": _default_stat,
    "patch": _default_patch,
    "remove_many": _default_remove_many,
    "remove_below": _default_remove_below,
    "copy": _default_copy,
}

# What a default is made of. A wrapper that overrides one of the verbs on the right gets the
# default for the verb on the left, unless it overrides that one too: so nothing bypasses it.
_MADE_OF: dict[str, tuple[str, ...]] = {
    "read_many": ("read",),
    "read_versioned": ("read",),
    "patch": ("read", "write"),
    "remove_many": ("remove",),
    "remove_below": ("remove", "remove_many", "scan"),
    "copy": ("read", "write"),
}
REQUIRED = ("read", "write", "remove", "scan")
NAMES = (*REQUIRED, *_DEFAULTS)


def check_parts(key: str, size: int, parts: Iterable[tuple[int, Any]]) -> None:
    """Refuse parts, sorted by start, that would leave a gap behind the end of a value.

    A part may begin at most where the value, or the part before it, ends; it may reach past that.
    A gap would have to be filled with bytes that nobody wrote.
    """
    for start, part in parts:
        if start > size:
            raise ByteRequestError(
                f"a part that starts at byte {start} would leave a gap in a value of {size} bytes.",
                key=key,
                cure="Write the bytes in between as well.",
            )
        size = max(size, start + len(part))


def patched(key: str, value: Any, parts: Iterable[tuple[int, Any]]) -> bytearray:
    """Return a copy of a value with parts overwritten; the last part may reach past the old end."""
    parts = list(parts)
    check_parts(key, len(value), parts)
    copy = bytearray(value)
    for start, part in parts:
        copy[start : start + len(part)] = part
    return copy


def host_memory(size: int) -> Any:
    """Give ``size`` bytes of the host's memory: the ``new`` that is used where nobody asks otherwise."""
    import numpy as np

    return np.empty(size, np.uint8)


# -- bindings -------------------------------------------------------------------------------------


class Inline(Verbs):
    """Blocking verbs, called where we are."""

    __slots__ = ()

    def __init__(self, store: Any) -> None:
        self.sleep = _sleep_here
        self.scan = partial(_scan_here, store)
        self.write = partial(_write_here, store._write)
        for name in NAMES:
            if name in ("scan", "write"):
                continue
            verb = getattr(store, "_" + name, None)
            if verb is None:
                self.derive(name)
            else:
                setattr(self, name, partial(_call_here, verb))


async def _call_here(verb: Callable[..., Any], *args: Any) -> Any:
    return verb(*args)


async def _sleep_here(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - this coroutine is driven, no loop is there to block


async def _scan_here(store: Any, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
    for page in store._scan(prefix, deep, sizes):
        yield page


async def _write_here(verb: Callable[..., Any], key: str, pieces: Any, condition: Any) -> Any:
    if hasattr(pieces, "__aiter__"):
        pieces = _driven(pieces)
    return verb(key, pieces, condition)


def _driven(pieces: AsyncIterator[Any]) -> Iterator[Any]:
    """Iterate, without a loop, over an async iterator that never suspends."""
    iterator = pieces.__aiter__()
    while True:
        try:
            yield drive(iterator.__anext__())  # type: ignore[arg-type]
        except StopAsyncIteration:
            return


class Hopping(Verbs):
    """Blocking verbs for an event loop: what can't block is called in place, the rest hops to the pool.

    A run of reads in place yields to the loop once in 64 small ones, so that other tasks go on.
    """

    __slots__ = ("_left",)

    def __init__(self, store: Any) -> None:
        self._left = _TURNS
        self.sleep = asyncio.sleep
        # A store in memory has nothing to wait for: its verbs are called in place.
        hop: Any = self._stay if getattr(store, "_never_blocks", False) else _threads.hop
        hop_idly = hop if hop is not _threads.hop else _hop_idly
        self.scan = partial(_scan_hopping, hop, store)
        self.write = partial(_write_hopping, hop, store._write)
        now = getattr(store, "_read_now", None)
        self.read = partial(hop_idly, store._read) if now is None else partial(self._read, now, store._read)
        for name in NAMES:
            if name in ("scan", "write", "read"):
                continue
            verb = getattr(store, "_" + name, None)
            if name == "read_many" and now is not None:
                self.read_many = partial(self._read_many, now, verb or partial(_read_each, store._read))
            elif verb is not None:
                idle = name in ("read_many", "read_versioned", "stat")
                setattr(self, name, partial(hop_idly if idle else hop, verb))
            elif name == "read_many":
                self.read_many = partial(hop_idly, partial(_read_each, store._read))
            elif name == "remove_many":
                self.remove_many = partial(hop, partial(_remove_each, store._remove))
            else:
                self.derive(name)

    async def _stay(self, verb: Callable[..., T], *args: Any) -> T:
        answer = verb(*args)
        self._left -= 1
        if self._left < 0:
            self._left = _TURNS
            await asyncio.sleep(0)
        return answer

    async def _read(self, now: Any, read: Any, key: str, request: Any, new: Any) -> Any:
        value = now(key, request, new)
        if value is WAIT:
            return await _threads.hop(read, key, request, new, abandon=True)
        self._left -= 1 if value is None else 1 + (len(value) >> 13)
        if self._left < 0:
            self._left = _TURNS
            await asyncio.sleep(0)
        return value

    async def _read_many(
        self, now: Any, read_many: Any, requests: Iterable[tuple[str, Any]], new: Any
    ) -> list[Any]:
        answers: list[Any] = []
        cold: list[int] = []
        asked = list(requests)
        for index, (key, request) in enumerate(asked):
            value = now(key, request, new)
            answers.append(value)
            if value is WAIT:
                cold.append(index)
                continue
            self._left -= 1 if value is None else 1 + (len(value) >> 13)
            if self._left < 0:
                self._left = _TURNS
                await asyncio.sleep(0)
        if cold:
            # Several hops, so that a medium which serves many requests at once is asked many at once.
            share = max(1, -(-len(cold) // _threads.POOL_SIZE))
            parts = [cold[i : i + share] for i in range(0, len(cold), share)]
            hops = [_threads.hop(read_many, [asked[i] for i in part], new, abandon=True) for part in parts]
            for part, values in zip(parts, await asyncio.gather(*hops), strict=True):
                for index, value in zip(part, values, strict=True):
                    answers[index] = value
        return answers


_TURNS = 64


async def _hop_idly(verb: Callable[..., Any], *args: Any) -> Any:
    """Hop for a verb without effects: cancelled, it needn't be waited for."""
    return await _threads.hop(verb, *args, abandon=True)


def _read_each(read: Callable[..., Any], requests: Iterable[tuple[str, Any]], new: Any) -> list[Any]:
    return [read(key, request, new) for key, request in requests]


def _remove_each(remove: Callable[..., Any], keys: Iterable[str]) -> None:
    for key in keys:
        remove(key, ANY)


async def _scan_hopping(
    hop: Any, store: Any, prefix: str, deep: bool, sizes: bool
) -> AsyncIterator[list[Entry]]:
    iterator = await hop(lambda: iter(store._scan(prefix, deep, sizes)))
    try:
        while (page := await hop(next, iterator, None)) is not None:
            yield page
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


async def _write_hopping(hop: Any, verb: Callable[..., Any], key: str, pieces: Any, condition: Any) -> Any:
    if hasattr(pieces, "__aiter__"):
        if hop is not _threads.hop:
            pieces = [piece async for piece in pieces]
        else:
            pieces = _fetched(pieces, asyncio.get_running_loop())
    return await hop(verb, key, pieces, condition)


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


class Awaiting(Verbs):
    """Verbs that are coroutines already."""

    __slots__ = ()

    def __init__(self, store: Any) -> None:
        self.sleep = asyncio.sleep
        for name in NAMES:
            verb = getattr(store, "_" + name, None)
            if verb is not None:
                setattr(self, name, verb)
            elif name == "read_many":
                self.read_many = partial(_gather_reads, self)
            else:
                self.derive(name)


async def _gather_reads(verbs: Verbs, requests: Iterable[tuple[str, Any]], new: Any) -> list[Any]:
    tasks = [asyncio.ensure_future(verbs.read(key, request, new)) for key, request in requests]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


class Wrapped(Verbs):
    """A wrapper's verbs: an overridden one gets the verbs below first, the rest pass through."""

    __slots__ = ()

    def __init__(self, wrapper: Any, below: Verbs, base: type) -> None:
        self.sleep = below.sleep
        changed = set()
        for name in NAMES:
            if hasattr(type(wrapper), "_" + name) and not hasattr(base, "_" + name):
                changed.add(name)
                setattr(self, name, partial(getattr(wrapper, "_" + name), below))
        for name in NAMES:
            if name in changed:
                continue
            if changed.isdisjoint(_MADE_OF.get(name, ())):
                setattr(self, name, getattr(below, name))
            else:
                self.derive(name)


class Gated(Verbs):
    """The verbs of a read-only store: those that change anything call ``refuse`` instead."""

    __slots__ = ()

    def __init__(self, below: Verbs, refuse: Callable[[], None]) -> None:
        self.sleep = below.sleep

        async def refused(*args: Any) -> None:
            refuse()

        for name in NAMES:
            writes = name in ("write", "patch", "copy", "remove", "remove_many", "remove_below")
            setattr(self, name, refused if writes else getattr(below, name))


def cut_answer(value: Any, request: Any) -> Any:
    """Apply a request to a whole value that may be missing."""
    return None if value is None else cut(value, request)
