"""Several parts of one value, read while it is replaced: all are of the old value, or all of the new one."""

import asyncio
import itertools
import os

import pytest

from zarrstore._async.nowait import MAX_INLINE_SIZE
from zarrstore.abc.store import RangeByteRequest, SuffixByteRequest
from zarrstore.storage import LocalStore, MemoryStore, WrapperStore

SIZE = 1 << 20
FAR = {"max_gap_bytes": 0}  # no two ranges become one read

SMALL = [RangeByteRequest(start, start + 10) for start in range(0, 2000, 20)]  # more than one batch
LARGE = [RangeByteRequest(start, start + MAX_INLINE_SIZE + 1) for start in (0, 300_000, 600_000)]
MIXED = [SMALL[0], LARGE[1], SMALL[50], None, SuffixByteRequest(5)]

WRAPPED = "in a wrapper"


def by_ranges(store, requests):
    return [value for _, value in store.get_ranges_sync("k", requests, **FAR)]


def by_awaited_ranges(store, requests):
    async def collect():
        return [value async for batch in store.get_ranges("k", requests, **FAR) for _, value in batch]

    return asyncio.run(collect())


def by_partial_values(store, requests):
    return store.get_partial_values_sync(None, pairs(requests))[::2]


def by_awaited_partial_values(store, requests):
    return asyncio.run(store.get_partial_values(None, pairs(requests)))[::2]


def pairs(requests):
    """The parts, with other values asked for in between."""
    return [pair for request in requests for pair in (("k", request), ("other", None))]


@pytest.fixture
def replaced(monkeypatch, tmp_path):
    """A folder in which the value `k` is another one after every look at an open file."""
    root, numbers = tmp_path / "root", itertools.count()
    LocalStore(root).set_sync("other", b"value")
    values = [tmp_path / str(number) for number in range(7)]
    for number, value in enumerate(values):
        value.write_bytes(bytes([number]) * SIZE)
    busy = []

    def replace():
        spare = tmp_path / "spare"
        os.link(values[next(numbers) % len(values)], spare)
        spare.replace(root / "k")

    def followed(real):
        def call(*args):
            answer = real(*args)
            if not busy:
                busy.append(True)
                replace()
                busy.clear()
            return answer

        return call

    replace()
    for name in ("lseek", "preadv"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, followed(getattr(os, name)))
    yield root
    assert next(numbers) > 2, "the value wasn't replaced"


@pytest.mark.parametrize("requests", [SMALL, LARGE, MIXED], ids=["small", "large", "mixed"])
@pytest.mark.parametrize("read", [by_ranges, by_awaited_ranges, by_partial_values, by_awaited_partial_values])
@pytest.mark.parametrize("options", [{}, {"mmap": True}, {"follow_symlinks": False}, WRAPPED], ids=str)
def test_parts_of_a_file_are_of_one_value(replaced, options, read, requests):
    store = WrapperStore(LocalStore(replaced)) if options == WRAPPED else LocalStore(replaced, **options)
    values = read(store, requests)
    assert len(values) == len(requests)
    assert len({byte for value in values for byte in set(value.to_bytes())}) == 1


@pytest.mark.parametrize("read", [by_awaited_ranges, by_awaited_partial_values])
def test_parts_of_a_value_in_memory_are_of_one_value(read):
    store = MemoryStore()
    store.set_sync("other", b"value")
    store.set_sync("k", bytes(SIZE))
    done = []

    async def main():
        async def change():
            for number in itertools.count(1):
                if done:
                    return
                await store.set("k", bytes([number % 251]) * SIZE)
                await asyncio.sleep(0)

        changing = asyncio.ensure_future(change())
        await asyncio.sleep(0)
        if read is by_awaited_ranges:
            batches = store.get_ranges("k", SMALL, **FAR)
            values = [value async for batch in batches for _, value in batch]
        else:
            values = (await store.get_partial_values(None, pairs(SMALL)))[::2]
        done.append(True)
        await changing
        return values

    values = asyncio.run(main())
    assert len(values) == len(SMALL)
    assert len({byte for value in values for byte in set(value.to_bytes())}) == 1
