"""Many small files by one system call: the same answers as file by file, whatever lies there."""

import asyncio
import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from zarrstore._core.verbs import WOULD_BLOCK
from zarrstore.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarrstore.errors import BackendError, ByteRequestError
from zarrstore.storage import LocalStore, _ring

pytestmark = pytest.mark.skipif(
    _ring._ring() is None, reason="needs Linux 6.1 or later, and permission to use io_uring"
)

SIZES = [1, 100, 4095, 4096, 4097, _ring.LARGEST - 1, _ring.LARGEST, _ring.LARGEST + 1, 100_000]


def content(seed, size):
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.set_sync("first", b"so that it looks at its file system")
    return store


@pytest.fixture
def calls(monkeypatch):
    """How many files each call of a ring was for."""
    counts = []
    real = _ring._Ring.read

    def read(self, folder, requests):
        counts.append(len(requests))
        return real(self, folder, requests)

    monkeypatch.setattr(_ring._Ring, "read", read)
    return counts


def read_both(store, pairs):
    """Values by the loop and by the calling thread, as bytes."""

    def plain(values):
        return [None if value is None else value.to_bytes() for value in values]

    awaited = plain(asyncio.run(store.get_partial_values(None, pairs)))
    assert plain(store.get_partial_values_sync(None, pairs)) == awaited
    return awaited


def fill(store, count, size=4096):
    values = {f"c/{i // 100}/{i}": content(i, size) for i in range(count)}
    for key, value in values.items():
        store.set_sync(key, value)
    return values


@pytest.mark.parametrize("count", [64, 65, 300, 1000])
def test_many_small_values_come_by_rings(store, calls, count):
    values = fill(store, count)
    assert read_both(store, [(key, None) for key in values]) == list(values.values())
    assert sum(calls) == 2 * count
    assert max(calls) <= 64


def test_a_few_values_need_no_thread(store, calls):
    values = fill(store, 63)
    assert read_both(store, [(key, None) for key in values]) == list(values.values())
    assert not calls


def test_every_kind_of_answer(store, calls):
    """Sizes around the limit, empty and missing values, folders, pipes, links, parts of values."""
    values = {f"size/{size}": content(size, size) for size in SIZES}
    values["ä/☃"] = b"not ASCII"
    values["empty"] = b""
    for key, value in values.items():
        store.set_sync(key, value)
    (store.root / "link").symlink_to(store.root / "size/4096")
    (store.root / "dangling").symlink_to("nowhere")
    (store.root / "folder").mkdir()
    pairs = [(key, None) for key in values]
    expected = list(values.values())
    pairs += [
        ("link", None),
        ("dangling", None),
        ("folder", None),
        ("size", None),
        ("no", None),
        ("no/no", None),
    ]
    expected += [values["size/4096"], None, None, None, None, None]
    pairs += [("size/1/below", None)]
    expected += [None]
    for key, value in values.items():
        for start, stop in [(0, 1), (1, 50), (0, 4096), (4000, 5000), (0, 1 << 40), (90_000, 90_001)]:
            if start < len(value):
                pairs.append((key, RangeByteRequest(start, stop)))
                expected.append(value[start:stop])
        if value:
            pairs += [(key, OffsetByteRequest(len(value) // 2)), (key, SuffixByteRequest(7))]
            expected += [value[len(value) // 2 :], value[-7:]]
    order = np.random.default_rng(0).permutation(len(pairs))
    pairs, expected = [pairs[i] for i in order], [expected[i] for i in order]
    assert len(pairs) > 64
    assert read_both(store, pairs) == expected
    assert sum(calls) > len(pairs)  # of each time more than half


def test_what_is_wrong_is_told_as_for_one(store):
    values = fill(store, 100, 100)
    pairs = [(key, None) for key in values]
    with pytest.raises(ByteRequestError):
        read_both(store, [*pairs, ("c/0/1", RangeByteRequest(100, 200))])
    os.mkfifo(store.root / "pipe")
    with pytest.raises(BackendError, match="pipe"):
        read_both(store, [*pairs, ("pipe", None)])


def test_a_pipe_that_is_held_open_is_told_too(store, monkeypatch):
    """Reading it would wait for ever: the ring is left, and what it couldn't read is looked at by itself."""
    values = fill(store, 100, 100)
    os.mkfifo(store.root / "pipe")
    monkeypatch.setattr(_ring, "_own", threading.local())
    monkeypatch.setattr(_ring, "_refused", False)
    monkeypatch.setattr(_ring, "_abandoned", [])
    monkeypatch.setattr(_ring._limit, "seconds", 0)
    monkeypatch.setattr(_ring._limit, "nanoseconds", 10**8)
    holder = os.open(store.root / "pipe", os.O_RDWR)
    try:
        with pytest.raises(BackendError, match="pipe"):
            store.get_partial_values_sync(None, [*((key, None) for key in values), ("pipe", None)])
        assert _ring._abandoned
        assert read_both(store, [(key, None) for key in values]) == list(values.values())
    finally:
        os.close(holder)
        for ring in _ring._abandoned:
            ring.close()


def test_a_missing_root_has_no_values(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.set_sync("k", b"0")
    pairs = [(f"k{i}", None) for i in range(100)]
    assert read_both(store, pairs) == [None] * 100
    (store.root / "k").unlink()
    store.root.rmdir()
    assert read_both(store, pairs) == [None] * 100


def test_a_run_of_large_values_leaves_the_ring(store, calls):
    """Each is better read by itself: the first call finds out."""
    values = fill(store, 200, 20_000)
    assert read_both(store, [(key, None) for key in values]) == list(values.values())
    assert calls == [64, 64]


def test_values_share_no_memory(store):
    values = fill(store, 100, 50)
    answers = store.get_partial_values_sync(None, [(key, None) for key in values])
    assert all(answer.as_numpy_array().base is None for answer in answers)


def test_cold_files_are_read_whole(store):
    values = fill(store, 400, 12_000)
    os.sync()
    for number, key in enumerate(values):
        descriptor = os.open(store.root / key, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 4096 if number % 2 else 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    assert read_both(store, [(key, None) for key in values]) == list(values.values())


def test_a_short_answer_alone_is_no_value(store, monkeypatch):
    """What comes behind it must be the end, and no error: as on a medium that fails in the middle."""
    values = fill(store, 64)
    real = _ring._Ring._carry_out

    def failing(self, plan):
        results = real(self, plan).copy()
        results[5, 1:3] = 1000, -errno.EIO
        return results

    monkeypatch.setattr(_ring._Ring, "_carry_out", failing)
    folder = os.open(store.root, os.O_RDONLY)
    try:
        answers = _ring.read_each(folder, [(key, None) for key in values])
    finally:
        os.close(folder)
    assert [at for at, answer in enumerate(answers) if answer is WOULD_BLOCK] == [5]
    assert read_both(store, [(key, None) for key in values]) == list(values.values())


def test_the_loop_goes_on_meanwhile(store):
    values = fill(store, 2000)
    turns = 0

    async def main():
        nonlocal turns

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(count())
        answers = await store.get_partial_values(None, [(key, None) for key in values])
        task.cancel()
        return answers

    assert None not in asyncio.run(main())
    assert turns > 5


def test_threads_have_a_ring_each(store):
    values = fill(store, 300)
    pairs = [(key, None) for key in values]
    wrong = []

    def work():
        for _ in range(20):
            answers = store.get_partial_values_sync(None, pairs)
            wrong.extend(a for a, v in zip(answers, values.values(), strict=True) if a.to_bytes() != v)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_thread_that_ends_takes_its_ring_along(store):
    values = fill(store, 64)
    pairs = [(key, None) for key in values]

    def open_rings():
        links = [
            os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)
        ]
        return sum("io_uring" in link for link in links)

    store.get_partial_values_sync(None, pairs)
    before = open_rings()
    for _ in range(5):
        thread = threading.Thread(target=store.get_partial_values_sync, args=(None, pairs))
        thread.start()
        thread.join()
    assert open_rings() == before


def test_signals_do_not_disturb(store):
    values = fill(store, 300)
    pairs = [(key, None) for key in values]
    seen = []
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(30):
            answers = store.get_partial_values_sync(None, pairs)
            assert [answer.to_bytes() for answer in answers] == list(values.values())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen


def test_a_forked_child_makes_rings_of_its_own(store):
    values = fill(store, 300)
    code = """
import os, sys, warnings
from zarrstore.storage import LocalStore, _ring
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads and fork
store = LocalStore(sys.argv[1])
store.get_sync("first")
pairs = [(f"c/{i // 100}/{i}", None) for i in range(300)]
before = store.get_partial_values_sync(None, pairs)
ring = _ring._own.ring
child = os.fork()
if not child:
    after = store.get_partial_values_sync(None, pairs)
    same = [a.to_bytes() for a in after] == [b.to_bytes() for b in before]
    os._exit(0 if same and _ring._own.ring is not ring else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
after = store.get_partial_values_sync(None, pairs)
assert [a.to_bytes() for a in after] == [b.to_bytes() for b in before]
"""
    assert values
    subprocess.run([sys.executable, "-c", code, str(store.root)], check=True, timeout=60)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.EMFILE])
def test_without_rings_files_are_read_one_by_one(store, monkeypatch, number):
    """As old kernels answer, and containers; simulated by a system call that says so."""
    values = fill(store, 100)

    def refuse(*args):
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(_ring, "_own", threading.local())
    monkeypatch.setattr(_ring, "_refused", False)
    monkeypatch.setattr(_ring, "_call", refuse)
    assert read_both(store, [(key, None) for key in values]) == list(values.values())
    assert _ring._refused == (number != errno.EMFILE)


def test_a_ring_that_breaks_is_left(store, monkeypatch):
    values = fill(store, 300)
    real = _ring._call

    def breaking(number, *args):
        if number == _ring._ENTER:
            ctypes.set_errno(errno.EBADF)
            return -1
        return real(number, *args)

    monkeypatch.setattr(_ring, "_own", threading.local())
    monkeypatch.setattr(_ring, "_refused", False)
    monkeypatch.setattr(_ring, "_abandoned", [])
    monkeypatch.setattr(_ring, "_call", breaking)
    assert read_both(store, [(key, None) for key in values]) == list(values.values())
    assert _ring._refused
    assert _ring._abandoned
