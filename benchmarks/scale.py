"""Time and memory by the number of keys, up to a million: a page with a chart of each.

    python -m benchmarks.scale [--page FILE] [--json FILE] [--from FILE] [--only PLACE [--merge]]

With ``--merge`` the page keeps its other rows, so that one place can be measured anew.

A place holds values of one byte, 1,000 to a directory. Each call is made on a store of its own that has read
a value, and each kind of call in a process of its own. Memory is what the first call takes at most, over what
the process had before. Time is the median of up to five calls, as many as begin within a second, or of one
where that deletes. Beside the measurements, the names that a place lists are compared with those that it was
filled with, and it must list none after ``delete_dir``.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import statistics
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from benchmarks import page
from benchmarks.harness import collect
from benchmarks.measure import machine, once
from object_servers import BUCKET, seaweed_s3

import zarrstore

COUNTS = (1000, 10_000, 100_000, 1_000_000)
IN_DIRECTORY = 1000
KEY = "c/0/0"
OPEN, DELETE = "open and read a value", "delete_dir"
# By name: what is called, and what it returns where so many keys are.
OPERATIONS = {
    OPEN: (lambda store: has_value(store), lambda count: True),
    "list": (lambda store: collect(store.list()), lambda count: count),
    "list_dir of 1,000 keys": (lambda store: collect(store.list_dir("c/0")), lambda count: IN_DIRECTORY),
    "list_dir of all directories": (
        lambda store: collect(store.list_dir("c")),
        lambda count: count // IN_DIRECTORY,
    ),
    "getsize_prefix": (lambda store: store.getsize_prefix("c"), lambda count: count),
    "is_empty": (lambda store: store.is_empty("c"), lambda count: False),
    DELETE: (lambda store: delete_all(store), lambda count: None),
}


def keys_of(count):
    """Name keys one by one: a million take memory."""
    return (f"c/{number // IN_DIRECTORY}/{number % IN_DIRECTORY}" for number in range(count))


async def has_value(store):
    return await store.get(KEY) is not None


async def check_names(store, count):
    """Raise unless a store lists so many keys, and each by its name."""
    found = [key async for key in store.list()]
    assert len(found) == count, (store, len(found))
    assert set(found) == set(keys_of(count)), store


async def delete_all(store):
    await store.delete_dir("c")
    store.close()  # writes an archive's directory


# -- places: how each is filled, and how it is opened --------------------------------------------------


def fill_folder(spot, count):
    """Make files by bare system calls."""
    for number, key in enumerate(keys_of(count)):
        if not number % IN_DIRECTORY:
            os.makedirs(f"{spot}/c/{number // IN_DIRECTORY}")
        file = os.open(f"{spot}/{key}", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"1")
        os.close(file)


def fill_archive(spot, count):
    with zipfile.ZipFile(spot, "w") as archive:
        for key in keys_of(count):
            archive.writestr(key, b"1")


def fill_memory(count):
    store = zarrstore.MemoryStore()
    for key in keys_of(count):
        store.set_sync(key, b"1")
    return store


def bucket_of(spot):
    from obstore.store import S3Store

    server, prefix = spot
    return S3Store(BUCKET, prefix=prefix, **server.obstore_options())


async def _put_all(bucket, keys):
    async def work():
        for key in keys:
            await bucket.put_async(key, b"1")

    await asyncio.gather(*(work() for _ in range(64)))


def fill_bucket(spot, count):
    asyncio.run(_put_all(bucket_of(spot), keys_of(count)))


def through_s3fs(spot):
    server, prefix = spot
    # At the end of a process s3fs complains of sessions of its own.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return zarrstore.FsspecStore.from_url(
        f"s3://{BUCKET}/{prefix}", storage_options=server.fsspec_options(skip_instance_cache=True)
    )


# By name: who fills it, and who opens it; memory is filled by whoever opens it.
PLACES = {
    "folder": (fill_folder, lambda spot, count: zarrstore.LocalStore(spot)),
    "memory": (None, lambda spot, count: fill_memory(count)),
    "zip archive": (fill_archive, lambda spot, count: zarrstore.ZipStore(spot, mode="a", deletes=True)),
    "S3, obstore": (fill_bucket, lambda spot, count: zarrstore.ObjectStore(bucket_of(spot))),
    "S3, s3fs": (fill_bucket, lambda spot, count: through_s3fs(spot)),
}


def is_bucket(place):
    return PLACES[place][0] is fill_bucket


# -- measuring -----------------------------------------------------------------------------------------


def in_child(call, *arguments):
    """Have a new process call, so that no other memory counts."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def measured(place, spot, count, operation):
    """Return seconds, seconds of the processor and bytes of memory that an operation takes."""
    return asyncio.run(_measured(place, spot, count, operation))


async def _measured(place, spot, count, operation):
    call, answer = OPERATIONS[operation]
    taken = []
    began = time.perf_counter()
    while not taken or (operation != DELETE and len(taken) < 5 and time.perf_counter() - began < 1):
        store = PLACES[place][1](spot, count)
        if operation != OPEN:
            await has_value(store)

        async def ask(store=store):
            found = await call(store)
            assert found == answer(count), (place, operation, found)

        taken.append(await once(ask))
        store.close()
    if operation == DELETE:
        with store if place == "memory" else PLACES[place][1](spot, count) as left:
            await check_names(left, 0)
    seconds, cpu, memory = zip(*taken, strict=True)
    return statistics.median(seconds), statistics.median(cpu), max(0, memory[0])


def checked(place, spot, count):
    """Check that a place lists what it was filled with."""
    with PLACES[place][1](spot, count) as store:
        asyncio.run(check_names(store, count))


def rows(place, spot, count):
    """Measure a place with so many keys."""
    fill = PLACES[place][0]
    if fill is not None:
        in_child(fill, spot, count)
    in_child(checked, place, spot, count)
    for operation in OPERATIONS:
        if operation == OPEN and fill is None:
            continue  # memory of another process can't be opened
        seconds, cpu, memory = in_child(measured, place, spot, count, operation)
        print(
            f"{place:12} {count:9,} {operation:28} {seconds:9.4f} s {cpu:9.4f} s {memory / 1e6:6.1f} MB",
            flush=True,
        )
        yield {
            "place": place, "operation": operation, "count": count,
            "seconds": seconds, "cpu": cpu, "memory": memory,
        }  # fmt: skip


def counts_to(most):
    return [*(count for count in COUNTS if count < most), most]


def run(options):
    """Measure all places."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="zarrstore-scale-") as folder, seaweed_s3() as server:
        for place in PLACES:
            most = options.objects if is_bucket(place) else options.most
            for count in counts_to(most) if options.only in place else ():
                name = f"{place.split()[-1]}-{count}"
                spot = (server, name) if is_bucket(place) else f"{folder}/{name}"
                figures += rows(place, spot, count)
    return {"machine": machine(), "figures": figures}


# -- the page ------------------------------------------------------------------------------------------

_HEAD = """\
# A million keys

How processor time and memory grow with the number of keys. Values have one byte, and each directory holds
1,000 of them. Each call ran in a process of its own, through a store that had read one value before. Memory
is the process's peak, minus what it had before the call. Time is processor time of that process, which other
programs on the machine affect less than the wall clock; the S3 server's comes on top.
`python -m benchmarks.scale` writes this page; `--most` and `--objects` say how far it goes.

{machine}.

## Growth

The axes are logarithmic. Along the dotted grey line, ten times as many keys cost ten times as much.

![Processor time by number of keys]({charts}/processor-time.svg)

![Memory by number of keys]({charts}/memory.svg)

In the tables, *power* is how a row grows in its last step: 0 means that it stays the same, 1 that twice as
many keys cost twice as much, 2 that they cost four times as much.

{worse}

The first listing of a memory store or an archive sorts all keys into directories. So even `is_empty` and a
short `list_dir` cost that much there. Later listings cost what they return.
"""
# By what a figure is called: what it measures, its unit, how many of these one is, and the least that counts.
MEASURES = {
    "cpu": ("Processor time", "ms", 1e3, 1e-4),
    "memory": ("Memory", "MB", 1e-6, 1e6),
}
# Above this power growth counts as faster than in proportion: two runs differ by a tenth.
PROPORTION = 1.1
_WORSE = """\
These grow a little faster than the number of keys. In memory and in archives that is Python's `dict`: looking
a key up among a million takes several times as long as among 10,000, which fit into the processor's caches.
In a folder it is the kernel, which no longer has the inodes of so many files at hand, as for `rm -rf`."""


def write(path, found):
    """Write the page, and its charts beside it."""
    lines = series(found["figures"])
    charts = path.parent / path.stem
    charts.mkdir(parents=True, exist_ok=True)
    for measure, name in (("cpu", "processor-time"), ("memory", "memory")):
        draw(charts / f"{name}.svg", lines, measure)
    head = _HEAD.format(
        charts=path.stem,
        machine=_machine(found),
        worse=worse(lines),
    )
    tables = [
        row for measure in MEASURES for row in ("", f"## {MEASURES[measure][0]}", "", *table(lines, measure))
    ]
    path.write_text("\n".join([head.rstrip(), *tables]) + "\n")


def series(figures):
    """Sort figures into lines: by operation and place, the rows by number of keys."""
    lines = {}
    for operation in OPERATIONS:
        for row in figures:
            if row["operation"] == operation:
                lines.setdefault((operation, row["place"]), []).append(row)
    return lines


def power(rows, measure):
    """Return the power of the number of keys with which a line grows in its last step."""
    if len(rows) < 2:
        return math.nan
    least = MEASURES[measure][3]
    before, last = (max(row[measure], least) for row in rows[-2:])
    return math.log(last / before) / math.log(rows[-1]["count"] / rows[-2]["count"])


def worse(lines):
    """Say what grows faster than the number of keys."""
    found = [
        f"- `{operation}`, {place}: {MEASURES[measure][0].lower()}, {power(rows, measure):.2f}"
        for (operation, place), rows in lines.items()
        for measure in MEASURES
        if power(rows, measure) > PROPORTION
    ]
    if not found:
        return f"No power of processor time or memory is above {PROPORTION}."
    return "\n".join([_WORSE, "", *found])


def write_merged(path, found):
    """Write the page anew, and keep its rows of what wasn't measured now."""
    shown = path.read_text()
    if _machine(found) + "." not in shown.splitlines():
        raise SystemExit(f"{path} is of another machine, or of other versions: measure all places.")
    figures = {(row["operation"], row["place"], row["count"]): row for row in found["figures"]}
    for where, row in read_tables(shown).items():
        figures.setdefault(where, row)
    places = list(PLACES)
    in_order = sorted(figures.values(), key=lambda row: (places.index(row["place"]), row["count"]))
    write(path, {**found, "figures": in_order})


def read_tables(shown):
    """Return the figures of a page's tables, by operation, place and number of keys."""
    figures = {}
    for measure, (title, _, factor, _) in MEASURES.items():
        section = shown.partition(f"## {title}\n")[2].partition("\n## ")[0]
        lines = [
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in section.splitlines()
            if line.startswith("| ")
        ]
        counts = [int(count.replace(",", "")) for count in lines[0][2:-1]]
        for operation, place, *cells, _ in lines[1:]:
            for count, cell in zip(counts, cells, strict=True):
                if cell != "-":
                    row = {"operation": operation, "place": place, "count": count}
                    figures.setdefault((operation, place, count), row)[measure] = (
                        float(cell.replace(",", "")) / factor
                    )
    return figures


def _machine(found):
    return page.describe(found["machine"], ("obstore", "s3fs"))


def table(lines, measure):
    """Make a table of a line a row."""
    _, unit, factor, _ = MEASURES[measure]
    counts = sorted({row["count"] for rows in lines.values() for row in rows})
    yield f"| {unit} | | {' | '.join(f'{count:,}' for count in counts)} | power |"
    yield "|---" * (len(counts) + 3) + "|"
    for (operation, place), rows in lines.items():
        cells = {row["count"]: page.rounded(row[measure] * factor) for row in rows}
        shown = " | ".join(cells.get(count, "-") for count in counts)
        yield f"| {operation} | {place} | {shown} | {power(rows, measure):.2f} |"


def draw(path, lines, measure):
    """Draw a panel an operation, and a line a place."""
    plt = page.pyplot()
    _, unit, factor, least = MEASURES[measure]
    peers = ("zarrstore", "zarr-python", "obstore", "tensorstore", "fsspec")
    styles = {place: page.STYLES[peer] for place, peer in zip(PLACES, peers, strict=True)}
    figure, panels = plt.subplots(2, 4, figsize=(10, 5), sharex=True, sharey=True)
    for axis, operation in zip(panels.flat, OPERATIONS, strict=False):
        for place in PLACES:
            rows = lines.get((operation, place), [])
            marker, line, colour, width = styles[place]
            axis.plot(
                [row["count"] for row in rows],
                [max(row[measure], least / 10) * factor for row in rows],
                marker=marker, linestyle=line, color=colour, linewidth=width, markersize=4, label=place,
            )  # fmt: skip
        axis.plot(COUNTS, [count / 1e4 for count in COUNTS], ":", color="#999999", label="in proportion")
        axis.set(xscale="log", yscale="log")
        axis.minorticks_off()
        axis.set_title(operation, loc="left", fontsize=9)
        axis.grid(linewidth=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel(unit)
    panels[1, 0].set_ylabel(unit)
    panels[1, 3].axis("off")
    panels[1, 3].legend(*axis.get_legend_handles_labels(), frameon=False, fontsize=8, loc="center")
    for axis in panels[1, :3]:
        axis.set_xlabel("keys")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a place whose name has this in it")
    parser.add_argument("--most", type=int, default=COUNTS[-1], help="keys in folder, memory and archive")
    parser.add_argument("--objects", type=int, default=30_000, help="keys in buckets")
    parser.add_argument("--merge", action="store_true", help="keep the rows of the page that aren't measured")
    page.add_options(parser)
    options = parser.parse_args()
    page.make(options, run, write_merged if options.merge else write)


if __name__ == "__main__":
    main()
