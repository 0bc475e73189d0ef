"""Our zip store beside zarr-python's, on one and the same archive.

    python benchmarks/zips.py [--quick] [--members N] [--json FILE] [--only PART]

Everything runs in turn in one process, several times over; the best time of each counts. Printed are
microseconds (or milliseconds) an operation and how many times faster than zarr-python that is. For
arrays, "memory" stands for a store that costs as little as can be: what remains is zarr-python's own time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import zarr
import zarr.storage
from zarr.core.buffer import cpu, default_buffer_prototype

from zarrstore.storage import MemoryStore, ZipStore

SMALL = os.urandom(256)
PROTOTYPE = default_buffer_prototype()
BUFFER = cpu.Buffer.from_bytes(SMALL)


class Bench:
    """Runs the contestants of each line in turn, and keeps the best time of each."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.rows: dict[str, dict[str, float]] = {}
        self.floors: dict[str, float] = {}

    async def line(self, name, contestants, *, per=1, floor=None):
        """Time each contestant; a coroutine is awaited, a plain function called."""
        best = dict.fromkeys(contestants, float("inf"))
        for round_ in range(self.rounds):
            order = list(contestants)
            if round_ % 2:
                order.reverse()
            for who in order:
                call = contestants[who]
                prepare, call, finish = call if isinstance(call, tuple) else (None, call, None)
                if prepare is not None:
                    prepare()
                start = time.perf_counter()
                answer = call()
                if asyncio.iscoroutine(answer):
                    await answer
                best[who] = min(best[who], (time.perf_counter() - start) / per * 1e6)
                if finish is not None:
                    finish()
        self.rows[name] = best
        if floor is not None:
            self.floors[name] = floor
        cells = ", ".join(f"{who} {shown(value)}" for who, value in best.items())
        ratio = ""
        if "zarr" in best:
            ratio = f"{self.ratio(name):.1f} x zarr" + (f" (floor {floor:g})" if floor else "")
        if "memory" in best:
            ratio += f"; {best['zarr'] / best['memory']:.1f} x would be a store that costs nothing"
        print(f"{name:44} {cells:62} {ratio}", flush=True)

    def ratio(self, name):
        return self.rows[name]["zarr"] / self.rows[name]["zarrstore"]


def shown(microseconds):
    return f"{microseconds:.1f} us" if microseconds < 1e4 else f"{microseconds / 1e3:.1f} ms"


async def collect(listing):
    count = 0
    async for _ in listing:
        count += 1
    return count


async def one_by_one(call, keys):
    for key in keys:
        await call(key)


async def at_once(call, keys):
    await asyncio.gather(*(call(key) for key in keys))


def make_archive(path, members):
    """An archive of another program, 1,000 members a directory."""
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


async def arrays(bench, folder):
    shape, chunks = (2000, 1024), (1, 1024)
    data = np.random.default_rng(0).integers(0, 1 << 30, shape, dtype="<i4")

    def write(store):
        zarr.create_array(store, data=data, chunks=chunks, compressors=None)
        store.close()

    def makers(mode):
        def theirs():
            if mode == "w":
                (folder / "zarr.zip").unlink(missing_ok=True)
            return zarr.storage.ZipStore(folder / "zarr.zip", mode=mode)

        return {"zarr": theirs, "zarrstore": lambda: ZipStore(folder / "ours.zip", mode=mode)}

    memory = MemoryStore()
    zarr.create_array(memory, data=data, chunks=chunks, compressors=None)
    calls = {who: lambda make=make: write(make()) for who, make in makers("w").items()}
    await bench.line(
        "zarr array, 4 KiB chunks: write and close",
        {**calls, "memory": lambda: write(MemoryStore())},
        per=2000,
    )
    calls = {
        who: lambda make=make: np.testing.assert_array_equal(
            zarr.open_array(make(), mode="r")[::400], data[::400]
        )
        for who, make in makers("r").items()
    }
    for call in calls.values():
        call()
    stores = {who: make() for who, make in makers("r").items()}
    opened = {who: zarr.open_array(store, mode="r") for who, store in stores.items()}
    opened["memory"] = zarr.open_array(memory, mode="r")
    await bench.line(
        "zarr array, 4 KiB chunks: read",
        {who: lambda array=array: array[:] for who, array in opened.items()},
        per=2000,
    )
    for store in stores.values():
        store.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--members", type=int, default=100_000, help="how many the archive has")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    parser.add_argument("--only", default="", help="reading, writing or arrays")
    options = parser.parse_args()
    bench = Bench(3 if options.quick else 9)
    print(
        f"Python {sys.version.split()[0]}, zarr-python {zarr.__version__}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"
    )
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in ("", "reading"):
            asyncio.run(reading(bench, folder, options.members))
        if options.only in ("", "writing"):
            asyncio.run(writing(bench, folder))
        if options.only in ("", "arrays"):
            asyncio.run(arrays(bench, folder))
    missed = [name for name, floor in bench.floors.items() if bench.ratio(name) < floor]
    print(
        f"{len(bench.floors) - len(missed)} floors reached, {len(missed)} missed"
        + "".join(f"\n  {name}" for name in missed)
    )
    if options.json:
        options.json.write_text(json.dumps({"us": bench.rows, "floors": bench.floors}, indent=1))


if __name__ == "__main__":
    main()
