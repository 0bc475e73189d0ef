"""Source and target of a copy as directories of stores, and whether they overlap."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, cast

from zarrstore._core.keys import check_prefix
from zarrstore._core.verbs import defines
from zarrstore.errors import RefusedError
from zarrstore.storage._wrappers.wrapper import WrapperStore

if TYPE_CHECKING:
    from zarrstore.abc.store import Store


class Directory(NamedTuple):
    """A directory of a store; its prefix is empty or ends with a slash."""

    store: Store
    prefix: str

    def location(self) -> str:
        """Text that names the place; it is a prefix of the text of any place inside."""
        store = self.store
        while isinstance(store, WrapperStore) and not defines(type(store), "scan"):
            store = store._below  # a wrapper that doesn't change keys
        location = store._location
        for scheme in ("file://", "zip://"):
            if location.startswith(scheme):
                path = os.path.join(location.removeprefix(scheme), self.prefix)
                return os.path.realpath(path).removesuffix("/") + "/"
        return f"{location.removesuffix('/')}/{self.prefix}"


def joined(path: str, prefix: str, store: Store) -> str:
    """Join the path of a store path and a prefix below it."""
    return f"{path}/{check_prefix(prefix, store)}" if path else prefix


def keep_comment(source: Directory, target: Directory) -> None:
    """Give an archive that has no comment that of the archive that is copied into it."""
    from zarrstore.storage._zip.store import ZipStore

    ends = source.store, target.store
    if source.prefix or target.prefix or not all(isinstance(store, ZipStore) for store in ends):
        return
    here, there = cast("tuple[ZipStore, ZipStore]", ends)
    if here.comment and not there.comment:
        there.comment = here.comment


def refuse_overlap(source: Directory, target: Directory) -> None:
    """Refuse to copy a directory onto itself or into itself."""
    here, there = source.location(), target.location()
    if there.startswith(here):
        raise RefusedError(
            "a copy onto the source itself would do nothing."
            if there == here
            else "a copy into the source's own subtree would become part of what is copied.",
            store=target.store,
            key=target.prefix or None,
            hint="Copy to a place outside of the source.",
        )
