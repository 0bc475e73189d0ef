"""Calls that are cancelled wherever they wait: values are old or new, and nothing stays behind."""

import asyncio
import os

import fsspec
import obstore.store
import pytest
from bucket_fs import BUCKETS, BucketFileSystem
from cancelled import MOMENTS, cancelled_at
from local_fs import OtherLocalFileSystem, through_fsspec

from zarrstore import (
    RangeByteRequest,
    StorePath,
    check_store,
    copy_store,
    digest_store,
    move_store,
    sync_store,
)
from zarrstore._async.io_loop import io_loop
from zarrstore._os.temporary import is_temporary
from zarrstore.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, ZipStore

# So large that folders and archives are read and written in threads.
OLD, NEW = b"o" * 300_000, b"n" * 300_001
BEFORE = {"a/k": OLD, "a/l": OLD, "b": OLD}


async def everything(listing):
    return [item async for item in listing]


async def one_and_no_more(store):
    async for _ in store.list():
        break


def sources():
    return MemoryStore({"k": NEW, "l": NEW})


# Each operation, and what it may change: None is a value that goes.
READS = {
    "get": lambda store: store.get("a/k"),
    "get a range": lambda store: store.get("a/k", byte_range=RangeByteRequest(7, 200_000)),
    "get_partial_values": lambda store: store.get_partial_values(
        None, [("a/k", None), ("b", RangeByteRequest(1, 9)), ("b", RangeByteRequest(20, 29)), ("no", None)]
    ),
    "get_ranges": lambda store: everything(
        store.get_ranges("a/k", [RangeByteRequest(0, 9), RangeByteRequest(299_000, 299_900)])
    ),
    "exists": lambda store: store.exists("a/k"),
    "getsize": lambda store: store.getsize("a/k"),
    "getsize_prefix": lambda store: store.getsize_prefix("a"),
    "is_empty": lambda store: store.is_empty("a"),
    "list": lambda store: everything(store.list()),
    "list a bit": one_and_no_more,
    "list_dir": lambda store: everything(store.list_dir("a")),
    "path": lambda store: StorePath(store, "a/k").get(),
    "digest": lambda store: digest_store(store),
    "check": lambda store: check_store(store),
    "copy from": lambda store: copy_store(store, MemoryStore()),
}
CHANGES = {
    "set": (lambda store: store.set("a/k", NEW), {"a/k": NEW}),
    "set a new key": (lambda store: store.set("c/d/k", NEW), {"c/d/k": NEW}),
    "create": (lambda store: store.create("c/k", NEW), {"c/k": NEW}),
    "set_if_not_exists": (lambda store: store.set_if_not_exists("a/k", NEW), {}),
    "set_partial_values": (
        lambda store: store.set_partial_values([("a/k", 0, NEW), ("b", 0, NEW)]),
        {"a/k": NEW, "b": NEW},
    ),
    "delete": (lambda store: store.delete("a/k"), {"a/k": None}),
    "delete_dir": (lambda store: store.delete_dir("a"), {"a/k": None, "a/l": None}),
    "clear": (lambda store: store.clear(), dict.fromkeys(BEFORE)),
    "copy to": (
        lambda store: copy_store(sources(), store, target_prefix="c"),
        {"c/k": NEW, "c/l": NEW},
    ),
    "sync": (
        lambda store: sync_store(sources(), store, target_prefix="a", delete=True),
        {"a/k": NEW, "a/l": NEW},
    ),
    "move from": (lambda store: move_store(store, MemoryStore()), dict.fromkeys(BEFORE)),
}
CALLS = {**{name: (call, {}) for name, call in READS.items()}, **CHANGES}


def bucket_of_an_io_loop(folder):
    BUCKETS["b"] = {}
    return FsspecStore(BucketFileSystem(asynchronous=True), path="b/root", concurrency=1, retry=None)


def fsspec_memory(folder):
    fsspec.filesystem("memory").store.clear()
    return FsspecStore.from_url("memory://cancelled/root", concurrency=1)


# One request at a time, where there is a limit: a permit that isn't given back stops the next call.
STORES = {
    "folder": lambda folder: LocalStore(folder / "root"),
    "archive": lambda folder: ZipStore(folder / "root.zip", mode="w", deletes=True),
    "memory": lambda folder: MemoryStore(),
    "fsspec, folder": lambda folder: through_fsspec(OtherLocalFileSystem(), folder / "root", concurrency=1),
    "fsspec, memory": fsspec_memory,
    "fsspec, bucket": bucket_of_an_io_loop,
    "obstore": lambda folder: ObjectStore(obstore.store.MemoryStore(), concurrency=1),
}


async def tidy():
    """Wait until no task is left but this one, here and on the loop of clients."""
    for _ in range(100):
        # Wakes that loop: when its file system is collected, gcsfs makes a task there without doing so.
        io_loop().call_soon_threadsafe(bool)
        left = asyncio.all_tasks() - {asyncio.current_task()} | asyncio.all_tasks(io_loop())
        if not left:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"still pending: {left}")


async def cancel_everywhere(kind, folder, moment):
    count = 0
    with STORES[kind](folder) as store:
        for name, (call, changes) in CALLS.items():
            if name == "set_partial_values" and not store.supports_partial_writes:
                continue
            number = 1
            while await cancel(store, call, number, moment):
                await check(store, changes, f"{name}, suspension {number}, {moment}")
                litter = [file for _, _, files in os.walk(folder) for file in files if is_temporary(file)]
                assert not litter, name
                number += 1
            count += number - 1
    return count


async def cancel(store, call, number, moment):
    """Cancel a call at a suspension, in a store as it was before; return whether it waited so often."""
    async with asyncio.timeout(10):
        await store.clear()
        for key, value in BEFORE.items():
            await store.set(key, value)
        reached = await cancelled_at(lambda: call(store), number, moment)
    await tidy()
    return reached


async def check(store, changes, where):
    """Check that each value is old or new, and that the next calls work."""
    async with asyncio.timeout(10):
        found = {key: (await store.get(key)).to_bytes() async for key in store.list()}
        for key in {**BEFORE, **changes, **found}:
            old = BEFORE.get(key)
            assert found.get(key) in (old, changes.get(key, old)), (where, key)
        await store.set("after", NEW)
        assert (await store.get("after")).to_bytes() == NEW, where


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=pytest.mark.slow if "later" in name else ()) for name in MOMENTS]
)
@pytest.mark.parametrize("kind", STORES)
def test_wherever_a_call_waits(kind, moment, tmp_path, record_property):
    count = asyncio.run(cancel_everywhere(kind, tmp_path, moment))
    record_property("cases", count)
    assert count > 5
