"""Source and target of a copy, as directories of stores, and whether they overlap."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from zarrstore._async import threads
from zarrstore._core.keys import check_prefix
from zarrstore._core.zarr_compat import is_zarr_path
from zarrstore.abc.store import Store
from zarrstore.errors import RefusedError
from zarrstore.storage._path import StorePath
from zarrstore.storage._places.like import open_place
from zarrstore.storage._wrappers.wrapper import WrapperStore

if TYPE_CHECKING:
    from zarrstore._core.verbs import Entry


class Directory(NamedTuple):
    """A directory of a store; its prefix is empty or ends with a slash."""

    store: Store
    prefix: str

    def place(self) -> str:
        """Return its place, as `Store._place` does."""
        return self.store._place(self.prefix)

    def name(self, entry: Entry) -> str:
        """Return an entry's key, relative to the directory."""
        return entry.key[len(self.prefix) :]


class Ends:
    """The two directories of a copy or comparison, and the stores that were opened for it.

    Parameters
    ----------
    source, target : StoreLike
        What to read, and what to write or compare with.
    prefix, target_prefix : str
        Directories in them.
    writes : bool
        Whether the target is written to.
    empties : bool
        Whether the source is written to.
    """

    def __init__(
        self,
        source: object,
        target: object,
        prefix: str,
        target_prefix: str,
        *,
        writes: bool,
        empties: bool = False,
    ) -> None:
        self.opened: list[Store] = []
        try:
            store, above = self._open(source, None if empties else "r")
            self.source = Directory(store, store._listed(joined(above, prefix, store)))
            store, above = self._open(target, "a" if writes else "r")
            self.target = Directory(store, check_prefix(joined(above, target_prefix, store), store))
        except BaseException:
            self.close()
            raise
        self.blocks = self.source.store._blocks and self.target.store._blocks

    def _open(self, place: object, mode: Literal["r", "a"] | None) -> tuple[Store, str]:
        """Return the store of a store-like object, and the path in it."""
        if isinstance(place, Store):
            return place, ""
        path = place.path if isinstance(place, StorePath) or is_zarr_path(place) else ""
        store = open_place(place, mode=None if path else mode)
        if isinstance(place, (str, os.PathLike)):
            self.opened.append(store)
        return store, path

    def close(self) -> None:
        """Close the stores that were opened here."""
        for store in self.opened:
            store.close()

    async def aclose(self) -> None:
        """Close the stores that were opened here, on an event loop."""
        for store in self.opened:
            if store._blocks:
                await threads.to_thread(store.close)
            else:
                store.close()


def innermost(store: Store, prefix: str = "") -> tuple[Store, str]:
    """Unwrap wrappers and views; return the store that has the data, and a directory's prefix in it."""
    while isinstance(store, WrapperStore):
        prefix = f"{getattr(store, '_prefix', '')}{prefix}"
        store = store._below
    return store, prefix


def joined(path: str, prefix: str, store: Store) -> str:
    """Join the path of a store path and a prefix below it."""
    return f"{path}/{check_prefix(prefix, store)}" if path else prefix


def keep_comment(source: Directory, target: Directory) -> None:
    """Copy an archive's comment to the target archive, if that has none."""
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
