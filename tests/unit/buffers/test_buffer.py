"""Host buffers: sharing, slicing, equality, concatenation, and acceptance by zarr-python."""

import subprocess
import sys

import numpy as np
import pytest

from zarrstore.buffer import Buffer, cpu, default_buffer_prototype


def test_from_and_to_bytes_share_memory():
    data = bytearray(b"hello")
    buffer = cpu.Buffer.from_bytes(data)
    data[0] = ord("j")
    assert buffer.to_bytes() == b"jello"
    assert len(buffer) == 5
    assert np.shares_memory(buffer.as_numpy_array(), buffer[1:3].as_numpy_array())
    assert buffer[1:3].to_bytes() == b"el"
    assert bytes(buffer.as_buffer_like()) == b"jello"
    assert bytes(buffer) == b"jello"


def test_an_array_is_kept_not_copied():
    array = np.arange(5, dtype="B")
    assert cpu.Buffer.from_array_like(array).as_array_like() is array
    assert np.shares_memory(cpu.Buffer.from_buffer(cpu.Buffer(array)).as_numpy_array(), array)


@pytest.mark.parametrize("array", [np.zeros((2, 2), "B"), np.zeros(3, "i4")])
def test_only_flat_bytes_make_a_buffer(array):
    with pytest.raises(ValueError, match="a buffer needs"):
        cpu.Buffer(array)


def test_slices_are_contiguous():
    buffer = cpu.Buffer.from_bytes(b"012345")
    assert buffer[2:][:2].to_bytes() == b"23"
    with pytest.raises(TypeError, match="slice"):
        buffer[0]
    with pytest.raises(ValueError, match="contiguous"):
        buffer[::2]


def test_items_are_set_through_to_the_memory():
    array = np.zeros(4, "B")
    buffer = cpu.Buffer(array)
    buffer[1:3] = cpu.Buffer.from_bytes(b"\x01\x02")
    assert array.tolist() == [0, 1, 2, 0]


def test_equality_goes_by_content_whoever_made_it():
    zarr_cpu = pytest.importorskip("zarr.core.buffer.cpu", reason="zarr-python isn't installed")
    ours, theirs = cpu.Buffer.from_bytes(b"ab"), zarr_cpu.Buffer.from_bytes(b"ab")
    assert ours == cpu.Buffer.from_bytes(b"ab")
    assert ours != cpu.Buffer.from_bytes(b"ac")
    assert ours == theirs
    assert theirs == ours
    assert ours == b"ab"
    with pytest.raises(TypeError):
        hash(ours)


def test_concatenation():
    zarr_cpu = pytest.importorskip("zarr.core.buffer.cpu", reason="zarr-python isn't installed")
    ours, theirs = cpu.Buffer.from_bytes(b"ab"), zarr_cpu.Buffer.from_bytes(b"cd")
    assert (ours + theirs).to_bytes() == b"abcd"
    assert ours.combine([theirs, ours]).to_bytes() == b"abcdab"
    assert (cpu.Buffer.create_zero_length() + ours).to_bytes() == b"ab"


def test_the_default_prototype_is_the_hosts():
    prototype = default_buffer_prototype()
    assert prototype.buffer is cpu.Buffer
    assert prototype.nd_buffer is cpu.NDBuffer
    assert isinstance(cpu.Buffer.from_bytes(b""), Buffer)


@pytest.mark.parametrize("first", ["zarrstore.buffer", "zarr"])
def test_zarr_python_takes_it_as_its_own_in_either_import_order(first):
    pytest.importorskip("zarr", reason="zarr-python isn't installed")
    code = f"""
import {first}, zarr, zarrstore.buffer
from zarr.core.buffer import Buffer
buffer = zarrstore.buffer.cpu.Buffer.from_bytes(b"12")
assert isinstance(buffer, Buffer) and type(buffer) is zarrstore.buffer.cpu.Buffer
assert not isinstance(b"12", Buffer)
"""
    subprocess.run([sys.executable, "-W", "error::DeprecationWarning:zarrstore", "-c", code], check=True)


def test_nd_buffers():
    nd = cpu.NDBuffer.create(shape=(2, 3), dtype="<i2", fill_value=7)
    assert nd.shape == (2, 3)
    assert nd.dtype == np.dtype("<i2")
    assert nd.byteorder == "little"
    assert nd.all_equal(7)
    assert not nd.all_equal(8)
    nd[0] = cpu.NDBuffer.from_numpy_array(np.zeros(3, "<i2"))
    assert nd.as_numpy_array().tolist() == [[0, 0, 0], [7, 7, 7]]
    assert nd.transpose((1, 0)).shape == (3, 2)
    assert nd.reshape(-1).shape == (6,)
    assert nd[1, 1].as_scalar() == 7
    assert nd.astype("f4").copy().dtype == np.float32
    assert cpu.NDBuffer.empty((4,), "B").shape == (4,)
    with pytest.raises(ValueError, match="no scalar"):
        nd.as_scalar()
    zeros = cpu.NDBuffer.create(shape=(3,), dtype="f8")
    assert zeros.all_equal(0.0)
    assert not zeros.all_equal(-0.0)
    zeros.fill(np.nan)
    assert zeros.all_equal(np.nan)
    assert not zeros.all_equal(np.nan, equal_nan=False)
