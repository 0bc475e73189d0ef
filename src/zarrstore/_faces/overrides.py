"""Verbs of a store whose class overrides public methods, so that nothing bypasses the overrides.

Users of zarr-python change a store's behaviour by overriding ``get`` or ``set``. Here most methods call
verbs, which would bypass such an override. So the class's other methods, and wrappers around the store, use
the verbs of this module. Each calls the corresponding public method if the class overrides it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from zarrstore._async import io_loop
from zarrstore._async.bindings import weak
from zarrstore._core.listing import closing_pages
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, Entry, Verbs, gather_pieces
from zarrstore.buffer import cpu, default_buffer_prototype

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, BufferLike, Data, Prototype
    from zarrstore._core.verbs import Conflict, Precondition, Request
    from zarrstore.buffer import Buffer

S = TypeVar("S")
T = TypeVar("T")
T_Method = TypeVar("T_Method", bound="Callable[..., object]")

# The verbs that a public method replaces. Verbs whose defaults are built on these use the default again.
VERBS_OF_METHOD: dict[str, tuple[str, ...]] = {
    "get": ("read", "read_many", "read_versioned", "patch"),
    "set": ("write", "patch"),
    "set_if_not_exists": ("write",),
    "delete": ("remove", "remove_many", "remove_below"),
    "delete_dir": ("remove_below",),
    "exists": ("stat",),
    "getsize": ("stat",),
    "list": ("scan",),
    "list_prefix": ("scan",),
    "list_dir": ("scan",),
}

# Overrides that only wrappers' calls go through. The store's own methods may be built on each other.
WHOLE_METHODS: frozenset[str] = frozenset(("clear", "is_empty", "get_partial_values", "get_ranges"))


def own_face(method: T_Method) -> T_Method:
    """Mark one of our own public methods, which calls verbs itself: verbs need not go through it."""
    vars(method)["_is_own_face"] = True
    return method


class _Overriding(Protocol):
    """A store whose class overrides some of these methods, or their blocking twins."""

    @property
    def _overridden(self) -> frozenset[str]: ...
    async def get(self, key: str, prototype: Prototype, byte_range: ByteRequest | None) -> Buffer | None: ...
    async def set(self, key: str, value: BufferLike) -> None: ...
    async def set_if_not_exists(self, key: str, value: BufferLike) -> None: ...
    async def delete(self, key: str) -> None: ...
    async def delete_dir(self, prefix: str) -> None: ...
    async def clear(self) -> None: ...
    async def is_empty(self, prefix: str) -> bool: ...
    async def get_partial_values(
        self, prototype: Prototype, key_ranges: Iterable[Request]
    ) -> list[Buffer | None]: ...
    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRequest | None], *, prototype: Prototype
    ) -> AsyncIterator[Sequence[tuple[int, Buffer | None]]]: ...
    async def exists(self, key: str) -> bool: ...
    async def getsize(self, key: str) -> int: ...
    def list(self) -> AsyncIterator[str]: ...
    def list_prefix(self, prefix: str) -> AsyncIterator[str]: ...
    def list_dir(self, prefix: str) -> AsyncIterator[str]: ...


class OverrideAware(Verbs):
    """Verbs that go through the overridden public methods of a store.

    Parameters
    ----------
    store : Store
        The store whose class overrides public methods.
    own : Verbs
        Its own verbs, which handle everything else.
    sync : bool
        Whether the verbs are driven; overrides that await then run on the I/O loop.
    """

    __slots__ = ("own", "store", "sync")

    def __init__(self, store: _Overriding, own: Verbs, *, sync: bool) -> None:
        self.store = weak(store)
        self.own = own
        self.sync = sync

    @property
    def sends_requests(self) -> bool:
        """Whether the store's own verbs send requests."""
        return self.own.sends_requests

    @property
    def looks_up(self) -> bool:
        """Whether the store's own verbs can look up values."""
        return self.own.looks_up

    def _has(self, name: str) -> bool:
        return name in self.store()._overridden

    def _changed(self, verb: str) -> bool:
        return any(verb in verbs for name, verbs in VERBS_OF_METHOD.items() if self._has(name))

    async def _call(self, method: Callable[..., Awaitable[T]], *args: object) -> T:
        """Call a public method; in blocking code its blocking twin, if that is overridden as well."""
        if not self.sync:
            return await method(*args)
        twin = method.__name__ + "_sync"
        if twin in self.store()._overridden:
            answer: T = getattr(self.store(), twin)(*args)
            return answer
        return io_loop.run_on_io(_awaited(method(*args)))

    async def sleep(self, seconds: float) -> None:
        """Wait as the store does."""
        await self.own.sleep(seconds)

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Call as the store does."""
        return await self.own.call(function, *args)

    async def for_each(self, call: Callable[[S], Awaitable[T]], items: Iterable[S]) -> list[T]:
        """Make many calls as the store does."""
        return await self.own.for_each(call, items)

    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        """Call ``get`` if it is overridden."""
        if not self._has("get"):
            return await self.own.read(key, request, allocate)
        value = await self._call(self.store().get, key, default_buffer_prototype(), request)
        return None if value is None else value.as_numpy_array()

    async def write(self, key: str, pieces: AnyPieces, condition: Precondition) -> str | Conflict | None:
        """Call ``set`` or ``set_if_not_exists`` if overridden."""
        store = self.store()
        if condition is ABSENT and (self._has("set_if_not_exists") or self._has("set")):
            if await self.stat(key) is not None:
                return CONFLICT
            method = store.set_if_not_exists if self._has("set_if_not_exists") else store.set
        elif condition is ANY and self._has("set"):
            method = store.set
        else:
            return await self.own.write(key, pieces, condition)
        await self._call(method, key, cpu.Buffer.from_bytes(await gather_pieces(pieces)))
        return None

    async def remove(self, key: str, condition: Precondition = ANY) -> Conflict | None:
        """Call ``delete`` if it is overridden."""
        if condition is not ANY or not self._has("delete"):
            return await self.own.remove(key, condition)
        await self._call(self.store().delete, key)
        return None

    async def stat(self, key: str) -> Entry | None:
        """Call ``exists`` and ``getsize`` if overridden."""
        if self._has("exists") and not await self._call(self.store().exists, key):
            return None
        if self._has("getsize"):
            try:
                return Entry(key, await self._call(self.store().getsize, key))
            except FileNotFoundError:
                return None
        return await self.own.stat(key)

    async def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Call the public listings if overridden."""
        store = self.store()
        if deep and not prefix and not self._has("list_prefix") and self._has("list"):
            listing = store.list()
        elif self._has("list_prefix" if deep else "list_dir"):
            listing = (store.list_prefix if deep else store.list_dir)(prefix)
        else:
            async with closing_pages(self.own.scan(prefix, deep, sizes)) as pages:
                async for page in pages:
                    yield page
            return
        keys = io_loop.run_on_io(_collect(listing)) if self.sync else await _collect(listing)
        if deep:
            yield [Entry(key) for key in keys]
            return
        # Names from list_dir don't say whether they are keys or directories; a key has a value.
        yield [
            Entry(prefix + key if await self.own.stat(prefix + key) else f"{prefix}{key}/") for key in keys
        ]

    async def remove_below(self, prefix: str) -> None:
        """Call ``delete_dir`` if it is overridden; remove one by one if another override affects this."""
        if self._has("delete_dir"):
            await self._call(self.store().delete_dir, prefix.removesuffix("/"))
        elif self._changed("remove_below"):
            await Verbs.remove_below(self, prefix)
        else:
            await self.own.remove_below(prefix)


def _default_if_changed(name: str, *uses: str) -> Callable[..., object]:
    """Make a verb that uses the default if a verb it builds on is changed, and the store's own otherwise."""
    default = getattr(Verbs, name)

    def verb(self: OverrideAware, *args: object) -> object:
        changed = any(map(self._changed, uses))
        return default(self, *args) if changed else getattr(self.own, name)(*args)

    return verb


for _name in ("names", "keys", "is_empty"):
    setattr(OverrideAware, _name, _default_if_changed(_name, "scan"))
for _name in ("read_many", "read_versioned", "patch", "remove_many"):
    setattr(OverrideAware, _name, _default_if_changed(_name, _name))
setattr(OverrideAware, "copy", _default_if_changed("copy", "read", "write"))  # noqa: B010 - as above


class WholeOverrides(OverrideAware):
    """The verbs for wrappers: they also respect overridden batch methods, ``clear`` and ``is_empty``."""

    __slots__ = ()

    async def read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Call ``get_partial_values`` if it is overridden."""
        if not self._has("get_partial_values"):
            return await super().read_many(requests, allocate)
        prototype = default_buffer_prototype()
        values = await self._call(self.store().get_partial_values, prototype, list(requests))
        return [None if value is None else value.as_numpy_array() for value in values]

    async def read_ranges(
        self, key: str, requests: Sequence[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        """Call ``get_ranges`` if it is overridden."""
        if not self._has("get_ranges"):
            return await super().read_ranges(key, requests, allocate)
        batches = self.store().get_ranges(key, requests, prototype=default_buffer_prototype())
        answers: list[Data | None] = [None] * len(requests)
        for batch in io_loop.run_on_io(_collect(batches)) if self.sync else await _collect(batches):
            for index, value in batch:
                answers[index] = None if value is None else value.as_numpy_array()
        return answers

    async def is_empty(self, prefix: str) -> bool:
        """Call ``is_empty`` if it is overridden."""
        if not self._has("is_empty"):
            return await super().is_empty(prefix)
        return await self._call(self.store().is_empty, prefix.removesuffix("/"))

    async def remove_below(self, prefix: str) -> None:
        """Call ``clear`` if it is overridden."""
        if prefix or not self._has("clear"):
            await super().remove_below(prefix)
        else:
            await self._call(self.store().clear)


async def _collect(listing: AsyncIterator[T]) -> list[T]:
    return [key async for key in listing]


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
