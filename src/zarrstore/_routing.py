"""Verbs of a store whose class overrides public methods, so that nothing bypasses the override.

zarr-python's users change a store by overriding ``get`` or ``set``. Here most methods work on verbs
and would slip past that. So what such a class's other methods, and wrappers around it, use as verbs
are these: each goes through the public method that stands for it, if the class overrides that one.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from zarrstore import _threads
from zarrstore._verbs import ABSENT, ANY, CONFLICT, NAMES, Entry, Verbs, gather_pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Which verbs a public method stands for; those made of these get their defaults back.
STANDS_FOR: dict[str, tuple[str, ...]] = {
    "get": ("read", "read_many", "read_versioned"),
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


class Routed(Verbs):
    """Verbs that go through the overridden public methods of a store."""

    __slots__ = ()

    def __init__(self, store: Any, plain: Verbs, overridden: frozenset[str], *, inline: bool) -> None:
        self.sleep = plain.sleep
        call = partial(_call, store, inline)
        changed: set[str] = set()
        for name in overridden & STANDS_FOR.keys():
            changed.update(STANDS_FOR[name])
        for name in NAMES:
            setattr(self, name, getattr(plain, name))
        if "get" in overridden:
            self.read = partial(_read, call)
        if overridden & {"set", "set_if_not_exists"}:
            self.write = partial(_write, call, plain, overridden)
        if "delete" in overridden:
            self.remove = partial(_remove, call)
        if overridden & {"list", "list_prefix", "list_dir"}:
            self.scan = partial(_scan, store, plain, overridden, inline)
        if overridden & {"exists", "getsize"}:
            self.stat = partial(_stat, call, plain, overridden)
        for name in ("read_many", "read_versioned", "patch", "remove_many"):
            if name in changed:
                self.derive(name)
        if "delete_dir" in overridden:
            self.remove_below = partial(_remove_below, call)
        elif "remove_below" in changed:
            self.derive("remove_below")
        if changed & {"read", "write"}:
            self.derive("copy")


async def _call(store: Any, inline: bool, name: str, *args: Any) -> Any:
    """Call a public method: its synchronous twin if only that is possible here and overridden as well."""
    if not inline:
        return await getattr(store, name)(*args)
    if name in ("get", "set", "delete") and name + "_sync" in store._overridden:
        if name == "get":
            return store.get_sync(args[0], prototype=args[1], byte_range=args[2])
        return getattr(store, name + "_sync")(*args)
    return _threads.run_on_io(getattr(store, name)(*args))


async def _read(call: Any, key: str, request: Any, new: Any) -> Any:
    from zarrstore.buffer import default_buffer_prototype

    value = await call("get", key, default_buffer_prototype(), request)
    return None if value is None else value.as_numpy_array()


async def _write(
    call: Any, plain: Verbs, overridden: frozenset[str], key: str, pieces: Any, condition: Any
) -> Any:
    from zarrstore.buffer import cpu

    if condition is ABSENT:
        if await plain.stat(key) is not None:
            return CONFLICT
        if "set_if_not_exists" in overridden:
            return await call("set_if_not_exists", key, cpu.Buffer.from_bytes(await gather_pieces(pieces)))
    if condition not in (ANY, ABSENT) or "set" not in overridden:
        return await plain.write(key, pieces, condition)
    return await call("set", key, cpu.Buffer.from_bytes(await gather_pieces(pieces)))


async def _remove(call: Any, key: str, condition: Any = ANY) -> Any:
    return await call("delete", key)


async def _remove_below(call: Any, prefix: str) -> Any:
    return await call("delete_dir", prefix.removesuffix("/"))


async def _stat(call: Any, plain: Verbs, overridden: frozenset[str], key: str) -> Entry | None:
    if "exists" in overridden and not await call("exists", key):
        return None
    if "getsize" in overridden:
        try:
            return Entry(key, await call("getsize", key))
        except FileNotFoundError:
            return None
    return await plain.stat(key) or Entry(key)


async def _scan(
    store: Any, plain: Verbs, overridden: frozenset[str], inline: bool, prefix: str, deep: bool, sizes: bool
) -> AsyncIterator[list[Entry]]:
    name = "list_prefix" if deep else "list_dir"
    if deep and not prefix and "list_prefix" not in overridden and "list" in overridden:
        name = "list"
    if name not in overridden:
        async with aclosing(plain.scan(prefix, deep, sizes)) as pages:  # type: ignore[type-var]
            async for page in pages:
                yield page
        return
    listing = store.list() if name == "list" else getattr(store, name)(prefix)
    keys = _threads.run_on_io(_collect(listing)) if inline else await _collect(listing)
    if deep:
        yield [Entry(key) for key in keys]
        return
    # Names in list_dir don't tell keys from directories; a key has a value.
    yield [Entry(prefix + key if await plain.stat(prefix + key) else f"{prefix}{key}/") for key in keys]


async def _collect(listing: AsyncIterator[str]) -> list[str]:
    return [key async for key in listing]
