"""Archives of arbitrary bytes: only our errors, no hang, no memory beyond what the file's size allows.

The short runs are beside the tests of the reader and of `repair`; here are archives put together from
records that lie, and the long runs, which are a job of their own.
"""

import struct
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_zip_reader import damaged_archives, read_all, streamed

from zarrstore.errors import StoreError
from zarrstore.storage import ZipStore

NAMES = st.sampled_from([b"a", b"b/c", b"b/", b"../x", b"", b"\xff\xfe", "é".encode(), b"a\0b"])
NUMBERS = st.one_of(st.integers(0, 200), st.sampled_from([0xFFFF, 1 << 31, 0xFFFFFFFE, 0xFFFFFFFF]))
METHODS = st.sampled_from([0, 8, 12, 14, 93, 99])
EXTRAS = st.one_of(
    st.just(b""),
    st.binary(max_size=12),
    st.lists(st.integers(0, (1 << 64) - 1), max_size=4).map(
        lambda numbers: struct.pack("<HH", 1, 8 * len(numbers)) + struct.pack(f"<{len(numbers)}Q", *numbers)
    ),
)


@st.composite
def assembled(draw):
    """Records that are well-formed one by one, and lie about one another."""
    file = bytearray()
    offsets = []
    for _ in range(draw(st.integers(0, 4))):
        offsets.append(len(file))
        name, extra, data = draw(NAMES), draw(EXTRAS), draw(st.binary(max_size=60))
        size = draw(st.one_of(st.just(len(data)), NUMBERS))
        flags = draw(st.sampled_from([0, 1, 8, 0x800, 0x808]))
        fields = (
            20,
            flags,
            draw(METHODS),
            0,
            33,
            zlib.crc32(data),
            size,
            draw(st.one_of(st.just(size), NUMBERS)),
        )
        file += struct.pack("<4s5H3L2H", b"PK\3\4", *fields, len(name), len(extra)) + name + extra + data
    start = len(file)
    count = draw(st.integers(0, 5))
    for _ in range(count):
        offset = draw(st.one_of(st.sampled_from(offsets or [0]), NUMBERS))
        name, extra = draw(NAMES), draw(EXTRAS)
        file += struct.pack(
            "<4s6H3L5H2L",
            *(b"PK\1\2", 20, 20, draw(st.sampled_from([0, 1, 8, 0x800])), draw(METHODS), 0, 33),
            *(draw(NUMBERS), draw(NUMBERS), draw(NUMBERS), len(name), len(extra), 0, 0, 0, 0, offset),
        )
        file += name + extra
    size = len(file) - start
    if draw(st.booleans()):
        numbers = [
            draw(st.one_of(st.just(n), st.integers(0, (1 << 64) - 1))) for n in (count, count, size, start)
        ]
        file += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, *numbers)
        file += struct.pack("<4sLQL", b"PK\6\7", 0, draw(st.one_of(st.just(start + size), NUMBERS)), 1)
        file += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    else:
        lies = [draw(st.one_of(st.just(n), NUMBERS)) for n in (size, start)]
        file += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, *lies, 0)
    return bytes(file)


def check(data):
    """Read and repair it; each in a time and in memory that its size explains."""
    began = time.process_time()
    try:
        assert read_all(data) <= 1032 * len(data) + 1_000_000
    except StoreError:
        pass
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        path.write_bytes(data)
        try:
            report = ZipStore.repair(path)
        except StoreError:
            assert path.read_bytes() == data
        else:
            assert path.stat().st_size < len(data) * 2 + 500
            if report.lost:
                assert report.damaged.read_bytes() == data
            with ZipStore(path) as store:
                assert len(list(store.list_sync())) <= report.saved
    assert time.process_time() - began < 10


QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(assembled())
def test_records_that_lie(data):
    check(data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("archives", [assembled(), damaged_archives(), st.binary(max_size=2000)])
def test_for_long(archives):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    LONG(given(archives)(check))()
    if sys.platform == "linux":  # elsewhere this number is in other units
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_streamed_archives_with_large_descriptors_are_repaired(tmp_path, method):
    """As Go's writer makes them: no sizes in front of the data, and 64 bits for them behind."""
    values = {"a/0": b"0" * 5000, "a/1": b"", "b": bytes(range(256)) * 9}
    data = streamed(values, method=method, zip64=True)
    path = tmp_path / "a.zip"
    path.write_bytes(data[: data.index(b"PK\1\2") + 20])
    report = ZipStore.repair(path)
    assert (report.saved, report.lost) == (3, [])
    with ZipStore(path, verify=True) as store:
        assert {key: store.get_sync(key).to_bytes() for key in store.list_sync()} == values


def test_an_encrypted_member_with_an_impossible_size_is_not_passed_on():
    extra = struct.pack("<HHQ", 1, 8, 1 << 63)
    local = (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 1, 0, 0, 33, 0, 0, 0xFFFFFFFF, 1, len(extra)) + b"a" + extra
    )
    check(local + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0))


def test_lzma_that_promises_too_much_takes_no_memory():
    head = struct.pack("<BBHBL", 9, 4, 5, 93, 0xFFFFFFFF)
    data = head + bytes(40)
    file = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 14, 0, 33, 0, len(data), 0xFFFFFFF0, 1, 0) + b"a" + data
    record = (b"PK\1\2", 20, 20, 0, 14, 0, 33, 0, len(data), 0xFFFFFFF0, 1, 0, 0, 0, 0, 0, 0)
    record = struct.pack("<4s6H3L5H2L", *record) + b"a"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        path.write_bytes(
            file + record + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(record), len(file), 0)
        )
        with ZipStore(path) as store, pytest.raises(StoreError, match="can't make"):
            store.get_sync("a")
