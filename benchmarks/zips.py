"""Our zip store beside zarr-python's, on the same archive.

    python benchmarks/zips.py [--quick] [--members N] [--only PART] [--json FILE]

Everything runs in turn in one process, several times over; the best time of each counts. It prints
microseconds (or milliseconds) per operation and how many times faster than zarr-python that is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import zarr.storage
from harness import Bench, add_options, at_once, collect, one_by_one
from zarr.core.buffer import cpu, default_buffer_prototype

from zarrstore.storage import ZipStore

SMALL = os.urandom(256)
PROTOTYPE = default_buffer_prototype()
BUFFER = cpu.Buffer.from_bytes(SMALL)


def make_archive(path, members):
    """Make an archive as another program does, with 1,000 members per directory."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(members):
            archive.writestr(f"g{number // 1000}/c/{number % 1000}", SMALL)


async def reading(bench, folder, members):
    path = folder / "many.zip"
    make_archive(path, members)
    middle = members // 2000
    key = f"g{middle}/c/7"
    stores = []

    async def first(make):
        store = make()
        stores.append(store)
        assert len(await store.get(key, PROTOTYPE)) == len(SMALL)

    def close():
        stores.pop().close()

    count = f"{members:,} members"
    await bench.line(
        f"{count}: open and first get",
        {
            "zarr": (None, lambda: first(lambda: zarr.storage.ZipStore(path)), close),
            "zarrstore": (None, lambda: first(lambda: ZipStore(path)), close),
        },
        floor=8,
    )

    async def first_listing():
        stores.append(ZipStore(path))
        assert await collect(stores[-1].list_dir("g0/c")) == 1000

    await bench.line(f"{count}: open and first list_dir", {"zarrstore": (None, first_listing, close)})

    theirs, ours = zarr.storage.ZipStore(path), ZipStore(path)
    await theirs._ensure_open()
    keys = [f"g{number // 1000}/c/{number % 1000}" for number in range(0, members, max(1, members // 2000))]
    for name in keys:
        await ours.get(name)
    few = keys[:1000]
    both = {"zarr": theirs, "zarrstore": ours}
    await bench.line(
        "await get",
        {who: lambda s=s: one_by_one(lambda k: s.get(k, PROTOTYPE), few) for who, s in both.items()},
        per=len(few), floor=4,
    )  # fmt: skip
    await bench.line(
        "gather of gets",
        {who: lambda s=s: at_once(lambda k: s.get(k, PROTOTYPE), few) for who, s in both.items()},
        per=len(few),
    )
    await bench.line(
        "list_dir of 1,000 (a call)",
        {who: lambda s=s: collect(s.list_dir(f"g{middle}/c")) for who, s in both.items()},
        floor=50,
    )
    await bench.line(
        "is_empty (a call)",
        {who: lambda s=s: s.is_empty(f"g{middle}/c") for who, s in both.items()},
        floor=100,
    )
    await bench.line(
        "getsize_prefix of 1,000 (a call)",
        {who: lambda s=s: s.getsize_prefix(f"g{middle}/c") for who, s in both.items()},
    )
    await bench.line(
        "list (a key)", {who: lambda s=s: collect(s.list()) for who, s in both.items()}, per=members
    )
    theirs.close()
    ours.close()

    tracemalloc.start()
    with ZipStore(path) as store:
        store.exists_sync(key)
        taken = tracemalloc.get_traced_memory()[0]
        store.is_empty_sync("")
        listed = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"memory: {taken / members:.0f} bytes a member, {listed / members:.0f} with the tree for listings")


async def writing(bench, folder):
    keys = [f"c/{number}" for number in range(1000)]
    paths = {"zarr": folder / "zarr.zip", "zarrstore": folder / "ours.zip"}
    makers = {"zarr": zarr.storage.ZipStore, "zarrstore": ZipStore}
    stores = {}

    def contestant(who):
        def prepare():
            stores[who] = makers[who](paths[who], mode="w")
            if who == "zarr":
                stores[who]._sync_open()

        return prepare, lambda: one_by_one(lambda k: stores[who].set(k, BUFFER), keys), stores_close(who)

    def stores_close(who):
        return lambda: stores.pop(who).close()

    await bench.line("await set", {who: contestant(who) for who in paths}, per=len(keys))


def main():
    parser = add_options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--members", type=int, default=100_000, help="how many the archive has")
    parser.add_argument("--only", default="", help="reading or writing")
    options = parser.parse_args()
    bench = Bench(3 if options.quick else 9)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        if options.only in ("", "reading"):
            asyncio.run(reading(bench, Path(folder), options.members))
        if options.only in ("", "writing"):
            asyncio.run(writing(bench, Path(folder)))
    bench.finish(options)


if __name__ == "__main__":
    main()
