"""What lies around a hierarchy and isn't part of it: litter, unfinished writes, broken links."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from fnmatch import translate
from typing import TYPE_CHECKING

from zarrstore._check.report import Problem
from zarrstore._copy.places import innermost
from zarrstore._copy.selection import LITTER
from zarrstore._os.temporary import is_temporary
from zarrstore.storage import LocalStore, ZipStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarrstore.abc.store import Store

# Files left by desktops and network file systems, and by editors.
_LITTER = re.compile("|".join(map(translate, (*LITTER, "*~", ".*.sw[a-p]", "#*#", "*.orig", "*.bak"))))
# Unfinished writes of other libraries.
_PARTIAL = re.compile(r".*\.[0-9a-f]{32}\.partial")


def litter(name: str) -> Problem | None:
    """Return a problem if a key is litter, or the leftover of an unfinished write."""
    for part in name.split("/"):
        if _LITTER.fullmatch(part):
            return Problem("litter", name, "an operating system or an editor left it")
        if is_temporary(part) or _PARTIAL.fullmatch(part):
            return _unfinished(name)
    return None


def _unfinished(name: str) -> Problem:
    return Problem("temporary", name, "a write that was killed left it, or one that is under way makes it")


def around(store: Store, prefix: str) -> Iterator[Problem]:
    """Look for what a store can't list or read: in its folder, or at the end of its archive."""
    store, prefix = innermost(store, prefix)
    if isinstance(store, ZipStore) and store.unclosed:
        yield Problem("archive", "", "this archive was never closed: 'zarrstore repair' makes it whole")
    if isinstance(store, LocalStore):
        yield from _in_folder(os.path.join(store.root, prefix), str(store.root), prefix)


def _in_folder(folder: str, root: str, prefix: str) -> Iterator[Problem]:
    """Look for temporary names and broken links; folders reached through links are searched once."""
    skip = len(os.path.join(root, prefix).rstrip("/")) + 1
    seen: set[tuple[int, int]] = set()
    for path, folders, files in os.walk(folder, followlinks=True):
        for name in [name for name in folders if is_temporary(name)]:
            folders.remove(name)
            yield _unfinished(os.path.join(path, name)[skip:])
        for name in files:
            full = os.path.join(path, name)
            if is_temporary(name):
                yield _unfinished(full[skip:])
            elif os.path.islink(full) and not os.path.exists(full):
                with suppress(FileNotFoundError):  # a writer has just removed the link
                    yield Problem("link", full[skip:], f"a link to {os.readlink(full)!r}, where nothing is")
        folders[:] = [name for name in folders if _is_new(os.path.join(path, name), seen)]


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    try:
        found = os.stat(folder)
    except FileNotFoundError:  # a writer has just removed it
        return False
    place = found.st_dev, found.st_ino
    if place in seen:
        return False
    seen.add(place)
    return True
