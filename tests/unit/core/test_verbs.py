"""Verbs and their bindings: strangers' stores in a few lines, wrappers, overrides."""

import asyncio
import threading
import time

import pytest

from zarrstore.abc.store import Capabilities, Entry, Store, cut, gather_pieces, join_pieces
from zarrstore.storage import MemoryStore, WrapperStore
from zarrstore.storage._nowait import NowaitStore
from zarrstore.testing import check_store


class Blocking(Store):
    """Somebody's store over a dict, with blocking verbs."""

    def __init__(self, values=None, *, read_only=False):
        super().__init__(read_only=read_only)
        self.values = {} if values is None else values

    @property
    def _location(self):
        return f"dict://{id(self.values)}"

    def _read(self, key, request, allocate):
        return cut(self.values[key], request) if key in self.values else None

    def _write(self, key, pieces, condition):
        self.values[key] = join_pieces(pieces)

    def _remove(self, key, condition):
        self.values.pop(key, None)

    def _scan(self, prefix, deep, sizes):
        yield (
            [Entry(key) for key in list(self.values) if key.startswith(prefix)]
            if deep
            else [
                Entry(name)
                for name in {
                    key if "/" not in key[len(prefix) :] else key[: key.index("/", len(prefix)) + 1]
                    for key in self.values
                    if key.startswith(prefix)
                }
            ]
        )


class Awaiting(Blocking):
    """The same, with awaited verbs."""

    async def _read(self, key, request, allocate):
        await asyncio.sleep(0)
        return super()._read(key, request, allocate)

    async def _write(self, key, pieces, condition):
        value = await gather_pieces(pieces)
        await asyncio.sleep(0)
        self.values[key] = value

    async def _remove(self, key, condition):
        await asyncio.sleep(0)
        super()._remove(key, condition)

    async def _scan(self, prefix, deep, sizes):
        for page in super()._scan(prefix, deep, sizes):
            await asyncio.sleep(0)
            yield page


_PICKLED = ("identity",)  # its dict lives at another place after pickling, as its author chose


@pytest.mark.parametrize("kind", [Blocking, Awaiting])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_strangers_store_keeps_the_contract(kind, wrapped):
    from zarrstore.testing import QUESTIONS

    questions = [question for question in QUESTIONS if question.name not in _PICKLED]
    report = check_store(lambda: WrapperStore(kind()) if wrapped else kind(), questions=questions)
    assert not report.wrong, str(report)
    assert report.asked > 400


def test_mixed_verbs_are_refused_where_the_class_is_made():
    with pytest.raises(TypeError, match="mixes blocking and awaiting"):

        class Mixed(Blocking):
            async def _read(self, key, request, allocate):
                return None


class Recorder(WrapperStore):
    """Notes each verb that passes, in one body for both faces."""

    def __init__(self, store):
        super().__init__(store)
        self.seen = []

    async def _read(self, below, key, request, allocate):
        self.seen.append(("read", key))
        await below.sleep(0)
        return await below.read(key, request, allocate)

    async def _write(self, below, key, pieces, condition):
        self.seen.append(("write", key))
        return await below.write(key, pieces, condition)

    async def _remove(self, below, key, condition):
        self.seen.append(("remove", key))
        return await below.remove(key, condition)


@pytest.mark.parametrize("inner", [MemoryStore, Awaiting])
def test_nothing_bypasses_a_wrapper(inner):
    recorder = Recorder(inner())
    store = WrapperStore(recorder)

    async def use():
        await store.set("a", b"0123")
        await store.create("b", b"1")
        await store.set_if_not_exists("c", b"1")
        await store.get("a")
        await store.get_partial_values(None, [("a", None), ("b", None)])
        async for _ in store.get_ranges("c", [None]):
            pass
        await store.delete("a")
        await store.delete_dir("")

    asyncio.run(use())
    awaited = list(recorder.seen)
    recorder.seen.clear()
    store.set_sync("a", b"0123")
    store.create_sync("b", b"1")
    store.set_if_not_exists_sync("c", b"1")
    store.get_sync("a")
    store.get_partial_values_sync(None, [("a", None), ("b", None)])
    store.get_ranges_sync("c", [None])
    store.delete_sync("a")
    store.clear_sync()
    assert sorted(awaited) == sorted(recorder.seen)
    verbs = [verb for verb, _ in awaited]
    assert verbs.count("write") == 3
    assert verbs.count("read") >= 4
    assert verbs.count("remove") == 3


def test_partial_writes_pass_an_overridden_write():
    recorder = Recorder(MemoryStore({"k": b"0123"}))
    recorder.set_partial_values_sync([("k", 1, b"ab")])
    assert recorder.seen == [("read", "k"), ("write", "k")]
    assert bytes(recorder.get_sync("k")) == b"0ab3"


def test_a_wrapper_cannot_write_through_a_read_only_store():
    class Lying(WrapperStore):
        @property
        def read_only(self):
            return False

    inner = MemoryStore({"k": b"1"})
    store = Lying(inner.with_read_only(True))
    for call in (
        lambda: store.set_sync("k", b"2"),
        lambda: store.delete_sync("k"),
        lambda: store.clear_sync(),
        lambda: store.set_partial_values_sync([("k", 0, b"2")]),
    ):
        with pytest.raises(ValueError, match="read-only mode"):
            call()
    assert bytes(inner.get_sync("k")) == b"1"


class Shouting(MemoryStore):
    """As zarr-python's users change a store: public methods overridden."""

    async def get(self, key, prototype=None, byte_range=None):
        value = await super().get(key, prototype, byte_range)
        return None if value is None else type(value).from_bytes(value.to_bytes().upper())

    async def set(self, key, value, byte_range=None):
        await super().set(
            key, bytes(value.to_bytes() if hasattr(value, "to_bytes") else value) + b"!", byte_range
        )

    async def list_prefix(self, prefix):
        async for key in super().list_prefix(prefix):
            if "secret" not in key:
                yield key


@pytest.mark.parametrize("wrap", [lambda store: store, WrapperStore])
def test_overridden_public_methods_are_not_bypassed(wrap):
    store = wrap(Shouting())

    async def use():
        await store.set("k", b"abc")
        await store.set("secret", b"abc")
        assert bytes(await store.get("k")) == b"ABC!"
        (value,) = await store.get_partial_values(None, [("k", None)])
        assert bytes(value) == b"ABC!"
        batches = [batch async for batch in store.get_ranges("k", [None])]
        assert bytes(batches[0][0][1]) == b"ABC!"
        assert [key async for key in store.list_prefix("")] == ["k"]
        assert await store.getsize_prefix("") == 4

    asyncio.run(use())
    assert bytes(store.get_sync("k")) == b"ABC!"
    assert bytes(store.get_partial_values_sync(None, [("k", None)])[0]) == b"ABC!"
    store.set_sync("j", b"x")
    assert bytes(store.get_sync("j")) == b"X!"
    assert sorted(store.list_prefix_sync("")) == ["j", "k"]
    assert store.create_sync("c", b"new")
    assert bytes(store.get_sync("c")) == b"NEW!"


def test_a_blocking_verb_that_suspends_says_so():
    class Odd(WrapperStore):
        async def _read(self, below, key, request, allocate):
            await asyncio.sleep(0.01)
            return await below.read(key, request, allocate)

    with pytest.raises(RuntimeError, match=r"Odd\._read\) asked for an event loop"):
        Odd(MemoryStore()).get_sync("k")


def test_sleep_below_serves_both_faces():
    class Slow(WrapperStore):
        async def _read(self, below, key, request, allocate):
            await below.sleep(0.02)
            return await below.read(key, request, allocate)

    store = Slow(MemoryStore({"k": b"1"}))
    for call in (lambda: store.get_sync("k"), lambda: asyncio.run(store.get("k"))):
        start = time.perf_counter()
        assert bytes(call()) == b"1"
        assert time.perf_counter() - start >= 0.02


def test_values_in_pieces_never_meet_in_one_place():
    """Pieces reach the verb one by one, from an async source too."""
    seen = []

    class Counting(Blocking):
        def _write(self, key, pieces, condition):
            seen.extend(map(len, pieces))

    async def pieces():
        for size in (3, 5, 7):
            await asyncio.sleep(0)
            yield bytes(size)

    store = Counting()
    asyncio.run(store._verbs_for_wrapper(sync=False).write("k", pieces(), None))
    assert seen == [3, 5, 7]


def test_capabilities_are_declared():
    assert MemoryStore().capabilities == Capabilities(atomic_create=True, versions=True, shared=False)
    assert Blocking().capabilities == Capabilities()


@pytest.mark.parametrize("make", [MemoryStore, Awaiting, lambda: WrapperStore(MemoryStore())])
def test_a_store_is_freed_when_it_is_dropped_not_when_the_collector_runs(make):
    """A store in a reference cycle would keep its memory until the collector happens to run."""
    import gc
    import weakref

    store = make()
    asyncio.run(store.set("a/k", b"1"))
    store.set_sync("a/k", b"1")
    asyncio.run(store.get("a/k"))
    list(store.list_sync())
    gc.collect()
    gc.disable()
    try:
        store.get_sync("a/k")
        asyncio.run(store.get("a/k"))
        list(store.list_sync())
        gone = weakref.ref(store)
        del store
        for _ in range(100):  # the I/O thread lets go of its last task in its own time
            if gone() is None:
                break
            time.sleep(0.01)
        assert gone() is None
    finally:
        gc.enable()


class Listing(NowaitStore):
    """Counts which threads ask it for pages."""

    def __init__(self, now):
        super().__init__()
        self.now = now
        self.threads = set()

    _location = "listing://"

    def _read(self, key, request, allocate):
        return b"1"

    def _write(self, key, pieces, condition):
        raise NotImplementedError

    def _remove(self, key, condition):
        raise NotImplementedError

    def _can_list_nowait(self):
        return self.now

    def _scan(self, prefix, deep, sizes):
        for page in range(20):
            self.threads.add(threading.current_thread())
            yield [Entry(f"{prefix}{page}-{line}", 1) for line in range(100)]


@pytest.mark.parametrize("now", [True, False])
def test_a_listing_that_needs_no_waiting_takes_no_thread(now):
    store = Listing(now)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(others())
        names = [name async for name in store.list_dir("a")]
        assert len(names) == len(set(names)) == 2000
        assert len([key async for key in store.list()]) == 2000
        assert await store.getsize_prefix("a") == 2000
        assert not await store.is_empty()
        task.cancel()

    asyncio.run(main())
    assert (store.threads == {threading.current_thread()}) is now
    assert turns > 3  # a long listing lets other tasks run, in place as well
