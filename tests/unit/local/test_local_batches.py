"""Many values of the local store at once: the same answers as one by one, whatever is there."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from zarrstore._async.nowait import MAX_INLINE_SIZE
from zarrstore.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarrstore.errors import BackendError, ByteRequestError
from zarrstore.storage import LocalStore

# Around a page, and around what is read in place.
SIZES = [1, 100, 4095, 4096, 4097, MAX_INLINE_SIZE - 1, MAX_INLINE_SIZE, MAX_INLINE_SIZE + 1]


def content(seed, size):
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.set_sync("first", b"so that it looks at its file system")
    return store


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


@pytest.mark.parametrize(("count", "size"), [(1, 4096), (1000, 4096), (200, 20_000)])
def test_values_come_in_the_order_asked(store, count, size):
    values = fill(store, count, size)
    assert read_both(store, [(key, None) for key in values]) == list(values.values())


def test_every_kind_of_answer(store):
    """Sizes around the limit, empty and missing values, folders, links, parts of values."""
    values = {f"size/{size}": content(size, size) for size in SIZES}
    values["ä/☃"] = b"not ASCII"
    values["empty"] = b""
    for key, value in values.items():
        store.set_sync(key, value)
    (store.root / "link").symlink_to(store.root / "size/4096")
    (store.root / "folder").mkdir()
    pairs = [(key, None) for key in values]
    expected = list(values.values())
    pairs += [
        ("link", None),
        ("folder", None),
        ("size", None),
        ("no", None),
        ("no/no", None),
    ]
    expected += [values["size/4096"], None, None, None, None]
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
    assert read_both(store, pairs) == expected


def test_what_is_wrong_is_told_as_for_one(store):
    values = fill(store, 100, 100)
    pairs = [(key, None) for key in values]
    with pytest.raises(ByteRequestError):
        read_both(store, [*pairs, ("c/0/1", RangeByteRequest(100, 200))])
    os.mkfifo(store.root / "pipe")
    with pytest.raises(BackendError, match="pipe"):
        read_both(store, [*pairs, ("pipe", None)])


def test_a_pipe_that_is_held_open_is_told_too(store):
    """Reading it would wait for ever."""
    values = fill(store, 100, 100)
    os.mkfifo(store.root / "pipe")
    pairs = [*((key, None) for key in values), ("pipe", None)]
    holder = os.open(store.root / "pipe", os.O_RDWR)
    try:
        with pytest.raises(BackendError, match="pipe"):
            store.get_partial_values_sync(None, pairs)
        with pytest.raises(BackendError, match="pipe"):
            asyncio.run(store.get_partial_values(None, pairs))
    finally:
        os.close(holder)


def test_a_missing_root_has_no_values(store):
    pairs = [(f"k{i}", None) for i in range(100)]
    assert read_both(store, pairs) == [None] * 100
    (store.root / "first").unlink()
    store.root.rmdir()
    assert read_both(store, pairs) == [None] * 100


def test_values_share_no_memory(store):
    values = fill(store, 100, 50)
    answers = store.get_partial_values_sync(None, [(key, None) for key in values])
    assert all(answer.as_numpy_array().base is None for answer in answers)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs a way to drop what is cached of a file")
def test_cold_files_are_read_whole(store):
    values = fill(store, 400, 12_000)
    os.sync()
    for number, key in enumerate(values):
        descriptor = os.open(store.root / key, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 4096 if number % 2 else 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
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


def test_threads_read_side_by_side(store):
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


def test_a_signal_handler_may_read_in_the_middle_of_a_batch(store):
    values = fill(store, 300)
    pairs = [(key, None) for key in values]
    others = list(values)[:64]
    seen = []

    def read(*_):
        answers = store.get_partial_values_sync(None, [(key, None) for key in others])
        seen.append([answer.to_bytes() for answer in answers] == [values[key] for key in others])

    old = signal.signal(signal.SIGALRM, read)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        for _ in range(30):
            answers = store.get_partial_values_sync(None, pairs)
            assert [answer.to_bytes() for answer in answers] == list(values.values())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen
    assert all(seen)


def test_a_forked_child_reads_batches(store):
    values = fill(store, 300)
    code = """
import os, sys, warnings
from zarrstore.storage import LocalStore
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads and fork
store = LocalStore(sys.argv[1])
store.get_sync("first")
pairs = [(f"c/{i // 100}/{i}", None) for i in range(300)]
before = store.get_partial_values_sync(None, pairs)
child = os.fork()
if not child:
    after = store.get_partial_values_sync(None, pairs)
    os._exit([a.to_bytes() for a in after] != [b.to_bytes() for b in before])
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
after = store.get_partial_values_sync(None, pairs)
assert [a.to_bytes() for a in after] == [b.to_bytes() for b in before]
"""
    assert values
    subprocess.run([sys.executable, "-c", code, str(store.root)], check=True, timeout=60)
