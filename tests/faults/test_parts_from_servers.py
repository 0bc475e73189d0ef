"""Parts of a server's value or an archive's member, read while it is replaced: all are of one value."""

import asyncio
import itertools
import re
import threading

import pytest
from scripted_server import store_of

from zarrstore import MemoryStore, RetryPolicy, ZipStore, errors
from zarrstore._core.verbs import ANY, WOULD_BLOCK
from zarrstore.abc.store import RangeByteRequest
from zarrstore.storage import WrapperStore

SIZE = 1 << 12
RETRY = RetryPolicy(attempts=1, base=0.001)
APART = {"max_gap_bytes": 0}  # no two ranges become one read
PARTS = [RangeByteRequest(start, start + 10) for start in range(0, 2000, 400)]
MANY = [RangeByteRequest(start, start + 10) for start in range(0, 4000, 150)]  # more than one batch
SERVERS = [
    f"{kind} by {backend}" for kind in ("s3", "azure", "gcs", "http") for backend in ("fsspec", "obstore")
]


def of_one_value(values, requests):
    return len(values) == len(requests) and len({byte for value in values for byte in value.to_bytes()}) == 1


def by_ranges(store, requests):
    async def collect():
        return [value async for batch in store.get_ranges("k", requests, **APART) for _, value in batch]

    return asyncio.run(collect())


def by_partial_values(store, requests):
    return store.get_partial_values_sync(None, [("k", request) for request in requests])


class Changing:
    """A value that is another one after each look at it, so many times."""

    def __init__(self, times, *, etag=True):
        self.times = times
        self.etag = etag
        self.looks = 0
        self.lock = threading.Lock()

    def __call__(self, request):
        with self.lock:
            number = min(self.looks, self.times) % 251
            self.looks += request.method == "GET"
        value = bytes([number]) * SIZE
        headers = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "x-ms-blob-type": "BlockBlob"}
        if self.etag:
            headers["ETag"] = f'"{number}"'
        asked = request.headers.get("x-ms-range") or request.headers.get("range")
        if request.method == "HEAD" or asked is None:
            return 200, value, {**headers, "Content-Length": str(SIZE)}
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", asked).groups())
        return 206, value[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{SIZE}"}


@pytest.mark.parametrize("which", SERVERS)
@pytest.mark.parametrize("read", [by_ranges, by_partial_values])
def test_parts_are_read_anew_until_they_are_of_one_value(told, which, read):
    value = Changing(7)
    told.table[:] = [(lambda request: True, value)]
    values = read(store_of(told, which, RETRY, **APART), PARTS)
    assert of_one_value(values, PARTS)
    assert value.looks > len(PARTS)


@pytest.mark.parametrize("which", SERVERS)
@pytest.mark.parametrize("read", [by_ranges, by_partial_values])
def test_a_value_that_always_changes_is_an_error(told, which, read):
    value = Changing(1 << 30)
    told.table[:] = [(lambda request: True, value)]
    with pytest.raises((errors.TransientError, ExceptionGroup)) as caught:
        read(store_of(told, which, RETRY, **APART), PARTS)
    error = caught.value
    error = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    assert isinstance(error, errors.TransientError)
    assert error.key == "k"
    assert value.looks <= 6 * len(PARTS)


@pytest.mark.parametrize("which", ["s3 by fsspec", "s3 by obstore", "http by fsspec"])
def test_batches_of_one_call_are_of_one_value(told, which):
    """The first batch, of ten parts, is of the old value; the others would be of the new one."""
    value = Changing(1)
    steady = iter([*range(10)])

    def answer(request):
        if request.method == "GET" and next(steady, None) is not None:
            with value.lock:
                value.looks = 0
        return value(request)

    told.table[:] = [(lambda request: True, answer)]
    store = store_of(told, which, RETRY, **APART)
    if which == "http by fsspec":  # its look-ups tell no version
        assert len(by_ranges(store, MANY)) == len(MANY)
        return
    with pytest.raises(ExceptionGroup) as caught:
        by_ranges(store, MANY)
    assert isinstance(caught.value.exceptions[0], errors.TransientError)


@pytest.mark.parametrize("which", ["s3 by fsspec", "s3 by obstore", "gcs by fsspec", "http by fsspec"])
def test_without_etags_parts_are_taken_as_they_are(told, which):
    value = Changing(0, etag=False)
    told.table[:] = [(lambda request: True, value)]
    assert of_one_value(by_partial_values(store_of(told, which, RETRY, **APART), PARTS), PARTS)
    assert value.looks == len(PARTS)


@pytest.mark.parametrize("read", [by_ranges, by_partial_values])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_parts_of_a_member_are_of_one_value(tmp_path, monkeypatch, read, wrapped, in_place):
    """The member is another one after each look-up."""
    store = ZipStore(tmp_path / "z.zip", mode="w")
    store.set_sync("k", bytes(SIZE))
    numbers, index = itertools.count(1), store._archive.view.index
    find = type(index).find

    def found(self, key):
        member = find(self, key)
        if self is index:
            thread = threading.Thread(target=store.set_sync, args=("k", bytes([next(numbers) % 251]) * SIZE))
            thread.start()
            thread.join()
        return member

    monkeypatch.setattr(type(index), "find", found)
    if not in_place:
        monkeypatch.setattr(type(store), "_read_nowait", lambda *args: WOULD_BLOCK)
        monkeypatch.setattr(type(store), "_from_nowait", lambda *args: WOULD_BLOCK)
    assert of_one_value(read(WrapperStore(store) if wrapped else store, PARTS), PARTS)
    assert next(numbers) > 1


def test_a_value_whose_version_always_changes_ends_in_an_error():
    """Where versions come by looking before and after, too."""

    class Restless(WrapperStore):
        count = itertools.count()

        async def _read(self, below, key, request, allocate):
            await below.write(key, (b"%d" % next(self.count),), ANY)
            return await below.read(key, request, allocate)

    below = MemoryStore()
    below.set_sync("k", b"v")
    store = Restless(below)
    with pytest.raises(errors.TransientError, match="another value"):
        store.get_versioned_sync("k")
