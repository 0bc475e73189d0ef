"""Reads that fail in an odd place: an error or the value, never an empty value or a missing one."""

import asyncio
import errno
import io
import mmap
import os
import struct
import zipfile

import pytest
from injected import failing

from zarrstore import RangeByteRequest, SuffixByteRequest
from zarrstore.errors import BackendError, ByteRequestError, CorruptError
from zarrstore.storage import LocalStore, ZipStore

VALUE = b"0123456789" * 50
REQUESTS = [None, RangeByteRequest(0, 100), SuffixByteRequest(5)]


@pytest.fixture(params=[{}, {"mmap": True}, {"follow_symlinks": False}], ids=str)
def store(request, tmp_path):
    store = LocalStore(tmp_path, **request.param)
    store.set_sync("k", VALUE)
    store.set_sync("folder/k", VALUE)
    return store


def reads(store, key="k"):
    for part in REQUESTS:
        yield lambda part=part: store.get_sync(key, byte_range=part)
        yield lambda part=part: asyncio.run(store.get(key, byte_range=part))
    yield lambda: store.get_partial_values_sync(None, [(key, None)])[0]
    yield lambda: asyncio.run(store.get_partial_values(None, [(key, None)]))[0]


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENODEV, errno.EISDIR, errno.ENXIO, errno.EINVAL, errno.ESTALE]
)
@pytest.mark.parametrize("name", ["lseek", "preadv", "fstat"])
def test_a_read_that_fails(store, name, number):
    """By each call, with each error, those included that folders and pipes answer."""
    for read in reads(store):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, name, failing(number))
            try:
                answer = read().to_bytes()
            except BackendError as error:
                answer = error.key
        assert answer in (VALUE, VALUE[:100], VALUE[-5:], "k")
    for read in reads(store, "folder"):
        assert read() is None


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EACCES, errno.EINVAL, errno.ENOMEM])
def test_a_file_system_that_maps_no_files(store, monkeypatch, number):
    monkeypatch.setattr(mmap, "mmap", failing(number))
    for read in reads(store):
        assert read().to_bytes() in (VALUE, VALUE[:100], VALUE[-5:])


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EINTR])
def test_a_close_that_fails_after_a_good_read(store, number):
    real = os.close

    def close(descriptor):
        real(descriptor)
        raise OSError(number, os.strerror(number))

    for read in [*reads(store), lambda: store.exists_sync("k"), lambda: asyncio.run(store.exists("k"))]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "close", close)
            value = read()
        assert value is True or value.to_bytes() in (VALUE, VALUE[:100], VALUE[-5:])


def test_a_close_that_fails_after_a_change_of_a_part(store):
    """There a network file system tells that it couldn't write."""
    real = os.close

    def close(descriptor):
        real(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "close", close)
        with pytest.raises(BackendError) as caught:
            store.set_partial_values_sync([("k", 0, b"new")])
    assert (caught.value.errno, caught.value.key) == (errno.EDQUOT, "k")


# -- directories of streamed archives -------------------------------------------------------------


class Stream(io.RawIOBase):
    """What can't seek: zipfile writes sizes behind the data then."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data
        return len(data)


def streamed(values):
    stream = Stream()
    with zipfile.ZipFile(stream, "w") as archive:
        for key, value in values.items():
            archive.writestr(key, value)
    return bytes(stream.data)


@pytest.mark.parametrize("lie", [(0, 0, 0), (None, 0, 0), (None, 200, 200), (1, None, None)])
@pytest.mark.parametrize("last", [True, False])
def test_a_directory_that_contradicts_the_sizes_behind_the_data(tmp_path, lie, last):
    path = tmp_path / "a.zip"
    values = {"k": VALUE} if last else {"k": VALUE, "other": b"value"}
    data = bytearray(streamed(values))
    assert struct.unpack_from("<H", data, 6)[0] & 8
    at = data.index(b"PK\1\2") + 16
    old = struct.unpack_from("<LLL", data, at)
    new = [there if number is None else number for there, number in zip(old, lie, strict=True)]
    struct.pack_into("<LLL", data, at, *new)
    path.write_bytes(data)
    for part in REQUESTS:
        for verify in (True, False):
            with (
                ZipStore(path, verify=verify) as store,
                pytest.raises((CorruptError, ByteRequestError) if part else CorruptError),
            ):
                store.get_sync("k", byte_range=part)
        with ZipStore(path) as store, pytest.raises((CorruptError, ByteRequestError)):
            asyncio.run(store.get("k", byte_range=part))


def test_a_streamed_archive_that_is_whole(tmp_path):
    path = tmp_path / "a.zip"
    values = {"k": VALUE, "empty": b"", "last": b"last"}
    path.write_bytes(streamed(values))
    for _ in range(2):
        with ZipStore(path) as store:
            assert {key: store.get_sync(key).to_bytes() for key in values} == values
        with ZipStore(path) as store:
            assert {key: asyncio.run(store.get(key)).to_bytes() for key in values} == values
        with ZipStore(path, mode="a") as store:
            store.set_sync("more", b"1")
            values["more"] = b"1"
