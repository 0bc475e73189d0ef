"""The index of a zip archive: parsing a directory, and listing what it holds."""

import io
import random
import struct
import sys
import tracemalloc
import zipfile
from itertools import chain

import numpy as np
import pytest

from zarrstore.errors import CorruptError
from zarrstore.storage._zip import opening as _opening
from zarrstore.storage._zip.format import (
    GUARD,
    Guard,
    Member,
    fit,
    fit_end,
    pack_guard,
    pack_local,
    parse_guard,
    parse_local,
)
from zarrstore.storage._zip.index import Directory, Index
from zarrstore.storage._zip.source import ObjectSource


def record(name, offset=0, *, size=1, extra=b"", comment=b"", flags=0, packed=None):
    raw = name if isinstance(name, bytes) else name.encode()
    return (
        struct.pack(
            "<4s4B4HL2L5H2L",
            *(b"PK\1\2", 20, 3, 20, 0, flags, 0, 0, 33, 7, size if packed is None else packed, size),
            *(len(raw), len(extra), len(comment), 0, 0, 0, offset),
        )
        + raw
        + extra
        + comment
    )


def parse(*records, start=1 << 40):
    data = b"".join(records)
    directory = Directory(data, start)
    return directory, directory.keys(data)


def member_of(directory, row):
    return Member(*directory.members.item(row))


def test_an_empty_directory():
    directory, names = parse()
    assert (directory.count, names) == (0, [])


def test_records_of_every_size():
    rng = random.Random(4)
    wanted = []
    records = []
    for number in range(500):
        name = "".join(rng.choices("abcäß/€PK.", k=rng.randrange(0, 30))).lstrip(".")
        offset = number * 100
        size = rng.randrange(1 << 32) - 1 if number % 3 else 5
        extra = struct.pack("<2H", 9, 8) + rng.randbytes(8) if number % 4 == 0 else b""
        comment = rng.randbytes(rng.randrange(40)) if number % 5 == 0 else b""
        records.append(record(name, offset, size=size, extra=extra, comment=comment, flags=0x800))
        wanted.append((name, offset, size))
    directory, names = parse(*records)
    found = [
        (name, member_of(directory, row).offset, member_of(directory, row).size)
        for row, name in enumerate(names)
    ]
    assert found == wanted


def test_what_only_looks_like_a_record():
    fake = record("fake", 5)
    directory, names = parse(
        record("a", 0, comment=fake),
        record(b"PK\1\2" * 20, 10, extra=struct.pack("<2H", 9, len(fake)) + fake),
        record("b", 20, comment=b"PK\1\2"),
    )
    assert names == ["a", "PK\1\2" * 20, "b"]
    assert directory.offset.tolist() == [0, 10, 20]


@pytest.mark.parametrize("front", [b"", struct.pack("<2H4s", 9, 4, b"abcd")])
@pytest.mark.parametrize("wide", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)])
def test_zip64_fields(front, wide):
    numbers = [5 << 32, 4 << 32, 3 << 32]
    narrow = [50, 40, 30]
    field = b"".join(
        struct.pack("<Q", number) for number, wanted in zip(numbers, wide, strict=True) if wanted
    )
    shown = [0xFFFFFFFF if wanted else small for small, wanted in zip(narrow, wide, strict=True)]
    extra = front + struct.pack("<2H", 1, len(field)) + field
    size, packed, offset = shown
    directory, _ = parse(record("k", offset, size=size, packed=packed, extra=extra), record("plain", 9))
    member = member_of(directory, 0)
    wanted = [large if chosen else small for large, small, chosen in zip(numbers, narrow, wide, strict=True)]
    assert [member.size, member.packed, member.offset] == wanted
    assert member_of(directory, 1).offset == 9


def test_names_with_a_nul_or_without_utf_8():
    _, names = parse(
        record(b"a\0b"), record(b"gr\x81n"), record("grün", flags=0x800), record(b"\xff", flags=0x800)
    )
    assert names == ["a\0b", "grün", "grün", "\udcff"]


def test_the_unicode_path_of_info_zip():
    import zlib

    raw = b"gr?n"
    path = "grün€".encode()
    extra = struct.pack("<2HBL", 0x7075, 5 + len(path), 1, zlib.crc32(b"gr\x81n")) + path
    _, names = parse(record(b"gr\x81n", extra=extra), record(raw + b"\x81", extra=extra))
    assert names == ["grün€", "gr?nü"]


@pytest.mark.parametrize(
    "data",
    [
        record("k")[:-1],
        record("k") + b"x",
        b"x" + record("k"),
        record("k") + record("l")[:45],
        record("k", size=0xFFFFFFFF, packed=1, extra=struct.pack("<2HQ", 1, 8, 1 << 63)),
        record("k", 100),
    ],
)
def test_broken_directories(data):
    with pytest.raises(CorruptError):
        Directory(data, 100)


def test_a_member_may_reach_to_the_next_and_no_further():
    directory, _ = parse(record("b", 500), record("a", 0), record("a again", 0), start=900)
    assert [directory.limit(member_of(directory, row)) for row in range(3)] == [900, 500, 500]


def make_index(names):
    _, decoded = parse(*(record(name, number * 50) for number, name in enumerate(names)))
    data = b"".join(record(name, number * 50) for number, name in enumerate(names))
    return Index(Directory(data, 1 << 40), decoded)


def test_listings():
    index = make_index(
        ["zarr.json", "a/zarr.json", "a/c/0/0", "a/c/0/1", "b/c/0", "a", "folder/", "x//y", "../z"]
    )
    assert sorted(index.tree().within("")) == ["a", "a/", "b/", "zarr.json"]
    assert sorted(index.tree().within("a/")) == ["c/", "zarr.json"]
    assert sorted(chain(*index.tree().below("a/"))) == ["a/c/0/0", "a/c/0/1", "a/zarr.json"]
    assert index.tree().within("none/") == []
    index.put("new/key", Member(0, 0, 0, 0, 0, 0, 1, -1, 0))
    assert index.tree().first_below("new/") == "new/key"
    index.drop("new/key")
    assert index.tree().first_below("new/") is None
    index.drop_below("a/")
    assert sorted(chain(*index.tree().below(""))) == ["a", "b/c/0", "zarr.json"]
    assert index.live_rows().sum() == 6


def test_the_tree_is_the_same_whether_it_grows_or_is_built():
    rng = random.Random(8)
    keys = ["/".join(rng.choices("abc", k=rng.randrange(1, 5))) for _ in range(400)]
    grown, built = Index(), Index()
    grown.tree()
    for number, key in enumerate(keys):
        for index in (grown, built):
            if number % 3:
                index.put(key, Member(0, 0, 0, 0, 0, 0, 1, -1, 0))
            else:
                index.drop(key)
    for directory in ("", "a/", "b/", "c/", "a/b/", "c/a/b/"):
        assert sorted(grown.tree().within(directory)) == sorted(built.tree().within(directory))
    assert sorted(chain(*grown.tree().below(""))) == sorted(built.rows)
    assert sorted(chain(*built.tree().below(""))) == sorted(built.rows)


def test_a_member_takes_few_bytes_of_memory():
    count = 20_000
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(f"array/c/{number // 100}/{number % 100}", b"")
    source = ObjectSource(file)
    _opening.open_view(source)
    tracemalloc.start()
    try:
        view = _opening.open_view(source)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(view.index) == count
    # Half of it for the key and its place in the dict, the rest for the numbers.
    assert taken / count < 300


# -- our own records ------------------------------------------------------------------------------


def test_a_guard_is_one_only_where_it_was_written():
    for guard in (Guard(0, None), Guard(2048, None), Guard(70_000, 69_978), Guard(1 << 40, (1 << 40) - 22)):
        data = pack_guard(guard, 1 << 41)
        assert parse_guard(data, 1 << 41) == guard
        assert parse_guard(data, (1 << 41) + 1) is None
        for at in range(len(data)):
            assert parse_guard(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], 1 << 41) is None
    assert parse_guard(b"", 0) is None


def test_a_header_is_ours_only_where_it_was_written():
    member = Member(500, 3, 3, 99, 0, 0, 0, -1, 33 << 16)
    for zip64 in (False, True):
        data = pack_local(b"key", member, 0, zip64=zip64)
        local = parse_local(data, 0, 500)
        assert (local.kind, local.name, local.member.size, local.member.start) == (
            0,
            b"key",
            3,
            500 + len(data),
        )
        assert parse_local(data, 0, 501).kind is None
        assert parse_local(data[:-1], 0, 500) is None
        for at in range(14, len(data)):
            changed = parse_local(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], 0, 500)
            assert changed is None or changed.kind is None or at >= len(data) - 7


def test_no_record_crosses_a_sector():
    for position in range(2000):
        for size in (20, 22, 98):
            place = fit(position, size)
            assert position <= place < position + size
            assert place // 512 == (place + size - 1) // 512


def test_neither_end_records_nor_the_last_bytes_of_a_file_cross_a_sector():
    def fits(place, size, comment):
        last = place + size + comment - GUARD.size
        return fit(place, size) == place and fit(last, GUARD.size) == last

    for position in range(600):
        for size, comment in ((22, 0), (98, 0), (22, 7), (98, 500), (22, 65535)):
            place = fit_end(position, size, comment)
            assert fits(place, size, comment)
            assert not any(fits(earlier, size, comment) for earlier in range(position, place))


def test_numbers_are_plain_ints():
    directory, _ = parse(record("k", 3))
    assert all(type(number) is int for number in member_of(directory, 0))
    assert sys.getsizeof(directory.members) - directory.members.nbytes < 200
    assert isinstance(directory.offset, np.ndarray)
