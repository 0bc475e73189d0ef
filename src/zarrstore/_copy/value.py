"""Reads one value, whole or in pieces, and notices if it changes meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

from zarrstore._core.checksum import Checksum
from zarrstore._core.listing import closing_pages
from zarrstore._core.requests import RangeByteRequest
from zarrstore._core.verbs import Entry, host_memory
from zarrstore.errors import ByteRequestError, ChangedError, StoreError, TruncatedError, from_os_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from threading import Event
    from typing import TypeAlias

    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Verbs
    from zarrstore.abc.store import Store

    # Called with each piece that was read.
    Watch: TypeAlias = Callable[[Data], object]

# Larger values are copied in pieces of this size, in bytes.
PIECE = 8 << 20
_AGAIN = "Try again once nobody writes to it."


class StoppedError(Exception):
    """Ends a worker in the middle of a large value after another worker has failed."""


async def read_small(verbs: Verbs, store: Store, entries: list[Entry]) -> list[Data]:
    """Read values of at most `PIECE` bytes, each with a single read."""
    if any(entry.version is not None for entry in entries):
        return await verbs.for_each(partial(_read_versioned, verbs, store), entries)
    with _read_errors(store, entries[0].key if len(entries) == 1 else None):
        values = await verbs.read_many([(entry.key, None) for entry in entries], host_memory)
    for entry, value in zip(entries, values, strict=True):
        if value is None or len(value) != entry.size:
            _check_same(store, entry, None if value is None else Entry(entry.key, len(value)))
    return cast("list[Data]", values)


async def _read_versioned(verbs: Verbs, store: Store, entry: Entry) -> Data:
    with _read_errors(store, entry.key):
        found = await verbs.read_versioned(entry.key, None, host_memory)
    if found is None:
        raise changed("the value was removed", store, entry.key)
    _check_same(store, entry, Entry(entry.key, len(found[0]), found[1]))
    return found[0]


async def read_pieces(
    verbs: Verbs, store: Store, entry: Entry, watch: Watch, stopped: Event
) -> AsyncGenerator[Data, None]:
    """Read a large value piece by piece, all from one version."""
    key, size = entry.key, entry.size or 0
    with _read_errors(store, key):
        before = await verbs.stat(key)
        _check_same(store, entry, before)
        # If each read returns its version, no piece of another version can get in.
        has_versions = before is not None and before.version is not None and store.capabilities.versions
        checksum = Checksum(None if before is None else before.version)
        for start in range(0, size, PIECE):
            if stopped.is_set():
                raise StoppedError
            end = min(start + PIECE, size)
            part = RangeByteRequest(start, end)
            if has_versions:
                value, version = await verbs.read_versioned(key, part, host_memory) or (None, None)
                if value is not None:
                    _check_same(store, before or entry, Entry(key, size, version))
            else:
                value = await verbs.read(key, part, host_memory)
            if value is None or len(value) != end - start:
                _check_same(store, entry, await verbs.stat(key))
                raise TruncatedError(
                    f"asked for {end - start} bytes from byte {start} on, the store gave "
                    f"{'none' if value is None else len(value)}.",
                    store=store,
                    key=key,
                )
            checksum.update(value)
            watch(value)
            yield value
            del value  # free it while the next one is read
        _check_same(store, before or entry, await verbs.stat(key))
        checksum.check()


async def read_in_turn(
    verbs: Verbs, store: Store, entry: Entry, stopped: Event
) -> AsyncGenerator[Data, None]:
    """Read a value, in pieces if it is large."""
    if (entry.size or 0) <= PIECE:
        yield (await read_small(verbs, store, [entry]))[0]
        return
    async with closing_pages(read_pieces(verbs, store, entry, len, stopped)) as pieces:
        async for piece in pieces:
            yield piece


def may_be_torn(store: Store, entry: Entry) -> bool:
    """Whether the pieces of a value may come from two values: there are several, and no versions."""
    return (entry.size or 0) > PIECE and not store.capabilities.versions


@contextmanager
def _read_errors(store: Store, key: str | None) -> Iterator[None]:
    """Name the source in errors: within a write to the target, they would seem to be the target's."""
    try:
        yield
    except ByteRequestError as error:
        raise changed("the value became shorter", store, error.key or key or "") from error
    except StoreError as error:
        error.about(store, key)
        raise
    except OSError as error:
        raise from_os_error(error, action="read", store=store, key=key) from error


def _check_same(store: Store, expected: Entry, found: Entry | None) -> None:
    if found is None:
        raise changed("the value was removed", store, expected.key)
    if found.size != expected.size:
        reason = f"the value had {expected.size} bytes and now has {found.size}: it was changed"
        raise changed(reason, store, expected.key)
    if None not in (found.version, expected.version) and found.version != expected.version:
        raise changed("the value was replaced", store, expected.key)


def changed(reason: str, store: Store, key: str) -> ChangedError:
    """Make the error for a value that has changed."""
    return ChangedError(f"{reason} while it was read.", store=store, key=key, hint=_AGAIN)
