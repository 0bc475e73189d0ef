"""Compares values of source and target, by their listings or their bytes, and pairs two listings."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from zarrstore._core.checksum import told_crc
from zarrstore._core.listing import closing_pages
from zarrstore.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarrstore._copy.places import Directory
    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Entry

    # The entries of source and target under one name.
    Pair: TypeAlias = "tuple[Entry | None, Entry | None]"
    Pages: TypeAlias = "AsyncIterator[list[Entry]]"

# What two listings must show for values to count as equal: the same size; or the same size and either the
# same checksum or a target that isn't older; "bytes" are compared unless checksums decide.
How: TypeAlias = Literal["size", "time", "bytes"]

# An ETag long enough to be a digest.
_ETAG = re.compile(r'"[0-9a-f]{32,}(-\d+)?"')


def told_equal(source: Entry, target: Entry, how: How) -> bool | None:
    """Whether two values are equal according to their listings; None if that is uncertain."""
    if source.size != target.size:
        return False
    if how == "size":
        return True
    crcs = told_crc(source.version), told_crc(target.version)
    if None not in crcs:
        return crcs[0] == crcs[1]
    if source.version == target.version and _ETAG.fullmatch(source.version or ""):
        return True
    if how == "time" and source.modified is not None and target.modified is not None:
        if source.modified <= target.modified:
            return True
        # Servers report whole seconds; within one second it is unknown which is older.
        if not target.modified.is_integer() or source.modified >= target.modified + 1:
            return False
    return None


def is_same(one: Data, other: Data) -> bool:
    """Whether two values have the same bytes."""
    if len(one) != len(other):
        return False
    if len(one) < 1 << 16:
        return bytes(one) == bytes(other)
    # Compared as words: byte by byte takes numpy four times as long, and `bytes` would mean two copies.
    first, second = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    end = len(first) // 8 * 8
    words = np.array_equal(first[:end].view(np.uint64), second[:end].view(np.uint64))
    return words and first[end:].tobytes() == second[end:].tobytes()


async def paired(
    source: Directory, ours: Pages, target: Directory, theirs: Pages
) -> AsyncIterator[list[Pair]]:
    """Pair two sorted listings by the names of keys, without holding either in memory.

    Raises
    ------
    BackendError
        If one isn't in order: keys would seem missing.
    """
    ahead: dict[str, Entry] = {}  # entries of the target that aren't paired yet
    reached = passed = ""
    ended = False
    async with closing_pages(ours), closing_pages(theirs):
        async for page in ours:
            if not page:
                continue
            names = _in_order([source.name(entry) for entry in page], passed, source)
            passed, place = names[-1], 0
            while place < len(names):
                if not ended and reached < passed:
                    more = await anext(theirs, None)
                    if more is None:
                        ended = True
                    elif more:
                        found = _in_order([target.name(entry) for entry in more], reached, target)
                        ahead.update(zip(found, more, strict=True))
                        reached = found[-1]
                # Both listings have passed this name, so no more names up to it can come.
                until = passed if ended else min(passed, reached)
                stop = bisect_right(names, until, place)
                here = dict(zip(names[place:stop], page[place:stop], strict=True))
                both = sorted({*here, *(name for name in ahead if name <= until)})
                yield [(here.get(name), ahead.pop(name, None)) for name in both]
                place = stop
        yield [(None, entry) for entry in ahead.values()]
        async for more in theirs:
            yield [(None, entry) for entry in more]


def _in_order(names: list[str], before: str, where: Directory) -> list[str]:
    if names[0] < before or any(name > after for name, after in pairwise(names)):
        raise BackendError(
            "the listing isn't in order, so it can't be compared.",
            store=where.store,
            key=where.prefix or None,
            hint="Try again once nobody writes there.",
        )
    return names
