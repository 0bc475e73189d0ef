"""ZipStore: modes, read-only views, deletes, pickling, and what its errors say."""

import asyncio
import errno
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import zarrstore
from zarrstore import RangeByteRequest
from zarrstore.errors import (
    CorruptError,
    InvalidKeyError,
    ReadOnlyError,
    UnsupportedOperationError,
)
from zarrstore.storage import ZipStore, make_store_sync


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


def put(path, **members):
    with ZipStore(path, mode="a") as store:
        for key, value in members.items():
            store.set_sync(key, value)


def contents(path):
    with ZipStore(path) as store:
        return {key: bytes(store.get_sync(key).to_bytes()) for key in store.list_sync()}


def test_names_and_attributes(path):
    store = ZipStore(str(path), mode="w", compression=zipfile.ZIP_DEFLATED, allowZip64=False)
    assert (store.path, store.compression, store.allowZip64) == (path, zipfile.ZIP_DEFLATED, False)
    assert isinstance(store.path, Path)
    assert str(store) == f"zip://{path.as_posix()}"
    assert repr(store) == f"ZipStore('zip://{path.as_posix()}')"
    assert store.allowed_exceptions
    assert zarrstore.ZipStore is ZipStore
    assert (store.supports_writes, store.supports_deletes) == (True, False)
    assert (store.supports_partial_writes, store.supports_listing) == (False, True)
    assert ZipStore(path, mode="a", deletes=True).supports_deletes
    assert store.capabilities.atomic_create


def test_equality_goes_by_place_and_read_only(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert ZipStore("a.zip") == ZipStore(path)
    assert hash(ZipStore("a.zip")) == hash(ZipStore(path))
    assert ZipStore(path) != ZipStore(path, mode="a")
    assert ZipStore(path) != ZipStore(path.with_name("b.zip"))
    relative = ZipStore("a.zip", mode="w")
    monkeypatch.chdir("/")
    relative.set_sync("k", b"v")
    relative.close()
    assert contents(path) == {"k": b"v"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"path": 5}, TypeError),
        ({"path": ""}, ValueError),
        ({"path": "a", "mode": "r+"}, ValueError),
        ({"path": "a", "fsync": "maybe"}, ValueError),
    ],
)
def test_wrong_arguments(arguments, error):
    with pytest.raises(error):
        ZipStore(**arguments)


# -- modes ----------------------------------------------------------------------------------------


def test_mode_r(path):
    with pytest.raises(FileNotFoundError, match="no archive"):
        ZipStore(path).get_sync("k")
    with pytest.raises(FileNotFoundError):
        asyncio.run(ZipStore.open(path))
    put(path, k=b"v")
    store = ZipStore(path)
    assert store.read_only
    with pytest.raises(ReadOnlyError):
        store.set_sync("k", b"w")
    with pytest.raises(ReadOnlyError):
        store.clear_sync()
    with pytest.raises(ReadOnlyError):
        store.compact_sync()


def test_mode_a(path):
    store = ZipStore(path, mode="a")
    assert list(store.list_sync()) == []
    assert store.get_sync("k") is None
    store.close()
    assert not path.exists()  # only a write makes a file
    put(path, k=b"v")
    put(path, l=b"w")
    assert contents(path) == {"k": b"v", "l": b"w"}
    path.write_bytes(b"")
    put(path, k=b"v")
    assert contents(path) == {"k": b"v"}


def test_mode_w(path):
    put(path, old=b"o")
    store = ZipStore(path, mode="w")
    assert contents(path) == {"old": b"o"}  # not before it is used
    assert list(store.list_sync()) == []
    store.set_sync("k", b"v")
    store.close()
    store.set_sync("l", b"w")
    store.close()
    assert contents(path) == {"k": b"v", "l": b"w"}
    with ZipStore(path, mode="w") as store:
        list(store.list_sync())
    assert contents(path) == {}
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == []


def test_mode_w_leaves_a_reader_its_file(path):
    put(path, old=b"o" * 1000)
    for options in ({}, {"mmap": True}):
        reader = ZipStore(path, **options)
        assert reader.exists_sync("old")
        with ZipStore(path, mode="w") as store:
            store.set_sync("k", b"v")
        assert reader.get_sync("old").to_bytes() == b"o" * 1000
        put(path, old=b"o" * 1000)


def test_mode_x(path):
    store = ZipStore(path, mode="x")
    store.set_sync("k", b"v")
    store.close()
    store.set_sync("l", b"w")
    store.close()
    with pytest.raises(FileExistsError):
        ZipStore(path, mode="x").set_sync("k", b"")
    with pytest.raises(FileExistsError):
        ZipStore(path, mode="x").clear_sync()
    assert contents(path) == {"k": b"v", "l": b"w"}


@pytest.mark.parametrize("mode", ["w", "a", "x"])
def test_read_only_changes_nothing_whatever_the_mode(path, mode):
    store = ZipStore(path, mode=mode, read_only=True)
    assert list(store.list_sync()) == []
    store.close()
    assert not path.exists()
    put(path, k=b"v")
    before = path.read_bytes()
    with ZipStore(path, mode=mode, read_only=True) as store:
        assert store.get_sync("k").to_bytes() == b"v"
        with pytest.raises(ReadOnlyError):
            store.set_sync("k", b"w")
        pickle.loads(pickle.dumps(store)).close()
    assert path.read_bytes() == before


def test_opening_by_path_finds_archives(path):
    put(path, k=b"v")
    store = make_store_sync(path, mode="r")
    assert isinstance(store, ZipStore)
    assert store.get_sync("k").to_bytes() == b"v"
    with ZipStore(path, mode="w") as writer:
        writer.set_sync("k", b"not closed yet")
        assert make_store_sync(path).get_sync("k").to_bytes() == b"not closed yet"


# -- copies ---------------------------------------------------------------------------------------


def test_with_read_only_shares_the_archive(path):
    writer = ZipStore(path, mode="w")
    reader = writer.with_read_only(True)
    writer.set_sync("k", b"v")
    assert reader.get_sync("k").to_bytes() == b"v"
    with pytest.raises(ReadOnlyError):
        reader.set_sync("k", b"w")
    again = reader.with_read_only(False)
    again.set_sync("l", b"w")
    assert writer.get_sync("l").to_bytes() == b"w"
    writer.close()
    assert contents(path) == {"k": b"v", "l": b"w"}
    changed = ZipStore(path).with_read_only(False)
    changed.set_sync("m", b"x")
    changed.close()
    assert len(contents(path)) == 3


@pytest.mark.parametrize("mode", ["w", "a", "x", "r"])
def test_pickles_never_empty_what_was_written(path, mode):
    if mode == "r":
        put(path, k=b"v")
    store = ZipStore(path, mode=mode, deletes=True, verify=True)
    early = pickle.dumps(store)
    if mode != "r":
        store.set_sync("k", b"v")
    store.close()
    late = pickle.dumps(store)
    del store
    code = (
        "import pickle, sys\n"
        "store = pickle.loads(bytes.fromhex(sys.stdin.read()))\n"
        "assert store.get_sync('k').to_bytes() == b'v' and store.supports_deletes\n"
        "if not store.read_only: store.set_sync('more', b'm')\n"
        "store.close()"
    )
    for data in (early, late):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code]
        subprocess.run(command, input=data.hex(), text=True, check=True, env=environment)
        assert contents(path)["k"] == b"v"
        assert pickle.loads(data) == ZipStore(path, mode="r" if mode == "r" else "a")


def test_reopening(path):
    store = ZipStore(path, mode="w")
    for number in range(3):
        store.set_sync(f"k/{number}", b"v")
        store.close()
        store.close()
        assert len(list(store.list_sync())) == number + 1
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 3


def test_open_twice_is_an_error_as_for_every_store(path):
    async def main():
        store = await ZipStore.open(path, mode="w")
        with pytest.raises(ValueError, match="already open"):
            await store._open()
        store.close()

    asyncio.run(main())


# -- deletes --------------------------------------------------------------------------------------


def test_without_deletes(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("a/k", b"v")
        for call in (lambda: store.delete_sync("a/k"), lambda: store.delete_dir_sync("a")):
            with pytest.raises(UnsupportedOperationError, match="deletes=True") as caught:
                call()
            assert isinstance(caught.value, NotImplementedError)
        store.delete_sync("missing")
        store.delete_sync("a")
        store.delete_dir_sync("missing")
        store.set_sync("a/k", b"overwritten")
        assert store.get_sync("a/k").to_bytes() == b"overwritten"
        store.clear_sync()
        assert list(store.list_sync()) == []
        store.set_sync("again", b"1")
    assert contents(path) == {"again": b"1"}


def test_deletes(path):
    with ZipStore(path, mode="w", deletes=True) as store:
        for key in ("a/b/c", "a/d", "ab", "e"):
            store.set_sync(key, b"v")
        store.delete_sync("e")
        store.delete_sync("e")
        store.delete_sync("a")
        assert sorted(store.list_sync()) == ["a/b/c", "a/d", "ab"]
        assert sorted(contents(path)) == ["a/b/c", "a/d", "ab"]  # before it is closed, too
        store.delete_dir_sync("a")
        assert list(store.list_sync()) == ["ab"]
        assert list(contents(path)) == ["ab"]
        store.set_sync("a/d", b"back")
    assert contents(path) == {"ab": b"v", "a/d": b"back"}


def test_clearing_makes_a_new_file(path):
    put(path, k=b"v" * 10_000)
    inode = path.stat().st_ino
    store = ZipStore(path, mode="a")
    store.clear_sync()
    assert path.stat().st_ino != inode
    store.close()
    assert path.stat().st_size < 100
    assert os.listdir(path.parent) == ["a.zip"]


def test_clearing_makes_a_broken_archive_usable(path):
    path.write_bytes(b"not a zip archive at all")
    store = ZipStore(path, mode="a")
    with pytest.raises(CorruptError, match="repair"):
        store.set_sync("k", b"v")
    store.clear_sync()
    store.set_sync("k", b"v")
    store.close()
    assert contents(path) == {"k": b"v"}


# -- the rest of the contract ---------------------------------------------------------------------


def test_create(path):
    with ZipStore(path, mode="w") as store:
        assert store.create_sync("k", b"first")
        assert not store.create_sync("k", b"second")
        store.set_if_not_exists_sync("k", b"third")
        assert store.get_sync("k").to_bytes() == b"first"
        size = path.stat().st_size
        store.create_sync("k", bytes(100_000))
        assert path.stat().st_size == size


def test_a_key_may_lie_below_a_key(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("a", b"1")
        store.set_sync("a/b", b"2")
        assert sorted(store.list_dir_sync("")) == ["a"]
    assert contents(path) == {"a": b"1", "a/b": b"2"}


def test_keys_that_no_archive_holds(path):
    with ZipStore(path, mode="w") as store:
        with pytest.raises(InvalidKeyError, match="bytes"):
            store.set_sync("k" * 70_000, b"")
        long = "/".join(["x" * 250] * 200)
        store.set_sync(long, b"long")
        with pytest.raises(InvalidKeyError):
            store.set_sync("../up", b"")
    assert contents(path) == {long: b"long"}


def test_no_partial_writes_and_no_versions(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"v")
        with pytest.raises(NotImplementedError):
            store.set_partial_values_sync([("k", 0, b"w")])
        with pytest.raises(NotImplementedError):
            store.get_versioned_sync("k")


def test_sizes(path):
    with ZipStore(path, mode="w", compression=zipfile.ZIP_DEFLATED) as store:
        store.set_sync("a/b", bytes(1000))
        store.set_sync("a/c", bytes(500))
        assert store.getsize_sync("a/b") == 1000
        assert store.getsize_prefix_sync("a") == 1500
        with pytest.raises(FileNotFoundError):
            store.getsize_sync("a")
        assert store.is_empty_sync("b")
        assert not store.is_empty_sync("a")


def test_under_an_event_loop(path):
    async def main():
        store = ZipStore(path, mode="w")
        await asyncio.gather(*(store.set(f"k/{number}", b"v" * number) for number in range(50)))
        values = await asyncio.gather(*(store.get(f"k/{number}") for number in range(50)))
        assert [len(value) for value in values] == list(range(50))
        assert len([key async for key in store.list()]) == 50
        await store.compact()
        store.close()
        values = await asyncio.gather(*(store.get(f"k/{number}") for number in range(50)))
        assert [len(value) for value in values] == list(range(50))
        many = await store.get_partial_values(None, [("k/3", None), ("none", None), ("k/4", None)])
        assert [value and value.to_bytes() for value in many] == [b"vvv", None, b"vvvv"]

    asyncio.run(main())


def test_a_listing_that_was_begun_needs_no_thread(path, monkeypatch):
    async def main():
        store = ZipStore(path, mode="w", deletes=True)
        for number in range(30):
            await store.set(f"g/{number}", b"v" * number)
        await store.set("g/1/below", b"1")  # a name of both a key and a directory
        assert not await store.is_empty("g")
        monkeypatch.setattr("zarrstore._async.threads.to_thread", None)
        names = [name async for name in store.list_dir("g")]
        assert sorted(names) == sorted(map(str, range(30)))
        assert len([key async for key in store.list_prefix("g")]) == 31
        assert not await store.is_empty("g/1")
        assert await store.is_empty("g/2")
        assert await store.getsize_prefix("g") == sum(range(30)) + 1
        assert await store.getsize("g/7") == 7
        assert await store.exists("g/7")

    asyncio.run(main())


def test_a_key_that_goes_during_a_listing_leaves_the_others(path):
    with ZipStore(path, mode="w", deletes=True) as store:
        for number in range(3000):
            store.set_sync(f"g/{number}", b"")
        listing = store.list_prefix_sync("g")
        first = next(listing)
        store.delete_sync(first)
        assert {first, *listing} == {f"g/{number}" for number in range(3000)}


def test_folders_are_made(tmp_path):
    with ZipStore(tmp_path / "new" / "folder" / "a.zip", mode="w") as store:
        store.set_sync("k", b"v")
    assert contents(tmp_path / "new" / "folder" / "a.zip") == {"k": b"v"}


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a file system in memory")
def test_in_memory(tmp_path):
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        with ZipStore(folder + "/a.zip", mode="w") as store:
            store.set_sync("k", b"v" * 100)
        store = ZipStore(folder + "/a.zip")
        for _ in range(3):
            assert asyncio.run(store.get("k")).to_bytes() == b"v" * 100
        store.close()


@pytest.mark.parametrize("refusal", ["cut", "not supported"])
def test_a_file_that_cannot_be_mapped_is_read(tmp_path, monkeypatch, refusal):
    """Closing cuts off what was written ahead, perhaps between a look at the size and the mapping."""
    import mmap

    path = tmp_path / "a.zip"
    writer = ZipStore(path, mode="w")
    writer.set_sync("k", b"value")
    real = mmap.mmap

    def refused(descriptor, size, **options):
        writer.close()
        if refusal == "cut":
            return real(descriptor, size, **options)
        raise OSError(19, "No such device")

    monkeypatch.setattr(mmap, "mmap", refused)
    with ZipStore(path, mmap=True) as store:
        assert store.get_sync("k").to_bytes() == b"value"
        assert store._view().mapped is None


@pytest.mark.parametrize(("kind", "refusal", "allows"), [
    ("tmpfs", errno.EOPNOTSUPP, True), ("overlay", errno.EOPNOTSUPP, False), ("ext4", errno.EAGAIN, True),
])  # fmt: skip
def test_file_systems_are_read_as_they_allow(path, monkeypatch, kind, refusal, allows):
    """Both tmpfs and overlayfs refuse reads without waiting; elsewhere what isn't cached is no refusal."""
    put(path, k=b"0123")
    real = os.preadv

    def refuse(descriptor, buffers, offset, flags=0):
        if flags:
            raise OSError(refusal, "not now")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", refuse)
    monkeypatch.setattr("zarrstore.storage._zip.store.file_system", lambda path: kind)
    with ZipStore(path) as store:
        for _ in range(3):
            for byte in range(4):
                part = RangeByteRequest(byte, byte + 1)
                assert asyncio.run(store.get("k", byte_range=part)).to_bytes() == b"0123"[byte : byte + 1]
        assert store._view().source.can_nowait is allows
