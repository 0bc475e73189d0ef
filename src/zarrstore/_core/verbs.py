"""Verbs: the operations that a store implements, as bound for callers.

`zarrstore.abc.store.Store` declares them and says what each must do. A store defines them with ``def`` if
it blocks and with ``async def`` if it awaits. `zarrstore._async.bindings` binds either kind to the calling
thread or to an event loop, as a `Verbs`. Code over bound verbs is one coroutine for both kinds. Over blocking
verbs it never suspends, and `drive` runs it in the calling thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable
from dataclasses import dataclass
from enum import Enum
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, NamedTuple, ParamSpec, TypeAlias, TypeVar

from zarrstore._core.later import np, recycling
from zarrstore._core.listing import closing_pages
from zarrstore.errors import BackendError, ByteRequestError, KeyNotFoundError, changes_always

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

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
        Full key; a directory's name ends in ``/``.
    size : int or None
        Size in bytes, if it was requested.
    version : str or None
        Opaque version of the value, if the listing provides it. It may contain a checksum of the value
        (`zarrstore._core.checksum`).
    modified : float or None
        Time of the last write, in seconds since 1970, if the listing provides it.
    """

    key: str
    size: int | None = None
    version: str | None = None
    modified: float | None = None


class Condition(Enum):
    """What must hold for a write or a removal, apart from a version."""

    ANY = "any"
    ABSENT = "absent"


class Signal(Enum):
    """Results of verbs that aren't values."""

    WOULD_BLOCK = "would block"
    CONFLICT = "conflict"


# How many times to read a value again if it was replaced during the read.
_TRIES = 100

ANY: Final = Condition.ANY
ABSENT: Final = Condition.ABSENT
WOULD_BLOCK: Final = Signal.WOULD_BLOCK
CONFLICT: Final = Signal.CONFLICT

WouldBlock: TypeAlias = Literal[Signal.WOULD_BLOCK]
Conflict: TypeAlias = Literal[Signal.CONFLICT]
# What a write requires of the existing value: nothing, that there is none, or its version.
Precondition: TypeAlias = Condition | str
# What a read requests: a key, and which of its bytes.
Request: TypeAlias = "tuple[str, ByteRequest | None]"
# A key, its value in pieces, and a condition.
Write: TypeAlias = "tuple[str, Pieces, Precondition]"


@dataclass(frozen=True)
class Capabilities:
    """What a store guarantees, so that callers know in advance what it can't do.

    Attributes
    ----------
    atomic_create : bool
        If several writers create the same key, exactly one wins, also across processes. A remote store trusts
        its server, and any proxy in between, to honour the condition that it sends.
    versions : bool
        Values have versions, and writes and removals can require one, with the same trust.
    folders : bool
        ``k`` and ``k/child`` can't both be keys (`KeyConflictError`).
    recursive_delete : bool
        ``delete`` of a directory removes everything below it.
    shared : bool
        Other processes see what this store writes.
    transactional : bool
        Others see writes only at a commit, all at once; until then a chunk needs its array's document.
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
        If it suspends, because a verb awaited something that needs an event loop.
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
        pass  # a running async generator can't be closed; the error below gives the reason
    raise RuntimeError(f"{where} suspended where no event loop runs it. {_RULE}")


_RULE = (
    "A store's verbs are all 'def', or all 'async def'; a wrapper's await nothing but what 'below' gives: "
    "its verbs, below.sleep and below.call."
)


def _asking(error: BaseException) -> str:
    """Return the name of the innermost verb that an error passed through."""
    names = []
    trace = error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_qualname)
        trace = trace.tb_next
    return _named(names)


def _suspended(awaitable: object) -> str:
    """Return the name of the innermost verb that is waiting for something."""
    names = []
    while awaitable is not None:
        names.append(getattr(awaitable, "__qualname__", ""))
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "ag_await", None)
    return _named(names)


def _named(functions: list[str]) -> str:
    """Return the name of the innermost verb, or of the innermost function if none is a verb."""
    functions = [name for name in functions if name.rpartition("._")[2] in NAMES] or list(
        filter(None, functions)
    )
    return f"a blocking verb ({functions[-1]})" if functions else "a blocking verb"


def join_pieces(pieces: Pieces) -> bytes:
    """Concatenate pieces, for stores that need the whole value at once."""
    return b"".join(pieces)


async def gather_pieces(pieces: AnyPieces) -> bytes:
    """Concatenate pieces, async ones too, for awaiting stores that need the whole value at once."""
    if isinstance(pieces, AsyncIterable):
        return b"".join([piece async for piece in pieces])
    return b"".join(pieces)


class SizedPieces:
    """Pieces that are awaited, of a value whose size is known before.

    Parameters
    ----------
    pieces : async iterable of bytes-like
        The pieces.
    size : int
        How many bytes they have in all.
    """

    def __init__(self, pieces: AsyncIterable[Data], size: int) -> None:
        self._pieces = pieces
        self.size = size

    def __aiter__(self) -> AsyncIterator[Data]:
        return aiter(self._pieces)


def known_size(pieces: AnyPieces) -> int:
    """Return how many bytes pieces have in all; 0 if that isn't known."""
    return pieces.size if isinstance(pieces, SizedPieces) else 0


def refused_write(key: str, store: object = None) -> BackendError:
    """Return the error for an unconditional write that a store's verb answered with `CONFLICT`."""
    return BackendError(
        "the store answered a conflict to a write that has no condition: nothing was written.",
        store=store,
        key=key,
        hint="Let its verb _write raise what hinders it; a conflict answers a condition only.",
    )


class Verbs(ABC):
    """Verbs bound to a thread, a loop or a wrapper: each is awaited, and listings yield pages."""

    __slots__ = ()

    @property
    def sends_requests(self) -> bool:
        """Whether each read is a request to a server, so that only a limited number may run at once."""
        return False

    @property
    def looks_up(self) -> bool:
        """Whether `stat` is a request that returns a version, rather than a read of the whole value."""
        return False

    @abstractmethod
    def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Awaitable[Data | None]:
        """Read the bytes that a request selects; None if there is no such value."""

    @abstractmethod
    def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> Awaitable[str | Conflict | None]:
        """Replace a value; return its version, or `CONFLICT`."""

    @abstractmethod
    def remove(self, key: str, condition: Precondition = ANY) -> Awaitable[Conflict | None]:
        """Remove a value; return None, or `CONFLICT`."""

    @abstractmethod
    def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """List what is below a directory."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait: block the thread, or let the event loop continue."""

    @abstractmethod
    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Make a blocking call without side effects: here, or in a thread of the pool."""

    @abstractmethod
    async def for_each(self, call: Callable[[S], Awaitable[T]], items: Iterable[S]) -> list[T]:
        """Make a call for each item: in turn, or concurrently if each waits for a server."""

    # Defaults of the optional verbs, built on the ones above.

    async def read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Answer many reads, in order."""
        return await self.for_each(lambda request: self.read(request[0], request[1], allocate), requests)

    def read_ranges(
        self, key: str, requests: Sequence[ByteRequest | None], allocate: Allocate
    ) -> Awaitable[list[Data | None]]:
        """Answer many reads of one value. No store defines it, but a class may override ``get_ranges``."""
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
        """Return a value's size and version."""
        value = await self.read(key, None, host_memory)
        return None if value is None else Entry(key, len(value))

    async def names(self, prefix: str) -> AsyncIterator[list[str]]:
        """List names one level below a directory, once each."""
        skip = len(prefix)
        seen: set[str] = set()
        async with closing_pages(self.scan(prefix, False, False)) as pages:
            async for page in pages:
                keys = [entry[0] for entry in page]
                # A key and a directory may have the same name.
                names = dict.fromkeys([key[skip:-1] if key[-1] == "/" else key[skip:] for key in keys])
                yield [name for name in names if name not in seen] if seen else list(names)
                seen.update(names)

    async def keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """List all keys below a directory."""
        async with closing_pages(self.scan(prefix, True, False)) as pages:
            async for page in pages:
                yield [entry[0] for entry in page]

    async def is_empty(self, prefix: str) -> bool:
        """Whether there is no key below a directory; stops at the first key."""
        async with closing_pages(self.scan(prefix, True, False)) as pages:
            async for page in pages:
                if page:
                    return False
        return True

    async def write_many(self, writes: list[Write]) -> list[object]:
        """Replace many values; return an answer or error for each, fewer if an error ended the batch."""

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
# Verbs that yield pages.
LISTINGS = frozenset(("scan", "names", "keys"))

# The verbs that each default is built on. If a class changes one of those, it gets the default back, unless
# it also defines the verb itself. So nothing bypasses a change.
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


# `Any` is the class that declares or defines a verb: in a subclass `self` is the subclass, not the base.


def verb(
    method: Callable[Concatenate[Any, P], T],
) -> (
    Callable[Concatenate[Any, P], T]
    | Callable[Concatenate[Any, P], Awaitable[T]]
    | Callable[Concatenate[Any, Verbs, P], Awaitable[T]]
):
    """Declare a verb. Stores define it, and so do wrappers, which receive the verbs below first."""
    return _declared(method)


def listing_verb(
    method: Callable[Concatenate[Any, P], Iterable[T]],
) -> (
    Callable[Concatenate[Any, P], Iterable[T]]
    | Callable[Concatenate[Any, P], AsyncIterable[T]]
    | Callable[Concatenate[Any, Verbs, P], AsyncIterable[T]]
):
    """Declare a verb that yields pages."""
    return _declared(method)


def _declared(method: Callable[P, T]) -> Callable[P, T]:
    vars(method)["_is_declaration"] = True
    return method


def defines(store_class: type, name: str) -> bool:
    """Whether a class defines a verb, rather than inheriting the declaration."""
    method = getattr(store_class, "_" + name, None)
    return method is not None and not hasattr(method, "_is_declaration")


def check_parts(key: str, size: int, parts: Iterable[tuple[int, Data]]) -> None:
    """Refuse parts, sorted by start, that would leave a gap after the end of a value.

    A part must begin at or before the end of the value or of the part before it; it may extend past that end.
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
    """Return a copy of a value with parts overwritten; the last part may extend past the old end."""
    parts = list(parts)
    check_parts(key, len(value), parts)
    copy = bytearray(value)
    for start, part in parts:
        copy[start : start + len(part)] = memoryview(part)
    return copy


def host_memory(size: int) -> npt.NDArray[np.uint8]:
    """Allocate ``size`` bytes of host memory: the default allocator of reads.

    If values are wanted in GPU memory, reads get a `zarrstore.buffer._staging.Staging` instead. When called,
    it allocates host memory as well, and the verb's result is copied to the device. Its ``fill`` reads block
    by block, which saves a copy; a verb that uses it may return its result.
    """
    return np.empty(size, recycling.BYTE) if size < recycling.SMALLEST else recycling.allocate(size)
