"""Zip archives that are no files at a path: open files, and values of other stores."""

import asyncio
import io
import pickle
import zipfile

import pytest

from zarrstore import RangeByteRequest
from zarrstore.errors import UnsupportedOperationError
from zarrstore.storage import LocalStore, MemoryStore, StorePath, WrapperStore, ZipStore


def archive(count=200, method=zipfile.ZIP_STORED, size=100):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for number in range(count):
            made.writestr(f"c/{number}", bytes([number % 256]) * size)
    return file.getvalue()


class Counting(WrapperStore):
    """Counts the reads that reach the store below."""

    def __init__(self, store):
        super().__init__(store)
        self.log = []

    async def _read(self, below, key, request, allocate):
        self.log.append(request)
        return await below.read(key, request, allocate)

    async def _read_many(self, below, requests, allocate):
        requests = list(requests)
        self.log.append(requests)
        return await below.read_many(requests, allocate)


def test_an_open_file(tmp_path):
    (tmp_path / "a.zip").write_bytes(archive())
    with open(tmp_path / "a.zip", "rb") as file:
        store = ZipStore(file)
        assert store.path is None
        assert len(list(store.list_sync())) == 200
        assert store.get_sync("c/7").to_bytes() == bytes([7]) * 100
        assert asyncio.run(store.get("c/8")).to_bytes() == bytes([8]) * 100
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(store)
        store.close()
    assert ZipStore(io.BytesIO(archive())).exists_sync("c/1")


def test_these_can_only_be_read():
    for origin in (io.BytesIO(archive()), StorePath(MemoryStore(), "a.zip")):
        with pytest.raises(UnsupportedOperationError, match="only be read"):
            ZipStore(origin, mode="a")
        with pytest.raises(UnsupportedOperationError, match="only be read"):
            ZipStore(origin).with_read_only(False)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_value_of_another_store(method):
    below = Counting(MemoryStore())
    below.set_sync("folder/a.zip", archive(method=method))
    store = ZipStore(StorePath(below, "folder/a.zip"))
    assert str(store).endswith("folder/a.zip|zip:")
    assert len(list(store.list_sync())) == 200
    assert len(below.log) == 1  # the tail, once
    assert store.get_sync("c/7").to_bytes() == bytes([7]) * 100
    assert store.get_sync("c/7", byte_range=RangeByteRequest(10, 20)).to_bytes() == bytes([7]) * 10
    assert len(below.log) == 3  # one read each, header included
    assert store.get_sync("none") is None
    assert len(below.log) == 3
    many = store.get_partial_values_sync(None, [(f"c/{n}", RangeByteRequest(0, 5)) for n in range(50)])
    assert [value.to_bytes() for value in many] == [bytes([n]) * 5 for n in range(50)]
    assert len(below.log) == 4  # all at once
    assert [value.to_bytes() for value in store.get_partial_values_sync(None, [("c/9", None)])] == [
        bytes([9]) * 100
    ]


def test_a_large_value_of_another_store_is_one_read():
    below = Counting(MemoryStore())
    below.set_sync("a.zip", archive(count=3, size=1 << 20))
    store = ZipStore(StorePath(below, "a.zip"))
    assert store.get_sync("c/1").to_bytes() == b"\1" * (1 << 20)
    assert len(below.log) == 2


def test_pickled_where_its_source_can_be(tmp_path):
    below = LocalStore(tmp_path)
    below.set_sync("a.zip", archive())
    store = ZipStore(StorePath(below, "a.zip"))
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert copy.get_sync("c/3").to_bytes() == bytes([3]) * 100
    inner = ZipStore(StorePath(below, "none.zip"))
    with pytest.raises(FileNotFoundError):
        inner.get_sync("k")


def test_an_archive_within_an_archive(tmp_path):
    with ZipStore(tmp_path / "outer.zip", mode="w") as outer:
        outer.set_sync("inner.zip", archive())
        inner = ZipStore(StorePath(outer, "inner.zip"))
        assert inner.get_sync("c/5").to_bytes() == bytes([5]) * 100
