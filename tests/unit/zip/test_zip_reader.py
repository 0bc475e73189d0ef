"""Reading zip archives of every make, and broken ones."""

import io
import random
import shutil
import stat
import struct
import subprocess
import sys
import threading
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zarrstore import RangeByteRequest, SuffixByteRequest
from zarrstore.errors import ByteRequestError, CorruptError, MissingDependencyError, StoreError
from zarrstore.storage import ZipStore
from zarrstore.storage._zip import reader as _reader
from zarrstore.storage._zip.opening import open_view
from zarrstore.storage._zip.source import ObjectSource


def needs(program, package):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs Debian's package {package}")


def values():
    rng = random.Random(3)
    return {
        "zarr.json": b'{"a": 1}',
        "c/0/0": rng.randbytes(50_000),
        "c/0/1": b"abc" * 20_000,
        "empty": b"",
        "deep/er/still": rng.randbytes(3),
    }


def contents(path, **options):
    with ZipStore(path, **options) as store:
        return {key: bytes(store.get_sync(key).to_bytes()) for key in store.list_sync()}


def make(path, members, method=zipfile.ZIP_STORED, **options):
    with zipfile.ZipFile(path, "w", method, **options) as archive:
        for name, value in members.items():
            archive.writestr(name, value)


def as_folder(tmp_path, members):
    folder = tmp_path / "folder"
    for name, value in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(value)
    return folder


def streamed(members, *, signature=True, method=zipfile.ZIP_DEFLATED, zip64=False):
    """An archive as a writer makes it that can't seek: sizes follow the data."""
    file = bytearray()
    directory = bytearray()
    for name, value in members.items():
        raw = name.encode()
        if method == zipfile.ZIP_DEFLATED:
            engine = zlib.compressobj(9, zlib.DEFLATED, -15)
            data = engine.compress(value) + engine.flush()
        else:
            data = value
        offset = len(file)
        crc = zlib.crc32(value)
        flags = 0x808
        file += struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 33, 0, 0, 0, len(raw), 0) + raw
        file += data
        file += (b"PK\7\x08" if signature else b"") + struct.pack(
            "<LQQ" if zip64 else "<LLL", crc, len(data), len(value)
        )
        directory += struct.pack(
            "<4s4B4HL2L5H2L",
            *(b"PK\1\2", 20, 3, 20, 0, flags, method, 0, 33, crc, len(data), len(value), len(raw)),
            *(0, 0, 0, 0, 0o644 << 16, offset),
        )
        directory += raw
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(file), 0)
    return bytes(file + directory + end)


# -- archives of other programs -------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_python(tmp_path, method, mmap):
    make(tmp_path / "a.zip", values(), method)
    assert contents(tmp_path / "a.zip", mmap=mmap) == values()


@needs("zip", "zip")
@pytest.mark.parametrize("options", [[], ["-0"], ["-fd"], ["-fz"]])
def test_zip(tmp_path, options):
    folder = as_folder(tmp_path, values())
    subprocess.run(["zip", "-qr", *options, tmp_path / "a.zip", "."], cwd=folder, check=True)
    assert contents(tmp_path / "a.zip") == values()


@needs("zip", "zip")
def test_zip_to_a_pipe(tmp_path):
    folder = as_folder(tmp_path, values())
    made = subprocess.run(["zip", "-qr", "-", "."], cwd=folder, check=True, capture_output=True)
    (tmp_path / "a.zip").write_bytes(made.stdout)
    assert contents(tmp_path / "a.zip") == values()


@needs("7z", "p7zip-full")
@pytest.mark.parametrize("method", ["Copy", "Deflate", "BZip2", "LZMA"])
def test_7z(tmp_path, method):
    folder = as_folder(tmp_path, values())
    command = ["7z", "a", "-bd", "-tzip", f"-mm={method}", tmp_path / "a.zip", "."]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert contents(tmp_path / "a.zip") == values()


@needs("jar", "default-jdk-headless")
def test_jar(tmp_path):
    folder = as_folder(tmp_path, values())
    subprocess.run(["jar", "cfM", tmp_path / "a.zip", "."], cwd=folder, check=True)
    assert contents(tmp_path / "a.zip") == values()


@pytest.mark.parametrize("signature", [True, False])
@pytest.mark.parametrize("zip64", [True, False])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_streaming_writers(tmp_path, signature, zip64, method):
    path = tmp_path / "a.zip"
    path.write_bytes(streamed(values(), signature=signature, zip64=zip64, method=method))
    assert contents(path) == values()
    # Adding to such an archive leaves what is there where it is.
    with ZipStore(path, mode="a") as store:
        store.set_sync("new", b"new")
    assert contents(path) == {**values(), "new": b"new"}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_zip64(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in values().items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(value)
    (tmp_path / "a.zip").write_bytes(file.getvalue())
    assert contents(tmp_path / "a.zip") == values()


def test_more_members_than_16_bits_count(tmp_path):
    make(tmp_path / "a.zip", {f"k/{n}": b"" for n in range(66_000)})
    with ZipStore(tmp_path / "a.zip") as store:
        assert sum(1 for _ in store.list_sync()) == 66_000


def test_comment_and_prefix(tmp_path):
    path = tmp_path / "a.zip"
    make(path, values())
    inner = path.read_bytes()
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = inner[-5000:]  # an end record within the comment
    assert contents(path) == values()
    path.write_bytes(b"#!/bin/sh\nexit 1\n" * 9 + path.read_bytes())
    assert contents(path) == values()


def test_a_whole_archive_as_comment(tmp_path):
    path = tmp_path / "a.zip"
    make(path, {"inner": b"i"})
    inner = path.read_bytes()
    make(path, values())
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = inner
    assert contents(path) == values()


def test_the_last_of_duplicates_counts(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("k", b"first")
        archive.writestr("other", b"o")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("k", b"second")
    assert contents(path) == {"k": b"second", "other": b"o"}
    with ZipStore(path) as store:
        assert sorted(store.list_sync()) == ["k", "other"]


def test_folders_and_names_outside_the_grammar_are_no_keys(tmp_path):
    path = tmp_path / "a.zip"
    bad = ["folder/", "/absolute", "../up", "a//b", "a/./b", "a/..", ".", "x/\0y", "folder/../z"]
    with zipfile.ZipFile(path, "w") as archive:
        for name in [*bad, "good", "folder/good"]:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            info.file_size = 1
            archive.writestr(info, b"x")
    with ZipStore(path) as store:
        assert sorted(store.list_sync()) == ["folder/good", "good"]
        assert sorted(store.list_dir_sync("")) == ["folder", "good"]
        assert list(store.list_dir_sync("a")) == []
        assert store.is_empty_sync("a")


def test_names_in_utf_8_and_cp437(tmp_path):
    path = tmp_path / "a.zip"
    make(path, {"grün": b"u", "plain": b"p"})
    assert contents(path) == {"grün": b"u", "plain": b"p"}
    data = bytearray(path.read_bytes())
    raw = "grün".encode()
    old = "gr\u0081n".encode("latin-1") + b"x"  # ü in cp437
    data = data.replace(raw, old)
    for at in (data.find(b"PK\3\4") + 6, data.find(b"PK\1\2") + 8):
        data[at : at + 2] = b"\0\0"
    path.write_bytes(data)
    assert contents(path) == {"grünx": b"u", "plain": b"p"}


# -- parts, threads, forks ------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("options", [{}, {"mmap": True}, {"verify": True}])
def test_ranges(tmp_path, method, options):
    make(tmp_path / "a.zip", values(), method)
    value = values()["c/0/0"]
    for request, wanted in [
        (RangeByteRequest(10, 30), value[10:30]),
        (RangeByteRequest(49_990, 99_999), value[49_990:]),
        (SuffixByteRequest(5), value[-5:]),
    ]:
        with ZipStore(tmp_path / "a.zip", **options) as store:
            assert store.get_sync("c/0/0", byte_range=request).to_bytes() == wanted
            assert store.get_sync("c/0/0", byte_range=request).to_bytes() == wanted
            assert store.get_sync("empty").to_bytes() == b""
            with pytest.raises(ByteRequestError, match=r"a\.zip"):
                store.get_sync("c/0/0", byte_range=RangeByteRequest(50_000, 50_001))


def test_a_range_of_a_stored_value_reads_no_more(tmp_path, monkeypatch):
    make(tmp_path / "a.zip", {"large": bytes(10_000_000)})
    read = []

    with ZipStore(tmp_path / "a.zip") as store:
        source = store._view().source

        class Counting:
            at_once = source.at_once

            def size(self):
                return source.size()

            def read(self, start, size):
                read.append(size)
                return source.read(start, size)

        monkeypatch.setattr(store._view(), "source", Counting())
        assert len(store.get_sync("large", byte_range=RangeByteRequest(5_000_000, 5_000_100))) == 100
    assert sum(read) < 1000


def test_mapped_reads_copy_nothing(tmp_path):
    make(tmp_path / "a.zip", {"k": bytes(1000)})
    with ZipStore(tmp_path / "a.zip", mmap=True) as store:
        first, second = (store.get_sync("k").as_numpy_array() for _ in range(2))
        assert first.__array_interface__["data"][0] == second.__array_interface__["data"][0]
        assert not first.flags.writeable
    assert bytes(first) == bytes(1000)  # though the store is closed


def test_many_threads(tmp_path):
    rng = random.Random(1)
    members = {f"k/{n}": rng.randbytes(rng.randrange(3000)) for n in range(200)}
    make(tmp_path / "a.zip", members, zipfile.ZIP_DEFLATED)
    wrong = []
    with ZipStore(tmp_path / "a.zip") as store:

        def work(seed):
            keys = random.Random(seed).choices(list(members), k=500)
            wrong.extend(key for key in keys if store.get_sync(key).to_bytes() != members[key])

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


# -- broken archives ------------------------------------------------------------------------------


def test_bytes_that_changed_are_noticed(tmp_path):
    path = tmp_path / "a.zip"
    make(path, {"k": b"value" * 100}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with ZipStore(path, verify=True) as store, pytest.raises(CorruptError, match="checksum") as caught:
        store.get_sync("k")
    assert caught.value.key == "k"
    assert caught.value.store.endswith("a.zip")
    make(path, {"k": b"value" * 100}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[34] ^= 1
    path.write_bytes(data)
    with ZipStore(path) as store, pytest.raises(CorruptError):
        store.get_sync("k")


def directory_of(data):
    end = data.rfind(b"PK\5\6")
    return struct.unpack_from("<L", data, end + 16)[0]


def test_sizes_that_lie(tmp_path):
    path = tmp_path / "a.zip"
    make(path, {"k": b"v" * 100, "l": b"w" * 100})
    whole = path.read_bytes()
    for size in (101, 5000, 0xFFFFFFFE):
        data = bytearray(whole)
        at = directory_of(data)
        data[at + 20 : at + 28] = struct.pack("<LL", size, size)
        path.write_bytes(data)
        with ZipStore(path) as store:
            with pytest.raises(CorruptError):
                store.get_sync("k")
            assert store.get_sync("l").to_bytes() == b"w" * 100
    data = bytearray(whole)
    at = directory_of(data)
    data[at + 24 : at + 28] = struct.pack("<L", 99)  # stored, yet of two sizes
    path.write_bytes(data)
    with ZipStore(path) as store, pytest.raises(CorruptError):
        store.get_sync("k")


def test_a_deflated_member_that_makes_more_or_less_than_it_says(tmp_path):
    path = tmp_path / "a.zip"
    make(path, {"k": bytes(1_000_000)}, zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    for size in (10, 999_999, 1_000_001, 0xFFFFFFF0):
        data = bytearray(whole)
        at = directory_of(data)
        data[at + 24 : at + 28] = struct.pack("<L", size)
        path.write_bytes(data)
        with ZipStore(path) as store, pytest.raises(CorruptError):
            store.get_sync("k")


def test_members_that_overlap(tmp_path):
    path = tmp_path / "a.zip"
    make(path, {"a": b"x" * 500, "b": b"y" * 50})
    data = bytearray(path.read_bytes())
    # Let a's record claim b's header and data as part of its own.
    at = directory_of(data)
    data[at + 20 : at + 28] = struct.pack("<LL", 560, 560)
    path.write_bytes(data)
    with ZipStore(path) as store, pytest.raises(CorruptError, match="reach into"):
        store.get_sync("a")


def test_another_name_in_the_local_header(tmp_path):
    path = tmp_path / "a.zip"
    make(path, {"key": b"x" * 500})
    data = path.read_bytes().replace(b"key", b"yek", 1)
    path.write_bytes(data)
    with ZipStore(path) as store, pytest.raises(CorruptError, match="another name"):
        store.get_sync("key")


def test_encrypted_and_unknown_methods(tmp_path):
    path = tmp_path / "a.zip"
    make(path, {"key": b"x" * 500})
    whole = bytearray(path.read_bytes())
    at = directory_of(whole)
    data = bytearray(whole)
    data[at + 8] |= 1
    path.write_bytes(data)
    with ZipStore(path) as store, pytest.raises(NotImplementedError, match="encrypted"):
        store.get_sync("key")
    for method in (93, 97):
        data = bytearray(whole)
        data[8] = data[at + 10] = method
        path.write_bytes(data)
        with (
            ZipStore(path) as store,
            pytest.raises((NotImplementedError, MissingDependencyError, CorruptError)),
        ):
            store.get_sync("key")


def test_a_file_that_is_no_archive(tmp_path):
    path = tmp_path / "a.zip"
    for data in (b"", b"PK", bytes(100_000), b"PK\3\4" + bytes(1000)):
        path.write_bytes(data)
        with pytest.raises(CorruptError), ZipStore(path) as store:
            store.get_sync("k")
    with pytest.raises(NotADirectoryError), ZipStore(tmp_path) as store:
        store.get_sync("k")
    with pytest.raises(FileNotFoundError, match="no archive"), ZipStore(tmp_path / "none") as store:
        store.get_sync("k")


def a_few_archives():
    file = io.BytesIO()
    make(file, values(), zipfile.ZIP_DEFLATED)
    yield file.getvalue()
    small = {"a": b"1" * 40, "b/c": b"2" * 300, "b/d": b""}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        make(file, small, method)
        yield file.getvalue()
    yield streamed(small)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = ZipStore(folder + "/a.zip", mode="w")
        for key, value in small.items():
            store.set_sync(key, value)
        with open(store.path, "rb") as open_file:
            yield open_file.read()
        store.close()
        store.set_sync("a", b"3")
        with open(store.path, "rb") as open_file:
            yield open_file.read()
        store.close()


ARCHIVES = list(a_few_archives())


@st.composite
def damaged_archives(draw):
    data = bytearray(draw(st.sampled_from(ARCHIVES)))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        # Most of what matters is near the end, or near a signature.
        places = [at for at in range(len(data) - 4) if data[at : at + 2] == b"PK"] or [0]
        base = draw(st.sampled_from([0, len(data) - 1, *places[:40]]))
        at = min(len(data) - 1, max(0, base + draw(st.integers(-60, 60))))
        match draw(st.integers(0, 4)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                data[at : at + 4] = draw(
                    st.sampled_from([b"\xff" * 4, bytes(4), b"\1\0\0\0", b"\xfe\xff\xff\x7f"])
                )
            case 2:
                del data[at:]
            case 3:
                del data[at : at + draw(st.integers(1, 40))]
            case 4:
                data[at:at] = draw(st.binary(max_size=40))
    return bytes(data)


def read_all(data):
    view = open_view(ObjectSource(io.BytesIO(data)))
    total = 0
    for key in list(view.index.rows):
        try:
            value = view.read(view.index.find(key), key, None, bytearray)
        except StoreError:
            continue
        total += len(value)
    return total


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged_archives())
def test_damaged_archives_raise_only_our_errors(data):
    try:
        total = read_all(data)
    except StoreError:
        return
    assert total <= 1032 * len(data) + 10_000_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_bytes_at_random_raise_only_our_errors(data, kind):
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, kind, kind, min(len(data), 46 * kind), 0, 0)
    try:
        read_all(data + end)
    except StoreError:
        pass


def test_permissions_are_an_error_not_an_absence(tmp_path):
    path = tmp_path / "a.zip"
    for name in ("a.zip", "b.zip"):
        make(tmp_path / name, {"k": b""})
    path.chmod(0)
    # Root may read everything, so a child that isn't root tries.
    code = f"""
import os, tempfile
file = {str(path)!r}
folder = os.open(os.path.dirname(file), os.O_RDONLY)
from zarrstore.storage import ZipStore
with ZipStore(os.path.dirname(file) + "/b.zip") as store:
    assert len(store.get_sync("k")) == 0  # all that is imported late is here now
if os.getuid() == 0:
    os.fchdir(folder)
    os.setgid(65534)
    os.setuid(65534)
    file = "a.zip"
try:
    with ZipStore(file) as store:
        store.get_sync("k")
except PermissionError as error:
    print("a.zip" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0


def test_a_compressed_value_that_is_read_in_pieces_is_decompressed_once(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    value = random.Random(5).randbytes(1000) * 3000
    with ZipStore(path, mode="w", compression=zipfile.ZIP_DEFLATED) as store:
        for key in "ab":
            store.set_sync(key, value)
    times = []
    unpack = _reader.unpack
    monkeypatch.setattr(_reader, "unpack", lambda *args: times.append(1) or unpack(*args))
    store = ZipStore(path)
    step = 700_000

    def piece(key, start):
        return store.get_sync(key, byte_range=RangeByteRequest(start, start + step)).to_bytes()

    starts = range(0, len(value), step)
    pieces = [(piece("a", start), piece("b", start)) for start in starts]
    assert [b"".join(parts) for parts in zip(*pieces, strict=True)] == [value, value]
    assert len(times) == 2
    view = store._archive.open()
    assert view._unpacked == {}  # who has read the end reads no more
    monkeypatch.setattr(_reader, "_KEPT", len(value) + 1)
    for key in "ab":
        piece(key, 0)
    assert len(view._unpacked) == 1
    assert store.get_sync("b").to_bytes() == value
    assert (view._unpacked, len(times)) == ({}, 4)
    store.close()
