"""Damage to zip archives: no value goes missing without an error from opening, or a report of `repair`."""

import struct
import zipfile
import zlib

import pytest

from zarrstore import RangeByteRequest, SuffixByteRequest
from zarrstore.errors import ByteRequestError, CorruptError
from zarrstore.storage import ZipStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


def value(number):
    return b"%d" % number * 40


def unclosed(path, count):
    """An archive as its writer leaves it when it is killed; returns its bytes and the members' offsets."""
    store = ZipStore(path, mode="w")
    for number in range(count):
        store.set_sync(f"k/{number}", value(number))
    offsets = [store._view().index.find(f"k/{number}").offset for number in range(count)]
    data = bytearray(path.read_bytes())
    store.close()
    return data, offsets


def contents(path):
    with ZipStore(path, verify=True) as store:
        return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


def refuses(path, mode="r"):
    with pytest.raises(CorruptError, match="zarrstore repair") as caught, ZipStore(path, mode=mode) as store:
        store.get_sync("k/0")
    assert str(path) in str(caught.value)


# -- archives that were never closed --------------------------------------------------------------


@pytest.mark.parametrize("byte", [0, 3, 8, 14, 18, 22, 26, 28, 31, 36, 43])
@pytest.mark.parametrize("bad", [0, 10, 99])
def test_a_damaged_header_is_not_the_end(path, bad, byte):
    data, offsets = unclosed(path, 100)
    data[offsets[bad] + byte] ^= 4
    path.write_bytes(data)
    refuses(path)
    refuses(path, mode="a")
    with pytest.raises(CorruptError, match="zarrstore repair"):
        ZipStore(path, mode="a").set_sync("more", b"m")
    assert path.read_bytes() == data
    report = ZipStore.repair(path)
    assert report.saved == 99
    assert [item.offset for item in report.lost] == [offsets[bad]]
    assert report.damaged.read_bytes() == data
    assert str(report.damaged) in str(report)
    assert contents(path) == {f"k/{n}": value(n) for n in range(100) if n != bad}


def test_a_damaged_header_is_not_the_end_whatever_its_checksum(path, monkeypatch):
    # A header that ends in a zero is one that was never finished. A checksum may end so too, in one of 256
    # headers: each second gives another.
    for second in range(1_000):
        monkeypatch.setattr("time.time", lambda second=second: 1_600_000_000 + 2 * second)
        with ZipStore(path, mode="w") as store:
            store.set_sync("k/0", value(0))
            data = path.read_bytes()
        assert data[data.index(value(0)) - 1]


def test_headers_that_were_zeroed_are_not_the_end(path):
    data, offsets = unclosed(path, 30)
    data[offsets[4] : offsets[7] + 5] = bytes(offsets[7] + 5 - offsets[4])
    path.write_bytes(data)
    refuses(path)
    report = ZipStore.repair(path)
    assert report.saved == 26
    assert report.lost
    assert report.damaged.read_bytes() == data
    assert contents(path) == {f"k/{n}": value(n) for n in range(30) if n not in (4, 5, 6, 7)}


def test_a_damaged_header_keeps_a_removal(path):
    with ZipStore(path, mode="w", deletes=True) as store:
        for number in range(5):
            store.set_sync(f"k/{number}", value(number))
        store.delete_sync("k/4")
        store.set_sync("k/1", b"new")
        data = bytearray(path.read_bytes())
        offset = store._view().index.find("k/2").offset
    data[offset + 20] ^= 1
    path.write_bytes(data)
    assert [item.name for item in ZipStore.repair(path).lost] == ["k/2"]
    assert contents(path) == {"k/0": value(0), "k/1": b"new", "k/3": value(3)}


def test_repair_reports_what_an_interrupted_write_left(path):
    data, offsets = unclosed(path, 3)
    data[offsets[2] : offsets[2] + 45] = bytes(45)  # as it is before the header is written
    path.write_bytes(data)
    assert set(contents(path)) == {"k/0", "k/1"}
    report = ZipStore.repair(path)
    assert report.saved == 2
    assert report.lost
    assert report.damaged.read_bytes() == data


def test_the_guard_at_the_end_is_damaged(path):
    data, _ = unclosed(path, 3)
    data[-1] ^= 1
    path.write_bytes(data)
    refuses(path)
    assert ZipStore.repair(path).saved == 3
    assert set(contents(path)) == {"k/0", "k/1", "k/2"}


# -- archives that were cut off -------------------------------------------------------------------


def test_an_archive_that_was_appended_to_and_cut_off(path):
    with ZipStore(path, mode="w") as store:
        for number in range(3):
            store.set_sync(f"k/{number}", value(number))
    first = path.stat().st_size
    ends = []
    with ZipStore(path, mode="a") as store:
        for number in range(3, 6):
            store.set_sync(f"k/{number}", value(number))
            ends.append(store._archive._writer.stop)
    whole = path.read_bytes()
    for size in range(first + 1, len(whole)):
        path.write_bytes(whole[:size])
        refuses(path)
        if size % 7 == 0 or size in ends:
            report = ZipStore.repair(path)
            saved = 3 + sum(end <= size for end in ends)
            assert report.saved == saved
            assert report.damaged.read_bytes() == whole[:size]
            assert report.lost or size >= ends[-1]
            assert contents(path) == {f"k/{n}": value(n) for n in range(saved)}
            report.damaged.unlink()


@pytest.mark.parametrize("closed", [True, False])
def test_an_archive_cut_off_between_two_members_says_so(path, closed):
    data, offsets = unclosed(path, 5)
    if closed:
        data = path.read_bytes()
    path.write_bytes(data[: offsets[3]])
    refuses(path)
    report = ZipStore.repair(path)
    assert (report.saved, [(item.name, item.offset) for item in report.lost]) == (3, [("", offsets[3])])
    assert "cut off" in report.lost[0].reason
    assert report.damaged is not None


def test_bytes_behind_the_end_are_no_part_of_an_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("k", b"v")
    whole = path.read_bytes()
    path.write_bytes(whole + b"\r\n")
    refuses(path)
    report = ZipStore.repair(path)
    assert report.damaged.read_bytes() == whole + b"\r\n"
    assert contents(path) == {"k": b"v"}


# -- directories that contradict the members ------------------------------------------------------


def record_of(data, name):
    at = data.rfind(b"PK\1\2", 0, data.rfind(name))
    assert data[at + 46 : at + 46 + len(name)] == name
    return at


@pytest.mark.parametrize("utf8", [True, False])
@pytest.mark.parametrize("part", ["name", "local name"])
def test_a_name_beyond_ascii_that_is_not_the_members(path, part, utf8):
    with ZipStore(path, mode="w") as store:
        store.set_sync("größe", b"a")
        store.set_sync("other", b"b")
    data = bytearray(path.read_bytes())
    raw = "größe".encode()
    at = record_of(data, raw)
    first = data.find(b"PK\3\4", data.find(raw) - 30)
    if not utf8:  # as a program of old would have written it
        data[at + 9] &= ~8
        data[first + 7] &= ~8
    data[(at + 46 if part == "name" else first + 30) + 4] ^= 1
    path.write_bytes(data)
    with ZipStore(path) as store:
        (key,) = set(store.list_sync()) - {"other"}
        for _ in range(2):
            with pytest.raises(CorruptError, match="another name"):
                store.get_sync(key)


@pytest.mark.parametrize("unmarked", ["in the directory", "at the member"])
def test_a_name_that_is_marked_as_utf_8_in_one_place_only(path, unmarked):
    with ZipStore(path, mode="w") as store:
        store.set_sync("größe", b"a")
    data = bytearray(path.read_bytes())
    raw = "größe".encode()
    flags = record_of(data, raw) + 8 if unmarked == "in the directory" else data.rfind(b"PK\3\4") + 6
    assert data[flags + 1] & 8
    data[flags + 1] &= ~8
    path.write_bytes(data)
    assert contents(path) == {"größe": b"a"}


def test_names_by_the_unicode_path_field_are_read(path):
    raw, name = b"gr\x9an", "grün".encode()  # which would be another letter in cp437
    info = zipfile.ZipInfo("gr?n")
    info.extra = struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, b"v")
    path.write_bytes(path.read_bytes().replace(b"gr?n", raw))
    assert contents(path) == {"grün": b"v"}


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("by", ["zarrstore", "zipfile"])
@pytest.mark.parametrize(
    ("crc", "packed", "size"), [(None, 0, 0), (0, 0, 0), (None, 200, 200), (1, None, None), (None, 400, None)]
)
def test_a_directory_that_contradicts_the_local_header(path, by, verify, crc, packed, size):
    value = b"0123456789" * 50
    if by == "zipfile":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("k", value)
    else:
        with ZipStore(path, mode="w") as store:
            store.set_sync("k", value)
    whole = path.read_bytes()
    data = bytearray(whole)
    at = record_of(data, b"k") + 16
    old = struct.unpack_from("<LLL", data, at)
    new = [there if lie is None else lie for there, lie in zip(old, (crc, packed, size), strict=True)]
    struct.pack_into("<LLL", data, at, *new)
    path.write_bytes(data)
    for request in (None, RangeByteRequest(0, 100), SuffixByteRequest(5)):
        with (
            ZipStore(path, verify=verify) as store,
            pytest.raises((CorruptError, ByteRequestError) if request and size == 0 else CorruptError),
        ):
            store.get_sync("k", byte_range=request)
    report = ZipStore.repair(path)
    if by == "zarrstore":  # whose headers have a checksum
        assert (report.saved, report.lost, report.damaged) == (1, [], None)
        assert contents(path) == {"k": value}
    else:
        assert [item.name for item in report.lost] == ["k"]
        assert report.damaged.read_bytes() == data


def test_a_name_in_the_directory_that_is_another_members(path):
    with ZipStore(path, mode="w") as store:
        for number in range(4):
            store.set_sync(f"k/{number}", value(number))
    data = bytearray(path.read_bytes())
    data[record_of(data, b"k/1") + 48] ^= 2  # k/3, of which the last counts
    path.write_bytes(data)
    assert ZipStore.repair(path).saved == 4
    assert contents(path) == {f"k/{n}": value(n) for n in range(4)}
