"""Packs and parses the records of a zip archive, and two of our own: marks and guards.

Names follow PKWARE's APPNOTE: a local header before each member's data, a directory of central
records after all members, then the end record, with two more before it in a Zip64 archive.
"""

from __future__ import annotations

import stat
import struct
import time
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

# Date and time are one field here, with the time in the low half.
LOCAL = struct.Struct("<4s3H4L2H")
CENTRAL = struct.Struct("<4s4B2H4L5H2L")
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")

LOCAL_SIGNATURE = b"PK\x03\x04"
CENTRAL_SIGNATURE = b"PK\x01\x02"
END_SIGNATURE = b"PK\x05\x06"
END64_SIGNATURE = b"PK\x06\x06"
LOCATOR_SIGNATURE = b"PK\x06\x07"
DESCRIPTOR_SIGNATURE = b"PK\x07\x08"

# Bits of a member's flags.
ENCRYPTED = 0x1
LZMA_END_MARK = 0x2
SIZES_BEHIND = 0x8
UTF8 = 0x800

# Systems that a record may come from.
UNIX, _MACOS = 3, 19

STORED, DEFLATED, BZIP2, LZMA, ZSTANDARD = 0, 8, 12, 14, 93
# The format version that a reader needs for each method.
_NEEDED = {STORED: 20, DEFLATED: 20, BZIP2: 46, LZMA: 63, ZSTANDARD: 63}
_ZIP64_VERSION = 45

# Larger sizes and offsets, and more members, need Zip64. 2 GiB, since some readers use signed numbers.
ZIP64_LIMIT = (1 << 31) - 1
ZIP64_COUNT = (1 << 16) - 1
FULL32 = 0xFFFFFFFF

# The private extra field that ends each local header of ours: id, size, kind, three reserved bytes, and
# a checksum of the header up to here and its position in the file. A `FOLLOWER` is a value whose header was
# synced together with that of the value before it.
MARK = struct.Struct("<2sHB3xL")
_MARK_ID = b"zs"
_MARKED = struct.Struct("<BQ")  # also covered by the checksum: kind and position
_MARK_SIZE = MARK.size - 4
VALUE, REMOVAL, REMOVAL_BELOW, FOLLOWER = 0, 1, 2, 3

# Padding field of Android's tools; other readers skip it.
_PADDING = 0xD935

# The guard: signature, where the members after the last end record start, the distance back from there
# to the end record (0: there is none), and a checksum of these and the guard's position.
GUARD = struct.Struct("<4sQLL")
_GUARD_SIGNATURE = b"PKzg"
SECTOR = 512

# Signatures that may follow the last member.
_ENDING = (CENTRAL_SIGNATURE, END_SIGNATURE, END64_SIGNATURE)


class Member(NamedTuple):
    """Where a member is, and how it is compressed.

    Attributes
    ----------
    offset : int
        Of its local header, in the file.
    packed : int
        Bytes of its data in the file.
    size : int
        Bytes of the value.
    crc : int
        CRC-32 of the value.
    method : int
        Compression method.
    flags : int
        General purpose flags.
    start : int
        Where its data start; 0 until its local header has been read.
    row : int
        Its row in the directory; -1 after the last end record.
    time : int
        Date and time in the format's encoding.
    """

    offset: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int
    start: int
    row: int
    time: int


class Guard(NamedTuple):
    """The content of a guard.

    Attributes
    ----------
    start : int
        Where the members after the last end record start.
    end_record : int or None
        Where that record starts; None if there is none yet.
    """

    start: int
    end_record: int | None


def fit(position: int, size: int) -> int:
    """Return the next position at which ``size`` bytes don't cross a sector boundary."""
    room = SECTOR - position % SECTOR
    return position if room >= size else position + room


def fit_end(position: int, size: int, comment: int) -> int:
    """Return the next position for end records of this size, followed by a comment.

    Neither the records nor the last bytes of the file, where a guard is until they are written, cross a
    sector boundary.
    """
    place = fit(position, size)
    while fit(last := place + size + comment - GUARD.size, GUARD.size) != last:
        place = fit(place + 1, size)
    return place


def pack_guard(guard: Guard, position: int) -> bytes:
    """Return the bytes of a guard at a position in the file."""
    back = 0 if guard.end_record is None else guard.start - guard.end_record
    return GUARD.pack(_GUARD_SIGNATURE, guard.start, back, _guard_crc(guard.start, back, position))


def parse_guard(data: bytes, position: int) -> Guard | None:
    """Parse 20 bytes at a position as a guard; None if they aren't one."""
    if len(data) != GUARD.size or data[:4] != _GUARD_SIGNATURE:
        return None
    _, start, back, crc = GUARD.unpack(data)
    if crc != _guard_crc(start, back, position) or back > start:
        return None
    return Guard(start, start - back if back else None)


def may_be_unwritten(data: bytes, position: int) -> bool:
    """Whether bytes after the last member may be the leftovers of a writer that died.

    Leftovers are zeros, a guard, the start of a directory or an end record, or a header that lacks its last
    byte or, after a power failure, a sector. Anything else was once a whole header.

    Parameters
    ----------
    data : bytes
        Bytes after the last member.
    position : int
        Their position in the file.
    """
    head = data[: LOCAL.size + len(CENTRAL_SIGNATURE)]
    if any(signature in head for signature in _ENDING) or _lacks_sector(data[: LOCAL.size], position):
        return True
    if not LOCAL_SIGNATURE.startswith(head[:4].rstrip(b"\0")):
        return False
    stop = LOCAL.size + (sum(LOCAL.unpack_from(data)[-2:]) if len(data) >= LOCAL.size else 0)
    mark = data.find(MARK.pack(_MARK_ID, _MARK_SIZE, 0, 0)[:4], LOCAL.size, stop + MARK.size)
    if mark >= 0 and mark + MARK.size != stop:
        return False  # its sizes have changed since it was written
    return stop <= len(data) and (not data[stop - 1] or _lacks_sector(data[:stop], position))


def _lacks_sector(header: bytes, position: int) -> bool:
    """Whether a sector of a header still holds what was there before: zeros, or a guard."""
    first = SECTOR - position % SECTOR
    sectors = [header[:first], *(header[at : at + SECTOR] for at in range(first, len(header), SECTOR))]
    rests = [sector.lstrip(b"\0") for sector in sectors]
    return any(not rest or rest.startswith(_GUARD_SIGNATURE[: len(rest)]) for rest in rests)


def _guard_crc(start: int, back: int, position: int) -> int:
    return crc32(struct.pack("<QLQ", start, back, position))


def pack_time() -> int:
    """Return the current date and time in the format's encoding."""
    return _packed(int(time.time()))


@lru_cache(maxsize=1)
def _packed(second: int) -> int:
    then = time.localtime(second)
    year = min(max(then.tm_year, 1980), 2107)
    date = (year - 1980) << 9 | then.tm_mon << 5 | then.tm_mday
    return date << 16 | then.tm_hour << 11 | then.tm_min << 5 | min(then.tm_sec, 59) // 2


def local_size(name: bytes, *, zip64: bool) -> int:
    """Return the size of a local header of ours without padding."""
    return LOCAL.size + len(name) + (20 if zip64 else 0) + MARK.size


def pack_local(name: bytes, member: Member, kind: int, *, zip64: bool, padding: int = 0) -> bytes:
    """Return a local header of ours, with sizes and mark.

    Parameters
    ----------
    name : bytes
        The encoded name.
    member : Member
        The member after the header.
    kind : int
        ``VALUE``, ``FOLLOWER``, ``REMOVAL`` or ``REMOVAL_BELOW``.
    zip64 : bool
        Whether to write 64-bit sizes.
    padding : int
        Number of bytes to add: 0, or at least 4.
    """
    extra = _pack_sizes(member) if zip64 else b""
    if padding:
        extra += struct.pack("<2H", _PADDING, padding - 4) + bytes(padding - 4)
    head = _pack_header(name, member, len(extra) + MARK.size, zip64=zip64) + name + extra
    return head + MARK.pack(_MARK_ID, _MARK_SIZE, kind, _mark_crc(head, kind, member.offset))


def pack_stored(name: bytes, member: Member) -> bytes:
    """Return a local header for a stored value without Zip64, in half the time of `pack_local`."""
    offset, packed, size, crc, _, flags, _, _, when = member
    fields = (_NEEDED[STORED], flags, STORED, when, crc, packed, size, len(name), MARK.size)
    head = LOCAL.pack(LOCAL_SIGNATURE, *fields) + name
    return head + MARK.pack(_MARK_ID, _MARK_SIZE, VALUE, _mark_crc(head, VALUE, offset))


def pack_lead(name: bytes, member: Member) -> bytes | None:
    """Return the start of a local header, without a mark, that extends from a member's offset to its data.

    A padding field fills the bytes between. None if they are too many for one.
    """
    zip64 = max(member.size, member.packed) > ZIP64_LIMIT
    extra = _pack_sizes(member) if zip64 else b""
    room = member.start - member.offset - LOCAL.size - len(name)
    padding = room - len(extra) - 4
    if padding < 0 or room > 0xFFFF:
        return None
    return (
        _pack_header(name, member, room, zip64=zip64) + name + extra + struct.pack("<2H", _PADDING, padding)
    )


def _pack_sizes(member: Member) -> bytes:
    return struct.pack("<2H2Q", 1, 16, member.size, member.packed)


def _pack_header(name: bytes, member: Member, extra_size: int, *, zip64: bool) -> bytes:
    return LOCAL.pack(
        LOCAL_SIGNATURE,
        _version(member.method, zip64=zip64),
        member.flags,
        member.method,
        member.time,
        member.crc,
        FULL32 if zip64 else member.packed,
        FULL32 if zip64 else member.size,
        len(name),
        extra_size,
    )


def _mark_crc(head: bytes | memoryview, kind: int, offset: int) -> int:
    """Return a mark's checksum. Its last byte is never zero: `may_be_unwritten` would take that for a gap."""
    crc = crc32(_MARKED.pack(kind, offset), crc32(head))
    return crc if crc > 0xFFFFFF else crc | 1 << 24


def _version(method: int, *, zip64: bool) -> int:
    return max(_NEEDED.get(method, 20), _ZIP64_VERSION if zip64 else 0)


def decode_name(name: bytes, flags: int) -> str:
    """Return a member's name as text.

    macOS, and zip 3.0 without an American locale, write UTF-8 and don't flag it. A name in cp437 that happens
    to be valid UTF-8 would consist of line-drawing characters.
    """
    if flags & UTF8:
        return name.decode("utf-8", "surrogateescape")
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp437")


def key_of(name: str, flags: int, system: int = UNIX) -> str:
    """Return the key for a member's name.

    Some programs prepend ``./``, and some on Windows write backslashes. In a name flagged as UTF-8 on Unix, a
    backslash is an ordinary character; this library flags every name with a backslash.

    Parameters
    ----------
    name : str
        The decoded name.
    flags : int
        The member's flags.
    system : int
        The system that its record names as its origin.
    """
    if not (flags & UTF8 and system in (UNIX, _MACOS)):
        name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


class Local(NamedTuple):
    """A parsed local header.

    Attributes
    ----------
    name : bytes
        The encoded name.
    member : Member
        Sizes and checksum are 0 where they follow the data.
    kind : int or None
        The kind in our mark; None for a foreign header, or a damaged one of ours.
    is_marked : bool
        Whether it ends with a mark, even a damaged one.
    follows : bool
        Whether it was synced together with the one before it.
    """

    name: bytes
    member: Member
    kind: int | None
    is_marked: bool
    follows: bool = False


def parse_local(data: bytes | memoryview, at: int, offset: int) -> Local | None:
    """Parse a local header.

    Parameters
    ----------
    data : bytes-like
        Some of the file.
    at : int
        Where the header starts in ``data``.
    offset : int
        Where it starts in the file.

    Returns
    -------
    Local or None
        None if there is no complete header.
    """
    if len(data) - at < LOCAL.size:
        return None
    signature, _, flags, method, when, crc, packed, size, name_size, extra_size = LOCAL.unpack_from(data, at)
    if signature != LOCAL_SIGNATURE:
        return None
    name_at = at + LOCAL.size
    extra_at = name_at + name_size
    stop = extra_at + extra_size
    if stop > len(data):
        return None
    extra = bytes(data[extra_at:stop])
    kind = None
    is_marked = extra[-MARK.size :].startswith(_MARK_ID)
    if is_marked and extra_size >= MARK.size:
        mark_id, mark_size, mark_kind, mark = MARK.unpack_from(extra, extra_size - MARK.size)
        if (mark_id, mark_size) == (_MARK_ID, _MARK_SIZE) and mark == _mark_crc(
            data[at : stop - MARK.size], mark_kind, offset
        ):
            kind = mark_kind
    if FULL32 in (packed, size):
        field = find_extra(extra, 1)
        wanted = (size == FULL32, packed == FULL32)
        if field is not None and len(field) >= 8 * sum(wanted):
            numbers = iter(struct.unpack_from(f"<{sum(wanted)}Q", field))
            size = next(numbers) if wanted[0] else size
            packed = next(numbers) if wanted[1] else packed
    member = Member(offset, packed, size, crc, method, flags, offset + stop - at, -1, when)
    follows = kind == FOLLOWER
    return Local(bytes(data[name_at:extra_at]), member, VALUE if follows else kind, is_marked, follows)


def descriptor_size(data: bytes | memoryview, packed: int, size: int, crc: int) -> int | None:
    """Return the size of the data descriptor, in any of its four forms; None if it doesn't match."""
    for signature in (4, 0):
        if signature and data[:4] != DESCRIPTOR_SIGNATURE:
            continue
        for layout, length in (("<LQQ", 20), ("<LLL", 12)):
            if len(data) >= signature + length and struct.unpack_from(layout, data, signature) == (
                crc,
                packed,
                size,
            ):
                return signature + length
    return None


def find_extra(extra: bytes, wanted: int) -> bytes | None:
    """Return the content of one extra field, or None."""
    at = 0
    while at + 4 <= len(extra):
        field, size = struct.unpack_from("<2H", extra, at)
        if field == wanted and at + 4 + size <= len(extra):
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return None


def without_zip64(extra: bytes) -> bytes:
    """Return extra fields without those of Zip64."""
    kept = bytearray()
    at = 0
    while at + 4 <= len(extra):
        field, size = struct.unpack_from("<2H", extra, at)
        if field != 1:
            kept += extra[at : at + 4 + size]
        at += 4 + size
    return bytes(kept)


class Details(NamedTuple):
    """What a directory record holds besides numbers; the defaults are what we write."""

    extra: bytes = b""
    comment: bytes = b""
    system: int = UNIX
    attributes: int = (stat.S_IFREG | 0o644) << 16
    internal: int = 0


NO_DETAILS = Details()


def pack_central(name: bytes, member: Member, offset: int, details: Details = NO_DETAILS) -> bytes:
    """Return a member's record in the directory.

    Parameters
    ----------
    name : bytes
        As in the local header.
    member : Member
        What to record.
    offset : int
        Of the local header, relative to the start of the archive, after its prefix.
    details : Details
        From an earlier record of this member.
    """
    extra, comment, system, attributes, internal = details
    _, packed, size, crc, method, flags, _, _, when = member
    place = offset
    zip64 = size > ZIP64_LIMIT or packed > ZIP64_LIMIT or place > ZIP64_LIMIT
    if zip64:
        numbers = size, packed, place
        long = [number for number in numbers if number > ZIP64_LIMIT]
        extra = struct.pack(f"<2H{len(long)}Q", 1, 8 * len(long), *long) + extra
        size, packed, place = (FULL32 if number > ZIP64_LIMIT else number for number in numbers)
    version = _version(method, zip64=zip64)
    fields = (version, system, version, 0, flags, method, when, crc, packed, size)
    sizes = len(name), len(extra), len(comment)
    head = CENTRAL.pack(CENTRAL_SIGNATURE, *fields, *sizes, 0, internal, attributes, place)
    return b"".join((head, name, extra, comment))


def needs_zip64(count: int, size: int, offset: int) -> bool:
    """Whether a directory needs Zip64 end records."""
    return count > ZIP64_COUNT or offset > ZIP64_LIMIT or size > ZIP64_LIMIT


def pack_end(
    count: int, size: int, offset: int, prefix: int, comment: bytes, *, always64: bool = False
) -> bytes:
    """Return the end records.

    Parameters
    ----------
    count : int
        Number of records in the directory.
    size, offset : int
        The directory's size, and its start, relative to the start of the archive.
    prefix : int
        Bytes before the archive, which offsets don't count.
    comment : bytes
        The archive's comment.
    always64 : bool
        Whether to write Zip64 records even if they aren't needed.
    """
    records = b""
    if always64 or needs_zip64(count, size, offset):
        records = END64.pack(
            END64_SIGNATURE, END64.size - 12, _ZIP64_VERSION, _ZIP64_VERSION, 0, 0, count, count, size, offset
        ) + LOCATOR.pack(LOCATOR_SIGNATURE, 0, offset + size, 1)
        if always64:
            count, size, offset = 0xFFFF, FULL32, FULL32
        count, size, offset = min(count, 0xFFFF), min(size, FULL32), min(offset, FULL32)
    return records + END.pack(END_SIGNATURE, 0, 0, count, count, size, offset, len(comment)) + comment


class End(NamedTuple):
    """Parsed end records, checked against their position.

    Attributes
    ----------
    start : int
        Where the end records start: the directory's end.
    record : int
        Where the last of them starts.
    stop : int
        Where the archive ends, after its comment.
    directory : int
        Where the directory starts.
    records : int
        Number of records in it.
    exact : bool
        Whether ``records`` is the full number rather than its low 16 bits.
    prefix : int
        Bytes before the archive, which its offsets don't count.
    comment : bytes
        The archive's comment.
    """

    start: int
    record: int
    stop: int
    directory: int
    records: int
    exact: bool
    prefix: int
    comment: bytes


def parse_end(data: bytes, at: int, base: int) -> End | None:
    """Parse end records.

    Parameters
    ----------
    data : bytes
        Some of the file.
    at : int
        Where the (last) end record starts in ``data``.
    base : int
        Where ``data`` starts in the file.

    Returns
    -------
    End or None
        None if there is none, if ``data`` has only part of it, or if it contradicts its position.
    """
    if at < 0 or len(data) - at < END.size or data[at : at + 4] != END_SIGNATURE:
        return None
    _, disk, first_disk, here, count, size, offset, comment_size = END.unpack_from(data, at)
    start = at
    exact = False
    locator = at - LOCATOR.size
    # Zip64 is recognised by its locator, not by the numbers: some writers fill in both.
    if locator >= 0 and data[locator : locator + 4] == LOCATOR_SIGNATURE:
        _, _, place, _ = LOCATOR.unpack_from(data, locator)
        for candidate in (locator - END64.size, place - base):
            if 0 <= candidate <= locator - END64.size and data[candidate : candidate + 4] == END64_SIGNATURE:
                _, _, _, _, disk, first_disk, here, count, size, offset = END64.unpack_from(data, candidate)
                start = candidate
                exact = True
                break
    directory = base + start - size
    prefix = directory - offset
    if disk != first_disk or here != count or directory < 0 or prefix < 0:
        return None
    stop = at + END.size + comment_size
    comment = data[at + END.size : stop]
    record = base + at
    return End(
        base + start, record, record + END.size + len(comment), directory, count, exact, prefix, comment
    )
