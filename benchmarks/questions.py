"""The questions for every peer: their rows, and what each peer does for a row."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorstore
import xarray
import zarr
import zarr.storage
from benchmarks import peers as them

import zarrstore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SIZES = {
    "100 B": 100,
    "4 KiB": 4 << 10,
    "64 KiB": 64 << 10,
    "256 KiB": 256 << 10,
    "1 MiB": 1 << 20,
    "16 MiB": 16 << 20,
    "256 MiB": 256 << 20,
}


@dataclass
class Row:
    """One figure for each peer that can do it.

    Parameters
    ----------
    question : str
        The question; one chart.
    label : str
        The row within it.
    calls : dict of str to callable
        What each peer does; a coroutine is awaited.
    per : int
        Operations per call.
    before : callable, optional
        Called with the peer's name before each call; a coroutine is awaited.
    sent : callable, optional
        Returns how many requests a server has received so far.
    """

    question: str
    label: str
    calls: dict[str, Callable]
    per: int = 1
    before: Callable | None = None
    sent: Callable | None = None
    unit: str = "us a value"


def count_of(size, most=1000):
    """Return how many values of a size make a call long enough to time."""
    return max(1, min(most, (64 << 20) // size))


def keys_of(count):
    return [f"c/{number // 100}/{number % 100}" for number in range(count)]


def able(peers, name, call):
    """Return the calls of the peers that have a method of this name."""
    return {peer.name: (lambda peer=peer: call(peer)) for peer in peers if getattr(peer, name, None)}


def drop_cache(root):
    """Drop the files below a folder from the page cache."""
    for folder, _, names in os.walk(root):
        for name in names:
            descriptor = os.open(f"{folder}/{name}", os.O_RDONLY)
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


async def fill(peers, keys, value):
    for peer in peers:
        await peer.ready()
        await peer.set_all([(key, value) for key in keys], 64)
        await peer.close()


async def reads(place, peers, sizes, flights, root=None) -> AsyncIterator[Row]:
    """Yield reads of values by size and by number in flight, as a batch, and outside the page cache."""
    for label, size in sizes.items():
        keys = keys_of(count_of(size))
        await fill(peers, keys, os.urandom(size))
        for flight in flights:
            if flight == 1 or flight <= len(keys):
                yield Row(
                    f"{place}: read, {flight} in flight",
                    label,
                    able(peers, "get_all", lambda peer, keys=keys, flight=flight: peer.get_all(keys, flight)),
                    len(keys),
                )
        if size <= 1 << 20:
            yield Row(
                f"{place}: read, a batch",
                label,
                able(peers, "get_all", lambda peer, keys=keys: batch(peer, keys)),
                len(keys),
            )
        if root is not None and size >= 4 << 10:
            yield Row(
                f"{place}: read, 10 in flight, not cached",
                label,
                able(peers, "get_all", lambda peer, keys=keys: peer.get_all(keys[:200], 10)),
                min(200, len(keys)),
                before=lambda name: drop_cache(Path(root) / name),
            )


async def batch(peer, keys):
    """Read values, all held until the last has arrived, in the best way that a peer has."""
    if getattr(peer, "get_batch", None):
        await peer.get_batch(keys)
    elif getattr(peer, "get", None) and not isinstance(peer, them.Tensorstore):
        await asyncio.gather(*map(peer.get, keys))
    elif isinstance(peer, them.Tensorstore):
        kept = [peer.store.read(key) for key in keys]
        [future.result() for future in kept]
    else:
        [peer.get_now(key) for key in keys]


async def ranges(place, peers) -> AsyncIterator[Row]:
    """Yield reads of parts of one large value."""
    await fill(peers, ["wide"], os.urandom(16 << 20))
    spans = [(number * 160_000, number * 160_000 + 4096) for number in range(100)]
    for flight in (1, 100):
        yield Row(
            f"{place}: ranges of 4 KiB in 16 MiB",
            f"{flight} in flight",
            able(
                peers,
                "get_range",
                lambda peer, flight=flight: them.in_turns(
                    lambda span: peer.get_range("wide", *span), spans, flight
                ),
            ),
            len(spans),
        )


async def threads(place, peers, sizes) -> AsyncIterator[Row]:
    """Yield blocking reads from several threads."""
    for label, size in sizes.items():
        keys = keys_of(count_of(size, 500))
        await fill(peers, keys, os.urandom(size))
        for number in (1, 2, 4, 8):
            yield Row(
                f"{place}: blocking reads of {label} by threads",
                f"{number} thread{'s' * (number > 1)}",
                able(
                    peers,
                    "get_now",
                    lambda peer, keys=keys, number=number: in_threads(peer.get_now, keys, number),
                ),
                len(keys) * number,
            )


def in_threads(call, keys, number):
    """Make a call for all keys in each of several threads."""

    def work():
        for key in keys:
            call(key)

    workers = [threading.Thread(target=work) for _ in range(number)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


async def writes(place, peers, sizes, flights, how="") -> AsyncIterator[Row]:
    """Yield writes of new values, and of values that replace others."""
    for peer in peers:
        await peer.ready()
    by_name = {peer.name: peer for peer in peers}
    for label, size in sizes.items():
        count = count_of(size, 500)
        value = os.urandom(size)
        items = [(key, value) for key in keys_of(count)]

        async def empty(name):
            if getattr(by_name[name], "delete", None):
                await by_name[name].set("c/0/0", b"x") if hasattr(by_name[name], "set") else None
                await by_name[name].delete()

        for flight in flights:
            if flight > count and flight > 1:
                continue

            def write(peer, flight=flight, items=items):
                return peer.set_all(items, flight)

            yield Row(
                f"{place}: write{how}, {flight} in flight",
                f"{label}, new",
                able(peers, "set_all", write),
                count,
                before=empty,
            )
            yield Row(
                f"{place}: write{how}, {flight} in flight",
                f"{label}, again",
                able(peers, "set_all", write),
                count,
            )


async def names(place, peers, counts, plant) -> AsyncIterator[Row]:
    """Yield listings, sizes and deletes by the number of keys."""
    by_name = {peer.name: peer for peer in peers}
    for count in counts:
        for peer in peers:
            await peer.ready()
            await plant(peer, count)
        for what, times in (("list", 1), ("size", 1), ("is_empty", 20)):
            calls = able(
                peers,
                what,
                lambda peer, what=what, times=times: them.in_turns(
                    lambda _: getattr(peer, what)(), range(times), 1
                ),
            )
            yield Row(f"{place}: {what.replace('_', ' ')}", f"{count:,} keys", calls, times, unit="us a call")
        if count <= 100_000:
            yield Row(
                f"{place}: delete all",
                f"{count:,} keys",
                able(peers, "delete", lambda peer: peer.delete()),
                unit="us a call",
                before=lambda name, count=count: plant(by_name[name], count),
            )


# -- whole arrays -------------------------------------------------------------------------------------

PIPELINES = {
    "zarr-python's default": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarr-python's fused": "zarr.core.codec_pipeline.FusedCodecPipeline",
    "zarrs": "zarrs.ZarrsCodecPipeline",
}


async def arrays(root, chunk) -> AsyncIterator[Row]:
    """Yield a whole array of 64 MiB: with zarr-python's pipelines, xarray, dask, tensorstore's driver."""
    shape = (4096, 4096)
    data = np.random.default_rng(0).integers(0, 1 << 20, shape, dtype="<i4")
    number = data.nbytes // (chunk[0] * chunk[1] * 4)
    question = f"whole arrays, chunks of {chunk[0] * chunk[1] * 4 >> 10} KiB: "
    makers = {"zarrstore": zarrstore.LocalStore, "zarr-python": zarr.storage.LocalStore}

    def create(name):
        shutil.rmtree(f"{root}/{name}", ignore_errors=True)
        return zarr.create_array(
            makers[name](f"{root}/{name}"), name="x", shape=shape, dtype="<i4", chunks=chunk,
            compressors=None, dimension_names=("y", "x"),
        )  # fmt: skip

    def write(name, pipeline):
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            create(name)[:] = data

    def read(name, pipeline):
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            assert (
                zarr.open_array(makers[name](f"{root}/{name}"), path="x", mode="r")[:][-1, -1] == data[-1, -1]
            )

    def tensor(mode):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/tensorstore/x/"}}
        if mode == "w":
            shutil.rmtree(f"{root}/tensorstore", ignore_errors=True)
            layout = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
                      "shape": list(shape), "data_type": "int32"}  # fmt: skip
            tensorstore.open({**spec, "metadata": layout}, create=True).result()[:].write(data).result()
        else:
            assert tensorstore.open(spec).result()[:].read().result()[-1, -1] == data[-1, -1]

    def by_xarray(name, **options):
        store = makers[name](f"{root}/{name}")
        with xarray.open_zarr(store, consolidated=False, **options) as found:
            assert found["x"].values[-1, -1] == data[-1, -1]

    for name in makers:
        create(name)[:] = data
    tensor("w")
    for label, pipeline in PIPELINES.items():
        writing = {name: lambda name=name, p=pipeline: write(name, p) for name in makers}
        reading = {name: lambda name=name, p=pipeline: read(name, p) for name in makers}
        if label.endswith("fused"):
            reading["tensorstore"], writing["tensorstore"] = lambda: tensor("r"), lambda: tensor("w")
        yield Row(question + "write", label, writing, number, unit="us a chunk")
        yield Row(question + "read", label, reading, number, unit="us a chunk")
    for label, options in {"xarray": {"chunks": None}, "xarray, dask threads": {"chunks": {}}}.items():
        calls = {name: lambda name=name, options=options: by_xarray(name, **options) for name in makers}
        yield Row(question + "read", label, calls, number, unit="us a chunk")


# -- all of them ----------------------------------------------------------------------------------------


async def everything(folder, tmpfs, *, long: bool, only: str) -> AsyncIterator[Row]:
    """Yield all rows, each when its data are ready."""
    parts = {
        "folder": lambda: of_folders(folder, "folder on disk", long),
        "tmpfs": lambda: of_folders(tmpfs, "folder on tmpfs", long) if long else nothing(),
        "memory": lambda: of_memory(long),
        "zip": lambda: of_archives(tmpfs, long),
        "s3": lambda: of_s3(long),
        "arrays": lambda: of_arrays(tmpfs, long),
    }
    for part, rows in parts.items():
        if only in ("", part):
            async for row in rows():
                yield row


async def nothing() -> AsyncIterator[Row]:
    for row in ():
        yield row


def some(sizes, *wanted):
    return {label: sizes[label] for label in wanted}


async def of_folders(root, place, long):
    sizes = SIZES if long else some(SIZES, "100 B", "4 KiB", "64 KiB", "256 KiB", "1 MiB", "16 MiB")
    flights = (1, 10, 100, 1000) if long else (1, 100)
    peers = them.in_folder(f"{root}/reads")
    async for row in reads(place, peers, sizes, flights, f"{root}/reads"):
        yield row
    async for row in ranges(place, peers):
        yield row
    async for row in threads(place, peers, some(SIZES, "4 KiB", "64 KiB")):
        yield row
    shutil.rmtree(f"{root}/reads")
    peers = [peer for peer in them.in_folder(f"{root}/writes") if peer.is_fresh]
    async for row in writes(place, peers, some(SIZES, "4 KiB", "1 MiB"), (1, 100)):
        yield row
    shutil.rmtree(f"{root}/writes")
    async for row in writes(
        place, them.in_folder_synced(f"{root}/synced"), some(SIZES, "4 KiB"), (100,), " with fsync"
    ):
        yield row
    shutil.rmtree(f"{root}/synced")

    async def plant(peer, count):
        base = f"{root}/names/{peer.name}"
        for number in range(count):
            if not number % 1000:
                os.makedirs(f"{base}/{number // 1000}", exist_ok=True)
            os.close(os.open(f"{base}/{number // 1000}/{number % 1000}", os.O_CREAT | os.O_WRONLY))

    peers = [peer for peer in them.in_folder(f"{root}/names") if peer.is_fresh]
    async for row in names(place, peers, (10, 1000, 20_000, *((1_000_000,) if long else ())), plant):
        yield row
    shutil.rmtree(f"{root}/names")


async def of_memory(long):
    sizes = SIZES if long else some(SIZES, "100 B", "4 KiB", "64 KiB", "1 MiB")
    peers = them.in_memory()
    async for row in reads("memory", peers, sizes, (1, 100)):
        yield row
    async for row in writes("memory", [peer for peer in peers if peer.is_fresh], sizes, (1,)):
        yield row


async def of_archives(root, long):
    sizes = some(SIZES, "100 B", "4 KiB", "64 KiB", "1 MiB", *(("16 MiB",) if long else ()))
    for label, size in sizes.items():
        keys = keys_of(count_of(size))
        folder = Path(root) / f"zip-{size}"
        folder.mkdir()
        value = os.urandom(size)

        async def write(peer, keys=keys, value=value):
            await peer.ready()
            await peer.set_all([(key, value) for key in keys], 1)
            await peer.close()

        def written(name, folder=folder, write=write):
            (folder / f"{name}.zip").unlink(missing_ok=True)
            return write(next(peer for peer in them.in_zip(folder, "w") if peer.name == name))

        yield Row(
            "zip archive: write and close",
            label,
            {
                peer.name: lambda name=peer.name, written=written: written(name)
                for peer in them.in_zip(folder, "w")
            },
            len(keys),
        )
        for name in ("zarrstore", "zarr-python", "zipfile"):
            await written(name)
        peers = them.in_zip(folder, "r")
        for peer in peers:
            await peer.ready()
        yield Row(
            "zip archive: read, 1 in flight",
            label,
            able(peers, "get_all", lambda peer, keys=keys: peer.get_all(keys, 1)),
            len(keys),
        )
        for peer in peers:
            await peer.close()
        shutil.rmtree(folder)


async def of_s3(long):
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
    from object_servers import BUCKET, KEY, SECRET, S3Server, seaweed_s3
    from proxy import proxied

    with ExitStack() as stack:
        server = await asyncio.to_thread(stack.enter_context, seaweed_s3())
        near = them.on_s3(server, BUCKET, KEY, SECRET)
        async for row in of_a_server("S3", near, long):
            yield row
        proxy, url = await asyncio.to_thread(stack.enter_context, proxied(server.endpoint))
        far = them.on_s3(S3Server(url), BUCKET, KEY, SECRET)
        proxy.plan = lambda method, target: 0.02
        async for row in of_a_server("S3, 20 ms", far, long):
            row.sent = lambda: len(proxy.requests)
            yield row


async def of_a_server(place, peers, long):
    keys = keys_of(1000 if long else 200)
    await fill(peers, keys, os.urandom(16 << 10))
    for flight in (1, 10, 100, *((1000,) if long else ())):
        some_keys = keys if flight > 1 else keys[:50]
        calls = able(peers, "get_all", lambda peer, k=some_keys, flight=flight: peer.get_all(k, flight))
        yield Row(f"{place}: read 16 KiB", f"{flight} in flight", calls, len(some_keys))
    items = [(key, os.urandom(16 << 10)) for key in keys[:100]]
    yield Row(
        f"{place}: write 16 KiB",
        "32 in flight",
        able(peers, "set_all", lambda peer: peer.set_all(items, 32)),
        len(items),
    )
    yield Row(
        f"{place}: list",
        f"{len(keys):,} keys",
        able(peers, "list", lambda peer: peer.list()),
        unit="us a call",
    )


async def of_arrays(root, long):
    for chunk in ((512, 512), *(((64, 64), (1024, 4096)) if long else ())):
        async for row in arrays(f"{root}/arrays", chunk):
            yield row
