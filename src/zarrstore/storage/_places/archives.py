"""Recognises zip archives, and archives whose hierarchy is in a folder of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from zarrstore.errors import StoreError

if TYPE_CHECKING:
    from zarrstore.abc.store import Store

# The first bytes of an archive: with a member, empty, or (ours) not closed yet.
_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PKzg")


# The endings of archives' names; the second is OME's.
_ENDINGS = (".zip", ".ozx")


def is_named_so(place: str) -> bool:
    """Whether a path or URL is named like a zip archive; one that ends in a slash names a directory."""
    if place.startswith(("http://", "https://")):
        place = place.partition("?")[0].partition("#")[0]
    return place.lower().endswith(_ENDINGS)


def is_archive(path: str) -> bool:
    """Whether a file is a zip archive; other bytes may precede it, such as a self-extracting program."""
    with open(path, "rb") as file:
        if file.read(4) in _STARTS:
            return True
        from zarrstore.storage._zip.opening import open_view
        from zarrstore.storage._zip.source import ObjectSource

        try:
            return open_view(ObjectSource(file)).end is not None
        except StoreError:
            return False


def folder_hint(store: Store, place: str) -> str | None:
    """Return a hint naming the folder of an archive that contains the hierarchy, if its root doesn't.

    Parameters
    ----------
    store : Store
        A store; the result is None for any but a `ZipStore`.
    place : str
        How the user named the archive.
    """
    zips = sys.modules.get("zarrstore.storage._zip.store")  # if it isn't loaded, no such store exists
    if zips is None or not isinstance(store, zips.ZipStore):
        return None
    try:
        folder = store._outer_folder()
    except StoreError:
        return None  # the first use of the store will raise it
    if not folder:
        return None
    return f"the hierarchy in {place!r} is in a folder of its own: open it as '{place}|zip:{folder}'."
