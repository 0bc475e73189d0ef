"""Lists a tree of folders: streamed, with sizes from the same pass."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

from zarrstore._core.keys import is_key
from zarrstore._core.listing import PAGE_SIZE
from zarrstore._core.verbs import Entry
from zarrstore._os import files
from zarrstore._os.temporary import is_temporary, reap
from zarrstore.errors import StoreError
from zarrstore.storage._local.confined import Item, LedOutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from zarrstore.storage._local.confined import Confined

    _Item: TypeAlias = os.DirEntry[str] | Item

# The first page is small, so that the first key comes early.
_FIRST_PAGE = 64
# How many names to check in each folder for a first key, and how deep to go.
_GLANCE = 8
_DEPTH = 32
# Errors that mean that a link is broken.
_NOWHERE = (errno.ELOOP, errno.ENOTDIR)

_new = tuple.__new__  # makes an Entry in half the time


class FolderWalk:
    """A tree of folders to list.

    Parameters
    ----------
    base : str
        Path of the root, ending with a separator.
    fail : callable
        Called with an ``OSError`` and the place where it happened; raises, or returns if the place
        counts as empty.
    sweep : bool
        Whether to remove temporary files of dead writers along the way.
    confined : Confined, optional
        The root as a folder that no link can lead out of; links that would are listed as unreadable keys.
    """

    def __init__(
        self,
        base: str,
        fail: Callable[[OSError, str], None],
        *,
        sweep: bool,
        confined: Confined | None = None,
    ) -> None:
        self._base = base
        self._confined = confined
        self._fail = fail
        self._sweep = sweep

    def pages(self, prefix: str, deep: bool, sizes: bool) -> Iterator[list[Entry]]:
        """Yield pages of entries below a directory: all of them, or those one level below."""
        page: list[Entry] = []
        limit = _FIRST_PAGE
        for batch in self._walk(prefix, sizes) if deep else self._level(prefix, sizes):
            page += batch
            if len(page) >= limit:
                yield page
                page, limit = [], PAGE_SIZE
        if page:
            yield page

    def has_key(self, prefix: str) -> bool:
        """Whether there is a key below a directory."""
        return self._finds_key(prefix) or any(self._walk(prefix, False))

    def _finds_key(self, prefix: str) -> bool:
        """Look for a key without a full walk; this nearly always succeeds.

        Checks the first names of a folder, then those of the first folder among them, and so on.
        """
        for _ in range(_DEPTH):
            below = ""
            try:
                for name, is_file, is_folder in self._glance(prefix):
                    if not (is_file or (is_folder and not below)):
                        continue
                    if self._lists(name, self._base + prefix + name):
                        if is_file:
                            return True
                        below = name
            except StoreError:
                raise
            except OSError:
                return False  # the full walk raises it
            if not below:
                return False
            prefix = f"{prefix}{below}/"
        return False

    def _glance(self, prefix: str) -> Iterable[tuple[str, bool, bool]]:
        """Return a few names in a folder, each with whether it is certainly a file, and whether a folder."""
        if self._confined is None and (found := files.first_names(self._base + prefix)) is not None:
            return found
        with self._open(prefix) as listing:
            items = islice(listing, _GLANCE)
            return [(item.name, item.is_file(), item.is_dir(follow_symlinks=False)) for item in items]

    def _walk(self, prefix: str, sizes: bool) -> Iterator[list[Entry]]:
        """Yield batches of keys, depth first, with one open folder at a time."""
        pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [(prefix, ())]
        while pending:
            inside, linked = pending.pop()
            batch: list[Entry] = []
            limit = _FIRST_PAGE
            try:
                with self._open(inside) as found:
                    for item in found:
                        name = item.name
                        try:
                            if item.is_file():
                                if (name[0] != "." and name.isascii()) or self._lists(name, item.path):
                                    size = when = None
                                    if sizes:
                                        known = item.stat()
                                        size, when = known.st_size, known.st_mtime
                                    batch.append(_new(Entry, (inside + name, size, None, when)))
                                    if len(batch) >= limit:
                                        yield batch
                                        batch, limit = [], PAGE_SIZE
                            elif item.is_dir():
                                above = linked
                                if item.is_symlink():
                                    place = _place(item)
                                    if place in linked or self._encloses(inside, place):
                                        continue
                                    above = (*linked, place)
                                if self._lists(name, item.path):
                                    pending.append((f"{inside}{name}/", above))
                            else:
                                batch += self._broken(item, inside, sizes)
                        except FileNotFoundError:
                            continue  # removed meanwhile
                        except OSError as error:
                            batch += self._broken(item, inside, sizes, error)
            except StoreError:
                raise
            except OSError as error:  # not the end of the folder
                self._fail(error, inside)
            if batch:
                yield batch

    def _level(self, prefix: str, sizes: bool) -> Iterator[list[Entry]]:
        """Yield keys one level below a directory, and directories that hold a key."""
        try:
            with self._open(prefix) as found:
                for item in found:
                    name = item.name
                    try:
                        if item.is_file():
                            if self._lists(name, item.path):
                                yield [Entry(prefix + name, item.stat().st_size if sizes else None)]
                        elif item.is_dir():
                            if item.is_symlink() and self._encloses(prefix, _place(item)):
                                continue
                            below = f"{prefix}{name}/"
                            if self._lists(name, item.path) and self.has_key(below):
                                yield [Entry(below)]
                        else:
                            yield self._broken(item, prefix, sizes)
                    except StoreError:
                        raise
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        yield self._broken(item, prefix, sizes, error)
        except StoreError:
            raise
        except OSError as error:
            self._fail(error, prefix)

    def _broken(self, item: _Item, inside: str, sizes: bool, error: OSError | None = None) -> list[Entry]:
        """Return the entry of a broken link: a key that can't be read, and so has no size.

        Parameters
        ----------
        item : os.DirEntry or Item
            Something that is neither a file nor a folder.
        inside : str
            The directory that it is in.
        sizes : bool
            Whether its size is requested, which fails.
        error : OSError, optional
            Why its type is unknown.
        """
        key = inside + item.name
        if isinstance(item, Item) and isinstance(item.error, LedOutError):
            if sizes:
                self._fail(item.error, key)
            return [Entry(key)] if self._lists(item.name, item.path) else []
        if error is not None and not (error.errno in _NOWHERE and item.is_symlink()):
            self._fail(error, key)
        elif item.is_symlink() and not os.path.exists(item.path) and self._lists(item.name, item.path):
            if sizes:
                self._fail(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), key)
            return [Entry(key)]
        return []

    def _open(self, prefix: str) -> AbstractContextManager[Iterator[_Item]]:
        """Open a folder for listing; a missing one is listed as empty."""
        if self._confined is not None:
            return self._confined.listing(prefix)
        try:
            try:
                return os.scandir(self._base + prefix)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                return os.scandir(self._base + prefix)  # look it up again
        except OSError as error:
            self._fail(error, prefix)
            return nullcontext(iter(()))

    def _encloses(self, inside: str, place: tuple[int, int]) -> bool:
        """Whether a folder is the root or on the path ``inside``."""
        path = self._base
        for name in ["", *inside.split("/")]:
            path = os.path.join(path, name)
            try:
                found = os.stat(path)
            except OSError:
                return False
            if (found.st_dev, found.st_ino) == place:
                return True
        return False

    def _lists(self, name: str, path: str) -> bool:
        """Whether a name belongs in a listing; abandoned temporary files are removed."""
        if name[0] == "." and is_temporary(name):
            if self._sweep:
                reap(path)
            return False
        return name.isascii() or is_key(name)


def _place(item: _Item) -> tuple[int, int]:
    """Return device and inode of a link's target: only links can form a cycle."""
    target = item.stat()
    return target.st_dev, target.st_ino
