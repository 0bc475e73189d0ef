"""Our remote stores beside zarr-python's, on an S3 server that this program starts on the loopback.

    python benchmarks/remote.py [--quick] [--only LINE] [--json FILE]

Everything runs in turn in one process, on the same data, many times over. A proxy in front of the server
counts requests in a separate pass; times are measured in another pass without it. It prints the best
milliseconds per call, how many times faster that is than zarr-python's store over the same client (the median
of all rounds, with its 95% interval), and the requests that each sends. If both send the same requests, there
is nothing to gain; the interval shows whether a ratio below 1 is just noise.

Lines that end in "far" are measured through the proxy, which delays each request by 50 ms, about as long as
object stores take to answer (Amazon reports 100 to 200 ms for small objects). With a server on the loopback,
most of the time is the server's own work.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import obstore
import zarr
import zarr.storage
from harness import at_once, collect, compared, is_settled, one_by_one
from obstore.store import S3Store
from s3fs import S3FileSystem
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.storage._common import make_store as their_make_store

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from object_servers import BUCKET, KEY, SECRET, S3Server, seaweed_s3
from proxy import proxied

import zarrstore

SMALL = os.urandom(4096)
PROTOTYPE = default_buffer_prototype()
BUFFER = cpu.Buffer.from_bytes(SMALL)
KEYS = [f"many/c/{number // 20}/{number % 20}" for number in range(400)]
URL_KEYS = [f"url/{number}" for number in range(1000)]
DOOMED = [f"doomed/{number // 100}/{number % 100}" for number in range(1000)]
WIDE = os.urandom(300 * 4096)
RANGES = [("wide", RangeByteRequest(4096 * number, 4096 * number + 256)) for number in range(300)]

# What each line must show: the most requests, and how many times faster than zarr-python.
FEW = {"getsize_prefix": (1, 1), "is_empty": (1, 1)}
URL_LINE = "get, 1,000 at once"
# The delay in seconds of each request in a second pass, and what each line must show then.
DISTANCE = 0.05
DEMANDS = {
    "FsspecStore": {**FEW, "300 near ranges": (8, 20), "delete_dir of 1,000": (4, 1)},
    "ObjectStore": {**FEW, "300 near ranges": (8, 1), "delete_dir of 1,000": (4, 10)},
    "s3:// URL": {URL_LINE: (None, 3)},
}
FAR = {"FsspecStore": {"300 near ranges": 20}, "ObjectStore": {"delete_dir of 1,000": 10}, "s3:// URL": {}}


def stores(server):
    """Return pairs of zarr-python's store and ours over the same client, or opened from a URL by default."""
    options = server.fsspec_options()
    theirs = S3Store(BUCKET, prefix="data", **server.obstore_options())

    def fs():
        return S3FileSystem(asynchronous=True, skip_instance_cache=True, **options)

    return {
        "FsspecStore": (
            zarr.storage.FsspecStore(fs(), path=f"{BUCKET}/data"),
            zarrstore.FsspecStore(fs(), path=f"{BUCKET}/data"),
        ),
        "ObjectStore": (zarr.storage.ObjectStore(theirs), zarrstore.ObjectStore(theirs)),
    }


async def opened(server):
    """Return what ``s3://`` opens in both libraries, with the same options."""
    options = server.fsspec_options()
    url = f"s3://{BUCKET}/data"
    return (
        await their_make_store(url, storage_options=options),
        await zarrstore.make_store(url, storage_options=options),
    )


class Plants:
    """The data, written independently of the measured stores."""

    def __init__(self, server):
        self.store = S3Store(BUCKET, prefix="data", **server.obstore_options())

    async def plant(self, keys):
        gate = asyncio.Semaphore(32)

        async def put(key):
            async with gate:
                await obstore.put_async(self.store, key, SMALL)

        await at_once(put, keys)


def lines(store):
    """Return the measured calls by name."""
    return {
        "get, 400 at once": lambda: at_once(lambda key: store.get(key, PROTOTYPE), KEYS),
        "get, 40 one by one": lambda: one_by_one(lambda key: store.get(key, PROTOTYPE), KEYS[:40]),
        "set, 400 at once": lambda: at_once(lambda key: store.set(key, BUFFER), KEYS),
        "300 near ranges": lambda: store.get_partial_values(PROTOTYPE, RANGES),
        "list": lambda: collect(store.list_prefix("many/")),
        "list_dir": lambda: collect(store.list_dir("many/c")),
        "getsize_prefix": lambda: store.getsize_prefix("many"),
        "is_empty": lambda: store.is_empty("many"),
        "delete_dir of 1,000": lambda: store.delete_dir("doomed"),
        URL_LINE: lambda: at_once(lambda key: store.get(key, PROTOTYPE), URL_KEYS),
    }


async def prepare(name, store, plants):
    """Prepare a call: warm up the connection, write data to delete, clear caches."""
    await store.get(KEYS[0], PROTOTYPE)
    if "delete" in name:
        await plants.plant(DOOMED)
    if isinstance(store, zarr.storage.FsspecStore):
        store.fs.invalidate_cache()


async def timed(name, pair, plants, rounds):
    """Return milliseconds of a call on two stores in turn, by round; more rounds if the ratio is near 1."""
    taken = [[] for _ in pair]
    for round_ in range(4 * rounds):
        if round_ >= rounds and not round_ % 2 and is_settled(*compared(*taken)[1:]):
            break
        order = list(enumerate(pair))
        for index, store in order if round_ % 2 else reversed(order):
            call = lines(store)[name]
            await prepare(name, store, plants)
            gc.collect()
            gc.freeze()
            start = time.perf_counter()
            await call()
            taken[index].append((time.perf_counter() - start) * 1e3)
    return taken


async def counted(name, pair, plants, proxy):
    """Return the number of requests of a call on each of two stores."""
    counts = []
    for store in pair:
        call = lines(store)[name]
        await prepare(name, store, plants)
        before = len(proxy.requests)
        await call()
        counts.append(len(proxy.requests) - before)
    return counts


def show(kind, name, taken, counts, demand):
    ratio, low, high = compared(*taken)
    requests, floor = demand
    judged = [f"{ratio:.2f} x ({low:.2f} to {high:.2f}; floor {floor})"]
    judged.append(f"{counts[1]} for {counts[0]} requests" + (f" (at most {requests})" if requests else ""))
    missed = ratio < floor or (requests is not None and counts[1] > requests)
    verdict = ("equal" if floor == 1 <= high else "missed") if missed else "reached"
    times = [min(each) for each in taken]
    print(
        f"{kind:12} {name:26} zarr {times[0]:9.2f} ms, zarrstore {times[1]:8.2f} ms  "
        f"{'; '.join(judged)}{'' if verdict == 'reached' else f'   <- {verdict}'}",
        flush=True,
    )
    row = {"store": kind, "line": name, "ms": times, "ratio": ratio, "interval": (low, high)}
    return {**row, "requests": counts, "floor": floor, "most": requests, "verdict": verdict}


async def alone(plants, rounds):
    """Return the server's best milliseconds for only the bulk deletes that `delete_dir` sends."""
    best = float("inf")
    for _ in range(rounds):
        await plants.plant(DOOMED)
        start = time.perf_counter()
        await asyncio.gather(*(obstore.delete_async(plants.store, DOOMED[part::3]) for part in range(3)))
        best = min(best, (time.perf_counter() - start) * 1e3)
    return best


async def measure(server, proxy, url, rounds, only):
    plants = Plants(server)
    await plants.plant([*KEYS, *URL_KEYS])
    await obstore.put_async(plants.store, "wide", WIDE)
    front = S3Server(url)
    behind, direct = stores(front), stores(server)
    behind["s3:// URL"], direct["s3:// URL"] = await opened(front), await opened(server)
    rows, counts_of = [], {}
    for kind, demands in DEMANDS.items():
        names = [URL_LINE] if kind == "s3:// URL" else [name for name in lines(None) if name != URL_LINE]
        for name in names:
            if only not in f"{kind}, {name}":
                continue
            counts = counts_of[kind, name] = await counted(name, behind[kind], plants, proxy)
            times = await timed(name, direct[kind], plants, rounds)
            rows.append(show(kind, name, times, counts, demands.get(name, (None, 1))))
            if name.startswith("delete_dir"):
                least = await alone(plants, rounds)
                most = min(times[0]) / least
                print(
                    f"{'':12} the same bulk deletes and nothing else {least:.2f} ms: {most:.1f} x at the most"
                )
    # A server on the loopback answers at once; real ones hardly ever do.
    proxy.plan = lambda method, target: DISTANCE
    for (kind, name), counts in counts_of.items():
        times = await timed(name, behind[kind], plants, min(rounds, 5))
        rows.append(show(kind, f"{name}, far", times, counts, (None, FAR[kind].get(name, 1))))
    proxy.plan = None
    for theirs, _ in (*behind.values(), *direct.values()):
        if isinstance(theirs, zarr.storage.FsspecStore):
            await (await theirs.fs.set_session()).close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds instead of fifteen")
    parser.add_argument("--only", default="", help="part of a line, as 'ObjectStore, set'")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("AWS_ACCESS_KEY_ID", KEY)
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", SECRET)
    print(
        f"zarr-python {zarr.__version__}, obstore {obstore.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    with seaweed_s3() as server, proxied(server.endpoint) as (proxy, url):
        rows = asyncio.run(measure(server, proxy, url, 2 if asked.quick else 15, asked.only))
    verdicts = Counter(row["verdict"] for row in rows)
    print(
        f"{verdicts['reached']} floors reached, {verdicts['equal']} times below 1 within the error, "
        f"{verdicts['missed']} missed"
    )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
