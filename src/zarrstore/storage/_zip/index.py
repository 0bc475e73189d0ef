"""The members of an archive: its directory, parsed in one pass, and a tree of its keys for listings.

The directory's numbers stay in numpy arrays, about 50 bytes per member; the keys are those of one ``dict``.
The first listing builds the tree, so archives that are only read don't pay for it.
"""

from __future__ import annotations

import threading
from itertools import count, pairwise
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from zarrstore._core.key_tree import KeyTree
from zarrstore._core.keys import is_key
from zarrstore.errors import CorruptError
from zarrstore.storage._zip.format import (
    CENTRAL,
    ENCRYPTED,
    FULL32,
    STORED,
    UTF8,
    Member,
    decode_name,
    find_extra,
    key_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

_RECORD = np.dtype(
    [
        ("signature", "<u4"),
        ("made_by", "<u2"),
        ("needs", "<u2"),
        ("flags", "<u2"),
        ("method", "<u2"),
        ("time", "<u4"),
        ("crc", "<u4"),
        ("packed", "<u4"),
        ("size", "<u4"),
        ("name", "<u2"),
        ("extra", "<u2"),
        ("comment", "<u2"),
        ("disk", "<u2"),
        ("internal", "<u2"),
        ("external", "<u4"),
        ("offset", "<u4"),
    ]
)
# One `Member` per row, with its fields in order.
_MEMBER = np.dtype(
    [
        ("offset", np.int64),
        ("packed", np.int64),
        ("size", np.int64),
        ("crc", np.uint32),
        ("method", np.uint16),
        ("flags", np.uint16),
        ("start", np.int64),
        ("row", np.int64),
        ("time", np.uint32),
    ],
    align=True,  # otherwise Python's memory views can't read it
)
# How many names one call handles: other threads wait until it ends.
_AT_ONCE = 1 << 12
_UNICODE_PATH = 0x7075
_SYSTEM = 5  # position in a record of its system of origin


class Directory:
    """The records of a central directory, as arrays with one row per record.

    Parameters
    ----------
    data : bytes
        The directory, and nothing else.
    start : int
        Where in the file it starts.
    prefix : int
        Bytes before the archive, which its offsets don't count.

    Raises
    ------
    CorruptError
        If the records don't fill it exactly, or point outside the file.
    """

    def __init__(self, data: bytes, start: int = 0, prefix: int = 0) -> None:
        self.start = start
        self.stop = start + len(data)
        self.prefix = prefix
        self.at, records = _find_records(data)
        self.count = len(records)
        self.name_size = records["name"].copy()
        self.members = np.zeros(self.count, _MEMBER)
        for name in ("offset", "packed", "size", "crc", "method", "flags", "time"):
            self.members[name] = records[name]
        self.members["row"] = np.arange(self.count)
        self.offset, self.packed, self.size = (self.members[name] for name in ("offset", "packed", "size"))
        self._widen(data, records)
        self.offset += prefix
        increasing = bool((self.offset[1:] > self.offset[:-1]).all())
        self._sorted = None if increasing else np.sort(self.offset, kind="stable")
        bad = (self.offset < 0) | (self.offset >= start) | (self.packed < 0) | (self.size < 0)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise CorruptError(f"the directory's record {row} points outside the archive.")
        # What nearly every read needs, in a form that is read in a third of the time: whether a member is
        # stored and unencrypted, its size, checksum, and where its data start (0 until its local header has
        # been read).
        members = self.members
        stored = (members["method"] == STORED) & (members["flags"] & ENCRYPTED == 0)
        self.is_direct = (stored & (self.size == self.packed)).tobytes()
        self.sizes = memoryview(self.size)
        self.crcs = memoryview(members["crc"])
        self.starts = memoryview(members["start"])

    def _widen(self, data: bytes, records: npt.NDArray[np.void]) -> None:
        """Take sizes and offsets that don't fit into 32 bits from the Zip64 fields."""
        long = np.stack([records[name] == FULL32 for name in ("size", "packed", "offset")])
        rows = np.flatnonzero(long.any(axis=0))
        if not len(rows):
            return
        extra_at = self.at[rows] + CENTRAL.size + self.name_size[rows]
        extra_size = records["extra"][rows].astype(np.int64)
        wanted = 8 * long[:, rows].sum(axis=0)
        buffer = np.frombuffer(data, np.uint8)
        # Most writers put this field first: those fields are decoded together, others one by one.
        is_first = extra_size >= 4 + wanted
        heads = np.zeros((len(rows), 4), np.uint8)
        heads[is_first] = np.lib.stride_tricks.sliding_window_view(buffer, 4)[extra_at[is_first]]
        field, size = heads.view("<u2").T
        is_first &= (field == 1) & (size >= wanted)
        at = extra_at + 4
        for values, mask in zip((self.size, self.packed, self.offset), long[:, rows], strict=True):
            chosen = is_first & mask
            if chosen.any():
                numbers = np.lib.stride_tricks.sliding_window_view(buffer, 8)[at[chosen]]
                values[rows[chosen]] = np.ascontiguousarray(numbers).view("<i8")[:, 0]
            at = at + 8 * mask
        for index in np.flatnonzero(~is_first).tolist():
            row, place = int(rows[index]), int(extra_at[index])
            found = find_extra(data[place : place + int(extra_size[index])], 1)
            if found is None or len(found) < wanted[index]:
                continue  # the number really is 4 GiB less one
            numbers = iter(np.frombuffer(found[: int(wanted[index])], "<i8").tolist())
            for values, mask in zip((self.size, self.packed, self.offset), long[:, row], strict=True):
                if mask:
                    values[row] = next(numbers)

    def keys(self, data: bytes) -> list[str]:
        """Return the keys for the names; note the rows of values whose names aren't keys.

        Raises
        ------
        CorruptError
            If two names map to the same key.
        """
        self.odd: list[int] = []
        if not self.count:
            return []
        joined, begins = self._join_names(data)
        raw = joined.tobytes()
        # Decode all as Latin-1 first; the few names that aren't ASCII are decoded again below.
        has_nul = raw.count(0) != self.count
        if not has_nul:
            names: list[str] = []
            stops = [*begins[_AT_ONCE::_AT_ONCE].tolist(), len(raw)]
            for start, stop in pairwise([0, *stops]):
                names += raw[start : stop - 1].decode("latin-1").split("\0")
        else:
            ends = (begins + self.name_size).tolist()
            names = [
                raw[begin:end].decode("latin-1") for begin, end in zip(begins.tolist(), ends, strict=True)
            ]
        if not raw.isascii():
            for row in np.flatnonzero(np.maximum.reduceat(joined, begins) > 127).tolist():
                names[row] = self._decode(data, row)
                if not is_key(names[row].removesuffix("/")):
                    self.odd.append(row)
        is_odd = has_nul or _has_odd_segment(joined)
        if b"\\" in raw or (is_odd and (raw.startswith(b"./") or b"\0./" in raw)):
            names = self._meant(names, data)
        if is_odd:
            self.odd = [row for row, name in enumerate(names) if not is_key(name.removesuffix("/"))]
        # A folder has no data: one with data is a value whose name was damaged.
        filled = np.flatnonzero((joined[begins + self.name_size - 1] == ord("/")) & (self.size > 0))
        self.odd += filled.tolist()
        return names

    def _meant(self, names: list[str], data: bytes) -> list[str]:
        flags, at = self.members["flags"].tolist(), self.at.tolist()
        spelt: dict[str, str] = {}
        keys = []
        for row, name in enumerate(names):
            key = key_of(name, flags[row], data[at[row] + _SYSTEM])
            other = spelt.setdefault(key, name)
            if other != name and key and key[-1] != "/":
                raise CorruptError(
                    f"its names {other!r} and {name!r} mean the same key.",
                    hint="Unpack the archive, decide for one of the two, and pack it anew.",
                )
            keys.append(key)
        return keys

    def _join_names(self, data: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Join all names, each followed by a NUL; return them and where each begins."""
        buffer = np.frombuffer(data, np.uint8)
        starts = self.at + CENTRAL.size
        sizes = self.name_size.astype(np.int64) + 1  # NumPy 1 would keep 16 bits
        ends = np.cumsum(sizes)
        begins = ends - sizes
        # The positions of all bytes are a cumulative sum of the steps between them.
        places = np.ones(int(ends[-1]), np.int32 if len(data) < 1 << 31 else np.int64)
        places[0] = starts[0]
        places[begins[1:]] = starts[1:] - (starts + self.name_size)[:-1]
        np.cumsum(places, out=places)
        places[-1] = 0  # the last name may end with the data
        joined = buffer[places]
        joined[ends - 1] = 0
        return joined, begins

    def _decode(self, data: bytes, row: int) -> str:
        start = int(self.at[row]) + CENTRAL.size
        stop = start + int(self.name_size[row])
        raw = data[start:stop]
        flags = int(self.members["flags"][row])
        if flags & UTF8:
            return decode_name(raw, flags)
        extra_size = int.from_bytes(data[self.at[row] + 30 : self.at[row] + 32], "little")
        field = find_extra(data[stop : stop + extra_size], _UNICODE_PATH)
        if field and field[0] == 1 and int.from_bytes(field[1:5], "little") == crc32(raw):
            return decode_name(field[5:], UTF8)
        return decode_name(raw, flags)

    def limit(self, member: Member) -> int:
        """Return where a member's data must end: at the next header, or at the directory."""
        following = member.row + 1
        offsets = self.offset
        if self._sorted is not None:
            offsets = self._sorted
            following = int(np.searchsorted(offsets, member.offset, side="right"))
        return int(offsets[following]) if following < self.count else self.start


def _has_odd_segment(joined: npt.NDArray[np.uint8]) -> bool:
    """Whether any of the NUL-terminated names has a segment that is empty, ``.`` or ``..``."""
    text = np.concatenate((joined[-1:], joined))
    slash, end, dot = (text == sign for sign in b"/\0.")
    edge = slash | end
    if (edge[:-1] & slash[1:]).any() or (end[:-1] & end[1:]).any():
        return True
    if not (edge[:-1] & dot[1:]).any():  # settles most archives
        return False
    one = edge[:-2] & dot[1:-1] & edge[2:]
    two = edge[:-3] & dot[1:-2] & dot[2:-1] & edge[3:]
    return bool(one.any() or two.any())


def _find_records(data: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.void]]:
    """Return where the records of a directory start, and their fixed parts as a structured array."""
    buffer = np.frombuffer(data, np.uint8)
    size = CENTRAL.size
    if len(buffer) < size:
        if len(buffer):
            raise CorruptError("the directory is cut off.")
        return np.empty(0, np.int64), np.empty(0, _RECORD)
    # All signatures, including false ones within names and comments.
    at = np.flatnonzero(buffer[: len(buffer) - size + 1] == ord("P"))
    for step, byte in enumerate(b"K\x01\x02", 1):
        at = at[buffer[at + step] == byte]
    heads = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(buffer, size)[at])
    records = heads.view(_RECORD)[:, 0]
    following = at + size + records["name"] + records["extra"] + records["comment"]
    ends = np.append(at[1:], len(buffer))
    if len(at) and at[0] == 0 and (following == ends).all():
        return at, records
    chain = _walk(at, following, len(buffer))
    return at[chain], records[chain]


def _walk(at: npt.NDArray[np.int64], following: npt.NDArray[np.int64], size: int) -> list[int]:
    """Follow the records from the first one on, skipping false signatures."""
    places = at.tolist()
    ends = following.tolist()
    row_at = {place: row for row, place in enumerate(places)}
    chain = []
    place = 0
    while place != size:
        row = row_at.get(place)
        if row is None:
            raise CorruptError("the directory's records don't follow one another.")
        chain.append(row)
        place = ends[row]
    return chain


class Index:
    """Maps keys to rows of the directory, or to members after the last end record.

    Changes, and building the tree, hold a lock; lookups need none.

    Parameters
    ----------
    directory : Directory, optional
        The directory written when the archive was last closed.
    names : list of str
        The names in its rows; the last of equal ones counts.
    """

    def __init__(self, directory: Directory | None = None, names: list[str] | None = None) -> None:
        self.directory = directory or Directory(b"")
        self.rows: dict[str, int | Member] = {}
        names = names or []
        for row in range(0, len(names), _AT_ONCE):
            self.rows.update(zip(names[row : row + _AT_ONCE], count(row), strict=False))
        self.lock = threading.RLock()
        self._fields: Callable[[int], Iterable[int]] = self.directory.members.item
        self._tree: KeyTree | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, key: str) -> Member | None:
        """Return a key's member, or None."""
        found = self.rows.get(key)
        if isinstance(found, int):
            return tuple.__new__(Member, self._fields(found))  # like Member._make, in half the time
        return found

    def size(self, key: str) -> int | None:
        """Return the size of a key's value, or None."""
        found = self.rows.get(key)
        if isinstance(found, int):
            return self.directory.sizes[found]
        return None if found is None else found.size

    def offset(self, key: str) -> int:
        """Return where the member of an existing key starts."""
        found = self.rows[key]
        return int(self.directory.offset[found]) if isinstance(found, int) else found.offset

    def put(self, key: str, member: Member) -> None:
        """Map a key to a member."""
        with self.lock:
            if self._tree is not None and key not in self.rows:
                _graft(self._tree, key)
            self.rows[key] = member

    def drop(self, key: str) -> None:
        """Remove a key."""
        with self.lock:
            if self.rows.pop(key, None) is not None and self._tree is not None:
                self._tree.discard(key)

    def drop_below(self, prefix: str) -> None:
        """Remove all names below a directory, even those that aren't keys."""
        with self.lock:
            for name in [name for name in self.rows if name.startswith(prefix)]:
                del self.rows[name]
            self._tree = None

    @property
    def has_tree(self) -> bool:
        """Whether the tree has been built, so that a listing is fast."""
        return self._tree is not None

    def tree(self) -> KeyTree:
        """Return the tree of the keys; the first call builds it."""
        tree = self._tree
        if tree is None:
            with self.lock:
                tree = self._tree
                if tree is None:
                    tree = KeyTree()
                    for name in self.rows:
                        _graft(tree, name)
                    self._tree = tree
        return tree

    def live_rows(self) -> npt.NDArray[np.bool_]:
        """Return a boolean array of the directory's rows that still count."""
        live = np.zeros(self.directory.count, bool)
        with self.lock:
            kept = [found for found in self.rows.values() if isinstance(found, int)]
        live[kept] = True
        return live

    def appended(self) -> list[tuple[str, Member]]:
        """Return the keys and members after the last end record."""
        with self.lock:
            return [(key, found) for key, found in self.rows.items() if not isinstance(found, int)]


def _graft(tree: KeyTree, path: str) -> None:
    """Add a name to a tree if it is a key."""
    cut = path.rfind("/") + 1
    # The path of a directory in the tree is valid, so only the last segment is checked.
    if _is_name(path[cut:]) if path[:cut] in tree else is_key(path):
        tree.add(path)


def _is_name(text: str) -> bool:
    """Whether text is valid as the last segment of a key."""
    return text not in ("", ".", "..") and (text.isascii() or is_key(text)) and "\0" not in text
