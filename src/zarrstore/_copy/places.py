"""Source and target of a copy as directories of stores, and whether they overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from zarrstore._core.keys import check_prefix
from zarrstore.errors import RefusedError

if TYPE_CHECKING:
    from zarrstore.abc.store import Store


class Directory(NamedTuple):
    """A directory of a store; its prefix is empty or ends with a slash."""

    store: Store
    prefix: str

    def place(self) -> str:
        """Return where it is, as `Store._place` does."""
        return self.store._place(self.prefix)


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
    here, there = source.place(), target.place()
    if there.startswith(here):
        raise RefusedError(
            "a copy onto the source itself would do nothing."
            if there == here
            else "a copy into the source's own subtree would become part of what is copied.",
            store=target.store,
            key=target.prefix or None,
            hint="Copy to a place outside of the source.",
        )
