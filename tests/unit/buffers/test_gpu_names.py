"""Buffers and the store on a GPU, over a stand-in for cupy on NumPy, and what they say without it."""

import asyncio
import gc
import pickle
import sys

import numpy as np
import numpy_cupy
import pytest

from zarrstore.abc.store import RangeByteRequest
from zarrstore.buffer import cpu, gpu
from zarrstore.errors import DetachedError, KeyNotFoundError, MissingDependencyError
from zarrstore.storage import GpuMemoryStore, MemoryStore, WrapperStore


@pytest.fixture
def cupy(monkeypatch):
    return numpy_cupy.install(monkeypatch)


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


@pytest.mark.parametrize(
    "use",
    [
        GpuMemoryStore,
        lambda: GpuMemoryStore.from_dict({"k": cpu.Buffer.from_bytes(b"v")}),
        gpu.Buffer.create_zero_length,
        lambda: gpu.Buffer.from_bytes(b"v"),
        lambda: gpu.Buffer.from_buffer(cpu.Buffer.from_bytes(b"v")),
        lambda: gpu.NDBuffer.create(shape=(1,), dtype="B"),
        lambda: MemoryStore({"k": cpu.Buffer.from_bytes(b"v")}).get_sync("k", gpu.buffer_prototype),
    ],
)
def test_use_without_cupy_names_it_and_the_extra(no_cupy, use):
    with pytest.raises(MissingDependencyError, match=r"cupy.*zarrstore\[gpu\]"):
        use()


def test_buffers_share_and_copy(cupy):
    array = cupy.asarray(np.arange(5, dtype="B"))
    numpy_cupy.copies.clear()
    buffer = gpu.Buffer(array)
    assert buffer.as_array_like() is array
    assert gpu.Buffer.from_buffer(buffer).as_array_like() is array
    other = numpy_cupy.OtherDeviceArray(np.arange(5, dtype="B"))
    assert gpu.Buffer.from_array_like(other).as_array_like().held is other.held
    assert len(buffer[1:3]) == 2
    assert numpy_cupy.copies == []
    assert buffer.to_bytes() == bytes(range(5))
    assert gpu.Buffer.from_bytes(b"abc").to_bytes() == b"abc"
    assert gpu.Buffer.from_buffer(cpu.Buffer.from_bytes(b"abc")).to_bytes() == b"abc"
    assert cpu.Buffer.from_buffer(buffer).to_bytes() == bytes(range(5))
    assert len(gpu.Buffer.create_zero_length()) == 0
    assert (buffer + cpu.Buffer.from_bytes(b"\x05")).to_bytes() == bytes(range(6))
    assert buffer == cpu.Buffer.from_bytes(bytes(range(5)))
    buffer[1:3] = cpu.Buffer.from_bytes(b"xy")
    assert buffer.to_bytes() == b"\x00xy\x03\x04"


def test_buffers_refuse_other_arrays(cupy):
    with pytest.raises(ValueError, match="one dimension"):
        gpu.Buffer(cupy.asarray(np.zeros((2, 2), "B")))
    with pytest.raises(ValueError, match="bytes"):
        gpu.Buffer(cupy.asarray(np.zeros(2, "f4")))


def test_nd_buffers(cupy):
    made = gpu.NDBuffer.create(shape=(2, 3), dtype="i4", fill_value=7)
    assert (made.shape, made.dtype) == ((2, 3), np.dtype("i4"))
    made[0] = np.array([1, 2, 3], "i4")
    assert made.as_numpy_array().tolist() == [[1, 2, 3], [7, 7, 7]]
    assert made[0].as_numpy_array().tolist() == [1, 2, 3]
    assert gpu.NDBuffer.from_numpy_array(np.array([5])).as_scalar() == 5
    with pytest.raises(TypeError):
        gpu.NDBuffer(np.array([None]))


def test_every_value_is_on_the_device(cupy):
    store = GpuMemoryStore()

    async def write():
        await store.set("host", cpu.Buffer.from_bytes(b"12345"))
        await store.set("device", gpu.Buffer.from_bytes(b"67890"))
        await store.set("bytes", b"abc")
        await store.set_if_not_exists("new", cpu.Buffer.from_bytes(b"n"))

    asyncio.run(write())
    store.set_sync("sync", b"s")
    assert all(isinstance(value, gpu.Buffer) for value in store._store_dict.values())
    assert sorted(store.list_sync()) == ["bytes", "device", "host", "new", "sync"]
    assert store.getsize_sync("host") == 5
    assert str(store).startswith("gpumemory://")


def test_reading_gives_what_the_prototype_asks(cupy):
    store = GpuMemoryStore()
    store.set_sync("k", b"12345")
    numpy_cupy.copies.clear()
    value = store.get_sync("k", gpu.buffer_prototype)
    part = store.get_sync("k", gpu.buffer_prototype, RangeByteRequest(1, 3))
    (batched,) = store.get_partial_values_sync(gpu.buffer_prototype, [("k", None)])
    assert {type(value), type(part), type(batched)} == {gpu.Buffer}
    assert numpy_cupy.copies == []  # nothing left the device
    assert (value.to_bytes(), part.to_bytes(), batched.to_bytes()) == (b"12345", b"23", b"12345")
    for host in (store.get_sync("k"), store.get_sync("k", cpu.buffer_prototype)):
        assert type(host) is cpu.Buffer
        assert host.to_bytes() == b"12345"
    assert type(WrapperStore(store).get_sync("k", gpu.buffer_prototype)) is gpu.Buffer


def test_what_is_set_from_the_device_stays_there_and_is_copied(cupy):
    store = GpuMemoryStore()
    mine = gpu.Buffer.from_bytes(b"12345")
    numpy_cupy.copies.clear()
    store.set_sync("k", mine)
    assert numpy_cupy.copies == []
    mine[0:1] = gpu.Buffer.from_bytes(b"x")
    assert store.get_sync("k").to_bytes() == b"12345"


def test_partial_writes(cupy):
    store = GpuMemoryStore()
    store.set_sync("k", b"12345")
    asyncio.run(store.set("k", gpu.Buffer.from_bytes(b"ab"), (1, 3)))
    assert store.get_sync("k").to_bytes() == b"1ab45"
    asyncio.run(store.set_partial_values([("k", 0, b"X"), ("k", 4, b"YZ")]))
    assert store.get_sync("k").to_bytes() == b"Xab4YZ"
    with pytest.raises(KeyNotFoundError):
        asyncio.run(store.set("missing", b"ab", (1, 3)))


def test_from_dict_copies_and_the_constructor_does_not(cupy):
    host = {"k": cpu.Buffer.from_bytes(b"v")}
    store = GpuMemoryStore.from_dict(host)
    assert store.get_sync("k").to_bytes() == b"v"
    assert store._store_dict is not host
    with pytest.raises(TypeError, match="from_dict"):
        GpuMemoryStore(host)
    mine = {"k": gpu.Buffer.from_bytes(b"v")}
    assert GpuMemoryStore(mine, read_only=True)._store_dict is mine


def test_other_stores_give_device_buffers_too(cupy):
    store = MemoryStore()
    store.set_sync("k", gpu.Buffer.from_bytes(b"v"))
    value = store.get_sync("k", gpu.buffer_prototype)
    assert type(value) is gpu.Buffer
    assert value.to_bytes() == b"v"


def test_pickle(cupy):
    store = GpuMemoryStore()
    store.set_sync("k", b"v")
    assert pickle.loads(pickle.dumps(store)) == store
    payload = pickle.dumps(store)
    del store
    gc.collect()
    copy = pickle.loads(payload)  # as another process would
    assert copy.get_sync("k", gpu.buffer_prototype).to_bytes() == b"v"
    with pytest.raises(DetachedError):
        copy.set_sync("k", b"w")
