"""Reads of other stores into a GPU's memory, over a stand-in for cupy on NumPy."""

import asyncio
import errno
import os
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy_cupy
import numpy_kvikio
import pytest

from zarrstore._async.nowait import NowaitVerbs
from zarrstore._core.retry import RetryPolicy
from zarrstore._faces.to_device import to_device
from zarrstore.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest, cut
from zarrstore.buffer import _cupy, _direct, _staging, cpu, gpu
from zarrstore.errors import BackendError, ByteRequestError, MissingDependencyError, TruncatedError
from zarrstore.storage import (
    GpuMemoryStore,
    LocalStore,
    LoggingStore,
    MemoryStore,
    RetryStore,
    WrapperStore,
    ZipStore,
)
from zarrstore.storage._nowait import NowaitStore

BLOCK = 1000
DEVICE = gpu.buffer_prototype
VALUES = {
    f"v/{size}": bytes(np.random.default_rng(size).integers(0, 256, size, "u1"))
    for size in (0, 1, BLOCK - 1, BLOCK, 3 * BLOCK, 8 * BLOCK + 7, 200 * BLOCK)
}
LONG = f"v/{8 * BLOCK + 7}"


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    """A device whose copies come as late as may be, and small blocks."""
    monkeypatch.setattr(_staging, "BLOCK", BLOCK)
    monkeypatch.setattr(_staging, "READERS", 2)
    monkeypatch.setattr(_staging, "BLOCKS", 4)
    monkeypatch.setitem(sys.modules, "kvikio", None)
    _direct._kvikio.cache_clear()
    yield numpy_cupy.install(monkeypatch)
    _direct._kvikio.cache_clear()
    assert numpy_cupy.hazards == []
    for ring in _staging._rings.values():
        assert len(ring._free) == ring._made <= _staging.BLOCKS, "a block was lost"


class Awaited(Store):
    """A store whose verbs await, and know nothing of devices."""

    def __init__(self):
        super().__init__()
        self.values = {}

    @property
    def _location(self):
        return f"awaited://{id(self):x}"

    async def _read(self, key, request, allocate):
        await asyncio.sleep(0)
        value = self.values.get(key)
        if value is None:
            return None
        value = cut(value, request)
        memory = allocate(len(value))
        memory[:] = np.frombuffer(value, np.uint8)
        return memory

    async def _write(self, key, pieces, condition):
        self.values[key] = b"".join(pieces)

    async def _remove(self, key, condition):
        self.values.pop(key, None)

    async def _scan(self, prefix, deep, sizes):
        yield []


class Plain(MemoryStore):
    """A store of blocking verbs that know nothing of devices, and answer with bytes."""

    _loop_binding = NowaitVerbs

    def _read(self, key, request, allocate):
        found = super()._read(key, request, allocate)
        return None if found is None else found.tobytes()

    _read_nowait = NowaitStore._read_nowait


class Changed(MemoryStore):
    """A store whose public method is overridden, as zarr-python's users do."""

    calls = 0

    async def get(self, key, prototype=None, byte_range=None):
        self.calls += 1
        return await super().get(key, prototype, byte_range)


class Passing(WrapperStore):
    async def _read(self, below, key, request, allocate):
        return await below.read(key, request, allocate)


def closed_zip(path, **options):
    """An archive whose members were written by somebody else."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for key, value in VALUES.items():
            archive.writestr(key, value)
    return path


MAKERS = {
    "local": lambda path: LocalStore(path / "root"),
    "mapped": lambda path: LocalStore(path / "root", mmap=True),
    "memory": lambda path: MemoryStore(),
    "gpu": lambda path: GpuMemoryStore(),
    "zip": lambda path: ZipStore(path / "a.zip", mode="w"),
    "deflated zip": lambda path: ZipStore(path / "a.zip", mode="w", compression=8),
    "foreign zip": lambda path: ZipStore(closed_zip(path / "a.zip"), mode="r"),
    "verified zip": lambda path: ZipStore(closed_zip(path / "a.zip"), mode="r", verify=True),
    "mapped zip": lambda path: ZipStore(closed_zip(path / "a.zip"), mode="r", mmap=True),
    "awaited": lambda path: Awaited(),
    "plain": lambda path: Plain(),
    "changed": lambda path: Changed(),
    "wrapper": lambda path: WrapperStore(LocalStore(path / "root")),
    "wrapper of reads": lambda path: Passing(Passing(LocalStore(path / "root"))),
    "retrying": lambda path: RetryStore(LocalStore(path / "root"), RetryPolicy()),
    "logging": lambda path: LoggingStore(Awaited(), log_level="CRITICAL"),
    "part": lambda path: LocalStore(path / "root").sub("below"),
}


@pytest.fixture(params=MAKERS)
def store(request, tmp_path):
    store = MAKERS[request.param](tmp_path)
    if not store.read_only:
        for key, value in VALUES.items():
            store.set_sync(key, value)
    numpy_cupy.copies.clear()
    yield store
    store.close()


def content(value):
    """The bytes of a buffer, after a check that it is on the device and is whole already."""
    if value is None:
        return None
    assert type(value) is gpu.Buffer
    return value.as_array_like().held.tobytes()  # waits for nothing


def requests(size):
    yield None
    if size:
        yield SuffixByteRequest(size + 5)
        yield OffsetByteRequest(size // 2)
        yield RangeByteRequest(size // 3, size)


CASES = [
    (key, request, cut(value, request)) for key, value in VALUES.items() for request in requests(len(value))
]


@pytest.mark.parametrize("sync", [False, True])
def test_every_store_gives_what_it_has_on_the_device(store, sync):
    pairs = [(key, request) for key, request, _ in CASES]
    expected = [value for _, _, value in CASES]

    async def ask():
        return (
            [await store.get(key, DEVICE, request) for key, request in pairs],
            await asyncio.gather(*(store.get(key, DEVICE, request) for key, request in pairs)),
            await store.get_partial_values(DEVICE, [*pairs, ("missing", None)]),
            await store.get("missing", DEVICE),
        )

    if sync:
        single = [store.get_sync(key, DEVICE, request) for key, request in pairs]
        batch = store.get_partial_values_sync(DEVICE, [*pairs, ("missing", None)])
        missing = store.get_sync("missing", DEVICE)
    else:
        single, crowd, batch, missing = asyncio.run(ask())
        assert [content(value) for value in crowd] == expected
    assert missing is None
    assert [content(value) for value in single] == expected
    assert [content(value) for value in batch] == [*expected, None]
    assert "to device" not in numpy_cupy.copies  # nothing came out of pageable memory
    assert len(numpy_cupy.pinned) <= 4


@pytest.mark.parametrize("sync", [False, True])
def test_ranges_of_one_value(store, sync):
    ranges = [RangeByteRequest(i, i + 900) for i in range(0, 7000, 1000)] + [None, SuffixByteRequest(3)]

    async def collect():
        batches = store.get_ranges(LONG, ranges, prototype=DEVICE, max_gap_bytes=200)
        return [pair async for batch in batches for pair in batch]

    pairs = store.get_ranges_sync(LONG, ranges, prototype=DEVICE) if sync else asyncio.run(collect())
    assert {index: content(value) for index, value in pairs} == {
        index: cut(VALUES[LONG], request) for index, request in enumerate(ranges)
    }
    assert "to device" not in numpy_cupy.copies


@pytest.mark.parametrize("sync", [False, True])
def test_versioned_reads(sync):
    store = MemoryStore()
    store.set_sync("k", VALUES[LONG])
    if sync:
        value, version = store.get_versioned_sync("k", DEVICE)
        missing = store.get_versioned_sync("missing", DEVICE)
    else:
        value, version = asyncio.run(store.get_versioned("k", DEVICE))
        missing = asyncio.run(store.get_versioned("missing", DEVICE))
    assert content(value) == VALUES[LONG]
    assert store.set_if_unchanged_sync("k", b"new", version) is not None
    assert missing is None
    assert numpy_cupy.copies == []


def test_an_overridden_get_is_asked():
    store = Changed()
    store.set_sync("k", b"value")
    assert content(store.get_sync("k", DEVICE)) == b"value"
    (value,) = store.get_partial_values_sync(DEVICE, [("k", None)])
    assert content(value) == b"value"
    assert store.calls == 2


def test_wrong_requests_are_told_as_ever(store):
    with pytest.raises(ByteRequestError, match=f"'{LONG}'"):
        store.get_sync(LONG, DEVICE, OffsetByteRequest(100_000))


def test_host_memory_is_read_as_ever():
    verbs = MemoryStore()._own_async_verbs
    assert to_device(verbs, None) is verbs
    assert to_device(verbs, cpu.buffer_prototype) is verbs


# -- the ring -------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path):
    store = LocalStore(tmp_path / "root")
    for key, value in VALUES.items():
        store.set_sync(key, value)
    return store


def test_a_block_is_read_while_the_one_before_is_copied(monkeypatch):
    monkeypatch.setattr(_staging, "READERS", 1)
    under_way = []

    def read(memory, at):
        under_way.append(sum(not stream.done for stream in blocks_streams()))
        memory[:] = at // BLOCK
        return len(memory)

    def blocks_streams():
        return [s for s in list(numpy_cupy._streams.values()) if not s.at_once and s.queue]

    array, count = _staging.Staging().fill(4 * BLOCK, read)
    assert count == 4 * BLOCK
    assert under_way == [0, 1, 2, 3]
    assert array.held.tolist() == np.repeat(range(4), BLOCK).tolist()


def test_a_large_value_is_read_by_several_threads(monkeypatch):
    threads = set()
    both = threading.Barrier(2, timeout=60)

    def read(memory, at):
        if at < 2 * BLOCK:
            both.wait()  # passes only if two threads are reading
        threads.add(threading.get_ident())
        memory[:] = 7
        return len(memory)

    assert _staging.Staging().fill(10 * BLOCK, read)[1] == 10 * BLOCK
    assert len(threads) == 2


def test_many_threads_and_loops_share_the_ring(local):
    def read(_):
        async def crowd():
            keys = list(VALUES) * 3
            found = await local.get_partial_values(DEVICE, [(key, None) for key in keys])
            found += await asyncio.gather(*(local.get(key, DEVICE) for key in keys))
            return [content(value) for value in found] == [VALUES[key] for key in keys * 2]

        return asyncio.run(crowd()) and content(local.get_sync(LONG, DEVICE)) == VALUES[LONG]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(24))) == [True] * 24
    assert len(numpy_cupy.pinned) <= 4


def test_an_error_while_reading_is_told_and_loses_nothing(local, monkeypatch):
    key, real = f"v/{200 * BLOCK}", os.preadv
    calls = []

    def preadv(descriptor, memory, start, *flags):
        calls.append(start)
        if start == 2 * BLOCK:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, memory, start, *flags)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(BackendError, match=rf"Input/output error.*{key}.*file://"):
        local.get_sync(key, DEVICE)
    assert len(calls) < 100  # the rest wasn't tried
    monkeypatch.setattr(os, "preadv", real)
    assert content(local.get_sync(key, DEVICE)) == VALUES[key]


@pytest.mark.parametrize("left", [0, 500, BLOCK, 3 * BLOCK + 1])
def test_a_file_that_is_cut_meanwhile_is_told(local, monkeypatch, left):
    real = os.lseek

    def lseek(descriptor, *args):
        size = real(descriptor, *args)
        os.truncate(local.root / LONG, left)
        return size

    monkeypatch.setattr(os, "lseek", lseek)
    with pytest.raises(TruncatedError, match=f"ended after {left} bytes"):
        local.get_sync(LONG, DEVICE)


def test_without_pinned_memory_the_error_is_told_and_the_next_read_works(local, monkeypatch, cupy):
    def fail(size):
        raise numpy_cupy.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")

    with monkeypatch.context() as context:
        context.setattr(cupy.cuda, "alloc_pinned_memory", fail)
        with pytest.raises(numpy_cupy.CUDARuntimeError, match="out of memory"):
            local.get_sync(LONG, DEVICE)
    assert content(local.get_sync(LONG, DEVICE)) == VALUES[LONG]


def test_a_failed_copy_is_told_and_the_next_read_works(local, monkeypatch, cupy):
    def fail(*args):
        raise numpy_cupy.CUDARuntimeError("cudaErrorLaunchFailure")

    with monkeypatch.context() as context:
        context.setattr(cupy.cuda.runtime, "memcpyAsync", fail)
        with pytest.raises(numpy_cupy.CUDARuntimeError, match="LaunchFailure"):
            local.get_sync(LONG, DEVICE)
    assert content(local.get_sync(LONG, DEVICE)) == VALUES[LONG]


def test_a_cancelled_read_gives_its_blocks_back(local):
    async def cancel():
        for turns in range(6):
            task = asyncio.ensure_future(local.get(f"v/{200 * BLOCK}", DEVICE))
            for _ in range(turns):
                await asyncio.sleep(0.0005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return await local.get(LONG, DEVICE)

    assert content(asyncio.run(cancel())) == VALUES[LONG]
    ring = _staging._rings[0]
    for _ in range(10_000):
        if len(ring._free) == ring._made:
            break
        threading.Event().wait(0.001)  # what was cancelled goes on to its end, unseen


def test_large_values_in_memory_dont_hold_the_loop(monkeypatch):
    threads = set()
    real = _staging.Staging.put

    def put(self, value):
        threads.add(threading.get_ident())
        return real(self, value)

    monkeypatch.setattr(_staging.Staging, "put", put)
    store = MemoryStore()
    store.set_sync("k", VALUES[LONG])
    assert content(asyncio.run(store.get("k", DEVICE))) == VALUES[LONG]
    assert threading.get_ident() not in threads


# -- streams and devices --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["local", "memory", "awaited"])
@pytest.mark.parametrize("direct", [False, True])
def test_copies_come_after_what_was_queued_on_the_callers_stream(kind, direct, tmp_path, monkeypatch, cupy):
    if direct:
        monkeypatch.setattr(_direct, "LEAST", 1)
        numpy_kvikio.install(monkeypatch)
    store = MAKERS[kind](tmp_path)
    store.set_sync("k", VALUES[LONG])
    stream = cupy.cuda.Stream(non_blocking=True)
    before = []
    stream.launch(lambda: before.append(len(numpy_kvikio.reads)))
    with stream:
        value = store.get_sync("k", DEVICE)
    assert before == [0]
    assert value.as_array_like().stream is stream
    assert content(value) == VALUES[LONG]


def test_a_threads_own_default_stream_isnt_taken_for_anothers(local, cupy):
    with cupy.cuda.Stream.ptds:
        assert _staging.Staging().stream is cupy.cuda.Stream.null
        assert content(local.get_sync(LONG, DEVICE)) == VALUES[LONG]


@pytest.mark.parametrize("kind", ["local", "zip", "memory", "awaited", "gpu"])
@pytest.mark.parametrize("sync", [False, True])
def test_values_come_to_the_device_that_is_current(kind, sync, tmp_path, cupy):
    store = MAKERS[kind](tmp_path)

    async def ask():
        with cupy.cuda.Device(1), cupy.cuda.Stream(non_blocking=True):
            return await store.get("k", DEVICE)

    with cupy.cuda.Device(1):
        store.set_sync("k", VALUES[LONG])
    value = None
    if sync:
        with cupy.cuda.Device(1), cupy.cuda.Stream(non_blocking=True):
            value = store.get_sync("k", DEVICE)
    else:
        value = asyncio.run(ask())
    assert value.to_bytes() == VALUES[LONG]
    assert {device for _, device in numpy_cupy.sent} <= {1}
    assert set(_staging._rings) <= {1}
    store.close()


def test_what_the_gpu_store_holds_is_in_order_between_streams(cupy):
    store = GpuMemoryStore()
    mine = gpu.Buffer.from_bytes(b"12345")
    with cupy.cuda.Stream(non_blocking=True) as written:
        store.set_sync("k", mine)
        store.set_partial_values_sync([("k", 0, b"X")])
    assert not written.done  # nothing has happened yet
    with cupy.cuda.Stream(non_blocking=True):
        assert store.get_sync("k", DEVICE).to_bytes() == b"X2345"
    with cupy.cuda.Stream(non_blocking=True):
        store.set_sync("other", mine)
        store.set_sync("another", mine)
    assert store.get_sync("other").to_bytes() == b"12345"
    assert store._store_dict["another"].to_bytes() == b"12345"


# -- what may be missing --------------------------------------------------------------------------


def test_a_machine_without_a_gpu_is_told(local, monkeypatch, cupy):
    def fail():
        raise numpy_cupy.CUDARuntimeError("cudaErrorInsufficientDriver")

    for count in (fail, lambda: 0):
        monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", count)
        _cupy._find_device.cache_clear()
        with pytest.raises(MissingDependencyError, match="need a GPU, and cupy finds none"):
            local.get_sync("k", DEVICE)


FORKING = """
import os, sys, warnings
import numpy_cupy
from zarrstore.buffer import gpu
from zarrstore.errors import ForkError
from zarrstore.storage import GpuMemoryStore, LocalStore

numpy_cupy.install_for_good()
store = LocalStore(sys.argv[1])
store.set_sync("k", b"value")
store.get_sync("k", gpu.buffer_prototype)
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    code = 1
    try:
        store.get_sync("k", gpu.buffer_prototype)
    except ForkError as error:
        code = 0 if "forkserver" in str(error) and store.get_sync("k").to_bytes() == b"value" else 2
    os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert store.get_sync("k", gpu.buffer_prototype).to_bytes() == b"value"
print("done")
"""


def test_a_forked_child_is_told_that_the_driver_is_gone(tmp_path):
    support = Path(numpy_cupy.__file__).parent
    path = os.pathsep.join([str(support), *filter(None, sys.path)])
    ran = subprocess.run(
        [sys.executable, "-c", FORKING, tmp_path],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.stdout, ran.stderr) == ("done\n", "")


# -- GPUDirect Storage ----------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Small values are read so as well."""
    monkeypatch.setattr(_direct, "LEAST", 2 * BLOCK)


def test_files_are_read_past_the_host(local, small, monkeypatch):
    numpy_kvikio.install(monkeypatch)
    assert content(local.get_sync(LONG, DEVICE)) == VALUES[LONG]
    assert content(local.get_sync(LONG, DEVICE, RangeByteRequest(1111, 7777))) == VALUES[LONG][1111:7777]
    path = str(local.root / LONG)
    assert numpy_kvikio.reads == [(path, 8 * BLOCK + 7, 0), (path, 6666, 1111)]
    assert numpy_cupy.sent == []
    assert content(asyncio.run(local.get(f"v/{BLOCK}", DEVICE))) == VALUES[f"v/{BLOCK}"]
    assert len(numpy_kvikio.reads) == 2  # a small one goes by the ring


def test_parts_of_stored_members_are_read_past_the_host(tmp_path, small, monkeypatch):
    """But whole ones aren't: they are held against their checksum first."""
    numpy_kvikio.install(monkeypatch)
    path = closed_zip(tmp_path / "a.zip")
    key = f"v/{200 * BLOCK}"
    store = ZipStore(path, mode="r")
    value = content(store.get_sync(key, DEVICE, RangeByteRequest(1, 190 * BLOCK)))
    assert value == VALUES[key][1 : 190 * BLOCK]
    ((read, size, offset),) = numpy_kvikio.reads
    assert (read, size) == (str(path), 190 * BLOCK - 1)
    assert path.read_bytes()[offset : offset + size] == value
    assert content(store.get_sync(key, DEVICE)) == VALUES[key]
    assert len(numpy_kvikio.reads) == 1


def test_the_very_file_that_was_opened_is_read(local, small, monkeypatch):
    numpy_kvikio.install(monkeypatch)
    real = os.lseek

    def lseek(*args):
        size = real(*args)
        monkeypatch.setattr(os, "lseek", real)
        local.set_sync(LONG, b"replaced" * 10_000)
        return size

    monkeypatch.setattr(os, "lseek", lseek)
    assert content(local.get_sync(LONG, DEVICE)) == VALUES[LONG]
    assert len(numpy_kvikio.reads) == 1


@pytest.mark.parametrize(
    "how", [{"compat": True}, {"fails": "open"}, {"fails": "read"}, {"short": 1}], ids=str
)
def test_where_that_fails_the_ring_takes_over(local, small, monkeypatch, how):
    numpy_kvikio.install(monkeypatch, **how)
    assert content(local.get_sync(LONG, DEVICE)) == VALUES[LONG]
    assert sum(size for size, _ in numpy_cupy.sent) == len(VALUES[LONG])


def test_a_kvikio_that_doesnt_load_is_none(local, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "kvikio", object())  # as one whose libraries are missing
    _direct._kvikio.cache_clear()
    assert content(local.get_sync(LONG, DEVICE)) == VALUES[LONG]
