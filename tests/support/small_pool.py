"""A program that tests a tiny thread pool: ``python small_pool.py PART KIND FOLDER SECONDS``.

If it isn't done after SECONDS, it prints the stacks of all threads and ends.
"""

import asyncio
import faulthandler
import itertools
import os
import sys
import zipfile
from pathlib import Path

from bucket_fs import BUCKETS, BucketFileSystem
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.local import LocalFileSystem

from zarrstore import copy_store, copy_store_sync
from zarrstore.storage import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    RetryStore,
    StorePath,
    WrapperStore,
    ZipStore,
)
from zarrstore.testing import QUESTIONS, check_store

COUNT = itertools.count()
LARGE, SMALL = 9 << 20, 5000


class OtherLocalFileSystem(LocalFileSystem):
    """Not fsspec's own class, so it is called like any blocking file system."""


def places(folder):
    """Return functions that make an empty store of each kind, by name."""

    def fresh():
        return f"{folder}/{next(COUNT)}"

    def other(path):
        return FsspecStore(AsyncFileSystemWrapper(OtherLocalFileSystem(), asynchronous=True), path=path)

    def bucket():
        BUCKETS.setdefault("b", {})
        return FsspecStore(BucketFileSystem(asynchronous=True), path=f"b/{next(COUNT)}")

    kinds = {
        "memory": MemoryStore,
        "local": lambda: LocalStore(fresh()),
        "zip": lambda: ZipStore(fresh() + ".zip", mode="w", deletes=True),
        "fsspec-file": lambda: FsspecStore.from_url("file://" + fresh()),
        "fsspec-other": lambda: other(fresh()),
        "fsspec-memory": lambda: FsspecStore.from_url("memory://" + fresh()),
        "fsspec-bucket": bucket,
        "wrapper": lambda: WrapperStore(LocalStore(fresh())),
        "retry": lambda: RetryStore(other(fresh())),
        "view": lambda: other(fresh()).sub("a/b"),
    }
    try:
        import obstore.store

        from zarrstore.storage import ObjectStore
    except ImportError:
        return kinds
    kinds["object"] = lambda: ObjectStore(obstore.store.LocalStore(fresh(), mkdir=True))
    return kinds


def content(name):
    return bytes([len(name)]) * (LARGE if name.startswith("large") else SMALL)


NAMES = [*(f"large/{i}" for i in range(4)), *(f"small/{i}" for i in range(12))]


def whole_contract(folder, kind, questions=QUESTIONS):
    report = check_store(places(folder)[kind], questions=questions)
    assert not report.wrong, report.wrong


def contract(folder, kind):
    """Ask the contract's questions, but every eighth only of those that come in dozens."""
    whole_contract(folder, kind, [q for n, q in enumerate(QUESTIONS) if not q.together or n % 8 == 0])


def copies(folder, kind):
    """Copy large and small values from one kind of store to each kind, awaited and blocking."""
    kinds = places(folder)
    source = kinds[kind]()
    for name in NAMES:
        source.set_sync(name, content(name))
    for target_kind, make in kinds.items():
        for how in ("await", "block"):
            target = make()
            if how == "await":
                report = asyncio.run(copy_store(source, target))
            else:
                report = copy_store_sync(source, target)
            assert report.keys == len(NAMES), target_kind
            assert sorted(target.list_sync()) == sorted(NAMES)
            assert all(target.getsize_sync(name) == len(content(name)) for name in NAMES)
            assert target.get_sync("large/3").to_bytes() == content("large/3")
            target.clear_sync()
            target.close()


def archives(folder, kind):
    """Have sixty tasks read an archive in a store of this kind, while others write elsewhere."""
    path = Path(folder) / "archive"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(60):
            archive.writestr(f"k/{number}", b"%d" % number * 20_000)
    below = places(folder)[kind]()
    below.set_sync("archive", path.read_bytes())
    other = LocalStore(f"{folder}/other")

    async def main():
        store = ZipStore(StorePath(below, "archive"))
        answers, *_ = await asyncio.gather(
            asyncio.gather(*(store.get(f"k/{number}") for number in range(60))),
            *(other.set(f"k/{number}", b"v") for number in range(20)),
        )
        assert [answer.to_bytes() for answer in answers] == [b"%d" % n * 20_000 for n in range(60)]
        batch = await store.get_partial_values(None, [(f"k/{number}", None) for number in range(60)])
        assert [value.to_bytes() for value in batch] == [value.to_bytes() for value in answers]
        await other.set("after", b"v")
        copied = MemoryStore()
        assert (await copy_store(store, copied)).keys == 60
        assert copy_store_sync(store, MemoryStore()).keys == 60

    asyncio.run(main())


def busy_archive(folder, kind):
    """Stream values into an archive, while others are written and removed there."""
    source = places(folder)[kind]()
    for name in NAMES:
        source.set_sync(name, content(name))
    target = ZipStore(f"{folder}/target.zip", mode="w", deletes=True)

    async def main():
        for number in range(40):
            await target.set(f"old/{number}", b"v")
        await asyncio.gather(
            copy_store(source, target, target_prefix="copy"),
            *(target.delete(f"old/{number}") for number in range(40)),
            *(target.set(f"new/{number}", bytes(SMALL)) for number in range(40)),
        )
        assert not await target.exists("old/7")
        assert await target.getsize("new/7") == SMALL
        assert await target.getsize("copy/large/0") == LARGE

    asyncio.run(main())
    target.close()


def overridden(folder, kind):
    """Call a wrapper that overrides awaited methods, from threads of the pool."""

    class Counting(WrapperStore):
        reads = 0

        async def get(self, *args, **kwargs):
            self.reads += 1
            return await super().get(*args, **kwargs)

        async def set(self, *args, **kwargs):
            return await super().set(*args, **kwargs)

    below = Counting(places(folder)[kind]())
    path = Path(folder) / "archive"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            archive.writestr(f"k/{number}", bytes(100_000))
    below.set_sync("archive", path.read_bytes())

    async def main():
        store = ZipStore(StorePath(below, "archive"))
        answers = await asyncio.gather(*(store.get(f"k/{number}") for number in range(20)))
        assert all(len(answer) == 100_000 for answer in answers)

    asyncio.run(main())
    assert below.reads


PARTS = (contract, whole_contract, copies, archives, busy_archive, overridden)
KINDS = list(places("."))

if __name__ == "__main__":
    part, kind, folder, seconds = sys.argv[1:]
    faulthandler.dump_traceback_later(float(seconds), exit=True)
    assert os.environ["ZARRSTORE_THREADS"]
    {function.__name__: function for function in PARTS}[part](folder, kind)
    # Not through the interpreter's shutdown: obstore's threads that release a value then would abort the
    # process, with or without this library.
    os._exit(0)
