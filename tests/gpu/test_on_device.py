"""What only a device can tell. Deselected unless asked for: ``pytest -m gpu`` where there is one."""

import asyncio
import os
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from zarrstore.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest, cut
from zarrstore.buffer import _staging, cpu, gpu
from zarrstore.errors import ForkError
from zarrstore.storage import GpuMemoryStore, LocalStore, MemoryStore, WrapperStore, ZipStore
from zarrstore.testing import StoreContract

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default:::cupy")]

DEVICE = gpu.buffer_prototype
BLOCK = _staging.BLOCK
SIZES = (0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 12345)
VALUES = {f"v/{size}": np.random.default_rng(size).integers(0, 256, size, "u1").tobytes() for size in SIZES}
LONG = f"v/{SIZES[-1]}"


@pytest.fixture
def cupy():
    import cupy

    return cupy


def make_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in VALUES.items():
            archive.writestr(key, value)
    return path


MAKERS = {
    "gpu": lambda path: GpuMemoryStore(),
    "memory": lambda path: MemoryStore(),
    "local": lambda path: LocalStore(path / "root"),
    "wrapper": lambda path: WrapperStore(LocalStore(path / "root")),
    "zip": lambda path: ZipStore(path / "a.zip", mode="w"),
    "foreign zip": lambda path: ZipStore(make_archive(path / "a.zip"), mode="r"),
    "deflated zip": lambda path: ZipStore(path / "a.zip", mode="w", compression=8),
}


@pytest.fixture(params=MAKERS)
def store(request, tmp_path):
    store = MAKERS[request.param](tmp_path)
    if not store.read_only:
        for key, value in VALUES.items():
            store.set_sync(key, value)
    yield store
    store.close()


class TestContract(StoreContract):
    @pytest.fixture
    def store(self):
        return GpuMemoryStore()


def requests(size):
    yield None
    if size:
        yield SuffixByteRequest(size + 5)
        yield OffsetByteRequest(size // 2)
        yield RangeByteRequest(size // 3, size)


def test_values_arrive_whole(store):
    cases = [(key, request) for key, value in VALUES.items() for request in requests(len(value))]
    expected = [cut(VALUES[key], request) for key, request in cases]

    async def ask():
        single = await asyncio.gather(*(store.get(key, DEVICE, request) for key, request in cases))
        return single, await store.get_partial_values(DEVICE, cases)

    for values in (*asyncio.run(ask()), store.get_partial_values_sync(DEVICE, cases)):
        assert {type(value) for value in values} == {gpu.Buffer}
        assert [value.to_bytes() for value in values] == expected


def test_values_are_whole_on_every_stream_at_once(store, cupy):
    """What a read returned may be used by a stream that knows nothing of it."""
    expected = int(np.frombuffer(VALUES[LONG], "u1").sum(dtype="u8"))
    for _ in range(20):
        value = store.get_sync(LONG, DEVICE).as_array_like()
        with cupy.cuda.Stream(non_blocking=True) as stream:
            total = value.sum(dtype="u8")
            stream.synchronize()
            assert int(total.get(stream=stream)) == expected


def test_memory_that_a_kernel_still_uses_isnt_overwritten(tmp_path, cupy):
    """A value may come to lie where another did that was let go of while work on it was queued."""
    store = LocalStore(tmp_path)
    size = 64 << 20
    store.set_sync("k", bytes(size))
    for _ in range(10):
        with cupy.cuda.Stream(non_blocking=True) as stream:
            slow = cupy.ones(size, "f4")
            old = cupy.ones(size, "u1")
            for _ in range(100):
                slow *= 0.5
            total = old.sum(dtype="u8")  # queued behind what is slow
            del old
            value = store.get_sync("k", DEVICE)  # as large, so that it may get that very memory
            stream.synchronize()
            assert int(total.get(stream=stream)) == size
            assert int(value.as_array_like().max().get(stream=stream)) == 0


def test_threads_and_streams_share_the_ring(store, cupy):
    def read(number):
        with cupy.cuda.Stream(non_blocking=True):
            keys = list(VALUES)[number % len(VALUES) :]
            found = store.get_partial_values_sync(DEVICE, [(key, None) for key in keys])
            return [value.to_bytes() for value in found] == [VALUES[key] for key in keys]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(64)))
    for ring in _staging._rings.values():
        assert len(ring._free) == ring._made <= _staging.BLOCKS


def test_what_is_written_on_one_stream_is_read_on_another(cupy):
    store = GpuMemoryStore()
    for number in range(1, 50):
        with cupy.cuda.Stream(non_blocking=True):
            array = cupy.zeros(32 << 20, "u1")
            array += number
            store.set_sync("k", gpu.Buffer(array))
        with cupy.cuda.Stream(non_blocking=True):
            assert int(store.get_sync("k", DEVICE).as_array_like().min()) == number
        assert store.get_sync("k", cpu.buffer_prototype, RangeByteRequest(0, 2)).to_bytes() == bytes(
            [number, number]
        )


def test_arrays_of_other_libraries_are_taken_as_they_are(cupy):
    array = cupy.arange(10, dtype="u1")

    class Other:
        __cuda_array_interface__ = array.__cuda_array_interface__
        dtype, ndim, size = array.dtype, array.ndim, array.size

    buffer = gpu.Buffer.from_array_like(Other())
    assert buffer.as_array_like().data.ptr == array.data.ptr
    assert cpu.Buffer.from_buffer(buffer).to_bytes() == bytes(range(10))
    assert gpu.Buffer.from_buffer(cpu.Buffer.from_bytes(b"abc")).to_bytes() == b"abc"


def test_cancelled_reads_do_no_harm(store):
    async def cancel():
        for turns in range(20):
            task = asyncio.ensure_future(store.get(LONG, DEVICE))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return await store.get(LONG, DEVICE)

    assert asyncio.run(cancel()).to_bytes() == VALUES[LONG]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_is_told(store):
    assert store.get_sync(LONG, DEVICE).to_bytes() == VALUES[LONG]
    child = os.fork()
    if child == 0:
        try:
            store.get_sync(LONG, DEVICE)
        except ForkError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.get_sync(LONG, DEVICE).to_bytes() == VALUES[LONG]


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_arrays_of_zarr_python(store, cupy):
    import zarr

    if store.read_only:
        store = GpuMemoryStore()
    data = np.arange(600 * 500, dtype="i4").reshape(600, 500)
    with zarr.config.enable_gpu():
        array = zarr.create_array(store, name="a", shape=data.shape, dtype=data.dtype, chunks=(250, 200))
        array[:] = cupy.asarray(data)
        found = array[:]
    assert type(found) is cupy.ndarray
    np.testing.assert_array_equal(found.get(), data)


def test_a_value_is_read_by_several_threads_where_there_are_several(tmp_path):
    store = LocalStore(tmp_path)
    store.set_sync("k", bytes(64 * BLOCK))
    threads = set()
    real = _staging._Flight._fill

    def fill(self, block, start):
        threads.add(threading.get_ident())
        real(self, block, start)

    _staging._Flight._fill = fill
    try:
        store.get_sync("k", DEVICE)
    finally:
        _staging._Flight._fill = real
    assert 1 < len(threads) <= _staging.READERS or _staging.READERS == 1


def test_the_benchmark_runs():
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
    ran = subprocess.run([sys.executable, script, "--quick"], capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr
    assert "of the bus" in ran.stdout
