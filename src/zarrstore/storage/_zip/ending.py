"""Writes an archive's directory and end records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zarrstore._os.files import write_all
from zarrstore._os.fsync import sync_file
from zarrstore.errors import UnsupportedOperationError
from zarrstore.storage._zip.format import END, END64, GUARD, LOCATOR, SECTOR, fit_end, needs_zip64, pack_end
from zarrstore.storage._zip.source import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Upper bound of the end records' size plus the bytes skipped before them, without a comment.
_END_ROOM = 2 * (END64.size + LOCATOR.size + END.size) + GUARD.size
DOCUMENT = "zarr.json"


def documents(keys: Iterable[str]) -> list[str]:
    """Return the keys of documents in directory order: the root's first, then level by level.

    Remote readers, and OME's RFC-9, expect them in this order.
    """
    found = [key for key in keys if key.endswith(DOCUMENT)]
    return sorted([key for key in found if key.rpartition("/")[2] == DOCUMENT], key=level)


def level(key: str) -> tuple[int, str]:
    """Sort key that orders keys level by level."""
    return key.count("/"), key


def write_end(
    descriptor: int,
    position: int,
    blocks: list[bytes],
    comment: bytes,
    *,
    count: int,
    prefix: int = 0,
    guard_end: Callable[[int], None] | None = None,
    fsync: bool,
    zip64: bool = True,
    always64: bool,
) -> None:
    """Write a directory and its end records; a guard ends the file until they are complete.

    Once the directory is synced, the file is truncated, and the end records replace the guard.

    Parameters
    ----------
    descriptor : int
        The file.
    position : int
        Where the members end.
    blocks : list of bytes
        The directory's records; one block may hold several.
    comment : bytes
        The archive's comment.
    count : int
        The number of records.
    prefix : int
        Bytes before the archive, which its offsets don't count.
    guard_end : callable, optional
        Writes a guard where the archive will end. A file that no reader can find yet needs none.
    fsync : bool
        Whether to sync the file.
    zip64 : bool
        Whether Zip64 may be used.
    always64 : bool
        Whether to use it even if it isn't needed.
    """
    size = sum(len(block) for block in blocks)
    if not zip64 and needs_zip64(count, size, position + _END_ROOM - prefix):
        raise too_large(None)
    fixed = END.size
    if always64 or needs_zip64(count, size, position + _END_ROOM - prefix):
        fixed = END64.size + LOCATOR.size + END.size
    place = fit_end(position + size, fixed, len(comment))
    directory = place - size
    end = pack_end(count, size, directory - prefix, prefix, comment, always64=always64)
    stop = place + len(end)
    if guard_end is not None:
        guard_end(stop)
    _write_blocks(descriptor, blocks, directory)
    if fsync:
        sync_file(descriptor, "data")
    if guard_end is not None:
        os.ftruncate(descriptor, stop)
    last_sector = max(place, (stop - 1) // SECTOR * SECTOR)
    if fsync and last_sector > place:  # a long comment: the sector with the guard must change last
        write_all(descriptor, end[: last_sector - place], place)
        sync_file(descriptor, "data")
    write_all(descriptor, end, place)
    if fsync:
        sync_file(descriptor, "data")


def _write_blocks(descriptor: int, blocks: list[bytes], position: int) -> None:
    """Write many small blocks in a few calls."""
    pending: list[bytes] = []
    size = 0
    for block in blocks:
        pending.append(block)
        size += len(block)
        if size >= BLOCK:
            write_all(descriptor, b"".join(pending), position)
            position += size
            pending, size = [], 0
    if pending:
        write_all(descriptor, b"".join(pending), position)


def too_large(key: str | None) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        "the archive would need Zip64: more than 2 GiB or 65,535 members.",
        key=key,
        hint="Use allowZip64=True.",
    )
