"""Bytes of an archive that changed since they were written are never read as a whole value, nor copied."""

import asyncio
import io
import subprocess
import sys
import zipfile

import pytest

from zarrstore import OffsetByteRequest, RangeByteRequest, SuffixByteRequest, copy_store, copy_store_sync
from zarrstore._copy import value as copying
from zarrstore.errors import ChangedError, CorruptError
from zarrstore.storage import LocalStore, MemoryStore, StorePath, WrapperStore, ZipStore

# The largest is read by two threads.
SIZES = {"small": 500, "medium": 200_000, "large": 9 << 20}
WHOLE = [None, OffsetByteRequest(0), RangeByteRequest(0, 1 << 40), SuffixByteRequest(1 << 40)]


def content(size):
    return bytes(range(256)) * (size // 256) + bytes(size % 256)


def make_foreign(path, values):
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in values.items():
            archive.writestr(key, value)


def make_ours(path, values):
    with ZipStore(path, mode="w") as store:
        for key, value in values.items():
            store.set_sync(key, value)


def spoil(path, key):
    """Overwrite eight bytes in the middle of a stored value."""
    with ZipStore(path) as store:
        view = store._view()
        member = view.index.find(key)
        middle = view.locate(member, key) + member.size // 2
    with open(path, "r+b") as file:
        file.seek(middle)
        file.write(b"\xff" * 8)


OPENED = {
    "file": ZipStore,
    "mapped": lambda path: ZipStore(path, mmap=True),
    "verified": lambda path: ZipStore(path, verify=True),
    "open for writing": lambda path: ZipStore(path, mode="a"),
    "file object": lambda path: ZipStore(io.BytesIO(path.read_bytes())),
    "in a store": lambda path: ZipStore(StorePath(LocalStore(path.parent), path.name)),
    "part": lambda path: ZipStore(path).sub("a"),
}


@pytest.fixture(params=[make_foreign, make_ours])
def path(request, tmp_path):
    path = tmp_path / "a.zip"
    request.param(path, {f"a/{key}": content(size) for key, size in SIZES.items()} | {"a/whole": b"whole"})
    return path


@pytest.mark.parametrize("how", OPENED)
@pytest.mark.parametrize("key", ["small", "medium", "large"])
def test_a_whole_value_is_held_against_its_checksum(path, how, key):
    spoil(path, f"a/{key}")
    store = OPENED[how](path)
    prefix = "" if how == "part" else "a/"
    name = prefix + key
    calls = [lambda part=part: store.get_sync(name, byte_range=part) for part in WHOLE]
    calls += [lambda part=part: asyncio.run(store.get(name, byte_range=part)) for part in WHOLE]
    calls += [lambda: store.get_partial_values_sync(None, [(name, None)])]
    calls += [lambda: asyncio.run(store.get_partial_values(None, [(name, None), (prefix + "whole", None)]))]
    for _ in range(2):  # the second time the local headers are known
        for call in calls:
            with pytest.raises(CorruptError, match="checksum") as caught:
                call()
            assert caught.value.key == f"a/{key}"
            assert "zarrstore repair" in caught.value.hint
            if how not in ("file object", "in a store"):
                assert str(path) in str(caught.value)
    assert bytes(store.get_sync(prefix + "whole")) == b"whole"
    store.close()


@pytest.mark.parametrize("how", OPENED)
def test_parts_are_held_against_it_on_request(path, how):
    spoil(path, "a/small")
    store = OPENED[how](path)
    name = "small" if how == "part" else "a/small"
    part = RangeByteRequest(0, 10)
    for call in (
        lambda: store.get_sync(name, byte_range=part),
        lambda: asyncio.run(store.get(name, byte_range=part)),
    ):
        if how == "verified":
            with pytest.raises(CorruptError, match="checksum"):
                call()
        else:
            assert bytes(call()) == content(500)[:10]
    store.close()


@pytest.mark.parametrize("how", ["file", "mapped", "in a store", "part"])
@pytest.mark.parametrize("key", ["small", "large"])
@pytest.mark.parametrize("target", ["memory", "zip"])
def test_copies_are_always_held_against_it(path, how, key, target):
    """The large one is copied in pieces."""
    spoil(path, f"a/{key}")
    make = {"memory": MemoryStore, "zip": lambda: ZipStore(path.parent / "copy.zip", mode="w")}[target]
    for copy in (
        lambda: copy_store_sync(store, copied, verify=True),
        lambda: copy_store_sync(store, copied),
        lambda: asyncio.run(copy_store(store, copied)),
    ):
        with OPENED[how](path) as store, make() as copied:
            with pytest.raises(CorruptError, match="checksum") as caught:
                copy()
            assert caught.value.key.endswith(key)
            assert "zarrstore repair" in caught.value.hint
            assert not any(name.endswith(key) for name in copied.list_sync())
            copied.clear_sync()


def test_what_is_whole_is_copied(path):
    target = MemoryStore()
    with ZipStore(path) as store:
        copy_store_sync(store, target, verify=True)
    assert bytes(target.get_sync("a/large")) == content(SIZES["large"])


def test_the_program_tells_it(tmp_path):
    path = tmp_path / "a.zip"
    make_foreign(path, {"k": content(17 << 20)})  # more than `cat` holds at once
    spoil(path, "k")
    for arguments in ("copy a.zip copy.zarr", "copy --verify a.zip other.zarr", "cat a.zip k"):
        command = [sys.executable, "-m", "zarrstore", *arguments.split()]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path)
        assert done.returncode == 1, done
        for text in ("checksum", "'k'", "a.zip", "zarrstore repair"):
            assert text in done.stderr.decode()


class Replacing(WrapperStore):
    """Replaces the value of each key by another one of its size when the first part was read."""

    async def _read(self, below, key, request, allocate):
        value = await below.read(key, request, allocate)
        if request.start == 0:
            self._store.set_sync(key, b"n" * (1 << 20))
        return value


def test_a_large_member_that_is_replaced_in_the_middle_of_a_copy(tmp_path, monkeypatch):
    """Never half of each."""
    monkeypatch.setattr(copying, "PIECE", 1 << 16)
    target = MemoryStore()
    with ZipStore(tmp_path / "a.zip", mode="w") as source:
        source.set_sync("k", bytes(1 << 20))
        with pytest.raises(ChangedError):
            copy_store_sync(Replacing(source), target)
        assert source.get_sync("k").to_bytes() == b"n" * (1 << 20)
    assert list(target.list_sync()) == []
