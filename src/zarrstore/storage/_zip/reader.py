"""Reads the members of an archive that is open.

A `View` is the state of an archive when it was opened: a source, an index, and the positions of the last end
record and of the members after it. Reads share nothing else, so threads and forked children may read at once.
"""

from __future__ import annotations

import os
from copy import copy
from typing import TYPE_CHECKING
from zlib import crc32

from zarrstore._async.nowait import MAX_INLINE_SIZE
from zarrstore._core.checksum import damaged
from zarrstore._core.requests import span
from zarrstore._core.verbs import WOULD_BLOCK, host_memory
from zarrstore._os import files
from zarrstore.errors import ByteRequestError, CorruptError, UnsupportedOperationError
from zarrstore.storage._zip.codecs import unpack
from zarrstore.storage._zip.format import (
    CENTRAL,
    ENCRYPTED,
    LOCAL,
    SIZES_BEHIND,
    STORED,
    UTF8,
    End,
    Local,
    Member,
    decode_name,
    descriptor_size,
    parse_local,
)
from zarrstore.storage._zip.source import FetchedSource, FileSource, ObjectSource

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, Data
    from zarrstore._core.verbs import WouldBlock
    from zarrstore.storage._zip.index import Index
    from zarrstore.storage._zip.source import Source, StoreSource

# How many bytes to keep of decompressed values that were read in part; the latest is kept whatever its size.
_KEPT = 64 << 20

# How many bytes to read for a header's extra fields; nearly always enough.
LIKELY_EXTRA = 64

REPAIR = "'zarrstore repair' saves what is whole."


class View:
    """The state of an archive when it was opened.

    Attributes
    ----------
    source : Source
        Its bytes.
    index : Index
        Its members; a writer in this process keeps them up to date.
    end : End or None
        The last end record; None if there is none yet.
    chain_start, chain_stop : int
        Where the members after it start and end.
    size : int
        The size of the file when it was opened.
    """

    def __init__(
        self, source: Source, index: Index, end: End | None, chain_start: int, chain_stop: int, size: int
    ) -> None:
        self.source = source
        self.index = index
        self.end = end
        self.chain_start = chain_start
        self.chain_stop = chain_stop
        self.size = size
        # The whole source, if it is mapped into memory; reads are then slices of it.
        self.mapped: npt.NDArray[np.uint8] | None = None
        self._file = source if isinstance(source, FileSource) and hasattr(os, "preadv") else None
        # Decompressed values that were read in part, by offset: the next part is likely to be read soon.
        self._unpacked: dict[int, bytes] = {}

    @property
    def is_closed(self) -> bool:
        """Whether its directory is complete, with nothing after the last end record."""
        return self.end is not None and self.chain_start == self.chain_stop and self.size == self.end.stop

    @property
    def comment(self) -> bytes:
        """The archive's comment."""
        return b"" if self.end is None else self.end.comment

    # -- reading ----------------------------------------------------------------------------------

    def read(
        self,
        member: Member,
        key: str,
        request: ByteRequest | None,
        allocate: Allocate,
        *,
        verify: bool = False,
    ) -> Data:
        """Read the requested bytes of a member.

        Parameters
        ----------
        member : Member
            Which one.
        key : str
            Its key.
        request : ByteRequest or None
            Which bytes.
        allocate : callable
            Returns the memory that a large value is read into.
        verify : bool
            Whether to verify the checksum even if only part of a stored member is read; whole reads always
            verify it.
        """
        if member.method == STORED:
            self._check_stored(member)
            start, stop = span(request, member.size)
            if stop - start < member.size and not verify:
                return self._data(member, key, start, stop, allocate)
            value = self._data(member, key, 0, member.size, host_memory)
            _check_crc(value, member)
            return value[start:stop]
        if member.flags & ENCRYPTED:
            raise UnsupportedOperationError("it is encrypted.")
        start, stop = span(request, member.size)  # raises before anything is decompressed
        known = self._unpacked.pop(member.offset, None)
        if known is None:
            packed = self._data(member, key, 0, member.packed, host_memory)
            value = unpack(memoryview(packed), member.method, member.size)
            _check_crc(value, member)
        else:
            value = known
        if stop - start == member.size:
            return value
        if known is None or stop < member.size:
            self._keep(member.offset, value)
        return value[start:stop]

    def _keep(self, place: int, value: bytes) -> None:
        """Keep a decompressed value for the next partial read; drop the oldest if there are too many."""
        kept = self._unpacked
        kept[place] = value
        while len(kept) > 1 and sum(map(len, list(kept.values()))) > _KEPT:
            kept.pop(next(iter(list(kept)), place), None)

    def read_directory(self) -> bytes:
        """Return the bytes of the directory."""
        directory = self.index.directory
        return bytes(self.source.read(directory.start, directory.stop - directory.start))

    def fetched(self, requests: list[tuple[Member, str, ByteRequest | None]], source: StoreSource) -> View:
        """Return a view with what some reads will need, fetched all at once."""
        parts = []
        for member, key, request in requests:
            start, stop = 0, member.packed
            if member.method == STORED and request is not None:
                try:
                    start, stop = span(request, member.size)
                except ByteRequestError:
                    continue  # the read raises it
            if member.start:
                parts.append((member.start + start, stop - start))
            else:
                parts.append((member.offset, LOCAL.size + len(key) + LIKELY_EXTRA + stop))
        view = copy(self)
        view.source = FetchedSource(source, parts)
        return view

    def read_stored(self, key: str, wait: bool) -> Data | WouldBlock | None:
        """Read a whole stored member from a file with one system call, the most frequent case.

        Parameters
        ----------
        key : str
            Which one.
        wait : bool
            Whether it may wait for the medium.

        Returns
        -------
        array, None or WOULD_BLOCK
            None if there is no such member. `WOULD_BLOCK` if one call isn't enough: if the member is
            compressed, large or damaged, or its local header hasn't been read yet.
        """
        index = self.index
        row = index.rows.get(key)
        if row is None:
            return None
        file = self._file
        if type(row) is not int or file is None or self.mapped is not None or not (wait or file.can_nowait):
            return WOULD_BLOCK
        directory = index.directory
        start, size = directory.starts[row], directory.sizes[row]
        if not start or not directory.is_direct[row] or not 0 < size <= MAX_INLINE_SIZE:
            return WOULD_BLOCK
        memory = host_memory(size)
        try:
            count = os.preadv(file.descriptor, [memory], start, 0 if wait else file.now_flags)
        except OSError:
            return WOULD_BLOCK
        return memory if count == size and crc32(memory) == directory.crcs[row] else WOULD_BLOCK

    def read_nowait(
        self, member: Member, key: str, request: ByteRequest | None, source: FileSource, allocate: Allocate
    ) -> Data | WouldBlock:
        """Read from a stored member without waiting; otherwise, and on errors, return `WOULD_BLOCK`."""
        if member.method != STORED or member.flags & ENCRYPTED or member.size != member.packed:
            return WOULD_BLOCK
        start, stop = 0, member.size
        if request is not None:
            try:
                start, stop = span(request, stop)
            except ByteRequestError:
                return WOULD_BLOCK
        size = stop - start
        whole = size == member.size
        is_mapped = self.mapped is not None and member.start and member.start + stop <= len(self.mapped)
        if not 0 < size <= MAX_INLINE_SIZE and (whole or not is_mapped):
            return WOULD_BLOCK
        if self.mapped is not None and is_mapped:
            memory = self.mapped[member.start + start : member.start + stop]
            return memory if not whole or crc32(memory) == member.crc else WOULD_BLOCK
        if member.start:
            memory = allocate(size)
            if source.read_nowait(member.start + start, memory) != size:
                return WOULD_BLOCK
            return memory if not whole or crc32(memory) == member.crc else WOULD_BLOCK
        ahead = LOCAL.size + len(key) + LIKELY_EXTRA
        if stop > MAX_INLINE_SIZE:
            return WOULD_BLOCK
        memory = allocate(ahead + stop)
        count = source.read_nowait(member.offset, memory)
        local = parse_local(memory[: min(count, ahead)].tobytes(), 0, member.offset)
        if local is None or local.member.flags & SIZES_BEHIND:
            return WOULD_BLOCK
        try:
            behind = self._check_local(member, key, local) - member.offset
        except CorruptError:
            return WOULD_BLOCK
        if behind + stop > count:
            return WOULD_BLOCK
        value = memory[behind + start : behind + stop]
        return value if not whole or crc32(value) == member.crc else WOULD_BLOCK

    def _check_stored(self, member: Member) -> None:
        if member.flags & ENCRYPTED:
            raise UnsupportedOperationError("it is encrypted.")
        if member.size != member.packed:
            raise CorruptError("it isn't compressed, yet its two sizes differ.")

    def _data(self, member: Member, key: str, start: int, stop: int, allocate: Allocate) -> Data:
        """Return part of a member's data as stored, compressed or not."""
        size = stop - start
        first = member.start
        if not first:
            if size <= self.source.at_once and start == 0 and self.mapped is None:
                return self._data_with_header(member, key, size)
            first = self.locate(member, key)
        if self.mapped is not None and first + stop <= len(self.mapped):
            return self.mapped[first + start : first + stop]
        source = self.source
        if size <= source.at_once or not isinstance(source, FileSource):
            return _whole(source.read(first + start, size), size)
        memory, count = files.read_value(source.descriptor, size, first + start, allocate)
        if count != size:
            raise _cut_off()
        return memory

    def _data_with_header(self, member: Member, key: str, size: int) -> bytes | memoryview:
        """Read a header of unknown size and the start of the data at once."""
        guess = LOCAL.size + len(key) + LIKELY_EXTRA
        data = self.source.read(member.offset, guess + size)
        local = parse_local(data, 0, member.offset)
        first = self.locate(member, key) if local is None else self._check_local(member, key, local)
        behind = first - member.offset
        if len(data) - behind >= size:
            return memoryview(data)[behind : behind + size]
        return _whole(self.source.read(first, size), size)

    def locate(self, member: Member, key: str) -> int:
        """Return where a member's data start; reads its local header if necessary."""
        if member.start:
            return member.start
        guess = LOCAL.size + len(key) + LIKELY_EXTRA
        local = read_local(self.source, member.offset, guess)[0]
        if local is None:
            raise CorruptError("its local header is missing or cut off.")
        return self._check_local(member, key, local)

    def _check_local(self, member: Member, key: str, local: Local) -> int:
        """Check a local header against the directory; record and return where the data start."""
        directory = self.index.directory
        there = local.member
        first = there.start
        if (
            there.method != member.method
            or (there.flags ^ member.flags) & ENCRYPTED
            or len(local.name) != directory.name_size[member.row]
        ):
            raise CorruptError("the directory and its local header contradict each other.")
        if not (key.isascii() and local.name == key.encode()) and not self._is_named(member, key, local):
            raise CorruptError(f"its local header has another name, {local.name!r}.")
        if first + member.packed > directory.limit(member):
            raise CorruptError("its data would reach into what follows.", hint="Don't trust its values.")
        agree = there[1:4] == member[1:4]  # packed size, size, checksum
        if there.flags & SIZES_BEHIND and not (agree and there.packed):
            agree = self._ends_right(member, first)
        if not agree:
            raise CorruptError(
                "the directory and its local header have different sizes or checksums.", hint=REPAIR
            )
        directory.members["start"][member.row] = first
        return first

    def _ends_right(self, member: Member, first: int) -> bool:
        """Whether a member's sizes, or the next member, follow its data."""
        stop = first + member.packed
        if self.index.directory.limit(member) == stop or member.flags & ENCRYPTED:
            return True
        if member.packed and not isinstance(self.source, (FileSource, ObjectSource)):
            return True  # on a remote store this would be one more request
        behind = self.source.read(stop, 24)
        return descriptor_size(behind, member.packed, member.size, member.crc) is not None

    def _is_named(self, member: Member, key: str, local: Local) -> bool:
        """Whether a local header has the name of a key that isn't ASCII, or is written in another way."""
        if not key.isascii() and decode_name(local.name, local.member.flags) == key:
            return True
        # The key may be a normalised name, or come from a field that only the directory has.
        directory = self.index.directory
        place = directory.start + int(directory.at[member.row]) + CENTRAL.size
        same = bytes(self.source.read(place, len(local.name))) == local.name
        return same and not (member.flags ^ local.member.flags) & UTF8


def _whole(data: bytes | memoryview, size: int) -> bytes | memoryview:
    if len(data) != size:
        raise _cut_off()
    return data


def _cut_off() -> CorruptError:
    return CorruptError("the archive ends within its data.", hint="The file was truncated; restore it.")


def _check_crc(value: Data, member: Member) -> None:
    if crc32(value) != member.crc:
        raise damaged()


def read_local(source: Source, position: int, guess: int) -> tuple[Local | None, bytes]:
    """Read a local header, in one read if ``guess`` bytes suffice; return it and the bytes read."""
    data = bytes(source.read(position, guess))
    local = parse_local(data, 0, position)
    if local is None and len(data) >= LOCAL.size:
        name, extra = LOCAL.unpack_from(data)[-2:]
        if LOCAL.size + name + extra > len(data):
            data = bytes(source.read(position, LOCAL.size + name + extra))
            local = parse_local(data, 0, position)
    return local, data
