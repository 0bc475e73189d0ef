"""Opens an archive, closed or not: finds its end, reads its directory, and walks over what follows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from zarrstore.errors import CorruptError, TransientError
from zarrstore.storage._zip.format import (
    CENTRAL,
    END,
    END64,
    END_SIGNATURE,
    GUARD,
    LOCAL,
    LOCAL_SIGNATURE,
    LOCATOR,
    REMOVAL,
    REMOVAL_BELOW,
    UTF8,
    VALUE,
    End,
    Guard,
    Local,
    decode_name,
    may_be_unwritten,
    parse_end,
    parse_guard,
    parse_local,
)
from zarrstore.storage._zip.index import Directory, Index
from zarrstore.storage._zip.reader import LIKELY_EXTRA, REPAIR, View, read_local
from zarrstore.storage._zip.source import BLOCK, FileSource, ObjectSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarrstore.storage._zip.source import Source

# An end record may be followed by a comment of 64 KiB less one byte.
_TAIL = END.size + 0xFFFF + LOCATOR.size + END64.size
_TRIES = 1000
# If more names than this aren't keys, the cause isn't damage.
_FEW = 1000
# The longest that another process takes to finish a small write, in seconds.
_MOMENT = 0.05
# How many bytes a walk over headers reads at once: if members are small, and if they aren't.
_WINDOW = 1 << 16
_GLANCE = 1 << 10


def open_view(source: Source, *, tail_size: int = _TAIL) -> View:
    """Find an archive's end, read its directory, and walk over the members after it.

    Parameters
    ----------
    source : Source
        The archive.
    tail_size : int
        How many bytes at the end to read first. If each read is a request, they should include the directory.

    Raises
    ------
    CorruptError
        If this is no archive, or its directory is broken.
    """
    for _ in range(_TRIES):
        size = source.size()
        if not size:
            return _nothing(source)
        base = max(0, size - max(tail_size, _TAIL))
        tail = bytes(source.read(base, size - base))
        last = tail[-GUARD.size :]
        try:
            if guard := guard_at_end(last, size):
                return _open_unclosed(source, guard, size)
            return _open_closed(source, tail, base, size)
        except CorruptError:
            # A writer may have changed it between our reads.
            if source.size() == size and source.read(size - len(last), len(last)) == last:
                view = None if last.strip(b"\0") else _open_before_zeros(source, size)
                if view is None:
                    raise
                return view
    raise TransientError("the archive changes faster than it can be read.")


def _open_before_zeros(source: Source, size: int) -> View | None:
    """Open an archive that a writer was extending when the power failed, so that zeros follow its end.

    Returns
    -------
    View or None
        None if no archive ends before them.
    """
    if not isinstance(source, FileSource):
        return None
    stop = _last_byte(source, size)
    base = max(0, stop - _TAIL)
    for place in range(stop, min(size, stop + END.size) + 1):  # the archive's own last bytes may be zeros
        tail = bytes(source.read(base, place - base))
        if guard := parse_guard(tail[-GUARD.size :], place - GUARD.size):
            return _open_unclosed(source, guard, size) if guard.start < place else _nothing(source)
        if any(_ends(tail, base, place)):
            view = _open_closed(source, tail, base, place)
            view.size = size
            return view
    return None if stop else _nothing(source)


def _last_byte(source: Source, size: int) -> int:
    """Return where the zeros at a file's end begin."""
    while size:
        start = max(0, size - BLOCK)
        rest = bytes(source.read(start, size - start)).rstrip(b"\0")
        if rest:
            return start + len(rest)
        size = start
    return 0


def _nothing(source: Source) -> View:
    return View(source, Index(), None, 0, 0, 0)


def guard_at_end(last: bytes, size: int) -> Guard | None:
    """Return the guard in the last bytes of a file, unless its members would start after the end."""
    guard = parse_guard(last, size - GUARD.size)
    return guard if guard is not None and guard.start < size else None


def _open_closed(source: Source, tail: bytes, base: int, size: int) -> View:
    error = CorruptError("this is no zip archive, or its end is missing.", hint=REPAIR)
    for end in _ends(tail, base, size):
        try:
            return View(source, read_index(source, end, tail, base), end, size, size, size)
        except CorruptError as found:
            error = found
    raise error


def _ends(tail: bytes, base: int, size: int) -> Iterator[End]:
    """Yield end records that end where the file ends, the likeliest first.

    Others are older than what follows them, or are part of a value.
    """
    doubtful = []
    at = tail.rfind(END_SIGNATURE)
    while at >= 0:
        end = parse_end(tail, at, base)
        if end is not None and end.stop == size:
            # One with a prefix may be an archive within a comment, or within the last value of an archive
            # that lost its end.
            if end.prefix:
                doubtful.append(end)
            else:
                yield end
        at = tail.rfind(END_SIGNATURE, 0, at)
    yield from doubtful


def read_index(source: Source, end: End, tail: bytes, base: int) -> Index:
    """Read the directory of an end record; ``tail`` was read from position ``base``."""
    size = end.start - end.directory
    if end.directory >= base:
        data = tail[end.directory - base : end.start - base]
    else:
        data = bytes(source.read(end.directory, size))
    if len(data) != size:
        raise CorruptError("the archive ends within its directory.")
    directory = Directory(data, end.directory, end.prefix)
    count = directory.count
    if count != end.records and (end.exact or count & 0xFFFF != end.records):
        raise CorruptError(f"the directory holds {count} records instead of {end.records}.")
    if end.prefix:
        _check_prefix(source)
    if count and end.prefix:
        # It may not be this file's (see `_ends`), so check that its members are there.
        first = int(directory.offset[0])
        if bytes(source.read(first, len(LOCAL_SIGNATURE))) != LOCAL_SIGNATURE:
            raise CorruptError("the directory leads to no members.")
    names = directory.keys(data)
    if isinstance(source, (FileSource, ObjectSource)) and len(directory.odd) <= _FEW:
        for row in directory.odd:
            _check_name(source, directory, row, data)
    return Index(directory, names)


def _check_name(source: Source, directory: Directory, row: int, data: bytes) -> None:
    """Raise if a name isn't a key because of damage; no read would ever find its value."""
    start = int(directory.at[row]) + CENTRAL.size
    name = data[start : start + int(directory.name_size[row])]
    local = read_local(source, int(directory.offset[row]), LOCAL.size + len(name) + LIKELY_EXTRA)[0]
    if local is not None and local.name != name:
        raise CorruptError(
            f"the directory names a member {name!r} whose local header says {local.name!r}.", hint=REPAIR
        )


def _check_prefix(source: Source) -> None:
    """Raise if the bytes before an archive are an archive themselves.

    A truncated file may end exactly after an archive within one of its values.
    """
    head = bytes(source.read(0, GUARD.size))
    if head[: len(LOCAL_SIGNATURE)] == LOCAL_SIGNATURE or parse_guard(head, 0) is not None:
        raise CorruptError(
            "the end record doesn't belong to the archive that starts with the file.", hint=REPAIR
        )


def _open_unclosed(source: Source, guard: Guard, size: int) -> View:
    """Open an archive with members after its last end record, or without an end record."""
    end = None
    index = Index()
    if guard.end_record is not None:
        base = max(0, guard.end_record - LOCATOR.size - END64.size)
        tail = bytes(source.read(base, guard.start - base))
        end = parse_end(tail, guard.end_record - base, base)
        if end is None:
            raise CorruptError(f"at byte {guard.end_record} there should be an end record.", hint=REPAIR)
        index = read_index(source, end, tail, base)
    chain_stop = guard.start
    looked_at = -1
    while True:
        for local in walk(source, chain_stop, size):
            apply(index, local)
            chain_stop = local.member.start + local.member.packed
        if not _is_damaged(source, chain_stop, size):
            return View(source, index, end, guard.start, chain_stop, size)
        if looked_at == chain_stop:
            break
        # Another process may be writing a header right now; look again a moment later.
        looked_at = chain_stop
        time.sleep(_MOMENT)
    raise CorruptError(f"at byte {chain_stop} there should be a member; it is damaged.", hint=REPAIR)


def _is_damaged(source: Source, position: int, size: int) -> bool:
    """Whether there are members after the last one that a walk found."""
    local, data = read_local(source, position, _GLANCE)
    if local is not None and local.kind is not None:
        return source.size() == size  # otherwise it was just appended
    if not may_be_unwritten(data, position):
        return True
    return next(find_marked(source, position, size, followers=False), None) is not None


def find_marked(source: Source, start: int, stop: int, *, followers: bool = True) -> Iterator[int]:
    """Yield the positions of headers with a mark that is valid there.

    Without ``followers``, headers synced together with the one before are left out: what was lost before them
    may never have been acknowledged.
    """
    for place in find_all(source, LOCAL_SIGNATURE, start, stop):
        local = read_local(source, place, _GLANCE)[0]
        if local is not None and local.kind is not None and (followers or not local.follows):
            yield place


def find_all(source: Source, wanted: bytes, start: int, stop: int) -> Iterator[int]:
    """Yield all positions of some bytes."""
    while start < stop:
        data = bytes(source.read(start, min(BLOCK + len(wanted), stop - start)))
        at = data.find(wanted)
        while at >= 0:
            yield start + at
            at = data.find(wanted, at + 1)
        if len(data) <= len(wanted):
            return
        start += len(data) - len(wanted) + 1


def apply(index: Index, local: Local) -> None:
    """Update an index with a member or removal found after the end record."""
    name = decode_name(local.name, UTF8)
    if local.kind == VALUE:
        index.put(name, local.member)
    elif local.kind == REMOVAL:
        index.drop(name)
    elif local.kind == REMOVAL_BELOW:
        index.drop_below(name)


def walk(source: Source, start: int, stop: int) -> Iterator[Local]:
    """Yield headers of ours one after the other, up to the first that isn't complete."""
    window = b""
    base = 0
    reach = _WINDOW
    while start < stop:
        at = start - base
        local = parse_local(window, at, start) if 0 <= at < len(window) else None
        if local is None:
            local, window = read_local(source, start, reach)
            base = start
        if local is None or local.kind is None:
            return
        following = local.member.start + local.member.packed
        if following > stop:
            return
        yield local
        # If values are large, read little more than a header next.
        reach = _WINDOW if local.member.packed < _GLANCE else _GLANCE
        start = following
