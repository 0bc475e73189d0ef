"""Verbs of a store whose class overrides public methods, so that nothing bypasses the override.

zarr-python's users change a store by overriding ``get`` or ``set``. Here most methods work on verbs
and would slip past that. So what such a class's other methods, and wrappers around it, use as verbs
are these: each goes through the public method that stands for it, if the class overrides that one.
"""

from __future__ import annotations

import weakref
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from zarrstore._async import threads as _threads
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, Entry, Verbs, gather_pieces
from zarrstore.buffer import cpu, default_buffer_prototype

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from zarrstore._core.verbs import T

# Which verbs a public method stands for; those made of these get their defaults back.
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


class OverrideAware(Verbs):
    """Verbs that go through the overridden public methods of a store.

    Parameters
    ----------
    store : Store
        The store whose class overrides public methods.
    plain : Verbs
        Its own verbs, which the rest goes to.
    inline : bool
        Whether the verbs are driven: overrides that await run on the I/O loop then.
    """

    __slots__ = ("plain", "store", "sync")

    def __init__(self, store: Any, plain: Verbs, *, sync: bool) -> None:
        self.store: Callable[[], Any] = weakref.ref(store)
        self.plain = plain
        self.sync = sync

    def _has(self, name: str) -> bool:
        return name in self.store()._overridden

    def _changed(self, verb: str) -> bool:
        return any(verb in verbs for name, verbs in VERBS_OF_METHOD.items() if self._has(name))

    async def _call(self, name: str, *args: Any) -> Any:
        """Call a public method; its blocking twin if only that is possible here and overridden as well."""
        store = self.store()
        if not self.sync:
            return await getattr(store, name)(*args)
        if name + "_sync" in store._overridden:
            return getattr(store, name + "_sync")(*args)
        return _threads.run_on_io(getattr(store, name)(*args))

    async def sleep(self, seconds: float) -> None:
        """Wait as the store does."""
        await self.plain.sleep(seconds)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call as the store does."""
        return await self.plain.call(function, *args)

    async def read(self, key: str, request: Any, allocate: Any) -> Any:
        """Ask ``get`` if it is overridden."""
        if not self._has("get"):
            return await self.plain.read(key, request, allocate)
        if self.sync and self._has("get_sync"):
            value = self.store().get_sync(key, prototype=default_buffer_prototype(), byte_range=request)
        else:
            value = await self._call("get", key, default_buffer_prototype(), request)
        return None if value is None else value.as_numpy_array()

    async def write(self, key: str, pieces: Any, condition: Any) -> Any:
        """Ask ``set`` or ``set_if_not_exists`` if they are overridden."""
        if condition is ABSENT and (self._has("set_if_not_exists") or self._has("set")):
            if await self.stat(key) is not None:
                return CONFLICT
            name = "set_if_not_exists" if self._has("set_if_not_exists") else "set"
        elif condition is ANY and self._has("set"):
            name = "set"
        else:
            return await self.plain.write(key, pieces, condition)
        return await self._call(name, key, cpu.Buffer.from_bytes(await gather_pieces(pieces)))

    async def remove(self, key: str, condition: Any = ANY) -> Any:
        """Ask ``delete`` if it is overridden."""
        if condition is ANY and self._has("delete"):
            return await self._call("delete", key)
        return await self.plain.remove(key, condition)

    async def stat(self, key: str) -> Entry | None:
        """Ask ``exists`` and ``getsize`` where they are overridden."""
        if self._has("exists") and not await self._call("exists", key):
            return None
        if self._has("getsize"):
            try:
                return Entry(key, await self._call("getsize", key))
            except FileNotFoundError:
                return None
        return await self.plain.stat(key)

    async def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Ask the listings where they are overridden."""
        name = "list_prefix" if deep else "list_dir"
        if deep and not prefix and not self._has("list_prefix") and self._has("list"):
            name = "list"
        if not self._has(name):
            async with aclosing(self.plain.scan(prefix, deep, sizes)) as pages:  # type: ignore[type-var]
                async for page in pages:
                    yield page
            return
        listing = self.store().list() if name == "list" else getattr(self.store(), name)(prefix)
        keys = _threads.run_on_io(_collect(listing)) if self.sync else await _collect(listing)
        if deep:
            yield [Entry(key) for key in keys]
            return
        # Names in list_dir don't tell keys from directories; a key has a value.
        yield [
            Entry(prefix + key if await self.plain.stat(prefix + key) else f"{prefix}{key}/") for key in keys
        ]

    def names(self, prefix: str) -> AsyncIterator[list[str]]:
        """List names by the scan if a listing is overridden."""
        return Verbs.names(self, prefix) if self._changed("scan") else self.plain.names(prefix)

    def keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """List keys by the scan if a listing is overridden."""
        return Verbs.keys(self, prefix) if self._changed("scan") else self.plain.keys(prefix)

    async def is_empty(self, prefix: str) -> bool:
        """Look by the scan if a listing is overridden."""
        return await (Verbs.is_empty(self, prefix) if self._changed("scan") else self.plain.is_empty(prefix))

    async def read_many(self, requests: Iterable[tuple[str, Any]], allocate: Any) -> list[Any]:
        """Loop over reads if they are changed."""
        return await (
            Verbs.read_many(self, requests, allocate)
            if self._changed("read_many")
            else self.plain.read_many(requests, allocate)
        )

    async def read_versioned(self, key: str, request: Any, allocate: Any) -> Any:
        """Loop over reads if they are changed."""
        return await (
            Verbs.read_versioned(self, key, request, allocate)
            if self._changed("read_versioned")
            else self.plain.read_versioned(key, request, allocate)
        )

    async def patch(self, key: str, parts: Iterable[tuple[int, Any]]) -> None:
        """Read and write if those are changed."""
        await (Verbs.patch(self, key, parts) if self._changed("patch") else self.plain.patch(key, parts))

    async def remove_many(self, keys: Iterable[str]) -> None:
        """Loop over removals if they are changed."""
        await (
            Verbs.remove_many(self, keys) if self._changed("remove_many") else self.plain.remove_many(keys)
        )

    async def remove_below(self, prefix: str) -> None:
        """Ask ``delete_dir`` if it is overridden, else loop over removals if they are changed."""
        if self._has("delete_dir"):
            await self._call("delete_dir", prefix.removesuffix("/"))
        else:
            await (
                Verbs.remove_below(self, prefix)
                if self._changed("remove_below")
                else self.plain.remove_below(prefix)
            )

    async def copy(self, source: str, target: str) -> None:
        """Read and write if those are changed."""
        changed = self._changed("read") or self._changed("write")
        await (Verbs.copy(self, source, target) if changed else self.plain.copy(source, target))


async def _collect(listing: AsyncIterator[str]) -> list[str]:
    return [key async for key in listing]
