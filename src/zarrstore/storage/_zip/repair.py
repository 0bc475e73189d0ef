"""Repair: saves the intact members of a damaged archive into a new one.

If the archive still opens, its directory lists what it held when it was last closed. From there (or from the
start of the file) a walk over local headers finds the members. It steps over values by their sizes, so it
never looks for headers within one. At a directory it starts over, with the members that the directory lists.
At damaged bytes it skips to the next header with a valid mark. A member is saved if its checksum matches. The
new archive replaces the old one; if anything may be lost, the old one is kept beside it.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from zarrstore._core.keys import is_key
from zarrstore._os import files
from zarrstore._os.files import name_new, unlock_and_close
from zarrstore._os.fsync import required, sync_folder
from zarrstore.errors import CorruptError, KeyConflictError, KeyNotFoundError, StoreError
from zarrstore.storage._zip import ozx, rewriting
from zarrstore.storage._zip.codecs import unpack
from zarrstore.storage._zip.file import new_file, open_locked
from zarrstore.storage._zip.format import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    DEFLATED,
    DESCRIPTOR_SIGNATURE,
    ENCRYPTED,
    END,
    END64,
    END64_SIGNATURE,
    END_SIGNATURE,
    GUARD,
    LOCAL_SIGNATURE,
    LOCATOR,
    LOCATOR_SIGNATURE,
    NO_DETAILS,
    REMOVAL,
    REMOVAL_BELOW,
    SIZES_BEHIND,
    STORED,
    UTF8,
    VALUE,
    Details,
    Local,
    Member,
    decode_name,
    descriptor_size,
    key_of,
    parse_end,
    parse_guard,
)
from zarrstore.storage._zip.opening import find_all, find_marked, guard_at_end, open_view, read_index
from zarrstore.storage._zip.reader import View, read_local
from zarrstore.storage._zip.source import BLOCK, FileSource, read_blocks

# Readers, this library included, use signed sizes.
_LARGEST = (1 << 63) - 1
_HEADER = 1 << 10
_RECORDS = (
    (CENTRAL_SIGNATURE, CENTRAL),
    (END_SIGNATURE, END),
    (END64_SIGNATURE, END64),
    (LOCATOR_SIGNATURE, LOCATOR),
)


@dataclass(frozen=True)
class Lost:
    """Something that could not be saved.

    Attributes
    ----------
    name : str
        The member's name; empty for bytes outside members.
    offset : int
        Where it starts in the damaged file.
    reason : str
        Why it could not be saved.
    """

    name: str
    offset: int
    reason: str


@dataclass
class RepairReport:
    """What a repair found and did.

    Attributes
    ----------
    path : Path
        The repaired archive.
    saved : int
        Number of members in it.
    saved_bytes : int
        Sum of their values' sizes.
    lost : list of Lost
        What could not be saved.
    changed : bool
        Whether a new archive was written; False if the old one was undamaged.
    damaged : Path or None
        Where the damaged file is kept; None unless something may be lost. A file that can't be opened as an
        archive is always kept.
    """

    path: Path
    saved: int = 0
    saved_bytes: int = 0
    lost: list[Lost] = field(default_factory=list)
    changed: bool = False
    damaged: Path | None = None

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.saved} members, {self.saved_bytes} bytes saved"]
        lines += [
            f"lost: {item.name or '(no member)'} at byte {item.offset}: {item.reason}" for item in self.lost
        ]
        if self.damaged is not None:
            lines.append(f"the damaged archive is kept as {self.damaged}")
        return "\n".join(lines)


@dataclass
class _Found:
    """A member that was found, with its name decoded and encoded."""

    name: str
    raw: bytes
    member: Member
    details: Details = NO_DETAILS


def repair(path: str | os.PathLike[str], *, output: str | os.PathLike[str] | None = None) -> RepairReport:
    """Repair an archive.

    Parameters
    ----------
    path : str or Path
        The archive.
    output : str or Path, optional
        Where to write the new archive; no file may exist there. By default it replaces the old one.

    Returns
    -------
    RepairReport
        What was saved and what was lost.

    Raises
    ------
    KeyNotFoundError
        If there is no such file.
    LockedError
        If another process or store is writing it.
    KeyConflictError
        If there is a file at ``output``.
    CorruptError
        If the file is empty, or if there is nothing to save and it doesn't begin like an archive.
    """
    real = os.path.realpath(path)
    target = real if output is None else os.path.realpath(output)
    if output is not None and os.path.lexists(target):
        raise _taken(target)
    try:
        descriptor = open_locked(real)
    except FileNotFoundError:
        raise KeyNotFoundError("there is no archive at this path.", store=f"zip://{real}") from None
    except StoreError as error:
        error.about(f"zip://{real}")
        raise
    source = FileSource(descriptor)
    try:
        if not source.size():
            raise CorruptError(
                "this file is empty: it holds nothing that could be saved.",
                store=f"zip://{real}",
                hint="ZipStore(path, mode='w') makes an empty archive.",
            )
        report = RepairReport(Path(target))
        view, found = _find(source, report)
        whole = [item for item in found if _is_whole(source, item, report)]
        report.saved = len(whole)
        report.saved_bytes = sum(item.member.size for item in whole)
        old = b"" if view is None else view.comment
        is_cut = ozx.is_named_ozx(target) and not ozx.is_whole(old)
        comment = _ozx_comment(source, whole) if is_cut else old
        changed = report.lost or report.changed or comment != old
        if output is None and view is not None and view.is_closed and not changed:
            return report
        if view is None and not whole and not _began_as_archive(source):
            raise CorruptError(
                "nothing in this file looks like part of a zip archive; it was left as it is.",
                store=f"zip://{real}",
                hint="Repair archives only; ZipStore(path, mode='w') makes an empty one.",
            )
        keep = bool(report.lost) or view is None  # without a directory, losses are unknown
        _write_new(source, whole, target, real, report, comment=comment, keep=keep)
        return report
    except StoreError as error:
        error.about(f"zip://{real}")
        raise
    finally:
        _let_go(source)


def _began_as_archive(source: FileSource) -> bool:
    """Whether a file, however short, begins like an archive."""
    head = bytes(source.read(0, min(4, source.size())))
    return any(start.startswith(head) for start in (b"PK\x03\x04", b"PK\x05\x06", b"PKzg"))


def _ozx_comment(source: FileSource, whole: list[_Found]) -> bytes:
    """Recreate the comment of an OME single-file archive that lost its end."""
    for item in whole:
        if item.raw == ozx.ROOT.encode() and item.member.method == STORED:
            return ozx.comment_for(bytes(source.read(item.member.start, item.member.packed)))
    return b""


def _find(source: FileSource, report: RepairReport) -> tuple[View | None, list[_Found]]:
    """Find the members: those of the last directory, and by a search those after it."""
    try:
        view = open_view(source)
        if not view.size:
            raise CorruptError("nothing was ever written.")
    except CorruptError:
        return None, list(_search(source, 0, {}, report).values())
    members = _recorded(view, report)
    if not view.is_closed:
        members = _search(source, view.chain_start, members, report)
    return view, list(members.values())


def _recorded(view: View, report: RepairReport) -> dict[str, _Found]:
    """Find the members in a directory; if a valid header of ours differs, the header counts."""
    members: dict[str, _Found] = {}
    directory = view.index.directory
    data = view.read_directory()
    for row, key in enumerate(directory.keys(data)):
        member = Member(*directory.members.item(row))
        raw, details = rewriting.recorded(data, int(directory.at[row]))
        found = _Found(key, raw, member, details)
        try:
            found.member = member._replace(start=view.locate(member, key))
        except CorruptError as error:
            local = read_local(view.source, member.offset, _HEADER)[0]
            if local is None or local.kind != VALUE or not _is_meant(found, local):
                report.lost.append(Lost(key, member.offset, error.message))
                continue
            found = _Found(_decode(local), local.name, local.member, details)
            report.changed = True
        members.pop(found.name, None)
        members[found.name] = found
    return dict(sorted(members.items(), key=lambda pair: pair[1].member.offset))


def _is_meant(found: _Found, local: Local) -> bool:
    """Whether a directory's record belongs to the member at its offset, though they differ in part."""
    recorded, there = found.member, local.member
    numbers = recorded.packed, recorded.size, recorded.crc
    return local.name == found.raw or numbers == (there.packed, there.size, there.crc)


def _is_whole(source: FileSource, item: _Found, report: RepairReport) -> bool:
    """Whether a member's data match its checksum; if not, the report lists it as lost."""
    try:
        _check(source, item.member)
    except StoreError as error:
        report.lost.append(Lost(item.name, item.member.offset, error.message))
        return False
    return True


def _check(source: FileSource, member: Member) -> None:
    if member.start + member.packed > source.size():
        raise CorruptError("the file ends within its data.")
    if member.size > _LARGEST:
        raise CorruptError(f"its size of {member.size} bytes is larger than any file.")
    if member.flags & ENCRYPTED:
        return  # can't be checked without the password
    if member.method == STORED:
        if member.packed != member.size:
            raise CorruptError("it isn't compressed, yet its two sizes differ.")
        crc = 0
        for block in read_blocks(source, member.start, member.packed):
            crc = zlib.crc32(block, crc)
    elif member.method == DEFLATED:
        _, size, crc = _inflate(source, member.start, member.packed, member.size)
        if size != member.size:
            raise CorruptError(f"its data make {size} bytes instead of {member.size}.")
    else:
        crc = zlib.crc32(unpack(source.read(member.start, member.packed), member.method, member.size))
    if crc != member.crc:
        raise CorruptError("its bytes don't match their checksum.")


def _inflate(source: FileSource, start: int, room: int, most: int | None) -> tuple[int, int, int]:
    """Decompress a deflate stream without keeping it; return its size, and the value's size and checksum."""
    engine = zlib.decompressobj(-15)
    taken = size = crc = 0
    try:
        for block in read_blocks(source, start, room):
            data = block
            while data or engine.unconsumed_tail:
                part = engine.decompress(data, BLOCK)
                size += len(part)
                crc = zlib.crc32(part, crc)
                data = engine.unconsumed_tail
                if engine.eof or (most is not None and size > most) or not (part or data):
                    break
            taken += len(block) - len(engine.unused_data) - len(engine.unconsumed_tail)
            if engine.eof or (most is not None and size > most):
                break
        # Output of the last bytes may still be pending.
        while not engine.eof and (part := engine.decompress(b"", BLOCK)):
            size += len(part)
            crc = zlib.crc32(part, crc)
    except zlib.error as error:
        raise CorruptError(f"its data can't be unpacked ({error}).") from error
    if not engine.eof:
        raise CorruptError("its compressed data have no end.")
    return taken, size, crc


# -- searching ------------------------------------------------------------------------------------


def _search(
    source: FileSource, position: int, members: dict[str, _Found], report: RepairReport
) -> dict[str, _Found]:
    """Walk over a file from a position to its end; return the members, updated with what was found."""
    size = stop = source.size()
    if guard_at_end(source.read(max(0, size - GUARD.size), GUARD.size), size):
        stop -= GUARD.size
    has_ours = (
        stop < size
        or parse_guard(source.read(0, GUARD.size), 0) is not None
        or next(find_marked(source, position, stop), None) is not None
    )
    known = len(report.lost)
    is_ended = stop < size
    is_gap = False  # whether a value whose header was never written may follow
    while position < stop:
        head = source.read(position, _HEADER)
        zeros = len(head) - len(head.lstrip(b"\0"))
        if zeros:
            position += zeros
            is_gap = has_ours
            continue
        if skipped := _skip(head, position):
            closed = _closed_at(source, position, head, report)
            if closed is not None:
                members = closed
                del report.lost[known:]  # lost before the archive was closed, so nothing is missing
            position += skipped
            # Even a truncated directory shows that all members before it were written.
            is_ended = stop < size or (position >= size and len(head) >= len(END_SIGNATURE))
            is_gap = False
            continue
        is_ended = stop < size
        local = read_local(source, position, _HEADER)[0]
        if local is not None and is_gap and local.kind is None:
            local = None
        is_gap = False
        following = 0 if local is None else _take(source, local, members, report, has_ours)
        if not following:
            following = _next_header(source, position, stop, only_ours=has_ours)
            if local is None:
                count = following - position
                report.lost.append(Lost("", position, f"{count} bytes that belong to no member."))
        position = following
    if not is_ended:
        report.lost.append(Lost("", size, "the file was cut off here: whatever followed is gone."))
    return members


def _closed_at(
    source: FileSource, position: int, head: bytes, report: RepairReport
) -> dict[str, _Found] | None:
    """Return the members of the directory whose end record is at a position; None if there is none."""
    if head[:4] != END_SIGNATURE:
        return None
    base = max(0, position - LOCATOR.size - END64.size)
    data = source.read(base, position + END.size + 0xFFFF - base)
    end = parse_end(data, position - base, base)
    if end is None or end.prefix:
        return None
    lost = RepairReport(report.path)
    try:
        index = read_index(source, end, data, base)
        members = _recorded(View(source, index, end, end.stop, end.stop, source.size()), lost)
    except CorruptError:
        return None
    return None if lost.lost else members


def _take(
    source: FileSource, local: Local, members: dict[str, _Found], report: RepairReport, has_ours: bool
) -> int:
    """Record a member or a removal; return where the next one starts, 0 if the header isn't trusted."""
    member = local.member
    name = _decode(local)
    if local.kind == REMOVAL:
        members.pop(name, None)
    elif local.kind == REMOVAL_BELOW:
        for below in [below for below in members if below.startswith(name)]:
            del members[below]
    else:
        behind = 0
        if local.kind is None and member.flags & SIZES_BEHIND and not (member.flags & ENCRYPTED):
            try:
                member, behind = _measure(source, member)
            except CorruptError as error:
                report.lost.append(Lost(name, member.offset, error.message))
                return member.start
        # It replaces an earlier member with this name, unless it is broken.
        found = _Found(name, local.name, member)
        # Among headers of ours, one without a valid mark may be damaged, name included.
        if (
            has_ours
            and local.kind is None
            and (
                local.is_marked
                or not member.packed
                or not _is_whole(source, found, RepairReport(report.path))
            )
        ):
            report.lost.append(Lost(name, member.offset, "its header or its data are damaged."))
            return 0
        other = members.get(name)
        if other is not None and local.kind is None and other.raw != local.name:
            report.lost.append(Lost(name, other.member.offset, "another name means the same key."))
        if name in members and not _is_whole(source, found, RepairReport(report.path)):
            report.lost.append(Lost(name, member.offset, "broken; the value before it is kept."))
        else:
            members.pop(name, None)
            members[name] = found
        return member.start + member.packed + behind
    return member.start + member.packed


def _measure(source: FileSource, member: Member) -> tuple[Member, int]:
    """Find the sizes of a member whose header lacks them; return it and its descriptor's size."""
    size = source.size()
    if member.method == DEFLATED:
        packed, made, crc = _inflate(source, member.start, size - member.start, None)
        behind = descriptor_size(source.read(member.start + packed, 24), packed, made, crc)
        if behind is None:
            raise CorruptError("no sizes and checksum follow its data.")
        return member._replace(packed=packed, size=made, crc=crc), behind
    if member.method == STORED:
        crc = 0
        done = 0
        for position in find_all(source, DESCRIPTOR_SIGNATURE, member.start, size):
            length = position - member.start
            for block in read_blocks(source, member.start + done, length - done):
                crc = zlib.crc32(block, crc)
            done = length
            behind = descriptor_size(source.read(position, 24), length, length, crc)
            if behind is not None:
                return member._replace(packed=length, size=length, crc=crc), behind
    raise CorruptError("its size is unknown: only the directory had it.")


def _decode(local: Local) -> str:
    if local.kind is not None:
        return decode_name(local.name, UTF8)
    flags = local.member.flags
    return key_of(decode_name(local.name, flags), flags)


def _skip(head: bytes, position: int) -> int:
    """Return the size of the record, other than a member, that some bytes start with; 0 if none."""
    for signature, layout in _RECORDS:
        if head[:4] != signature[: len(head)]:
            continue
        if len(head) < layout.size:
            return len(head)  # the file was truncated in this record, which holds no member
        fields = layout.unpack_from(head)
        behind = sum(fields[11:14]) if layout is CENTRAL else fields[-1] if layout is END else 0
        return layout.size + int(behind)
    if parse_guard(head[: GUARD.size], position) is not None:
        return GUARD.size
    return 0


def _next_header(source: FileSource, position: int, size: int, *, only_ours: bool) -> int:
    """Return where the next member starts after bytes that aren't one.

    In an archive of ours, such bytes may be the rest of a value that holds another archive. So only headers
    with a valid mark count there.
    """
    if only_ours:
        return next(find_marked(source, position + 1, size), size)
    for place in find_all(source, LOCAL_SIGNATURE, position + 1, size):
        local, _ = read_local(source, place, _HEADER)
        if local is not None and _is_plausible(local, size):
            return place
    for place in find_all(source, END_SIGNATURE, position + 1, size):
        if place + END.size >= size:
            return place
    return size


def _is_plausible(local: Local, size: int) -> bool:
    member = local.member
    return bool(local.name) and member.start + member.packed <= size and is_key(_decode(local).strip("/"))


# -- writing --------------------------------------------------------------------------------------


def _write_new(
    source: FileSource,
    whole: list[_Found],
    target: str,
    real: str,
    report: RepairReport,
    *,
    comment: bytes,
    keep: bool,
) -> None:
    with new_file(target, os.stat(real).st_mode) as (descriptor, temporary):
        records = [(item.raw, item.member, item.details) for item in whole]
        always64 = ozx.is_named_ozx(target)
        rewriting.write_archive(source, records, descriptor, comment, fsync=True, always64=always64)
        if target != real:
            try:
                name_new(temporary, target)
            except FileExistsError:
                raise _taken(target) from None
        else:
            if keep:
                report.damaged = _keep(real)
                with required(False):  # so that the old file's new name survives a power failure, too
                    sync_folder(os.path.dirname(real))
            if files.MOVES_OPEN:
                os.replace(temporary, target)
        report.changed = True
    unlock_and_close(descriptor)
    if target == real and not files.MOVES_OPEN:
        _let_go(source)
        files.replace(temporary, target)
    if target != real:
        with suppress(FileNotFoundError):  # without hard links it was renamed
            os.unlink(temporary)


def _let_go(source: FileSource) -> None:
    """Unlock and close the damaged archive."""
    files.unlock(source.descriptor)
    source.close()


def _taken(target: str) -> KeyConflictError:
    return KeyConflictError(
        "there is a file where the new archive was to be written.",
        store=f"zip://{target}",
        hint="Name another place, or none to replace the old archive.",
    )


def _keep(path: str) -> Path:
    """Keep the damaged file under a second name in the same folder."""
    number = 0
    while True:
        kept = f"{path}.damaged" + (f".{number}" if number else "")
        try:
            name_new(path, kept)
        except FileExistsError:
            number += 1
        else:
            return Path(kept)
