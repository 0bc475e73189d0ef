"""Operations that need more than one verb, written once over bound verbs.

Over blocking verbs none of these suspends, and `zarrstore._core.verbs.drive` runs them in place. Over
awaiting verbs they run on an event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._core.listing import closing_pages
from zarrstore._core.requests import coalesce, cut_member
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, host_memory, refused_write
from zarrstore.errors import ByteRequestError, KeyNotFoundError, changes_always

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data
    from zarrstore._core.verbs import Entry, Request, Verbs


async def size_below(verbs: Verbs, prefix: str) -> int:
    """Return the sum of the sizes in bytes of all values below a directory."""
    total = 0
    async for page in verbs.scan(prefix, True, True):
        for entry in page:
            size = entry.size
            if size is None:
                size = (await verbs.stat(entry.key) or entry).size or 0
            total += size
    return total


async def scan_sized(verbs: Verbs, prefix: str, *, deep: bool = True) -> AsyncIterator[list[Entry]]:
    """List what is below a directory, and look up the sizes that the listing doesn't have."""
    async with closing_pages(verbs.scan(prefix, deep, True)) as pages:
        async for page in pages:
            unsized = [entry.key for entry in page if entry.size is None and entry.key[-1] != "/"]
            if not unsized:
                yield page
                continue
            found = dict(zip(unsized, await verbs.for_each(verbs.stat, unsized), strict=True))
            sized = [found.get(entry.key, entry) for entry in page]
            yield [entry for entry in sized if entry is not None]  # drops keys that were removed meanwhile


async def create(verbs: Verbs, key: str, pieces: AnyPieces, *, atomic: bool) -> bool:
    """Write a value if the key has none; return whether this call wrote it."""
    if atomic:
        return await verbs.write(key, pieces, ABSENT) is not CONFLICT
    if await verbs.stat(key) is not None:
        return False
    if await verbs.write(key, pieces, ANY) is CONFLICT:
        raise refused_write(key)
    return True


async def read_ranges(
    verbs: Verbs,
    key: str,
    requests: Sequence[ByteRequest | None],
    allocate: Allocate,
    *,
    max_concurrency: int,
    max_gap_bytes: int,
    max_coalesced_bytes: int,
) -> AsyncIterator[list[tuple[int, Data]]]:
    """Read many ranges of one value with few reads; yields batches of (index, bytes).

    Raises
    ------
    ExceptionGroup
        Contains a `KeyNotFoundError` if the key has no value, or the error of a range. Callers of
        zarr-python's method of the same name expect this.
    """
    plan = coalesce(requests, max_gap_bytes, max_coalesced_bytes)
    # Parts that are read together come from one version of the value, if the store can ensure that.
    size = max(1, max_concurrency if verbs.sends_requests else len(plan))
    looks = len(plan) > size and verbs.looks_up
    before = await verbs.stat(key) if looks else None
    for first in range(0, len(plan), size):
        part = plan[first : first + size]
        try:
            answers = await verbs.read_ranges(key, [request for request, _ in part], allocate)
            if before is not None and before.version and await verbs.stat(key) != before:
                raise changes_always(None, key)
            batch = []
            for (merged, members), answer in zip(part, answers, strict=True):
                if answer is None:
                    raise KeyNotFoundError("there is no value to read ranges of.", key=key)
                base = getattr(merged, "start", 0)
                for index, start, stop in members:
                    batch.append((index, cut_member(answer, start, stop, requests[index], base)))
        except ExceptionGroup:
            raise  # raised by a wrapped store's own method
        except Exception as error:
            if isinstance(error, ByteRequestError):
                error.key = key
            raise ExceptionGroup(f"reading ranges of {key!r} failed", [error]) from None
        yield batch


async def read_value(verbs: Verbs, key: str, request: ByteRequest | None) -> Data | None:
    """Read one value."""
    return await verbs.read(key, request, host_memory)


async def read_values(verbs: Verbs, requests: list[Request]) -> list[Data | None]:
    """Read many (key, request) pairs."""
    return await verbs.read_many(requests, host_memory)


async def patch_many(verbs: Verbs, parts: Iterable[tuple[str, int, Data]], store: object) -> None:
    """Overwrite parts of existing values, key by key, once all parts have been checked."""
    by_key: dict[str, list[tuple[int, Data]]] = {}
    for key, start, value in parts:
        by_key.setdefault(key, []).append((start, value))
    for key, own in by_key.items():
        own.sort(key=lambda part: part[0])
        end = 0
        for start, value in own:
            if start < end:
                raise ByteRequestError(
                    f"parts overlap at byte {start}.",
                    store=store,
                    key=key,
                    hint="Each byte may be written once.",
                )
            end = start + len(value)
    for key, own in by_key.items():
        await verbs.patch(key, own)
