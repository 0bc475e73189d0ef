"""Verbs: the operations that a store implements, as callers see them once they are bound.

`zarrstore.abc.store.Store` declares them and says what each must do. A store defines them with ``def`` if
it blocks, with ``async def`` if it awaits; `zarrstore._async.bindings` binds either to the calling thread
or to an event loop, as a `Verbs`. Code over bound verbs is one coroutine for both: over blocking verbs it
never suspends, and `drive` runs it in the calling thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable
from dataclasses import dataclass
from enum import Enum
from types import CoroutineType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeAlias,
    TypeVar,
)

import numpy as np

from zarrstore._core import recycling
from zarrstore._core.listing import closing_pages
from zarrstore.errors import BackendError, ByteRequestError, KeyNotFoundError, changes_always

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Sequence,
    )

    import numpy.typing as npt

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data, Pieces

P = ParamSpec("P")
S = TypeVar("S")
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
        Opaque version of the value, where the listing brings it. It may tell a checksum of the value
        (`zarrstore._core.checksum`).
    modified : float or None
        When it was written last, in seconds since 1970, where the listing brings it.
    """

    key: str
    size: int | None = None
    version: str | None = None
    modified: float | None = None


class Condition(Enum):
    """What must hold for a write or a removal, beside a version."""

    ANY = "any"
    ABSENT = "absent"


class Signal(Enum):
    """Answers of verbs that are no values."""

    WOULD_BLOCK = "would block"
    CONFLICT = "conflict"


# How often a value is read anew that was replaced while it was read.
_TRIES = 100

ANY: Final = Condition.ANY
ABSENT: Final = Condition.ABSENT
WOULD_BLOCK: Final = Signal.WOULD_BLOCK
CONFLICT: Final = Signal.CONFLICT

WouldBlock: TypeAlias = Literal[Signal.WOULD_BLOCK]
Conflict: TypeAlias = Literal[Signal.CONFLICT]
# What a write demands of the value that is there: nothing, that there is none, or its version.
Precondition: TypeAlias = Condition | str
# What a read asks for: a key, and which of its bytes.
Request: TypeAlias = "tuple[str, ByteRequest | None]"
# A key, its value in pieces, and a condition.
Write: TypeAlias = "tuple[str, Pieces, Precondition]"


@dataclass(frozen=True)
class Capabilities:
    """What a store can promise; where it can't, its callers know beforehand.

    Attributes
    ----------
    atomic_create : bool
        Of several writers that create one key, exactly one wins, other processes' included. A remote store
        trusts that its server, and any proxy before it, keeps to the condition that it sends.
    versions : bool
        Values have versions, and writes and removals can demand one, with the same trust.
    folders : bool
        ``k`` and ``k/child`` can't both be keys (`KeyConflictError`).
    recursive_delete : bool
        ``delete`` of a directory removes everything below it.
    shared : bool
        Other processes see what is written.
    transactional : bool
        Others see what is written at a commit, all at once; until then a chunk needs its array's document.
    """

    atomic_create: bool = False
    versions: bool = False
    folders: bool = False
    recursive_delete: bool = False
    shared: bool = True
    transactional: bool = False


def drive(awaitable: Awaitable[T]) -> T:
    """Run a coroutine that never suspends, in the calling thread and without an event loop.

    Raises
    ------
    RuntimeError
        If it suspends: a verb awaited something that only an event loop can wait for.
    """
    step = awaitable if isinstance(awaitable, CoroutineType) else awaitable.__await__()
    try:
        step.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    except RuntimeError as error:
        if str(error) != "no running event loop":
            raise
        raise RuntimeError(f"{_asking(error)} asked for an event loop, and none runs it. {_RULE}") from error
    where = _suspended(awaitable)
    try:
        step.close()
    except RuntimeError:
        pass  # an async generator in the middle of its work can't be closed; the error below says why
    raise RuntimeError(f"{where} suspended where no event loop runs it. {_RULE}")


_RULE = (
    "A store's verbs are all 'def', or all 'async def'; a wrapper's await nothing but what 'below' gives: "
    "its verbs, below.sleep and below.call."
)


def _asking(error: BaseException) -> str:
    """Name the innermost verb that an error passed through."""
    names = []
    trace = error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_qualname)
        trace = trace.tb_next
    return _named(names)


def _suspended(awaitable: object) -> str:
    """Name the innermost verb that waits for something."""
    names = []
    while awaitable is not None:
        names.append(getattr(awaitable, "__qualname__", ""))
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "ag_await", None)
    return _named(names)


def _named(functions: list[str]) -> str:
    """Name the innermost verb among functions, or the innermost function if none is a verb."""
    functions = [name for name in functions if name.rpartition("._")[2] in NAMES] or list(
        filter(None, functions)
    )
    return f"a blocking verb ({functions[-1]})" if functions else "a blocking verb"


def join_pieces(pieces: Pieces) -> bytes:
    """Concatenate pieces, for stores that need a value whole."""
    return b"".join(pieces)


async def gather_pieces(pieces: AnyPieces) -> bytes:
    """Concatenate pieces, async ones too, for awaiting stores that need a value whole."""
    if isinstance(pieces, AsyncIterable):
        return b"".join([piece async for piece in pieces])
    return b"".join(pieces)


def refused_write(key: str, store: object = None) -> BackendError:
    """Make the error for a write without a condition that a store's verb answered with `CONFLICT`."""
    return BackendError(
        "the store answered a conflict to a write that has no condition: nothing was written.",
        store=store,
        key=key,
        hint="Let its verb _write raise what hinders it; a conflict answers a condition only.",
    )


class Verbs(ABC):
    """Verbs bound to a thread, a loop or a wrapper: each is awaited, a listing yields pages."""

    __slots__ = ()

    @property
    def sends_requests(self) -> bool:
        """Whether each read is a request to a server, of which only so many may be under way."""
        return False

    @property
    def looks_up(self) -> bool:
        """Whether `stat` is a request to a server, which tells a version, rather than a read of the value."""
        return False

    @abstractmethod
    def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Awaitable[Data | None]:
        """Read what a request selects; None if there is no such value."""

    @abstractmethod
    def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> Awaitable[str | Conflict | None]:
        """Replace a value; its version, or `CONFLICT`."""

    @abstractmethod
    def remove(self, key: str, condition: Precondition = ANY) -> Awaitable[Conflict | None]:
        """Remove a value; None, or `CONFLICT`."""

    @abstractmethod
    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """List what is below a directory."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait: block a thread, or let an event loop go on."""

    @abstractmethod
    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Make a blocking call that has no effect but its result: here, or in a thread of the pool."""

    @abstractmethod
    async def for_each(self, call: Callable[[S], Awaitable[T]], items: Iterable[S]) -> list[T]:
        """Make a call for each item: one after the other, or at once where each waits for a server."""

    # What follows are the defaults of the optional verbs, made of the ones above.

    async def read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Answer many reads, in the order asked."""
        return await self.for_each(lambda request: self.read(request[0], request[1], allocate), requests)

    def read_ranges(
        self, key: str, requests: Sequence[ByteRequest | None], allocate: Allocate
    ) -> Awaitable[list[Data | None]]:
        """Answer many reads of one value. No store defines this, but a class may override ``get_ranges``."""
        return self.read_many([(key, request) for request in requests], allocate)

    async def read_versioned(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        """Read a value together with its version."""
        before = await self.stat(key)
        for _ in range(_TRIES):
            if before is None:
                return None
            value = await self.read(key, request, allocate)
            after = await self.stat(key)
            if value is not None and after is not None and before.version == after.version:
                return value, before.version
            before = after
        raise changes_always(None, key)

    async def stat(self, key: str) -> Entry | None:
        """Look up a value's size and version."""
        value = await self.read(key, None, host_memory)
        return None if value is None else Entry(key, len(value))

    async def names(self, prefix: str) -> AsyncIterator[list[str]]:
        """List names one level below a directory, once each."""
        skip = len(prefix)
        seen: set[str] = set()
        async with closing_pages(self.scan(prefix, False, False)) as pages:
            async for page in pages:
                keys = [entry[0] for entry in page]
                # A key and a directory may share a name.
                names = dict.fromkeys([key[skip:-1] if key[-1] == "/" else key[skip:] for key in keys])
                yield [name for name in names if name not in seen] if seen else list(names)
                seen.update(names)

    async def keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """List all keys below a directory."""
        async with closing_pages(self.scan(prefix, True, False)) as pages:
            async for page in pages:
                yield [entry[0] for entry in page]

    async def is_empty(self, prefix: str) -> bool:
        """Whether there is no key below a directory; stops at the first."""
        async with closing_pages(self.scan(prefix, True, False)) as pages:
            async for page in pages:
                if page:
                    return False
        return True

    async def write_many(self, writes: list[Write]) -> list[object]:
        """Replace many values; an answer for each, errors among them, fewer if an error ended it."""

        async def attempt(write: Write) -> object:
            try:
                return await self.write(*write)
            except Exception as error:
                return error

        return await self.for_each(attempt, writes)

    async def patch(self, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        """Overwrite parts of a value."""
        value = await self.read(key, None, host_memory)
        if value is None:
            raise KeyNotFoundError("there is no value to write into.", key=key)
        if await self.write(key, (patched(key, value, parts),), ANY) is CONFLICT:
            raise refused_write(key)

    async def remove_many(self, keys: Iterable[str]) -> None:
        """Remove many values."""
        await self.for_each(self.remove, keys)

    async def remove_below(self, prefix: str) -> None:
        """Remove everything below a directory."""
        async with closing_pages(self.scan(prefix, True, False)) as pages:
            async for page in pages:
                await self.remove_many([entry.key for entry in page])

    async def copy(self, source: str, target: str) -> None:
        """Copy a value within the store."""
        value = await self.read(source, None, host_memory)
        if value is None:
            raise KeyNotFoundError("there is no value to copy.", key=source)
        if await self.write(target, (value,), ANY) is CONFLICT:
            raise refused_write(target)


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
# Verbs that answer with pages.
LISTINGS = frozenset(("scan", "names", "keys"))

# Which verbs a default is made of. A class that changes one of those gets the default back, unless it changes
# that one too. So nothing bypasses a change.
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


# `Any` stands for the class that declares or defines a verb: a subclass takes itself, not its base.


def verb(
    method: Callable[Concatenate[Any, P], T],
) -> (
    Callable[Concatenate[Any, P], T]
    | Callable[Concatenate[Any, P], Awaitable[T]]
    | Callable[Concatenate[Any, Verbs, P], Awaitable[T]]
):
    """Declare a verb, which stores define, and wrappers, which get the verbs below first."""
    return _declared(method)


def listing_verb(
    method: Callable[Concatenate[Any, P], Iterable[T]],
) -> (
    Callable[Concatenate[Any, P], Iterable[T]]
    | Callable[Concatenate[Any, P], AsyncIterable[T]]
    | Callable[Concatenate[Any, Verbs, P], AsyncIterable[T]]
):
    """Declare a verb that answers with pages."""
    return _declared(method)


def _declared(method: Callable[P, T]) -> Callable[P, T]:
    vars(method)["_is_declaration"] = True
    return method


def defines(store_class: type, name: str) -> bool:
    """Whether a class defines a verb, rather than inherit its declaration."""
    method = getattr(store_class, "_" + name, None)
    return method is not None and not hasattr(method, "_is_declaration")


def check_parts(key: str, size: int, parts: Iterable[tuple[int, Data]]) -> None:
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


def patched(key: str, value: Data, parts: Iterable[tuple[int, Data]]) -> bytearray:
    """Return a copy of a value with parts overwritten; the last part may reach past the old end."""
    parts = list(parts)
    check_parts(key, len(value), parts)
    copy = bytearray(value)
    for start, part in parts:
        copy[start : start + len(part)] = memoryview(part)
    return copy


def host_memory(size: int) -> npt.NDArray[np.uint8]:
    """Allocate ``size`` bytes of the host's memory: what reads are given where nobody asks otherwise.

    Where values are wanted in a GPU's memory, reads are given a `zarrstore.buffer._staging.Staging`. Called,
    it allocates host memory just so, and what a verb answers is copied to the device. Its ``fill`` reads by
    blocks, which saves a copy: a verb that can do so may answer with what that returns.
    """
    return np.empty(size, BYTE) if size < recycling.SMALLEST else recycling.allocate(size)


BYTE: Final = np.dtype(np.uint8)
