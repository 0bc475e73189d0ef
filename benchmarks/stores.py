"""Our local and memory stores beside zarr-python's, tensorstore's, obstore's and bare system calls.

    python benchmarks/stores.py [--quick] [--only PART] [--json FILE] [--picture FILE]

Everything runs in turn in one process, on the same data, several times over; the best time of each
counts. Printed are microseconds an operation (or gigabytes a second), how many times faster than
zarr-python that is, and how many times the bare calls it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import zarr.storage
from harness import Bench, add_options, at_once, collect, one_by_one
from zarr.core.buffer import cpu, default_buffer_prototype

from zarrstore._async import threads as _threads
from zarrstore.storage import LocalStore, MemoryStore

SMALL = os.urandom(4096)
PROTOTYPE = default_buffer_prototype()
BUFFER = cpu.Buffer.from_bytes(SMALL)

try:
    import tensorstore as ts
except ImportError:
    ts = None
try:
    import obstore
    from obstore.store import LocalStore as ObstoreLocal
except ImportError:
    obstore = None


def bare_read(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    size = os.lseek(descriptor, 0, os.SEEK_END)
    memory = bytearray(size)
    os.preadv(descriptor, [memory], 0)
    os.close(descriptor)
    return memory


def bare_write(path, data):
    temporary = path + ".t"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    os.write(descriptor, data)
    os.close(descriptor)
    os.replace(temporary, path)


def bare_list(root):
    for entry in os.scandir(root):
        if entry.is_dir():
            yield from bare_list(entry.path)
        else:
            yield entry.name


def bare_size(root):
    total = 0
    for entry in os.scandir(root):
        total += bare_size(entry.path) if entry.is_dir() else entry.stat().st_size
    return total


async def local(bench, folder, tmpfs):
    keys = [f"c/{i // 100}/{i % 100}" for i in range(4000)]
    ours, theirs = LocalStore(folder), zarr.storage.LocalStore(folder)
    await theirs._ensure_open()
    for key in keys:
        ours.set_sync(key, SMALL)
    for key in keys:
        bare_read(f"{folder}/{key}")
    few = keys[:1000]
    tensor = ts.KvStore.open({"driver": "file", "path": str(folder) + "/"}).result() if ts else None
    ob = ObstoreLocal(folder) if obstore else None

    def others(**named):
        return {who: call for who, call in named.items() if call is not None}

    def tensor_flight():
        for future in [tensor.read(key) for key in keys]:
            future.result()

    await bench.line(
        "await get, one by one",
        others(
            zarr=lambda: one_by_one(lambda k: theirs.get(k, PROTOTYPE), few),
            zarrstore=lambda: one_by_one(lambda k: ours.get(k, PROTOTYPE), few),
            tensorstore=(lambda: [tensor.read(k).result() for k in few]) if tensor else None,
            obstore=(lambda: one_by_one(lambda k: obstore.get_async(ob, k), few)) if ob else None,
            bare=lambda: [bare_read(f"{folder}/{k}") for k in few],
        ),
        per=len(few), floor=10,
    )  # fmt: skip
    await bench.line(
        "gather of 4,000 gets",
        others(
            zarr=lambda: at_once(lambda k: theirs.get(k, PROTOTYPE), keys),
            zarrstore=lambda: at_once(lambda k: ours.get(k, PROTOTYPE), keys),
            tensorstore=tensor_flight if tensor else None,
            bare=lambda: [bare_read(f"{folder}/{k}") for k in keys],
        ),
        per=len(keys), floor=4,
    )  # fmt: skip
    pairs = [(key, None) for key in keys]
    await bench.line(
        "get_partial_values of 4,000 keys",
        others(
            zarr=lambda: theirs.get_partial_values(PROTOTYPE, pairs),
            zarrstore=lambda: ours.get_partial_values(PROTOTYPE, pairs),
            tensorstore=tensor_flight if tensor else None,
            bare=lambda: [bare_read(f"{folder}/{k}") for k in keys],
        ),
        per=len(keys), floor=6,
    )  # fmt: skip
    await bench.line(
        "get_sync",
        others(
            zarr=lambda: [theirs.get_sync(k, prototype=PROTOTYPE) for k in few],
            zarrstore=lambda: [ours.get_sync(k, prototype=PROTOTYPE) for k in few],
            obstore=(lambda: [obstore.get(ob, k).bytes() for k in few]) if ob else None,
            bare=lambda: [bare_read(f"{folder}/{k}") for k in few],
        ),
        per=len(few), floor=2,
    )  # fmt: skip
    large = os.urandom(64 << 20)
    ours.set_sync("large", large)
    source, target = np.frombuffer(large, "B"), np.empty(64 << 20, "B")
    await bench.line(
        "get of 64 MiB",
        others(
            zarr=lambda: theirs.get("large", PROTOTYPE),
            zarrstore=lambda: ours.get("large", PROTOTYPE),
            tensorstore=(lambda: tensor.read("large").result()) if tensor else None,
            copy=lambda: np.copyto(target, source),
        ),
        floor=2.5, size=64 << 20,
    )  # fmt: skip
    ours.delete_sync("large")
    await writing(bench, tmpfs, "tmpfs")
    await writing(bench, f"{folder}-w", "disk")
    shutil.rmtree(f"{folder}-w", ignore_errors=True)

    many = Path(f"{folder}-many")
    crowd, zarrs = LocalStore(many), zarr.storage.LocalStore(many)
    for i in range(20_000):
        path = many / f"{i // 200}"
        if not i % 200:
            path.mkdir(parents=True)
        (path / f"{i % 200}").write_bytes(b"x" * 10)
    await zarrs._ensure_open()
    await bench.line(
        "list of 20,000 keys",
        {
            "zarr": lambda: collect(zarrs.list()),
            "zarrstore": lambda: collect(crowd.list()),
            "bare": lambda: sum(1 for _ in bare_list(many)),
        },
        per=20_000, floor=3,
    )  # fmt: skip
    await bench.line(
        "getsize_prefix of 20,000 keys",
        {
            "zarr": lambda: zarrs.getsize_prefix(""),
            "zarrstore": lambda: crowd.getsize_prefix(""),
            "bare": lambda: bare_size(many),
        },
        per=20_000, floor=15,
    )  # fmt: skip
    await bench.line(
        "is_empty of 20,000 keys (a call)",
        {"zarr": lambda: zarrs.is_empty(""), "zarrstore": lambda: crowd.is_empty("")},
        floor=200,
    )
    shutil.rmtree(many)


async def writing(bench, folder, where):
    ours, theirs = LocalStore(f"{folder}/ours"), zarr.storage.LocalStore(f"{folder}/zarr")
    await theirs._ensure_open()
    bare = Path(folder) / "bare/c"
    bare.mkdir(parents=True)
    keys = [f"c/{i}" for i in range(500)]
    floors = (4, 2.5, 2) if where == "tmpfs" else (None,) * 3

    def fresh():
        shutil.rmtree(f"{folder}/ours", ignore_errors=True)
        shutil.rmtree(f"{folder}/zarr", ignore_errors=True)
        for path in bare.iterdir():
            path.unlink()

    ours.set_sync("first", SMALL)
    await bench.line(
        f"{where}: gather of 500 sets",
        {
            "zarr": (fresh, lambda: at_once(lambda k: theirs.set(k, BUFFER), keys)),
            "zarrstore": (fresh, lambda: at_once(lambda k: ours.set(k, BUFFER), keys)),
            "bare": (fresh, lambda: [bare_write(f"{bare}/{k[2:]}", SMALL) for k in keys]),
        },
        per=500, floor=floors[0],
    )  # fmt: skip
    await bench.line(
        f"{where}: await set",
        {
            "zarr": (fresh, lambda: one_by_one(lambda k: theirs.set(k, BUFFER), keys)),
            "zarrstore": (fresh, lambda: one_by_one(lambda k: ours.set(k, BUFFER), keys)),
            "bare": (fresh, lambda: [bare_write(f"{bare}/{k[2:]}", SMALL) for k in keys]),
        },
        per=500, floor=floors[1],
    )  # fmt: skip
    await bench.line(
        f"{where}: set_sync",
        {
            "zarr": (fresh, lambda: [theirs.set_sync(k, BUFFER) for k in keys]),
            "zarrstore": (fresh, lambda: [ours.set_sync(k, BUFFER) for k in keys]),
            "bare": (fresh, lambda: [bare_write(f"{bare}/{k[2:]}", SMALL) for k in keys]),
        },
        per=500, floor=floors[2],
    )  # fmt: skip


async def syncing(bench, folder):
    """Writes that last: ours, and bare calls in as many threads."""
    keys = [f"c/{i}" for i in range(1000)]
    ours = LocalStore(f"{folder}/ours", fsync="full")
    ours.set_sync("first", SMALL)
    bare = Path(folder) / "bare"
    bare.mkdir()

    def fresh():
        shutil.rmtree(f"{folder}/ours/c", ignore_errors=True)
        for path in bare.iterdir():
            path.unlink()
        os.sync()

    def synced_write(key):
        path = f"{bare}/{key[2:]}"
        descriptor = os.open(path + ".t", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        os.write(descriptor, SMALL)
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(path + ".t", path)

    def in_threads():
        with ThreadPoolExecutor(_threads.POOL_SIZE) as pool:
            list(pool.map(synced_write, keys))

    await bench.line(
        f"disk: 1,000 concurrent sets, fsync='full' ({_threads.POOL_SIZE} threads)",
        {
            "zarrstore": (fresh, lambda: at_once(lambda k: ours.set(k, BUFFER), keys)),
            "bare": (fresh, in_threads),
        },
        per=1000,
    )


async def crowd(bench, folder, count):
    """One folder of very many keys: how long until the first, what each costs, and how flat memory stays."""
    root = Path(folder) / "crowd"
    root.mkdir()
    for i in range(count):
        os.close(os.open(f"{root}/{i}", os.O_CREAT | os.O_WRONLY))
    store = LocalStore(root)
    for _ in range(2):
        tracemalloc.start()
        start = time.perf_counter()
        listing = store.list()
        await anext(listing)
        first = time.perf_counter() - start
        number = 1 + await collect(listing)
        total = time.perf_counter() - start
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert number == count
    start = time.perf_counter()
    await collect(store.list())
    total = time.perf_counter() - start
    print(
        f"list of {count:,} keys in one folder: the first after {first * 1e3:.1f} ms, "
        f"{total / count * 1e6:.2f} us a key, {peak / 1e6:.1f} MB at most"
    )


async def memory(bench):
    ours, theirs = MemoryStore(), zarr.storage.MemoryStore()
    await theirs._ensure_open()
    keys = [f"g{i // 1000}/c/{i % 1000}" for i in range(50_000)]
    for key in keys:
        ours.set_sync(key, SMALL)
        theirs._store_dict[key] = cpu.Buffer.from_bytes(SMALL)
    few = keys[:4000]
    await bench.line(
        "memory: get",
        {
            "zarr": lambda: one_by_one(lambda k: theirs.get(k, PROTOTYPE), few),
            "zarrstore": lambda: one_by_one(lambda k: ours.get(k, PROTOTYPE), few),
        },
        per=len(few), floor=1.2,
    )  # fmt: skip
    await bench.line(
        "memory: set",
        {
            "zarr": lambda: one_by_one(lambda k: theirs.set(k, BUFFER), few),
            "zarrstore": lambda: one_by_one(lambda k: ours.set(k, BUFFER), few),
        },
        per=len(few),
    )
    await bench.line(
        "memory: list_dir of 1,000 in 50,000 (a call)",
        {
            "zarr": lambda: collect(theirs.list_dir("g7/c")),
            "zarrstore": lambda: collect(ours.list_dir("g7/c")),
        },
        floor=20,
    )
    await bench.line(
        "memory: is_empty (a call)",
        {"zarr": lambda: theirs.is_empty("g49/c"), "zarrstore": lambda: ours.is_empty("g49/c")},
        floor=50,
    )


def main():
    parser = add_options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--only", default="", help="local, sync, memory, or crowd (a million files)")
    options = parser.parse_args()
    bench = Bench(3 if options.quick else 9)
    shm = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as tmpfs,
    ):
        if options.only in ("", "local"):
            asyncio.run(local(bench, Path(folder) / "data", tmpfs))
        if options.only in ("", "sync"):
            (Path(folder) / "sync").mkdir()
            asyncio.run(syncing(bench, Path(folder) / "sync"))
        if options.only == "crowd":
            for count in (1000, 1_000_000):
                (Path(folder) / str(count)).mkdir()
                asyncio.run(crowd(bench, Path(folder) / str(count), count))
        if options.only in ("", "memory"):
            asyncio.run(memory(bench))
    bench.finish(options)


if __name__ == "__main__":
    main()
