"""The local store's options: fsync, mmap, links; large, cold and half-cached values; no stalls."""

import asyncio
import os
import pickle
import shutil
import threading
import time

import numpy as np
import pytest
from injected import traced
from loop_watchdog import check_longest, gaps

from zarrstore._async.nowait import MAX_INLINE_REUSE, MAX_INLINE_SIZE
from zarrstore._core import recycling
from zarrstore._core.recycling import Recycler
from zarrstore._os import files as _files
from zarrstore._os import fsync as _sync
from zarrstore.errors import BackendError, RefusedError
from zarrstore.storage import LocalStore

LARGE = np.random.default_rng(1).integers(0, 256, 20_000_003, dtype="B")


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "root")


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [
        1,
        4096,
        MAX_INLINE_SIZE,
        MAX_INLINE_SIZE + 1,
        MAX_INLINE_REUSE,
        MAX_INLINE_REUSE + 1,
        8 << 20,
        (8 << 20) + 4097,
        len(LARGE),
    ],
)
def test_values_of_any_size_by_every_face(store, size):
    value = LARGE[:size]
    store.set_sync("k", value)

    async def both():
        whole = await store.get("k")
        (again,) = await store.get_partial_values(None, [("k", None)])
        return whole.as_numpy_array(), again.as_numpy_array()

    for got in (*asyncio.run(both()), store.get_sync("k").as_numpy_array()):
        assert np.array_equal(got, value)


def test_large_values_in_many_pool_threads_at_once(store):
    """Work that is shared is taken back when no thread comes for it."""
    store.set_sync("k", LARGE)

    async def main():
        values = await asyncio.gather(*(store.get("k") for _ in range(20)))
        assert all(np.array_equal(value.as_numpy_array(), LARGE) for value in values)

    asyncio.run(main())


@pytest.mark.skipif(
    not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise, to drop pages from the cache"
)
@pytest.mark.parametrize("step", [1, 3, 7])
def test_half_cached_files_come_whole(store, step):
    """Pages that aren't in the cache look like the end of a file to a read that can't wait."""
    size = 100_000
    keys = [f"k{i}" for i in range(12)]
    for i, key in enumerate(keys):
        store.set_sync(key, LARGE[i : i + size])
    os.sync()
    partly = 0
    for key in keys:
        descriptor = os.open(store.root / key, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(
                descriptor, 0, 0, os.POSIX_FADV_RANDOM
            )  # so that reading a page fetches no other
            for page in range(0, size // 4096, step + 1):
                os.pread(descriptor, 1, page * 4096)
            try:
                partly += 0 < os.preadv(descriptor, [bytearray(size)], 0, os.RWF_NOWAIT) < size
            except OSError:
                pass
        finally:
            os.close(descriptor)

    async def main():
        one = [await store.get(key) for key in keys[:4]]
        many = await asyncio.gather(*(store.get(key) for key in keys[4:8]))
        batch = await store.get_partial_values(None, [(key, None) for key in keys[8:]])
        return [*one, *many, *batch]

    for i, value in enumerate(asyncio.run(main())):
        assert np.array_equal(value.as_numpy_array(), LARGE[i : i + size])
    assert partly, "no file was cached in part: nothing was tested"


def test_without_reads_that_cannot_wait_the_pool_alone_serves(store, monkeypatch):
    """As on macOS and Windows: simulated by taking the names away."""
    monkeypatch.setattr(_files, "NOWAIT", 0)
    monkeypatch.setattr(_files, "CAN_OPEN_CACHED", False)
    asyncio.run(store.set("k", b"0123"))
    assert not store._can_nowait
    assert bytes(asyncio.run(store.get("k"))) == b"0123"


def test_without_preadv_files_are_read_by_position(store, monkeypatch):
    monkeypatch.setattr(_files, "NOWAIT", 0)
    store.set_sync("k", LARGE[:50_000])
    monkeypatch.delattr(os, "preadv")
    monkeypatch.setattr(_files, "_SHARED", 1 << 60)
    assert np.array_equal(store.get_sync("k").as_numpy_array(), LARGE[:50_000])


def test_opening_from_the_cache(store):
    if not _files.CAN_OPEN_CACHED:
        pytest.skip("needs Linux 5.12 for openat2 with RESOLVE_CACHED")
    store.set_sync("k", b"1")
    descriptor = _files.open_cached(str(store.root / "k"))
    assert descriptor >= 0
    os.close(descriptor)
    os.path.exists(store.root / "none")
    assert _files.open_cached(str(store.root / "none")) == -2


# -- maps -----------------------------------------------------------------------------------------


def test_mapped_values(tmp_path):
    store = LocalStore(tmp_path, mmap=True)
    store.set_sync("k", LARGE[:10_000])
    store.set_sync("empty", b"")

    async def both():
        return await store.get("k")

    for value in (store.get_sync("k"), asyncio.run(both())):
        array = value.as_numpy_array()
        assert np.array_equal(array, LARGE[:10_000])
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    held = store.get_sync("k").as_numpy_array()
    store.set_sync("k", b"new")
    assert np.array_equal(held, LARGE[:10_000]), "replacing a file leaves its readers the old one"
    assert store.get_sync("empty").to_bytes() == b""
    assert store.get_sync("none") is None
    (tmp_path / "d").mkdir()
    assert store.get_sync("d") is None


# -- fsync ----------------------------------------------------------------------------------------


def test_fsync_is_one_of_three(tmp_path):
    with pytest.raises(ValueError, match="'none', 'data', 'full'"):
        LocalStore(tmp_path, fsync="yes")
    assert pickle.loads(pickle.dumps(LocalStore(tmp_path, fsync="full"))).fsync == "full"


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to see the system calls")
@pytest.mark.parametrize("mode", ["data", "full"])
def test_files_and_folders_were_synced_before_the_call_returned(tmp_path, mode):
    code = f"""
import asyncio, os, sys
from zarrstore.storage import LocalStore
store = LocalStore({str(tmp_path / "root")!r}, fsync={mode!r})
async def main():
    await asyncio.gather(*(store.set(f"a/b/{{i}}", b"x" * 100) for i in range(20)))
asyncio.run(main())
os.write(1, b"returned")
"""
    lines = traced(code, tmp_path, "fsync,fdatasync,write,rename")
    end = next(i for i, line in enumerate(lines) if '"returned"' in line)
    before = lines[:end]
    name = "fdatasync(" if mode == "data" else "fsync("
    assert sum(name in line and ".zarrstore-" in line for line in before) == 20
    renames = [i for i, line in enumerate(before) if "rename(" in line]
    assert len(renames) == 20
    if mode == "full":
        folder = str(tmp_path / "root/a/b") + ">"
        synced = [i for i, line in enumerate(before) if "fsync(" in line and folder in line]
        assert synced
        assert max(synced) > max(renames), "a folder's sync must begin after the last rename"
        assert len(synced) < 20, "concurrent writes share their waiting"
        for parent in ("root", "root/a", ""):
            path = str(tmp_path / parent).rstrip("/") + ">"
            assert any("fsync(" in line and path in line for line in before), parent


def test_whoever_asks_during_a_sync_waits_for_the_next(monkeypatch):
    log, gate = [], threading.Event()

    def slow(folder):
        log.append("begin")
        gate.wait()
        log.append("end")

    monkeypatch.setattr(_sync, "sync_folder", slow)
    folders = _sync.FolderSync()
    first = threading.Thread(target=folders.sync, args=("d",))
    first.start()
    while not log:
        time.sleep(0.001)
    others = [threading.Thread(target=folders.sync, args=("d", folders.ticket())) for _ in range(8)]
    for thread in others:
        thread.start()
    time.sleep(0.05)
    assert log == ["begin"]
    gate.set()
    for thread in [first, *others]:
        thread.join(5)
    assert log == ["begin", "end", "begin", "end"]
    assert not folders._turns


def test_a_sync_serves_all_tickets_that_were_taken_before_it_began(monkeypatch):
    synced = []
    monkeypatch.setattr(_sync, "sync_folder", synced.append)
    folders = _sync.FolderSync()
    tickets = [folders.ticket() for _ in range(3)]
    for ticket in tickets:
        folders.sync("d", ticket)
    assert synced == ["d"]
    folders.sync("e", tickets[0])
    folders.sync("d", folders.ticket())
    assert synced == ["d", "e", "d"]
    folders.sync("d")
    assert synced == ["d", "e", "d", "d"]


def test_a_sync_that_failed_serves_nobody_later(monkeypatch):
    def fail(folder):
        raise OSError(5, "Input/output error")

    folders = _sync.FolderSync()
    ticket = folders.ticket()
    for _ in range(2):
        monkeypatch.setattr(_sync, "sync_folder", fail)
        with pytest.raises(OSError, match="Input"):
            folders.sync("d", ticket)


def test_few_folder_syncs_for_many_writes_at_once(store, monkeypatch):
    store = LocalStore(store.root, fsync="full")
    store.set_sync("c/first", b"")
    synced, real = [], _sync.sync_folder

    def watched(folder):
        synced.append(folder)
        real(folder)

    monkeypatch.setattr(_sync, "sync_folder", watched)

    async def main():
        await asyncio.gather(*(store.set(f"c/{i}", b"x") for i in range(200)))

    asyncio.run(main())
    assert 1 <= len(synced) <= 20
    assert set(synced) == {str(store.root / "c")}

    def fail(folder):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(_sync, "sync_folder", fail)
    for call in (lambda: asyncio.run(store.set("c/1", b"y")), lambda: store.set_sync("c/1", b"y")):
        with pytest.raises(BackendError, match="c/1"):
            call()


def test_a_subclass_that_writes_otherwise_is_asked(store):
    class Loud(LocalStore):
        def _write(self, key, pieces, condition):
            return super()._write(key, [b"<", *pieces, b">"], condition)

    loud = Loud(store.root, fsync="full")
    asyncio.run(loud.set("k", b"v"))
    assert store.get_sync("k").to_bytes() == b"<v>"
    loud.set_sync("k", b"w")
    assert store.get_sync("k").to_bytes() == b"<w>"


def test_a_failed_sync_fails_all_who_share_it(monkeypatch):
    gate = threading.Event()

    def fail(folder):
        gate.wait()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(_sync, "sync_folder", fail)
    folders, errors = _sync.FolderSync(), []

    def ask():
        try:
            folders.sync("d")
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    gate.set()
    for thread in threads:
        thread.join(5)
    assert len(errors) == 5


# -- links ----------------------------------------------------------------------------------------


def test_links_that_leave_the_root_are_refused_on_request(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "x").write_bytes(b"1")
    store = LocalStore(tmp_path / "root", follow_symlinks=False)
    store.set_sync("in/k", b"2")
    (store.root / "out").symlink_to(victim)
    (store.root / "file").symlink_to(victim / "x")
    (store.root / "near").symlink_to("in")
    assert bytes(store.get_sync("near/k")) == b"2"
    for call in (
        lambda: store.get_sync("out/x"),
        lambda: asyncio.run(store.get("out/x")),
        lambda: store.get_sync("file"),
        lambda: store.exists_sync("out/x"),
        lambda: store.set_sync("out/new", b"3"),
        lambda: store.set_partial_values_sync([("file", 0, b"3")]),
        lambda: store.delete_sync("out/x"),
        lambda: store.delete_dir_sync("out/deeper"),
        lambda: list(store.list_prefix_sync("out")),
    ):
        with pytest.raises(RefusedError, match="follow_symlinks=True"):
            call()
    assert os.listdir(victim) == ["x"]
    assert (victim / "x").read_bytes() == b"1"


# -- no stalls ------------------------------------------------------------------------------------


@pytest.mark.parametrize("megabytes", [1, 256])
def test_no_call_holds_the_loop(store, megabytes):
    """What the loop's thread does between two turns of an idle task, beside calls of every kind.

    Counted in its own processor time, so that neither other processes nor other threads' turns at
    the interpreter count; `test_cold_values_are_not_read_on_the_loop` is about waiting. On a machine with
    nothing else to do it is less than 500 µs. Page faults may come in between, but not in every attempt.
    """
    limit = 2e-3  # two cores that run many tests at once are several times slower
    value = bytes(megabytes << 20)
    keys = [f"many/{i}" for i in range(300)]

    async def attempt():
        async with gaps() as found:
            await store.set("large", value)
            for first in range(0, 300, 20):  # a few at a time: the loop begins all of a gather in one turn
                await asyncio.gather(*(store.set(key, b"1") for key in keys[first : first + 20]))
            for key in keys:
                assert await store.get(key) is not None
            got = await store.get("large")  # kept until the watching ends: freeing it takes its time, too
            assert len(got) == len(value)
            assert None not in await store.get_partial_values(None, [(key, None) for key in keys])
            assert len([key async for key in store.list()]) == 301
            assert await store.getsize_prefix("many") == 300
            await store.delete_dir("many")
        assert len(found) > 20
        return max(found)

    store.exists_sync("any")
    check_longest(attempt, limit, most=20)


@pytest.mark.skipif(not _files.NOWAIT, reason="needs Linux, to read in place what is in the page cache")
@pytest.mark.parametrize("batch", [False, True])
def test_a_run_of_reads_in_place_lets_others_go_on(store, monkeypatch, batch):
    """Another task has its turn after 32 small reads, one by one as well as in a batch."""
    keys = [f"k/{i}" for i in range(500)]
    for key in keys:
        store.set_sync(key, bytes(4096))
    real, counts = os.preadv, [0]

    def counted(*args):
        counts[-1] += 1
        return real(*args)

    async def watch():
        while True:
            await asyncio.sleep(0)
            counts.append(0)

    async def main():
        assert len(await store.get("k/0")) == 4096
        watcher = asyncio.ensure_future(watch())
        await asyncio.sleep(0)  # it has begun
        monkeypatch.setattr(os, "preadv", counted)
        if batch:
            assert None not in await store.get_partial_values(None, [(key, None) for key in keys])
        else:
            for key in keys:
                assert len(await store.get(key)) == 4096
        monkeypatch.undo()
        watcher.cancel()

    asyncio.run(main())
    assert sum(counts) == 500
    assert max(counts) <= 33


def test_cold_values_are_not_read_on_the_loop(store, monkeypatch):
    """What isn't in the page cache is opened and read in the pool, never by the loop's thread."""
    for i in range(5):
        store.set_sync(f"k{i}", LARGE[:50_000])
    store.set_sync("large", LARGE)
    os.sync()
    for path in store.root.iterdir():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    loop_thread = threading.get_ident()
    real, plain = os.preadv, []

    def watched(descriptor, buffers, offset, flags=0):
        if threading.get_ident() == loop_thread and not flags:
            plain.append(offset)
        return real(descriptor, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", watched)

    async def main():
        for i in range(5):
            assert len(await store.get(f"k{i}")) == 50_000
        assert len(await store.get("large")) == len(LARGE)

    asyncio.run(main())
    assert not plain


# -- listings -------------------------------------------------------------------------------------


@pytest.mark.skipif(not _files.NOWAIT, reason="needs Linux, to read in place what is in the page cache")
@pytest.mark.parametrize("size", [1 << 20, 2 << 20])
def test_large_cached_values_are_read_in_place_into_memory_that_is_at_hand(store, monkeypatch, size):
    """New memory is filled in a thread, where its page faults hold up nobody; so are larger values."""
    store.set_sync("k", bytes(size))
    real, readers = os.preadv, []

    def noted(*args):
        readers.append(threading.get_ident())
        return real(*args)

    async def read_twice():
        kept = await store.get("k")
        first, readers[:] = set(readers), []
        del kept
        await asyncio.sleep(0)  # until then, the future that brought it refers to it
        await store.get("k")
        return first, set(readers)

    recycler, loop_thread = Recycler(64 << 20), {threading.get_ident()}
    monkeypatch.setattr(recycling, "allocate", recycler.allocate)
    monkeypatch.setattr(recycling, "reuse", recycler.reuse)
    monkeypatch.setattr(os, "preadv", noted)
    first, second = asyncio.run(read_twice())
    assert not first & loop_thread
    assert second == loop_thread if size <= MAX_INLINE_REUSE else not second & loop_thread


def test_listings_stream(store):
    """The first page is there after its own keys, not after all; a call that wants one key reads few."""
    root = store.root
    root.mkdir()
    for i in range(3000):
        (root / f"{i:04}").touch()
    pages = store._scan("", True, False)
    assert len(next(pages)) <= 64
    assert all(len(page) <= 1000 for page in pages)
    read = []
    real = os.scandir

    class Counting:
        def __init__(self, path):
            self.inner = real(path)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.inner.close()

        def __iter__(self):
            for entry in self.inner:
                read.append(entry.name)
                yield entry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", Counting)
        assert store.is_empty_sync() is False
    assert len(read) <= 64
