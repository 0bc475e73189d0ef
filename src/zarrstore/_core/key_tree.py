"""The names one level below each directory of a set of keys, so that listing costs only what it returns."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Page size of listings: large enough to amortise its cost, small enough not to block a loop for long.
PAGE_SIZE = 1000


class KeyTree:
    """Names one level below each directory (``""``, ``"a/"``, ``"a/b/"``) that holds a key.

    A directory's name ends in ``/``, so a key and a directory may have the same name. Names are stored as
    they are listed, since building text from paths takes a third of a listing's time. Writers must hold a
    lock. Readers need none: each takes all names of a directory in one step.
    """

    __slots__ = ("_inside",)

    def __init__(self) -> None:
        self._inside: dict[str, dict[str, None]] = {}

    def __contains__(self, directory: str) -> bool:
        return directory in self._inside

    def add(self, path: str) -> None:
        """Add a key and its parent directories."""
        inside = self._inside
        cut = path.rfind("/") + 1
        while True:
            parent = path[:cut]
            names = inside.get(parent)
            if names is not None:
                names[path[cut:]] = None
                return
            inside[parent] = {path[cut:]: None}
            if not cut:
                return
            path = parent
            cut = path.rfind("/", 0, cut - 1) + 1

    def discard(self, path: str) -> None:
        """Remove a key or an empty directory, and the parent directories that become empty."""
        inside = self._inside
        while path:
            cut = path.rfind("/", 0, len(path) - 1) + 1
            parent = path[:cut]
            names = inside.get(parent)
            if names is None or path[cut:] not in names:
                return
            del names[path[cut:]]
            if names:
                return
            del inside[parent]
            path = parent

    def parts(self) -> list[dict[str, None]]:
        """Return the dicts of names that the tree consists of."""
        return list(self._inside.values())

    def within(self, directory: str) -> list[str]:
        """Return the names one level below a directory; the names of directories end in ``/``."""
        return list(self._inside.get(directory, ()))

    def names(self, directory: str) -> Iterator[list[str]]:
        """Yield pages of the names one level below a directory, once each."""
        return once_each(self.within(directory))

    def first_below(self, directory: str) -> str | None:
        """Return a key below a directory, or None; copies nothing, however long the directory is."""
        while True:
            found = list(islice(self._inside.get(directory, ()), 1))
            if not found:
                return None
            directory += found[0]
            if directory[-1] != "/":
                return directory

    def below(self, directory: str) -> Iterator[list[str]]:
        """Yield pages of all keys below a directory, from a snapshot of each directory visited.

        A page may be empty, so that a caller on an event loop can let other tasks run.
        """
        first = self.first_below(directory)
        if first is None:
            return
        yield [first]  # checking whether there is any key costs no more than this page
        first_in = first[: first.rfind("/") + 1]
        page: list[str] = []
        pending = [directory]
        while pending:
            inside = pending.pop()
            all_names = self.within(inside)
            for names in pages(all_names) if len(all_names) > PAGE_SIZE else (all_names,):
                keys = [inside + name for name in names if name[-1] != "/"]
                if len(keys) < len(names):
                    pending += [inside + name for name in names if name[-1] == "/"]
                page += keys if inside != first_in else [key for key in keys if key != first]
                if len(page) >= PAGE_SIZE or len(names) == PAGE_SIZE:
                    yield from pages(page)
                    page = []
                    if not keys:
                        yield page
        if page:
            yield page


def once_each(names: list[str]) -> Iterator[list[str]]:
    """Yield pages of names, without the slash after directories and without duplicates.

    Pages are empty while the function determines which names are directories.
    """
    if len(names) <= PAGE_SIZE:
        plain = "/" not in "".join(names)
        yield names if plain else list(dict.fromkeys([name.removesuffix("/") for name in names]))
        return
    count = 0
    for page in pages(names):
        count += "".join(page).count("/")  # one step for the whole page
        if len(page) == PAGE_SIZE:
            yield []
    if not count:  # most directories contain only keys or only directories
        yield from pages(names)
    elif count == len(names):
        yield from ([name[:-1] for name in page] for page in pages(names))
    else:
        yield from _both_kinds(names)


def _both_kinds(names: list[str]) -> Iterator[list[str]]:
    directories: set[str] = set()
    for page in pages(names):
        directories.update([name[:-1] for name in page if name[-1] == "/"])
        yield []
    for page in pages(names):
        yield [name.removesuffix("/") for name in page if name not in directories]


def pages(paths: list[str]) -> Iterator[list[str]]:
    """Split a listing into pages."""
    return (paths[start : start + PAGE_SIZE] for start in range(0, len(paths), PAGE_SIZE))
