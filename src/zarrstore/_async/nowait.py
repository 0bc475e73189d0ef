"""Our own blocking stores on an event loop: calls that won't block are made in place, the rest in threads.

A store that knows what it can answer without blocking derives from
`zarrstore.storage._nowait.NowaitStore`, which declares the methods called here. Other authors' stores
don't need any of this.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, cast

from zarrstore._async import threads
from zarrstore._async.bindings import BlockingStore, SyncVerbs, ThreadedVerbs, is_stream
from zarrstore._core.later import asyncio
from zarrstore._core.listing import PAGE_SIZE
from zarrstore._core.requests import by_key
from zarrstore._core.verbs import ANY, LISTINGS, WOULD_BLOCK, Verbs, host_memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data, Pieces
    from zarrstore._core.verbs import Conflict, Entry, Precondition, Request, WouldBlock

T = TypeVar("T")

# How many small calls one task may make in place before it lets others run.
MAX_INLINE_CALLS = 32
# Largest value, in bytes, that is read or written in place: enough for a shard of 64 chunks of 4 KiB and its
# index. Writing that into new memory takes 0.35 ms; more would hold up the loop's other tasks.
MAX_INLINE_SIZE = 17 << 14
# Largest value, in bytes, that is read in place into memory which was used before: that takes 0.15 ms.
MAX_INLINE_REUSE = 17 << 16
# Largest value, in bytes, that a memory store copies in place; larger ones are copied in a thread.
MAX_COPIED = 1 << 21
# Copying 1 << 13 bytes takes about as long as a call that copies nothing.
_BYTES_A_CALL = 13


class Budget:
    """How much one task may do in place on an event loop before it lets others run.

    Many tasks that make a few calls each alternate anyway. If such a task yielded, the others would only wait
    longer for what it holds: zarr-python's tasks, for example, hold one of ten permits. So a task yields only
    if it uses up two allowances in a row.

    Parameters
    ----------
    calls : int
        The allowance in small calls, less one.
    """

    __slots__ = ("_allowance", "_last", "_left")

    def __init__(self, calls: int) -> None:
        self._allowance = self._left = calls
        self._last = 0

    def is_spent(self, size: int = 0, calls: int = 1) -> bool:
        """Count calls in place that moved ``size`` bytes; if this returns True, await `refill`."""
        self._left -= calls + (size >> _BYTES_A_CALL)
        return self._left < 0

    async def refill(self) -> None:
        """Let other tasks run, if the calling task also used up the previous allowance."""
        self._left = self._allowance
        task = id(asyncio.current_task())  # the id, since a reference would keep the task alive
        if self._last != task:
            self._last = task
            return
        self._last = 0
        await asyncio.sleep(0)


class NowaitMethods(BlockingStore, Protocol):
    """What `NowaitVerbs` need from a store, apart from its verbs."""

    _on_device: ClassVar[bool]

    @property
    def _budget(self) -> Budget: ...
    def _read_nowait(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | WouldBlock | None: ...
    def _read_many_nowait(
        self, requests: Iterable[Request], allocate: Allocate
    ) -> Generator[Data | WouldBlock | None]: ...
    def _read_parts(
        self, key: str, requests: list[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]: ...
    def _stat_nowait(self, key: str) -> Entry | WouldBlock | None: ...
    def _write_nowait(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> str | Conflict | WouldBlock | None: ...
    def _can_list_nowait(self) -> bool: ...
    def _keys(self, prefix: str) -> Iterator[list[str]]: ...
    def _remove_below_in_steps(self, prefix: str) -> Iterator[None]: ...
    def _patch(self, key: str, parts: Iterable[tuple[int, Data]], /) -> None: ...
    def _read_in_thread(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Awaitable[Data | None]: ...
    async def _write_in_thread(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> str | Conflict | None: ...
    def _write_in_steps(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> str | Conflict | threads.Continuation | None: ...


class NowaitVerbs(ThreadedVerbs):
    """Blocking verbs for an event loop: called in place if they won't block, otherwise in threads."""

    __slots__ = ()

    store: Callable[[], NowaitMethods]

    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        """Read in place if that won't block, otherwise in a thread."""
        store = self.store()
        value = store._read_nowait(key, request, allocate)
        if value is WOULD_BLOCK:
            return await store._read_in_thread(key, request, allocate)
        if store._budget.is_spent(0 if value is None else len(value)):
            await store._budget.refill()
        return value

    async def read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Read in place what won't block, and the rest in threads.

        If one part of a value would block, a thread reads all requested parts, so that they are of one
        version.
        """
        store = self.store()
        asked = list(requests)
        answers: list[Data | None] = [None] * len(asked)
        cold: list[str] = []
        places = by_key(asked)
        order = [index for group in places.values() for index in group]
        is_spent = store._budget.is_spent
        with closing(store._read_many_nowait([asked[index] for index in order], allocate)) as values:
            for index, value in zip(order, values, strict=True):
                if value is WOULD_BLOCK:
                    cold.append(asked[index][0])
                    continue
                answers[index] = value
                if is_spent(0 if value is None else len(value)):
                    await store._budget.refill()
        if cold:
            late = [index for key in dict.fromkeys(cold) for index in places[key]]
            found = await self._read_cold([asked[index] for index in late], allocate)
            for index, value in zip(late, found, strict=True):
                answers[index] = value
        return answers

    async def _read_cold(self, asked: list[Request], allocate: Allocate) -> list[Data | None]:
        """Read many values in threads, in order; one thread reads all parts of a value."""
        places = by_key(asked)
        if len(places) == len(asked):
            return await self.read_in_threads(asked, allocate)
        read = self.store()._read_parts
        calls = [
            threads.to_thread(
                read, key, [asked[index][1] for index in group], allocate, abandon_on_cancel=True
            )
            for key, group in places.items()
        ]
        answers: list[Data | None] = [None] * len(asked)
        for group, parts in zip(places.values(), await asyncio.gather(*calls), strict=True):
            for index, value in zip(group, parts, strict=True):
                answers[index] = value
        return answers

    async def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> str | Conflict | None:
        """Write in place if that won't block, otherwise in a thread."""
        store = self.store()
        if is_stream(pieces):
            answer = await self.write_stream(store._write_in_steps, key, pieces, condition)
            return cast("str | Conflict | None", answer)
        at_once = store._write_nowait(key, pieces, condition)
        if at_once is WOULD_BLOCK:
            return await store._write_in_thread(key, pieces, condition)
        if store._budget.is_spent(sum(map(len, pieces)), 2):
            await store._budget.refill()
        return at_once

    async def stat(self, key: str) -> Entry | None:
        """Look up in place if that won't block, otherwise in a thread."""
        store = self.store()
        found = store._stat_nowait(key)
        if found is WOULD_BLOCK:
            return await ThreadedVerbs.stat(self, key)
        if store._budget.is_spent():
            await store._budget.refill()
        return found

    async def listed(self, verb: Callable[..., Iterable[T]], *args: object) -> AsyncIterator[T]:
        """List in place if that won't block, otherwise in threads."""
        store = self.store()
        if not store._can_list_nowait():
            async for page in ThreadedVerbs.listed(self, verb, *args):
                yield page
            return
        for page in verb(*args):
            yield page
            # Eight entries take as long as one small read; an empty page took as long as a full one.
            if store._budget.is_spent(0, 1 + ((len(cast("list[object]", page)) or PAGE_SIZE) >> 3)):
                await store._budget.refill()


class NonBlockingVerbs(NowaitVerbs):
    """Verbs of a memory store for an event loop: called in place, except for long listings."""

    __slots__ = ()

    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        """Read in place."""
        store = self.store()
        if store._budget.is_spent():
            await store._budget.refill()
        return store._read(key, request, allocate)

    async def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> str | Conflict | None:
        """Write in place."""
        pieces = tuple([piece async for piece in pieces]) if is_stream(pieces) else tuple(pieces)
        store = self.store()
        if _takes_long(store, size := sum(map(len, pieces))):
            return await threads.to_thread(store._write, key, pieces, condition)
        if store._budget.is_spent(size):
            await store._budget.refill()
        return store._write(key, pieces, condition)

    async def remove(self, key: str, condition: Precondition = ANY) -> Conflict | None:
        """Remove in place."""
        return self.store()._remove(key, condition)

    async def stat(self, key: str) -> Entry | None:
        """Look up in place."""
        return self.store()._stat(key)

    async def read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Read in place; no write can occur between the parts of a value."""
        store = self.store()
        asked = list(requests)
        places = by_key(asked)
        if len(places) == len(asked):
            return await Verbs.read_many(self, asked, allocate)
        answers: list[Data | None] = [None] * len(asked)
        for key, group in places.items():
            if store._budget.is_spent(0, len(group)):
                await store._budget.refill()
            parts = store._read_parts(key, [asked[index][1] for index in group], allocate)
            for index, value in zip(group, parts, strict=True):
                answers[index] = value
        return answers

    remove_many = Verbs.remove_many

    @classmethod
    def optional(cls, name: str) -> Callable[..., object]:
        """Make the method for an optional verb that a store defines."""
        if name in LISTINGS:
            return super().optional(name)
        return _IN_STEPS.get(name) or SyncVerbs.optional(name)


async def _remove_below(self: NonBlockingVerbs, prefix: str) -> None:
    """Remove in place, letting other tasks run in between."""
    for _ in self.store()._remove_below_in_steps(prefix):
        await asyncio.sleep(0)


async def _is_empty(self: NonBlockingVerbs, prefix: str) -> bool:
    """Look for a first key in place, letting other tasks run in between."""
    for page in self.store()._keys(prefix):
        if page:
            return False
        await asyncio.sleep(0)
    return True


async def _patch(self: NonBlockingVerbs, key: str, parts: Iterable[tuple[int, Data]]) -> None:
    """Write parts in place, unless much has to be copied."""
    store, parts = self.store(), list(parts)
    value = store._read(key, None, host_memory)
    size = sum(len(part) for _, part in parts)
    if value is not None and _takes_long(store, len(value) + size):
        await threads.to_thread(store._patch, key, parts)
    else:
        store._patch(key, parts)


_IN_STEPS: dict[str, Callable[..., object]] = {
    "remove_below": _remove_below,
    "is_empty": _is_empty,
    "patch": _patch,
}


def _takes_long(store: NowaitMethods, size: int) -> bool:
    """Whether copying so many bytes takes long; a GPU's copies don't, and are ordered per thread."""
    return size > MAX_COPIED and not store._on_device
