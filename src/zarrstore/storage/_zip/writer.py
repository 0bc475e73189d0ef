"""Appends to an archive. The package's docstring explains the order of writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from zarrstore._async.nowait import MAX_INLINE_SIZE
from zarrstore._os.files import write_all, write_pieces
from zarrstore._os.fsync import sync_file
from zarrstore.errors import InvalidKeyError
from zarrstore.storage._zip.codecs import packer
from zarrstore.storage._zip.ending import documents, too_large, write_end
from zarrstore.storage._zip.format import (
    FOLLOWER,
    GUARD,
    LOCAL,
    LZMA,
    LZMA_END_MARK,
    REMOVAL,
    REMOVAL_BELOW,
    STORED,
    UTF8,
    VALUE,
    ZIP64_COUNT,
    ZIP64_LIMIT,
    Guard,
    Member,
    fit,
    local_size,
    pack_central,
    pack_guard,
    pack_lead,
    pack_local,
    pack_stored,
    pack_time,
)
from zarrstore.storage._zip.source import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeGuard

    import numpy.typing as npt

    from zarrstore._core.types import Data, Pieces
    from zarrstore.storage._zip.index import Index
    from zarrstore.storage._zip.reader import View

# Values of at most this many bytes are written in batches.
_SMALL = 1 << 16
# Up to this many bytes on average, headers included, writing everything twice is faster than many writes.
_TINY = 1 << 12
# Compression enlarges a value by less than a 64th of its size plus this many bytes.
_GROWTH, _GROWTH_BYTES = 64, 1 << 16
# Size of the gap at the start of a new archive (see `Appender.fill_gap`); most metadata documents fit in.
GAP = 1 << 11
# The same in an OME single-file archive, for all documents.
OZX_GAP = 1 << 15
# How far ahead a guard is written, so that small members share it; farther if each guard is synced.
_AHEAD, _SYNCED_AHEAD = 1 << 16, 1 << 20
_MAX_NAME = (1 << 16) - 1


class Appender:
    """Appends members to an open archive.

    Parameters
    ----------
    descriptor : int
        The file, open for writing; the caller closes it.
    view : View
        The archive's current state.
    fsync : str
        ``"none"``; anything else syncs each member's data before its header is written, and the header
        before the call returns.
    zip64 : bool
        Whether Zip64 may be used.
    ozx : bool
        Whether it is an OME single-file archive: with all documents first, and always Zip64.
    """

    def __init__(self, descriptor: int, view: View, *, fsync: str, zip64: bool, ozx: bool = False) -> None:
        self.descriptor = descriptor
        self.pid = os.getpid()
        self._view = view
        self._fsync = fsync != "none"
        self._zip64 = zip64
        self._ozx = ozx
        self.start = view.chain_start
        self.stop = view.chain_stop
        end = view.end
        self._old_comment = self.comment = view.comment
        self._guard = Guard(self.start, None if end is None else end.record)
        self._file_size = view.size
        # Whether a failed write, or a writer that died, may have left bytes after the last member.
        self._is_torn = not view.is_closed
        self._unsynced: OSError | None = None

    @property
    def is_dirty(self) -> bool:
        """Whether a directory must be written."""
        changed = self.stop > self.start or self.comment != self._old_comment
        return changed or self._guard.end_record is None

    # -- members ----------------------------------------------------------------------------------

    def is_small(self, pieces: Pieces, key: str, *, alone: bool = False) -> TypeGuard[Sequence[Data]]:
        """Whether a value is small enough for `put_small`, or (``alone``) for `put_one`."""
        if not self._zip64 or not isinstance(pieces, (tuple, list)) or len(key) > _MAX_NAME // 4:
            return False
        size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        return size <= (MAX_INLINE_SIZE if alone else _SMALL)

    def put_small(self, values: list[tuple[str, Pieces]], method: int) -> list[Member]:
        """Append small values; all are committed when this returns.

        They are first written with gaps for their headers. Then the headers are filled in, one after the
        other: if that is interrupted, the members up to there are committed. Tiny values are written again
        together with their headers, in one write.
        """
        self._begin()
        position = self.stop
        bare: list[Data] = []
        headers: list[tuple[int, bytes]] = []
        members = []
        for key, pieces in values:
            name = key.encode()
            engine = None if method == STORED else packer(method)
            size = crc = 0
            packed: list[Data] = []
            for piece in pieces:
                crc = crc32(piece, crc)
                size += len(piece)
                packed.append(piece if engine is None else engine.compress(piece))
            if engine is not None:
                packed.append(engine.flush())
            header_end = position + local_size(name, zip64=False)
            stop = header_end + sum(map(len, packed))
            member = _member(position, header_end, stop, size, crc, method, name)
            bare += bytes(header_end - position), *packed
            kind = FOLLOWER if headers and self._fsync else VALUE
            headers.append((position, pack_local(name, member, kind, zip64=False)))
            members.append(member)
            position = stop
        self._protect(position)
        if position - self.stop > _TINY * len(values):
            write_pieces(self.descriptor, bare, self.stop)
        else:
            whole = bytearray().join(bare)
            write_all(self.descriptor, whole, self.stop)
            for place, header in headers:
                whole[place - self.stop : place - self.stop + len(header)] = header
            headers = [(self.stop, bytes(whole))]
        self._commit(headers, position)
        return members

    def put_one(self, key: str, pieces: Sequence[Data]) -> Member:
        """Append one small value uncompressed, in less than half the time of `put_small`."""
        name = key.encode()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        size = len(data)
        offset = self.stop
        first = offset + local_size(name, zip64=False)
        stop = first + size
        fields = (offset, size, size, crc32(data), STORED, _flags(name), first, -1, pack_time())
        member: Member = tuple.__new__(Member, fields)
        header = pack_stored(name, member)
        self._begin()
        self._protect(stop)
        write_all(self.descriptor, data, first)
        self._commit([(self.stop, header)], stop)
        return member

    def put(self, key: str, pieces: Pieces, method: int) -> Member:
        """Append a value of any size; it is committed when this returns.

        Raises
        ------
        UnsupportedOperationError
            If it needs Zip64, which isn't allowed.
        InvalidKeyError
            If the key doesn't fit a zip archive.
        """
        name = key.encode()
        total = sum(map(len, pieces)) if isinstance(pieces, (tuple, list)) else None
        largest = None if total is None or method == STORED else total + total // _GROWTH + _GROWTH_BYTES
        largest = total if largest is None else largest
        long = self._zip64 and (largest is None or largest > ZIP64_LIMIT)
        self._check_name(key, name)
        self._check_room(key, len(name), largest or 0)
        engine = None if method == STORED else packer(method)
        first = self.stop + local_size(name, zip64=long)
        position = first
        size = crc = 0
        self._begin()
        if total is not None and engine is None:
            self._protect(first + total)
        for piece in pieces:
            for block in _blocks(piece):
                crc = crc32(block, crc)
                size += len(block)
                position = self._write(position, block if engine is None else engine.compress(block))
                if not self._zip64 and max(size, position) > ZIP64_LIMIT:
                    raise too_large(key)
        if engine is not None:
            position = self._write(position, engine.flush())
        member = _member(self.stop, first, position, size, crc, method, name)
        self._protect(position)
        self._commit([(self.stop, pack_local(name, member, VALUE, zip64=long))], position)
        return member

    def remove(self, key: str) -> None:
        """Append the removal of a key."""
        self._append_mark(key, REMOVAL)

    def remove_below(self, prefix: str) -> None:
        """Append the removal of all keys below a directory."""
        self._append_mark(prefix, REMOVAL_BELOW)

    def _append_mark(self, name: str, kind: int) -> None:
        raw = name.encode()
        self._check_name(name, raw)
        self._check_room(name, len(raw), 0, count=0)
        self._begin()
        first = self.stop + local_size(raw, zip64=False)
        member = Member(self.stop, 0, 0, 0, STORED, _flags(raw), first, -1, pack_time())
        self._protect(first)
        self._commit([(self.stop, pack_local(raw, member, kind, zip64=False))], first, has_data=False)

    def _begin(self) -> None:
        """Prepare to write after the last member; `_commit` then writes the header."""
        self.cut_torn()
        self._is_torn = True

    def _commit(self, headers: list[tuple[int, bytes]], stop: int, *, has_data: bool = True) -> None:
        if self._fsync and has_data:
            sync_file(self.descriptor, "data")
        for place, header in headers:
            write_all(self.descriptor, header, place)
        # Readers may see it now, so its place isn't reused even if the sync fails.
        self.stop = stop
        self._is_torn = False
        if self._fsync:
            try:
                sync_file(self.descriptor, "data")
            except OSError as error:
                self._unsynced = error

    def check_synced(self) -> None:
        """Raise if the last commit may not survive a power failure."""
        error, self._unsynced = self._unsynced, None
        if error is not None:
            raise error

    def _write(self, position: int, block: Data) -> int:
        """Write data, with a guard after them; return where they end."""
        if not len(block):
            return position
        self._protect(position + len(block))
        write_all(self.descriptor, block, position)
        return position + len(block)

    def _protect(self, position: int) -> None:
        """Make sure that the file ends with a guard, at or after a position."""
        # The first comparison is cheap, and enough for most small members.
        if position + 2 * GUARD.size > self._file_size < fit(position, GUARD.size) + GUARD.size:
            place = fit(position + (_SYNCED_AHEAD if self._fsync else _AHEAD), GUARD.size)
            self._write_guard(place)
            self._file_size = place + GUARD.size

    def _write_guard(self, place: int) -> None:
        """Write a guard where the file will end; it is synced before anything makes the file end there."""
        write_all(self.descriptor, pack_guard(self._guard, place), place)
        if self._fsync:
            sync_file(self.descriptor, "data")

    def cut_torn(self) -> None:
        """Cut off what a failed write left."""
        if self._is_torn:
            self.cut()

    def cut(self) -> None:
        """Cut off what follows the last member: it was never acknowledged."""
        if self.stop == self.start and self._guard.end_record is not None:
            self._file_size = self.start
        else:
            place = fit(self.stop, GUARD.size)
            self._write_guard(place)
            self._file_size = place + GUARD.size
        os.ftruncate(self.descriptor, self._file_size)
        self._is_torn = False

    def _check_name(self, key: str, name: bytes) -> None:
        if len(name) > _MAX_NAME:
            raise InvalidKeyError(
                f"a name of {len(name)} bytes doesn't fit a zip archive.",
                key=key[:100] + "...",
                hint=f"Keep keys within {_MAX_NAME} bytes.",
            )

    def _check_room(self, key: str, name_size: int, size: int, count: int = 1) -> None:
        if self._zip64:
            return
        index = self._view.index
        more = len(index) + (count if key not in index.rows else 0)
        reach = self.stop + LOCAL.size + name_size + 64 + size
        if size > ZIP64_LIMIT or reach > ZIP64_LIMIT or more > ZIP64_COUNT:
            raise too_large(key)

    # -- the end ----------------------------------------------------------------------------------

    def finish(self, index: Index) -> None:
        """Write the directory and the end records after the members."""
        self.cut_torn()
        end = self._view.end
        prefix = 0 if end is None else end.prefix
        blocks, count = self._directory(index, prefix)
        write_end(
            self.descriptor,
            self.stop,
            blocks,
            self.comment,
            count=count,
            prefix=prefix,
            guard_end=self._guard_end,
            fsync=self._fsync,
            zip64=self._zip64,
            always64=self._ozx,
        )

    def _guard_end(self, stop: int) -> None:
        """Write a guard just before the archive's future end, after making sure that one ends the file."""
        self._protect(stop)
        place = stop - GUARD.size
        write_all(self.descriptor, pack_guard(self._guard, place), place)

    def fill_gap(self, index: Index) -> None:
        """Fill the gap at the start of a new archive with a live member, so that 7-Zip trusts the directory.

        7-Zip ignores a directory that lacks the first header in the file, and then lists replaced members,
        too. The first member written, the root's metadata, is also the one most often replaced. So the first
        close copies a small member from deep in the hierarchy to the start. If none fits, the first live
        member gets a header that extends from the start of the file to its data.
        """
        gap = self.start if self._view.end is None else 0
        if gap and self._ozx and (keys := documents(index.rows)):
            self._fill_with_documents(index, keys, gap)
            return
        best: tuple[int, int, str, Member, int] | None = None
        for key, member in index.appended() if gap else ():
            padding = gap - local_size(key.encode(), zip64=False) - member.packed
            if padding == 0 or padding >= 4:
                found = (key.count("/"), -member.offset, key, member, padding)
                best = found if best is None else max(best, found)
        if best is None:
            if gap:
                self._lead(index)
            return
        key, member, padding = best[2:]
        name = key.encode()
        copy = member._replace(offset=0, start=gap - member.packed)
        data = bytes(self._view.source.read(member.start, member.packed))
        write_all(self.descriptor, pack_local(name, copy, VALUE, zip64=False, padding=padding) + data, 0)
        index.put(key, copy)

    def _fill_with_documents(self, index: Index, keys: list[str], gap: int) -> None:
        """Copy all documents into the gap, in order. If they don't fit, the caller rewrites the archive."""
        found = [(key, member) for key in keys if (member := index.find(key)) is not None]
        padding = gap - sum(local_size(key.encode(), zip64=False) + member.packed for key, member in found)
        if padding < 0 or 0 < padding < 4:
            return
        position = 0
        parts: list[Data] = []
        copies = []
        for key, member in found:
            name, last = key.encode(), key == keys[-1]
            start = position + local_size(name, zip64=False) + (padding if last else 0)
            copy = member._replace(offset=position, start=start)
            header = pack_local(name, copy, VALUE, zip64=False, padding=padding if last else 0)
            parts += header, self._view.source.read(member.start, member.packed)
            copies.append((key, copy))
            position = start + member.packed
        write_all(self.descriptor, b"".join(parts), 0)
        for key, copy in copies:
            index.put(key, copy)

    def _lead(self, index: Index) -> None:
        first = min(index.appended(), key=lambda pair: pair[1].offset, default=None)
        if first is not None:
            key, member = first
            member = member._replace(offset=0)
            header = pack_lead(key.encode(), member)
            # A long one would overwrite members after the gap, which count until the end record is written.
            if header is not None and len(header) <= self.start:
                write_all(self.descriptor, header, 0)
                index.put(key, member)

    def leads(self, index: Index) -> bool:
        """Whether the first header in the file belongs to a live member."""
        end = self._view.end
        first = 0 if end is None else end.prefix
        directory = index.directory
        if directory.count:
            first = int(directory.offset.min())
            if (directory.offset[index.live_rows()] == first).any():
                return True
        return any(member.offset == first for _, member in index.appended())

    def _directory(self, index: Index, prefix: int) -> tuple[list[bytes], int]:
        """Return the new directory as blocks, and its number of records.

        Documents come first, then old records that still count, then new ones.
        """
        live = index.live_rows()
        count = int(live.sum())
        data = self._view.read_directory()
        bounds = np.append(index.directory.at, len(data))
        appended = dict(sorted(index.appended(), key=lambda pair: pair[1].offset))
        count += len(appended)

        def record(key: str, member: Member) -> bytes:
            return pack_central(key.encode(), member, member.offset - prefix)

        blocks = []
        for key in documents(index.rows):
            row = index.rows[key]
            if isinstance(row, int):
                blocks.append(data[bounds[row] : bounds[row + 1]])
                live[row] = False
            else:
                blocks.append(record(key, appended.pop(key)))
        blocks += _selected(data, index.directory.at, live)
        blocks += [record(key, member) for key, member in appended.items()]
        return blocks, count


def _member(offset: int, start: int, stop: int, size: int, crc: int, method: int, name: bytes) -> Member:
    flags = _flags(name) | (LZMA_END_MARK if method == LZMA else 0)
    return Member(offset, stop - start, size, crc, method, flags, start, -1, pack_time())


def _flags(name: bytes) -> int:
    return 0 if name.isascii() and b"\\" not in name else UTF8  # see `key_of`


def write_start(descriptor: int, gap: int = GAP) -> None:
    """Turn an unused file into an archive without members or directory, with a gap at its start."""
    os.ftruncate(descriptor, 0)
    guard = Guard(gap, None)
    write_all(descriptor, pack_guard(guard, gap), gap)
    write_all(descriptor, pack_guard(guard, 0), 0)  # marks the file as ours


def _selected(data: bytes, at: npt.NDArray[np.int64], live: npt.NDArray[np.bool_]) -> list[bytes]:
    """Return the live records of a directory, adjacent ones in one piece."""
    if live.all():
        return [data] if data else []
    bounds = np.append(at, len(data))
    edges = np.flatnonzero(np.diff(np.concatenate(([False], live, [False])).astype(np.int8)))
    return [
        data[bounds[first] : bounds[last]]
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]


def _blocks(piece: Data) -> Iterator[memoryview]:
    view = memoryview(piece)
    if view.ndim != 1 or view.itemsize != 1:
        view = view.cast("B")
    if len(view) <= BLOCK:
        yield view
        return
    for start in range(0, len(view), BLOCK):
        yield view[start : start + BLOCK]
