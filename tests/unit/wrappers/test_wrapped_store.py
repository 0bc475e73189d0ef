"""Where a wrapper reads and writes: always the store in its `_store`, through what that class overrides."""

import asyncio
import copy
import pickle

import pytest

from zarrstore import Buffer, LoggingStore, MemoryStore, RangeByteRequest, RetryStore, WrapperStore
from zarrstore.errors import ReadOnlyError
from zarrstore.storage import FsspecStore, LocalStore, SubStore

zarr = pytest.importorskip("zarr")


class OnlyStore(WrapperStore):
    """As users of zarr-python write wrappers: the store is all that it sets."""

    def __init__(self, store):
        self._store = store


class Twice(WrapperStore):
    """Sets it, and lets the base class do so, too."""

    def __init__(self, store):
        self._store = store
        super().__init__(store)


def _quiet(store):
    return LoggingStore(store, "ERROR")


AROUND = {
    "itself": lambda store: store,
    "wrapper": WrapperStore,
    "logging": _quiet,
    "retrying": RetryStore,
    "view": lambda store: SubStore(store, ""),
    "two": lambda store: WrapperStore(_quiet(store)),
    "only-store": OnlyStore,
}
MADE = {"only": OnlyStore, "twice": Twice, "plain": WrapperStore, "logging": _quiet}


def _memory(folder):
    return MemoryStore()


def _folder(folder):
    return LocalStore(folder)


def _awaiting(folder):
    return FsspecStore.from_url(f"memory://{folder}")


def _theirs(folder):
    return zarr.storage.MemoryStore()


@pytest.fixture(params=[_memory, _folder, _awaiting, _theirs])
def make(request, tmp_path):
    names = iter("abcdef")
    return lambda: request.param(tmp_path / next(names))


def value_of(store, key="k"):
    found = WrapperStore(store).get_sync(key)
    return None if found is None else found.to_bytes()


@pytest.mark.parametrize("kind", MADE)
def test_a_wrapper_that_sets_nothing_but_its_store_works(kind, make):
    store = make()
    wrapper = MADE[kind](store)

    async def main():
        assert not await wrapper.exists("k")
        await wrapper.set("k", zarr.core.buffer.cpu.Buffer.from_bytes(b"1"))
        assert (await wrapper.get("k")).to_bytes() == b"1"
        assert [key async for key in wrapper.list()] == ["k"]

    asyncio.run(main())
    wrapper.set_sync("l", b"2")
    assert value_of(store, "l") == b"2"
    assert sorted(wrapper.list_sync()) == ["k", "l"]
    assert wrapper == MADE[kind](store)
    assert not wrapper.read_only
    zarr.create_array(wrapper, name="a", shape=(4,), dtype="i4")[:] = 1
    assert zarr.open_array(wrapper, path="a", mode="r")[:].sum() == 4
    if isinstance(store, (MemoryStore, LocalStore)):
        assert pickle.loads(pickle.dumps(wrapper)).get_sync("k").to_bytes() == b"1"
    assert copy.copy(wrapper).get_sync("k").to_bytes() == b"1"
    reader = wrapper.with_read_only(True)
    assert reader.read_only
    with pytest.raises(ReadOnlyError):
        reader.set_sync("k", b"")
    wrapper.close()


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("kind", MADE)
def test_another_store_is_where_it_reads_and_writes_from_then_on(kind, around, make):
    first, second = make(), make()
    wrapper = MADE[kind](first)
    outer = AROUND[around](wrapper)
    for store in (outer, wrapper):  # bound by use
        store.set_sync("k", b"first")
        asyncio.run(store.set("k", zarr.core.buffer.cpu.Buffer.from_bytes(b"first")))
        assert sorted(store.list_sync()) == ["k"]
    wrapper._store = second
    assert outer.get_sync("k") is None
    assert asyncio.run(outer.get("k")) is None
    assert outer.is_empty_sync()
    outer.set_sync("k", b"second")
    asyncio.run(outer.set("l", zarr.core.buffer.cpu.Buffer.from_bytes(b"second")))
    assert outer.get_partial_values_sync(None, [("k", None), ("l", RangeByteRequest(0, 3))]) is not None
    assert (value_of(first), value_of(first, "l")) == (b"first", None)
    assert (value_of(second), value_of(second, "l")) == (b"second", b"second")
    asyncio.run(outer.clear())
    assert (value_of(first), value_of(second)) == (b"first", None)


@pytest.mark.parametrize("around", AROUND)
def test_a_store_of_another_kind(around, tmp_path):
    """Blocking and awaiting, read-only and not: nothing of the old one stays."""
    stores = [MemoryStore(), _awaiting(tmp_path), LocalStore(tmp_path / "a")]
    for store in stores:
        store.set_sync("k", type(store).__name__.encode())
    wrapper = WrapperStore(MemoryStore())
    outer = AROUND[around](wrapper)
    for store in (*stores, *reversed(stores)):
        for read_only in (True, False):
            wrapper._store = store.with_read_only(read_only)
            assert outer.read_only is read_only
            assert outer.get_sync("k").to_bytes() == type(store).__name__.encode()
            assert outer.capabilities == store.capabilities
            for write in (outer.set_sync, lambda *args: asyncio.run(outer.set(*args))):
                if read_only:
                    with pytest.raises(ReadOnlyError):
                        write("l", b"no")
                else:
                    write("l", b"yes")
            assert outer.exists_sync("l") is not read_only
        outer.delete_sync("l")
        assert not outer.exists_sync("l")


def test_only_stores_are_wrapped():
    wrapper = WrapperStore(MemoryStore())
    wrapper.set_sync("k", b"1")
    with pytest.raises(TypeError, match="a store is needed"):
        wrapper._store = {}
    assert wrapper.get_sync("k").to_bytes() == b"1"


# -- what the wrapped store's class overrides ------------------------------------------------------


class Guarded(MemoryStore):
    """Notes the calls of public methods that it overrides, and lets some through."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []
        self.refuses = False

    def _note(self, name):
        self.calls.append(name)
        if self.refuses:
            raise PermissionError(f"{name} is not allowed here")

    async def clear(self):
        self._note("clear")
        await super().clear()

    async def is_empty(self, prefix=""):
        self._note("is_empty")
        return await super().is_empty(prefix)

    async def get_partial_values(self, prototype, key_ranges):
        self._note("get_partial_values")
        return await super().get_partial_values(prototype, key_ranges)

    async def get_ranges(self, key, byte_ranges, **options):
        self._note("get_ranges")
        async for batch in super().get_ranges(key, byte_ranges, **options):
            yield batch


async def _collected(batches):
    return [pair async for batch in batches for pair in batch]


RANGES = [RangeByteRequest(0, 1), RangeByteRequest(3, 5)]
BATCH = [("a/k", RANGES[0]), ("b", None)]
# Each method, awaited and blocking.
CALLS = {
    "clear": (lambda store: asyncio.run(store.clear()), lambda store: store.clear_sync()),
    "is_empty": (lambda store: asyncio.run(store.is_empty("a")), lambda store: store.is_empty_sync("a")),
    "get_partial_values": (
        lambda store: asyncio.run(store.get_partial_values(None, BATCH)),
        lambda store: store.get_partial_values_sync(None, BATCH),
    ),
    "get_ranges": (
        lambda store: asyncio.run(_collected(store.get_ranges("a/k", RANGES))),
        lambda store: store.get_ranges_sync("a/k", RANGES),
    ),
}


def _refusal(call, store):
    """The error of a refused call; ranges raise theirs in a group."""
    with pytest.raises((PermissionError, ExceptionGroup)) as caught:
        call(store)
    error = caught.value
    return error.exceptions[0] if isinstance(error, ExceptionGroup) else error


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("method", CALLS)
def test_overrides_are_heeded_through_wrappers(method, around):
    store = Guarded()
    outer, plain = AROUND[around](store), MemoryStore()
    for call in CALLS[method]:
        for filled in (store, plain):
            filled.set_sync("a/k", b"01234")
        assert _plain(call(outer)) == _plain(call(plain))
    assert store.calls == [method, method]
    store.refuses = True
    store.set_sync("a/k", b"01234")
    for call in CALLS[method]:
        assert "not allowed" in str(_refusal(call, outer))
    assert value_of(store, "a/k") == b"01234"


def _plain(answer):
    """The bytes in an answer."""
    if isinstance(answer, list):
        return sorted(map(_plain, answer), key=repr)
    if isinstance(answer, tuple):
        return tuple(map(_plain, answer))
    return bytes(answer) if isinstance(answer, Buffer) else answer


def test_overrides_that_are_made_of_each_other_end():
    """Each asks the next, as a store of zarr-python's may."""

    class Chained(MemoryStore):
        async def clear(self):
            await self.delete_dir("")

        async def delete_dir(self, prefix):
            await super().delete_dir(prefix)

        async def delete(self, key):
            await super().delete(key)

        async def get_partial_values(self, prototype, key_ranges):
            return [
                buffer
                for key, byte_range in key_ranges
                async for batch in self.get_ranges(key, [byte_range], prototype=prototype)
                for _, buffer in batch
            ]

        async def is_empty(self, prefix=""):
            return await super().is_empty(prefix)

    for around in AROUND.values():
        inner = Chained()
        store = around(inner)
        store.set_sync("a/k", b"01234")
        (found,) = store.get_partial_values_sync(None, [("a/k", RANGES[1])])
        assert found.to_bytes() == b"34"
        assert not store.is_empty_sync()
        asyncio.run(store.delete_dir("a"))
        assert store.is_empty_sync()
        store.set_sync("b", b"")
        store.clear_sync()
        assert inner.is_empty_sync()
