"""Zip: values that are set at the same time are written together, and fail together or alone."""

import asyncio
import errno
import os
import random
import shutil
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest

from zarrstore._async import threads as _threads
from zarrstore._core.verbs import ABSENT, ANY
from zarrstore._os import files as _files
from zarrstore._os import fsync as _fsync
from zarrstore.errors import NoSpaceError
from zarrstore.storage import ZipStore
from zarrstore.storage._zip import archive as _archive
from zarrstore.storage._zip import writer as _writer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


def contents(path):
    with ZipStore(path) as store:
        return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


class Watched:
    """The module os, with calls counted and perhaps something done before each that changes a file."""

    def __init__(self, before=lambda name, count: None):
        self.calls = []
        self.before = before

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in ("pwrite", "fdatasync", "fsync"):
            return function

        def watched(*args):
            self.calls.append(name)
            self.before(name, len(self.calls))
            return function(*args)

        return watched


def test_a_value_is_small_if_its_pieces_are_together(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"v")
        writer = store._archive._writer
        for pieces in ([b""], [bytes(_writer._SMALL)], [b"v"] * _writer._SMALL):
            assert writer.is_small(pieces, "k")
            assert not writer.is_small([*pieces, bytes(_writer._SMALL + 1)], "k")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("fsync", ["none", "data"])
def test_values_set_at_once_share_their_writes(path, monkeypatch, method, fsync):
    rng = random.Random(3)
    wanted = {f"g/{i}": rng.randbytes(rng.choice((0, 1, 500, 5000))) for i in range(300)}
    wanted["ünïcode/large"] = rng.randbytes(_writer._SMALL + 1)
    with ZipStore(path, mode="w", compression=method, fsync=fsync) as store:
        store.set_sync("g/0", b"old")
        watched = Watched()
        for module in (_writer, _archive, _files, _fsync):
            monkeypatch.setattr(module, "os", watched)

        async def main():
            await asyncio.gather(*(store.set(key, value) for key, value in wanted.items()))

        asyncio.run(main())
        for module in (_writer, _archive, _files, _fsync):
            monkeypatch.setattr(module, "os", os)
        assert {key: store.get_sync(key).to_bytes() for key in wanted} == wanted
        assert contents(path) == wanted  # for whoever opens it meanwhile, too
    assert len(watched.calls) < 100
    if fsync == "data":
        assert 2 <= watched.calls.count("fdatasync") < 40
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == wanted


def test_wherever_a_batch_ends_before_its_time_whole_values_are_there(path, tmp_path, monkeypatch):
    """Every call that changes the file, stopped before, and after each part of it."""
    store = ZipStore(path, mode="w")
    store.set_sync("first", b"1")
    writes = [(f"k{i}", (bytes([65 + i]) * 700,), ANY) for i in range(8)]
    copy, seen = tmp_path / "copy.zip", []

    class Torn(Watched):
        def pwrite(self, descriptor, data, position):
            for done in range(0, len(data), 97):
                os.pwrite(descriptor, data[done : done + 97], position + done)
                shutil.copyfile(path, copy)
                found = contents(copy)
                assert found.pop("first") == b"1"
                count = len(found)
                assert found == {key: pieces[0] for key, pieces, _ in writes[:count]}
                seen.append(count)
            return len(data)

    for module in (_writer, _archive, _files, _fsync):
        monkeypatch.setattr(module, "os", Torn())
    assert store._archive.put_many(writes) == [None] * 8
    for module in (_writer, _archive, _files, _fsync):
        monkeypatch.setattr(module, "os", os)
    assert seen == sorted(seen)
    assert set(seen) == set(range(9))
    store.close()
    assert len(contents(path)) == 9


def test_a_batch_that_fails_fails_for_each_and_leaves_nothing(path, monkeypatch):
    def full(name, count):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    keys = [f"k{i}" for i in range(5)]
    with ZipStore(path, mode="w") as store:
        store.set_sync("k0", b"old")

        async def main():
            return await asyncio.gather(*(store.set(key, b"new") for key in keys), return_exceptions=True)

        for module in (_writer, _archive, _files, _fsync):
            monkeypatch.setattr(module, "os", Watched(full))
        errors = asyncio.run(main())
        for module in (_writer, _archive, _files, _fsync):
            monkeypatch.setattr(module, "os", os)
        assert [type(error) for error in errors] == [NoSpaceError] * 5
        assert [error.key for error in errors] == keys
        assert contents(path) == {"k0": b"old"}
        assert asyncio.run(main()) == [None] * 5
    assert contents(path) == dict.fromkeys(keys, b"new")


def test_of_several_that_create_a_key_at_once_one_wins(path):
    with ZipStore(path, mode="w") as store:
        values = [b"%d" % i for i in range(20)]

        async def main():
            return await asyncio.gather(*(store.create("k", value) for value in values))

        won = asyncio.run(main())
        assert won.count(True) == 1
        assert store.get_sync("k").to_bytes() == values[won.index(True)]
        assert store._archive.put_many([("n", (b"1",), ABSENT), ("n", (b"2",), ABSENT)])[0] is None
        assert store.get_sync("n").to_bytes() == b"1"


def test_the_last_of_several_values_for_a_key_stays(path):
    with ZipStore(path, mode="w") as store:
        writes = [("k", (b"%d" % i,), ANY) for i in range(10)]
        assert store._archive.put_many(writes) == [None] * 10
        assert store.get_sync("k").to_bytes() == b"9"
    assert contents(path) == {"k": b"9"}


def test_more_than_a_run(path):
    count = 2 * _archive._RUN + 1
    with ZipStore(path, mode="w") as store:
        assert store._write_many([(f"{i}", (b"%d" % i,), ANY) for i in range(count)]) == [None] * count
        assert contents(path) == {f"{i}": b"%d" % i for i in range(count)}


def test_without_zip64_values_are_written_one_by_one(path):
    with ZipStore(path, mode="w", allowZip64=False) as store:
        store._write_many([(f"{i}", (b"x",), ANY) for i in range(3)])
        assert sorted(store.list_sync()) == ["0", "1", "2"]


def test_a_subclass_that_writes_otherwise_is_asked(path):
    class Loud(ZipStore):
        def _write(self, key, pieces, condition):
            if key == "bad":
                raise ValueError("not this one")
            return super()._write(key, [b"<", *pieces, b">"], condition)

    with Loud(path, mode="w") as store:

        async def main():
            return await asyncio.gather(
                *(store.set(key, b"v") for key in ("a", "bad", "b")), return_exceptions=True
            )

        a, bad, b = asyncio.run(main())
        assert (a, b) == (None, None)
        assert isinstance(bad, ValueError)
        assert store.get_sync("b").to_bytes() == b"<v>"


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs /dev/shm, a file system in memory")
def test_in_memory_small_values_need_no_thread(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        with ZipStore(Path(folder) / "a.zip", mode="w") as store:

            async def main():
                await store.set("first", b"1")
                used = []
                monkeypatch.setattr(_threads._pool, "submit", lambda job: used.append(job))
                await store.set("second", b"2")
                assert not used
                monkeypatch.undo()
                # While somebody else writes, it waits elsewhere than on the loop.
                held, done = threading.Event(), threading.Event()

                def hold():
                    with store._archive._lock:
                        held.set()
                        done.wait(5)

                thread = threading.Thread(target=hold)
                thread.start()
                held.wait(5)
                task = asyncio.ensure_future(store.set("third", b"3"))
                await asyncio.sleep(0.05)
                assert not task.done()
                done.set()
                await task
                thread.join()

            asyncio.run(main())
        assert contents(Path(folder) / "a.zip") == {"first": b"1", "second": b"2", "third": b"3"}
