"""Copies an archive's live members into a new archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zarrstore._os.files import write_all
from zarrstore.errors import UnsupportedOperationError
from zarrstore.storage._zip.ending import DOCUMENT, level, write_end
from zarrstore.storage._zip.format import (
    CENTRAL,
    ENCRYPTED,
    LOCAL,
    NO_DETAILS,
    SIZES_BEHIND,
    VALUE,
    ZIP64_LIMIT,
    Details,
    Member,
    local_size,
    pack_central,
    pack_local,
    without_zip64,
)
from zarrstore.storage._zip.source import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zarrstore.storage._zip.reader import View
    from zarrstore.storage._zip.source import Source

    # A live member with its encoded name.
    Record = tuple[bytes, Member, Details]


def live_members(view: View) -> Iterator[Record]:
    """Yield all live members, in file order."""
    index = view.index
    data = view.read_directory()
    at = index.directory.at
    with index.lock:
        keys = list(index.rows)
        offsets = np.fromiter(map(index.offset, keys), np.int64, len(keys))
    for place in np.argsort(offsets, kind="stable"):  # `sorted` would make all threads wait
        key = keys[place]
        member = index.find(key)
        if member is None:
            continue
        name, details = (key.encode(), NO_DETAILS) if member.row < 0 else recorded(data, int(at[member.row]))
        yield name, member._replace(start=view.locate(member, key)), details


def write_archive(
    source: Source,
    records: Iterable[Record],
    descriptor: int,
    comment: bytes,
    *,
    fsync: bool,
    zip64: bool = True,
    always64: bool,
) -> None:
    """Write a new archive with members of another one; the other parameters are those of `write_end`."""
    position, blocks = _copy_members(source, records, descriptor)
    write_end(
        descriptor, position, blocks, comment, count=len(blocks), fsync=fsync, zip64=zip64, always64=always64
    )


def _copy_members(source: Source, records: Iterable[Record], descriptor: int) -> tuple[int, list[bytes]]:
    """Copy members into a new file without recompressing them, documents first.

    Returns
    -------
    position : int
        Where the last one ends.
    blocks : list of bytes
        The new directory's records, in the same order.
    """
    position = 0
    blocks: list[bytes] = []
    for name, member, details in sorted(records, key=_place):
        long = max(member.size, member.packed) > ZIP64_LIMIT
        first = position + local_size(name, zip64=long)
        # If the sizes follow the data, readers check an encrypted member's password against the time.
        flags = member.flags if member.flags & ENCRYPTED else member.flags & ~SIZES_BEHIND
        copy = member._replace(offset=position, start=first, flags=flags)
        write_all(descriptor, pack_local(name, copy, VALUE, zip64=long), position)
        position = first
        for block in read_blocks(source, member.start, member.packed):
            write_all(descriptor, block, position)
            position += len(block)
        if position != first + member.packed:
            raise UnsupportedOperationError(
                "the archive ends within a member.", key=name.decode(errors="replace")
            )
        blocks.append(pack_central(name, copy, copy.offset, details))
    return position, blocks


def _place(record: Record) -> tuple[int, int, str]:
    """Sort key of a member in a new file: documents first, level by level, the rest in its old order."""
    name = record[0].decode("latin-1")
    return (0, *level(name)) if name.rpartition("/")[2] == DOCUMENT else (1, 0, "")


def recorded(data: bytes, at: int) -> tuple[bytes, Details]:
    """Return the encoded name and the other details in a directory record."""
    fields = CENTRAL.unpack_from(data, at)
    name_size, extra_size, comment_size = fields[11:14]
    name_at = at + CENTRAL.size
    extra_at = name_at + name_size
    comment_at = extra_at + extra_size
    details = Details(
        extra=without_zip64(data[extra_at:comment_at]),
        comment=data[comment_at : comment_at + comment_size],
        system=fields[2],
        internal=fields[15],
        attributes=fields[16],
    )
    return data[name_at:extra_at], details


def live_bytes(view: View) -> int:
    """Return the number of bytes that live members need, with headers of minimal size."""
    index = view.index
    live = index.live_rows()
    directory = index.directory
    # The size of another writer's local header is unknown until it is read.
    total = int(directory.packed[live].sum()) + int(directory.name_size[live].sum(dtype=np.int64))
    total += int(live.sum()) * (LOCAL.size + 32)
    return total + sum(member.start - member.offset + member.packed for _, member in index.appended())
