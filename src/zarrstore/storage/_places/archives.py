"""Files that are zip archives, and archives that hold a hierarchy in a folder of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from zarrstore.errors import StoreError

if TYPE_CHECKING:
    from zarrstore.abc.store import Store

# How an archive starts: with a member, empty, or (ours) not closed yet.
_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PKzg")


# How the names of archives end; the second is OME's.
_ENDINGS = (".zip", ".ozx")


def is_named_so(place: str) -> bool:
    """Whether a path or URL names a zip archive; one that ends in a slash names a directory."""
    if place.startswith(("http://", "https://")):
        place = place.partition("?")[0].partition("#")[0]
    return place.lower().endswith(_ENDINGS)


def is_archive(path: str) -> bool:
    """Whether a file is a zip archive; there may be bytes in front, such as a program that unpacks it."""
    with open(path, "rb") as file:
        if file.read(4) in _STARTS:
            return True
        from zarrstore.storage._zip.reader import open_view
        from zarrstore.storage._zip.source import ObjectSource

        try:
            return open_view(ObjectSource(file)).end is not None
        except StoreError:
            return False


def folder_hint(store: Store, place: str) -> str | None:
    """Say which folder of an archive holds the hierarchy, if its root doesn't.

    Parameters
    ----------
    store : Store
        A store; the answer for any but a `ZipStore` is None.
    place : str
        How the archive was named.
    """
    zips = sys.modules.get("zarrstore.storage._zip.store")  # without it, there is no such store
    if zips is None or not isinstance(store, zips.ZipStore):
        return None
    try:
        folder = store._outer_folder()
    except StoreError:
        return None  # whatever uses the store will raise it
    if not folder:
        return None
    return f"the hierarchy in {place!r} is in a folder of its own: open it as '{place}|zip:{folder}'."
