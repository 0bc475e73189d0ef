"""Archives that are written into open files: in memory, on disk, and what can't seek."""

import asyncio
import gc
import io
import os
import pickle
import socket
import threading
import zipfile

import pytest

from zarrstore.errors import CorruptError, UnsupportedOperationError
from zarrstore.storage import ZipStore

VALUES = {"zarr.json": b"{}", "a/c/0": bytes(range(256)) * 300, "a/c/1": b""}


class OnlyWrites:
    """As a socket's file, or a response: takes bytes, a few at a time, and has nothing else."""

    def __init__(self):
        self.taken = bytearray()

    def write(self, data):
        part = bytes(data[:1000])
        self.taken += part
        return len(part)


def fill(store, values=VALUES):
    for key, value in values.items():
        store.set_sync(key, value)
        assert store.get_sync(key).to_bytes() == value


def contents(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        return {name: archive.read(name) for name in names}


@pytest.mark.parametrize("mode", ["w", "x", "a"])
def test_into_memory(mode):
    file = io.BytesIO()
    with ZipStore(file, mode=mode, deletes=True) as store:
        fill(store, {**VALUES, "gone": b"x"})
        store.set_sync("zarr.json", b'{"a": 1}')
        store.delete_sync("gone")
        assert sorted(store.list_sync()) == sorted(VALUES)
        assert store.path is None
    assert contents(file.getvalue()) == {**VALUES, "zarr.json": b'{"a": 1}'}
    assert ZipStore(file).get_sync("a/c/0").to_bytes() == VALUES["a/c/0"]
    store.set_sync("later", b"1")  # open again: adds to what was written
    store.close()
    assert set(contents(file.getvalue())) == {*VALUES, "later"}


def test_awaited(tmp_path):
    async def main(file):
        with ZipStore(file, mode="w", compression=zipfile.ZIP_DEFLATED) as store:
            await asyncio.gather(*(store.set(key, value) for key, value in VALUES.items()))
            assert (await store.get("a/c/0")).to_bytes() == VALUES["a/c/0"]

    with open(tmp_path / "a.zip", "w+b") as file:
        asyncio.run(main(file))
    assert contents((tmp_path / "a.zip").read_bytes()) == VALUES


def test_adding_to_what_is_there():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("old", b"1" * 100_000)
    with ZipStore(file, mode="a") as store:
        assert store.get_sync("old").to_bytes() == b"1" * 100_000
        store.set_sync("new", b"2")
    assert contents(file.getvalue()) == {"old": b"1" * 100_000, "new": b"2"}
    with ZipStore(file, mode="a") as store:  # what is only read changes nothing
        before = file.getvalue()
        assert sorted(store.list_sync()) == ["new", "old"]
    assert file.getvalue() == before
    file = io.BytesIO(b"no archive at all")
    with pytest.raises(CorruptError), ZipStore(file, mode="a") as store:
        store.get_sync("k")
    assert file.getvalue() == b"no archive at all"


def test_a_smaller_archive_leaves_nothing_of_the_larger_one():
    file = io.BytesIO()
    with ZipStore(file, mode="w") as store:
        fill(store)
    file.seek(0)
    with ZipStore(file, mode="w") as store:
        store.set_sync("k", b"1")
    assert contents(file.getvalue()) == {"k": b"1"}


def test_what_is_in_front_of_the_position_stays():
    file = io.BytesIO(b"in front")
    file.seek(0, io.SEEK_END)
    with ZipStore(file, mode="w") as store:
        fill(store)
        asyncio.run(store.clear())
        store.set_sync("k", b"2")
    assert file.getvalue()[:8] == b"in front"
    assert contents(file.getvalue()[8:]) == {"k": b"2"}


def test_into_what_only_writes():
    writer = OnlyWrites()
    store = ZipStore(writer, mode="w")
    fill(store)
    store.set_sync("zarr.json", b"[]")
    assert not writer.taken  # it goes there when the store is closed
    store.close()
    assert contents(writer.taken) == {**VALUES, "zarr.json": b"[]"}
    assert store.get_sync("zarr.json").to_bytes() == b"[]"
    with pytest.raises(UnsupportedOperationError, match="Write all values before you close"):
        store.set_sync("late", b"")
    store.close()
    assert contents(writer.taken) == {**VALUES, "zarr.json": b"[]"}
    with pytest.raises(UnsupportedOperationError, match="can't seek"):
        ZipStore(OnlyWrites(), mode="a")
    with pytest.raises(TypeError, match="open binary file"):
        ZipStore(OnlyWrites(), mode="r")


def test_into_a_pipe_and_a_socket():
    for reader, writer in (_pipe(), _sockets()):
        taken = []
        thread = threading.Thread(target=lambda reader=reader, taken=taken: taken.append(reader.read()))
        thread.start()
        with writer, ZipStore(writer, mode="w") as store:
            fill(store)
        thread.join(20)
        reader.close()
        assert contents(taken[0]) == VALUES


def _pipe():
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0)


def _sockets():
    left, right = socket.socketpair()
    files = left.makefile("rb"), right.makefile("wb", buffering=0)
    left.close()
    right.close()
    return files


def test_what_a_closed_file_says():
    file = io.BytesIO()
    store = ZipStore(file, mode="w")
    store.set_sync("k", b"1")
    file.close()
    with pytest.raises(ValueError, match="closed file"):
        store.close()


def test_nothing_stays_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file = io.BytesIO()
    store = ZipStore(file, mode="w")
    store.set_sync("k", b"1")
    assert list(tmp_path.iterdir())
    del store  # never closed: its file is written all the same
    gc.collect()
    assert not list(tmp_path.iterdir())
    assert contents(file.getvalue()) == {"k": b"1"}


def test_such_a_store_is_not_pickled_or_moved(tmp_path):
    with ZipStore(io.BytesIO(), mode="w") as store:
        store.set_sync("k", b"1")
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(store)
        with pytest.raises(UnsupportedOperationError, match="can't be moved"):
            asyncio.run(store.move(tmp_path / "b.zip"))
        reader = store.with_read_only(True)
        assert reader.get_sync("k").to_bytes() == b"1"


# -- moving ----------------------------------------------------------------------------------------


def test_an_archive_moves(tmp_path):
    store = ZipStore(tmp_path / "a.zip", mode="x")
    fill(store)
    reader = store.with_read_only(True)
    asyncio.run(store.move(tmp_path / "deep" / "b.zip"))
    assert not (tmp_path / "a.zip").exists()
    assert contents((tmp_path / "deep" / "b.zip").read_bytes()) == VALUES
    assert store.path == reader.path == tmp_path / "deep" / "b.zip"
    store.set_sync("k", b"1")
    assert reader.get_sync("k").to_bytes() == b"1"
    assert pickle.loads(pickle.dumps(store)) == store
    (tmp_path / "c.zip").write_bytes(b"other")
    with pytest.raises(FileExistsError, match="exists already"):
        asyncio.run(store.move(str(tmp_path / "c.zip")))
    assert store.get_sync("k").to_bytes() == b"1"
    store.close()
    with pytest.raises(ValueError, match="read-only"):
        asyncio.run(ZipStore(tmp_path / "deep" / "b.zip").move(tmp_path / "d.zip"))
