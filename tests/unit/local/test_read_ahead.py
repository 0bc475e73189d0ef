"""Awaited reads of small values that aren't cached: the disk is told, and the loop looks again."""

import asyncio
import errno
import os
import threading

import pytest

from zarrstore import RangeByteRequest
from zarrstore.storage import LocalStore
from zarrstore.storage._local import reading as module

pytestmark = pytest.mark.skipif(
    not hasattr(os, "RWF_NOWAIT"), reason="needs Linux's reads of the page cache alone"
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store on a disk, as far as it knows, whose values are in no cache until `Disk` says so."""
    store = LocalStore(tmp_path)
    for number in range(100):
        store.set_sync(f"c/{number}", b"%d" % number * 1000)
    store.set_sync("large", bytes(module.LARGEST_AHEAD + 1))
    monkeypatch.setattr("zarrstore._os.files.file_system", lambda path: "ext4")
    store._survey()
    return store


class Disk:
    """Answers reads that must not wait with EAGAIN for so many rounds; notes what it is told, and by whom."""

    def __init__(self, monkeypatch, rounds):
        self.told = []
        self.readers = []
        self.left = {}
        self.rounds = rounds
        self.preadv = os.preadv
        monkeypatch.setattr(os, "preadv", self.read)
        monkeypatch.setattr(os, "posix_fadvise", self.advise)

    def read(self, descriptor, buffers, offset, flags=0):
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if flags and self.left.setdefault(name, self.rounds):
            self.left[name] -= 1
            raise BlockingIOError(errno.EAGAIN, "not cached")
        self.readers.append(threading.current_thread() is threading.main_thread())
        return self.preadv(descriptor, buffers, offset, flags)

    def advise(self, descriptor, offset, length, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        self.told.append(os.readlink(f"/proc/self/fd/{descriptor}"))


@pytest.mark.parametrize("request_", [None, RangeByteRequest(2, 9)])
def test_a_value_that_the_disk_brings_soon_needs_no_thread(store, monkeypatch, request_):
    disk = Disk(monkeypatch, rounds=3)
    value = asyncio.run(store.get("c/7", byte_range=request_))
    assert value.to_bytes() == (b"7" * 7 if request_ else b"7" * 1000)
    assert len(disk.told) == 1
    assert disk.readers == [True]


def test_a_thread_waits_for_a_slow_disk(store, monkeypatch):
    disk = Disk(monkeypatch, rounds=10**6)
    assert asyncio.run(store.get("c/7")).to_bytes() == b"7" * 1000
    assert len(disk.told) == 1
    assert disk.readers == [False]


def test_no_more_are_on_their_way_than_fit_the_queue(store, monkeypatch):
    disk = Disk(monkeypatch, rounds=10**6)

    async def read():
        return await asyncio.gather(*(store.get(f"c/{number}") for number in range(100)))

    values = asyncio.run(read())
    assert [value.to_bytes() for value in values] == [b"%d" % number * 1000 for number in range(100)]
    assert len(disk.told) <= module.MOST_AHEAD
    assert store._ahead == 0


def test_large_values_are_read_by_a_thread(store, monkeypatch):
    disk = Disk(monkeypatch, rounds=10**6)
    assert len(asyncio.run(store.get("large"))) == module.LARGEST_AHEAD + 1
    assert not disk.told
    assert not any(disk.readers)


def test_a_value_that_is_replaced_or_deleted_meanwhile(store, monkeypatch):
    disk = Disk(monkeypatch, rounds=2)
    advise = disk.advise

    def meanwhile(descriptor, *rest):
        advise(descriptor, *rest)
        store.set_sync("c/1", b"new")
        store.delete_sync("c/2")

    monkeypatch.setattr(os, "posix_fadvise", meanwhile)

    async def read():
        return await store.get("c/1"), await store.get("c/2")

    first, second = asyncio.run(read())
    assert first.to_bytes() == b"new"
    assert second is None


def test_a_cancelled_read_leaves_its_place(store, monkeypatch):
    Disk(monkeypatch, rounds=10**6)

    async def cancelled():
        tasks = [asyncio.ensure_future(store.get(f"c/{number}")) for number in range(40)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(cancelled())
    assert store._ahead == 0


def test_a_file_system_that_takes_no_advice(store, monkeypatch):
    disk = Disk(monkeypatch, rounds=10**6)

    def refuse(*arguments):
        raise OSError(errno.EINVAL, "no advice")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    assert asyncio.run(store.get("c/7")).to_bytes() == b"7" * 1000
    assert disk.readers == [False]
