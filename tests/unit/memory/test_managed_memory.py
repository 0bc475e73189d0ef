"""Memory with a name: who shares it, how long it lives, what its text form opens, and other processes."""

import asyncio
import gc
import multiprocessing
import pickle

import pytest

from zarrstore import LoggingStore, MemoryStore, StorePath, WrapperStore, make_store_sync
from zarrstore.storage import FsspecStore, ManagedMemoryStore


def test_stores_of_one_name_share_their_values():
    first = ManagedMemoryStore("shared")
    second = ManagedMemoryStore(name="shared", path="a")
    first.set_sync("a/b/x", b"1")
    assert second.get_sync("b/x").to_bytes() == b"1"
    asyncio.run(second.set("y", b"2"))
    assert sorted(first.list_sync()) == ["a/b/x", "a/y"]
    assert sorted(second.list_dir_sync("")) == ["b", "y"]
    assert (first.name, second.name, second.path) == ("shared", "shared", "a")
    assert (str(first), str(second)) == ("memory://shared", "memory://shared/a")
    assert repr(second) == "ManagedMemoryStore('memory://shared/a')"
    assert second == ManagedMemoryStore("shared", path="//a/")
    assert second != first
    assert second != second.with_read_only(True)
    assert str(second.sub("b")) == "memory://shared/a/b"
    assert ManagedMemoryStore().name != ManagedMemoryStore().name


def test_it_is_opened_as_it_is_made():
    store = asyncio.run(ManagedMemoryStore.open("opened", path="a", read_only=True))
    assert (store.name, store.path, store.read_only, store._is_open) == ("opened", "a", True, True)
    assert asyncio.run(ManagedMemoryStore.open()).is_empty_sync()


def test_the_values_go_with_the_last_store():
    store = ManagedMemoryStore("short lived")
    store.set_sync("k", b"1")
    assert ManagedMemoryStore.from_url("memory://short lived").get_sync("k") is not None
    del store
    gc.collect()
    with pytest.raises(ValueError, match="names no memory of this process"):
        ManagedMemoryStore.from_url("memory://short lived")
    assert ManagedMemoryStore("short lived").is_empty_sync()


def test_urls_find_it():
    store = ManagedMemoryStore("found")
    store.set_sync("a/k", b"1")
    below = ManagedMemoryStore.from_url("MEMORY://found/a", read_only=True)
    assert below.read_only
    assert below.get_sync("k").to_bytes() == b"1"
    for url in ("memory://found/a", str(store.sub("a"))):
        opened = make_store_sync(url)
        assert type(opened) is ManagedMemoryStore
        assert opened.get_sync("k").to_bytes() == b"1"
    assert make_store_sync("memory://found", mode="r").read_only
    with pytest.raises(ValueError, match="no memory"):
        ManagedMemoryStore.from_url("s3://found")
    assert isinstance(make_store_sync("memory://nobody has this name"), FsspecStore)


def test_a_plain_memory_store_is_found_by_its_text():
    store = MemoryStore()
    store.set_sync("a/k", b"1")
    opened = make_store_sync(str(store))
    opened.set_sync("l", b"2")
    assert sorted(store.list_sync()) == ["a/k", "l"]
    assert make_store_sync(str(StorePath(store, "a"))).get_sync("k").to_bytes() == b"1"


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_no_name(name):
    with pytest.raises(ValueError, match="without slashes"):
        ManagedMemoryStore(name)


def _look(data):
    beside = ManagedMemoryStore("carried")
    beside.set_sync("k", b"of this process")
    store = pickle.loads(data)
    return store.get_sync("k").to_bytes(), [_refusal(store), _refusal(LoggingStore(store, "ERROR"))]


def _refusal(store):
    for write in (store.set_sync, lambda *args: asyncio.run(store.set(*args))):
        try:
            write("l", b"")
        except ValueError as error:
            text = str(error)
        else:
            return "written"
    return text


def test_pickles_are_the_same_store_here_and_a_copy_elsewhere():
    store = ManagedMemoryStore("carried", path="a")
    store.set_sync("k", b"1")
    assert pickle.loads(pickle.dumps(store)) == store
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for kept in (store, WrapperStore(MemoryStore({"k": b"1"}))):
            value, errors = pool.apply(_look, (pickle.dumps(kept),))
            assert value == b"1"
            assert all("would be lost" in error for error in errors)
