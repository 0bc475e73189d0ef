"""Writes of archives that fail late: what was acknowledged stays, no reader gets another value's bytes."""

import errno
import os

import pytest

from zarrstore import RangeByteRequest
from zarrstore.errors import BackendError
from zarrstore.storage import ZipStore
from zarrstore.storage._zip import rewriting as _rewriting
from zarrstore.storage._zip import writer as _writer

LONG = "/".join(["k" * 200] * 15)  # some 3,000 bytes, more than the gap in front


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


@pytest.mark.parametrize("key", [LONG, "/".join(["k" * 200] * 10)[:1990], "short"])
@pytest.mark.parametrize("size", [10, 5000])
def test_a_close_that_fails_leaves_what_was_acknowledged(path, monkeypatch, key, size):
    """However long the key of the first member is, whose header may be lengthened to the front."""
    store = ZipStore(path, mode="w")
    values = {key: b"1" * size, "other": b"2" * 5000}
    for name, value in values.items():
        store.set_sync(name, value)

    def fails(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        for module in (_writer, _rewriting):
            patch.setattr(module, "write_end", fails)
        with pytest.raises(BackendError):
            store.close()
    with ZipStore(path, mode="a") as found:
        assert {name: found.get_sync(name).to_bytes() for name in found.list_sync()} == values
    with ZipStore(path) as found:
        assert {name: found.get_sync(name).to_bytes() for name in found.list_sync()} == values


@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize("mode", ["data", "full"])
def test_a_last_sync_that_fails_rolls_nothing_back(path, monkeypatch, size, mode):
    """A reader may have seen the member by then: its bytes must stay what they are."""
    store = ZipStore(path, mode="w", fsync=mode, deletes=True)
    store.set_sync("k", b"old" * size)
    readers = []
    real = os.fdatasync

    def sync(descriptor):
        real(descriptor)
        reader = ZipStore(path)
        if reader.get_sync("k", byte_range=RangeByteRequest(0, 3)).to_bytes() == b"new":
            readers.append(reader)
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", sync)
        with pytest.raises(BackendError) as caught:
            store.set_sync("k", b"new" * size)
    assert caught.value.errno == errno.EIO
    store.set_sync("k2", b"ANOTHER" * size)
    (reader,) = readers
    for part in (RangeByteRequest(0, 30), RangeByteRequest(2 * size, 2 * size + 9)):
        assert set(reader.get_sync("k", byte_range=part).to_bytes()) == set(b"new")
    assert reader.get_sync("k").to_bytes() == b"new" * size
    # The value is there, in this process and in the file, though not for certain on the medium.
    assert store.get_sync("k").to_bytes() == ZipStore(path).get_sync("k").to_bytes() == b"new" * size
    store.close()


def test_a_removal_whose_last_sync_fails(path, monkeypatch):
    store = ZipStore(path, mode="w", fsync="data", deletes=True)
    store.set_sync("a/k", b"1")
    store.set_sync("b/k", b"2")
    real = os.fdatasync
    for remove in (lambda: store.delete_sync("a/k"), lambda: store.delete_dir_sync("b")):

        def sync(descriptor):
            real(descriptor)
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", sync)
            with pytest.raises(BackendError):
                remove()
        assert sorted(store.list_sync()) == sorted(ZipStore(path).list_sync())
    assert list(store.list_sync()) == []
    store.close()
