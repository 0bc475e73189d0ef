"""Verbs: the handful of operations that a store implements, and what binds them to a world.

A store defines, as plain functions if it blocks or as coroutines if it awaits:

=====================================  ==============================================================
``_read(key, request, new)``           the bytes that the request selects, or None for a proven
                                       absence; ``new(n)`` gives n bytes of host memory to fill, which
                                       a store that owns its memory may ignore; see `host_memory`
``_write(key, pieces, condition)``     replace the value by the concatenated pieces in one step;
                                       returns its version (or None) or `CONFLICT`
``_remove(key, condition)``            remove the key; no error if it isn't there; None or `CONFLICT`
``_scan(prefix, deep, sizes)``         pages (lists) of `Entry` below a directory; not deep: one level,
                                       where a directory's key ends in ``/``; ``sizes`` only if true
=====================================  ==============================================================

and may define these, which otherwise are loops over the ones above:

=====================================  ==============================================================
``_read_now(key, request, new)``       what ``_read`` would answer if that needs no waiting, else `WOULD_BLOCK`;
                                       ``_stat_nowait`` and ``_write_nowait`` likewise, and ``_read_many_nowait``,
                                       which yields an answer for each ``(key, request)``
``_write_many(writes)``                write for each ``(key, pieces, condition)``; returns the answers, and
                                       exceptions in the place of those that failed
``_write_staged(key, pieces, ...)``    as ``_write``, but may return `zarrstore._async.threads.Continuation`: what is
                                       left to do when others have had their turn
``_lists_now()``                       whether ``_scan``, ``_names`` and ``_keys`` need no waiting now
``_read_many(requests, new)``          a list of answers for a list of ``(key, request)``
``_reads_together(count, new)``        whether so many reads had better be one call of ``_read_many`` in the
                                       pool, even where ``_read_nowait`` could answer them
``_read_versioned(key, request, new)`` ``(bytes, version)`` of one and the same value, or None
``_stat(key)``                         its `Entry` with size and version, or None
``_names(prefix)``                     pages of names one level below a directory, once each
``_keys(prefix)``                      pages of all keys below a directory
``_is_empty(prefix)``                  whether no key lies below a directory
``_patch(key, parts)``                 overwrite ``(start, bytes)`` parts inside an existing value
``_remove_many(keys)``                 remove many keys
``_remove_below(prefix)``              remove all that lies below a directory, keys or not
``_copy(source, target)``              copy within the store
=====================================  ==============================================================

Versions are opaque text; ``condition`` is `ANY`, `ABSENT` or the version that must still be there.
``pieces`` is an iterable of bytes-like objects (for an awaiting store it may be an async iterable),
so that no value need fit into memory twice.

`zarrstore._async.bindings` binds them to the calling thread or to an event loop. Code over bound verbs is one
coroutine for both: in the calling thread it never suspends, and `drive` runs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from zarrstore.errors import ByteRequestError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
    from typing import TypeAlias

    from zarrstore._core.requests import ByteRequest

    Allocate: TypeAlias = Callable[[int], Any]

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

    WOULD_BLOCK = "wait"
    CONFLICT = "conflict"


ANY = Condition.ANY
ABSENT = Condition.ABSENT
WOULD_BLOCK = Signal.WOULD_BLOCK
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


class Verbs(ABC):
    """Verbs bound to a world: every one a coroutine function, `scan` an async iterator of pages."""

    __slots__ = ()

    @abstractmethod
    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Any:
        """Read what a request selects; None if there is no such value."""

    @abstractmethod
    async def write(self, key: str, pieces: Any, condition: Condition | str) -> Any:
        """Replace a value; its version, or `CONFLICT`."""

    @abstractmethod
    async def remove(self, key: str, condition: Condition | str = ANY) -> Any:
        """Remove a value; None, or `CONFLICT`."""

    @abstractmethod
    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """List what lies below a directory."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait, as one waits in this world."""

    @abstractmethod
    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Make a blocking call that has no effect but its result, as one makes them in this world."""

    def read_in_thread(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Awaitable[Any]:
        """Read what the store's ``_read_nowait`` had no answer for."""
        return self.read(key, request, allocate)

    # What follows are the defaults of the optional verbs: loops over the ones above.

    async def read_many(
        self, requests: Iterable[tuple[str, ByteRequest | None]], allocate: Allocate
    ) -> list[Any]:
        """Answer many reads, in the order asked."""
        return [await self.read(key, request, allocate) for key, request in requests]

    async def read_versioned(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Any:
        """Read a value together with its version."""
        before = await self.stat(key)
        while before is not None:
            value = await self.read(key, request, allocate)
            after = await self.stat(key)
            if value is not None and after is not None and before.version == after.version:
                return value, before.version
            before = after
        return None

    async def stat(self, key: str) -> Entry | None:
        """Look up a value's size and version."""
        value = await self.read(key, None, host_memory)
        return None if value is None else Entry(key, len(value))

    async def names(self, prefix: str) -> AsyncIterator[list[str]]:
        """List names one level below a directory, once each."""
        skip = len(prefix)
        seen: set[str] = set()
        async with aclosing(self.scan(prefix, False, False)) as pages:  # type: ignore[type-var]
            async for page in pages:
                keys = [entry[0] for entry in page]
                # A key and a directory may share a name.
                names = dict.fromkeys([key[skip:-1] if key[-1] == "/" else key[skip:] for key in keys])
                yield [name for name in names if name not in seen] if seen else list(names)
                seen.update(names)

    async def keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """List all keys below a directory."""
        async with aclosing(self.scan(prefix, True, False)) as pages:  # type: ignore[type-var]
            async for page in pages:
                yield [entry[0] for entry in page]

    async def is_empty(self, prefix: str) -> bool:
        """Whether no key lies below a directory; stops at the first."""
        async with aclosing(self.scan(prefix, True, False)) as pages:  # type: ignore[type-var]
            async for page in pages:
                if page:
                    return False
        return True

    async def patch(self, key: str, parts: Iterable[tuple[int, Any]]) -> None:
        """Overwrite parts of a value."""
        value = await self.read(key, None, host_memory)
        if value is None:
            raise KeyNotFoundError("there is no value to write into.", key=key)
        await self.write(key, (patched(key, value, parts),), ANY)

    async def remove_many(self, keys: Iterable[str]) -> None:
        """Remove many values."""
        for key in keys:
            await self.remove(key, ANY)

    async def remove_below(self, prefix: str) -> None:
        """Remove all that lies below a directory."""
        async for page in self.scan(prefix, True, False):
            await self.remove_many([entry.key for entry in page])

    async def copy(self, source: str, target: str) -> None:
        """Copy a value within the store."""
        value = await self.read(source, None, host_memory)
        if value is None:
            raise KeyNotFoundError("there is no value to copy.", key=source)
        await self.write(target, (value,), ANY)


# How many small calls in place a loop bears before other tasks get their turn.
MAX_INLINE_CALLS = 32
# Largest value, in bytes, that is read or written in place: it takes in a shard of 64 chunks of 4 KiB with
# its index. Writing that into fresh memory takes 0.35 ms, and more would hold up the loop's other tasks.
MAX_INLINE_SIZE = 17 << 14

REQUIRED = ("read", "write", "remove", "scan")
OPTIONAL = (
    "read_many",
    "read_versioned",
    "stat",
    "names",
    "keys",
    "is_empty",
    "patch",
    "remove_many",
    "remove_below",
    "copy",
)
NAMES = (*REQUIRED, *OPTIONAL)

# Which verbs a default is made of: whoever changes one of those gets the default back, unless it
# changes that one too. So nothing bypasses a change.
DEFAULT_USES: dict[str, tuple[str, ...]] = {
    "read_many": ("read",),
    "read_versioned": ("read",),
    "patch": ("read", "write"),
    "remove_many": ("remove",),
    "remove_below": ("remove", "remove_many", "scan"),
    "copy": ("read", "write"),
    "names": ("scan",),
    "keys": ("scan",),
    "is_empty": ("scan",),
}


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
                hint="Write the bytes in between as well.",
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
    """Give ``size`` bytes of the host's memory: the ``new`` that is used where nobody asks otherwise.

    Where values are wanted in a GPU's memory, ``new`` is a `zarrstore.buffer._staging.Staging`. It gives
    host memory just so, and what a verb answers is copied to the device. Beyond that it has ``fill``:
    a verb that can read by blocks may answer with what that gives, and so save a copy.
    """
    return _empty(size, _BYTE)


# Looked up once, since every read asks for memory: so it takes 0.16 µs instead of 0.25.
_empty = np.empty
_BYTE = np.dtype(np.uint8)
