"""Reads all documents of a hierarchy, level by level: all of a level at once, so there are few rounds.

Array directories aren't listed, so chunks cost nothing. The children of a group probably have its format, so
documents of the other format are only requested if nothing was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zarrstore._core.listing import closing_pages
from zarrstore._hierarchy.documents import CONSOLIDATED, OF_NODES, V2, V3, FormatError, kind_of, parsed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import TypeAlias

    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Verbs

    # A value and, if known, its version.
    Found: TypeAlias = tuple[Data, str | None]

# How many documents are requested at once at most.
_AT_ONCE = 1000


class Sweep(NamedTuple):
    """The result of a sweep.

    Attributes
    ----------
    documents : dict
        Values and versions of documents, by key.
    absent : set of str
        Keys of documents that were requested and don't exist.
    directories : dict
        The directories one level below each directory that was listed; arrays aren't listed.
    """

    documents: dict[str, Found]
    absent: set[str]
    directories: dict[str, list[str]]


async def swept(verbs: Verbs, root: str, read: Callable[[str], Awaitable[Found | None]]) -> Sweep:
    """Read all documents below a directory.

    Parameters
    ----------
    verbs : Verbs
        The store's verbs.
    root : str
        The directory: empty, or with a trailing slash.
    read : callable
        Reads a key; returns None if it doesn't exist.
    """
    found = Sweep({}, set(), {})

    async def look_for(keys: Iterable[str]) -> None:
        wanted = list(keys)
        for first in range(0, len(wanted), _AT_ONCE):
            part = wanted[first : first + _AT_ONCE]
            for key, answer in zip(part, await verbs.for_each(read, part), strict=True):
                if answer is None:
                    found.absent.add(key)
                else:
                    found.documents[key] = answer

    def formats(directory: str) -> tuple[bool, bool]:
        """Whether a directory has documents of version 3, and of version 2."""
        return f"{directory}{V3}" in found.documents, any(
            f"{directory}{name}" in found.documents for name in V2
        )

    def is_array(directory: str) -> bool:
        for name in OF_NODES:
            if (answer := found.documents.get(directory + name)) is not None:
                try:
                    if kind_of(name, parsed(answer[0])) == "array":
                        return True
                except FormatError:
                    pass
        return False

    consolidated: set[str] = set()

    async def children(directory: str) -> list[str]:
        names: list[str] = []
        async with closing_pages(verbs.scan(directory, False, False)) as pages:
            async for page in pages:
                names += [entry.key for entry in page if entry.key[-1] == "/"]
                consolidated.update(entry.key for entry in page if entry.key.endswith(f"/{CONSOLIDATED}"))
        return names

    await look_for(root + name for name in (V3, *V2, CONSOLIDATED))
    level = [root]
    while level:
        groups = [directory for directory in level if not is_array(directory)]
        listed = dict(zip(groups, await verbs.for_each(children, groups), strict=True))
        found.directories.update(listed)
        await look_for(consolidated - found.documents.keys())
        consolidated.clear()
        level = [child for below in listed.values() for child in below]
        likely = {child: formats(parent) for parent, below in listed.items() for child in below}
        await look_for(child + name for child, old in likely.items() for name in _first(old))
        unknown = [child for child in level if formats(child) == (False, False)]
        await look_for(child + name for child in unknown for name in _then(likely[child]))
    return found


def _first(formats: tuple[bool, bool]) -> tuple[str, ...]:
    return (V2 if formats == (False, True) else (V3,)) if any(formats) else (V3, *V2)


def _then(formats: tuple[bool, bool]) -> tuple[str, ...]:
    return ((V3,) if formats == (False, True) else V2) if any(formats) else ()
