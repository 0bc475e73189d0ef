"""A store in memory on an event loop: however much a call has to do, other tasks have their turns."""

import asyncio
import threading

import pytest
from loop_watchdog import check_longest, gaps

from zarrstore import MemoryStore
from zarrstore._async.nowait import MAX_COPIED
from zarrstore._core.listing import PAGE_SIZE
from zarrstore.buffer import cpu

PAGES = 20
KEYS = [f"a/{number}" for number in range(PAGES * PAGE_SIZE)]
DEEP_KEYS = [f"{key}/c" for key in KEYS]


def filled(keys):
    store = MemoryStore()
    for key in keys:
        store.set_sync(key, b"x")
    return store


def in_a_mapping(keys):
    return MemoryStore({key: cpu.Buffer.from_bytes(b"x") for key in keys})


async def drain(listing):
    return len([item async for item in listing])


CALLS = {
    "list": lambda store: drain(store.list()),
    "list_prefix": lambda store: drain(store.list_prefix("a")),
    "list_dir": lambda store: drain(store.list_dir("a")),
    "getsize_prefix": lambda store: store.getsize_prefix("a"),
    "delete_dir": lambda store: store.delete_dir("a"),
    "clear": lambda store: store.clear(),
}


@pytest.mark.parametrize("make", [filled, in_a_mapping])
@pytest.mark.parametrize("keys", [KEYS, DEEP_KEYS], ids=["flat", "deep"])
@pytest.mark.parametrize("call", CALLS)
def test_others_have_their_turns_every_few_pages(make, keys, call):
    """Before and after the tree of keys was brought up to date."""
    store = make(keys)

    async def turns():
        count = 0

        async def watch():
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        watcher = asyncio.ensure_future(watch())
        await asyncio.sleep(0)
        answer = await CALLS[call](store)
        watcher.cancel()
        assert answer in (None, len(keys))
        return count

    assert asyncio.run(turns()) >= PAGES // 2
    if call in ("delete_dir", "clear"):
        assert list(store.list_sync()) == []
        store.set_sync("a/0", b"new")
        assert list(store.list_dir_sync("a")) == ["0"]
    else:
        assert asyncio.run(turns()) >= PAGES // 4


def test_a_value_written_while_all_are_removed_is_kept():
    store = filled(KEYS)

    async def main():
        clearing = asyncio.ensure_future(store.clear())
        await asyncio.sleep(0)
        await store.set("a/0", b"new")
        assert not clearing.done()
        await clearing
        return (await store.get("a/0")).to_bytes()

    assert asyncio.run(main()) == b"new"
    assert list(store.list_sync()) == ["a/0"]


class Recording(MemoryStore):
    """Knows in which threads it copied, and lets something happen while it does."""

    def __init__(self):
        super().__init__()
        self.threads = set()
        self.meanwhile = []

    def _new(self, size):
        self.threads.add(threading.get_ident())
        if self.meanwhile:
            self.meanwhile.pop()()
        return super()._new(size)

    def _kept(self, array):
        self.threads.add(threading.get_ident())
        return super()._kept(array)


def test_large_values_are_copied_in_a_thread_and_small_ones_in_place():
    store = Recording()
    large, small = bytearray(MAX_COPIED + 1), bytearray(1 << 17)

    async def pieces():
        yield large
        yield b"end"

    async def copied_in_place(call):
        store.threads.clear()
        await call
        (thread,) = store.threads
        return thread == threading.get_ident()

    async def main():
        assert await copied_in_place(store.set("small", small))
        assert await copied_in_place(store.create("small 2", small))
        assert await copied_in_place(store.set("small", b"1", byte_range=(0, 1)))
        assert not await copied_in_place(store.set("large", large))
        assert not await copied_in_place(store.create("large 2", large))
        assert not await copied_in_place(store.set("large", b"1", byte_range=(0, 1)))
        assert not await copied_in_place(store.set("small", large, byte_range=(0, len(large))))
        assert not await copied_in_place(store._async_verbs.write("streamed", pieces(), "any version"))
        assert await store.getsize("large") == len(large)
        assert (await store.get("large")).to_bytes() == b"1" + bytes(MAX_COPIED)

    asyncio.run(main())


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_part_is_written_into_what_came_while_it_was_copied(times):
    """Twice it gives way; then it has others wait."""
    store = Recording()
    store.set_sync("k", b"old")
    waiting = []

    def replace(number):
        def run():
            store.set_sync("k", b"new%d" % number)

        def meanwhile():
            thread = threading.Thread(target=run)
            thread.start()
            thread.join(0.2 if number == 3 else 10)
            waiting.append(thread)

        return meanwhile

    store.meanwhile = [replace(number) for number in range(times, 0, -1)]
    store.set_sync("k", b"N", byte_range=(0, 1))
    for thread in waiting:
        thread.join(10)
    assert store.get_sync("k").to_bytes() == (b"new3" if times == 3 else b"New%d" % times)


def test_a_copy_within_the_store_shares_what_nobody_can_change():
    store = MemoryStore()
    store.set_sync("k", bytearray(MAX_COPIED))
    store._own_sync_verbs.store()._copy("k", "copy")
    assert store._data.values["copy"] is store._data.values["k"]
    store.set_sync("copy", b"1", byte_range=(0, 1))
    assert store.get_sync("k").to_bytes() == bytes(MAX_COPIED)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_no_turn_takes_long(call):
    """The loop's thread computes for some 2 ms at a time, of 200,000 keys; on a busy machine for several."""

    async def longest():
        store = filled([f"a/{number}" for number in range(200_000)])
        async with gaps() as found:
            await CALLS[call](store)
        return max(found)

    check_longest(longest, 0.015)
