"""zarr-python's arrays on our stores, on its own stores, and on one that costs as little as possible.

    python benchmarks/arrays.py [--quick] [--only KIND] [--rounds N] [--json FILE]

Everything runs in turn in one process, several times over. It prints the best microseconds per chunk; how
many times as fast that is as on zarr-python's store of the same kind (the median of all rounds, with its 95%
interval); and how many times as fast it would be on a store that costs nothing, since the rest is
zarr-python's own time. Folders and archives are in memory, so that no medium hides the difference.
"""

import argparse
import asyncio
import itertools
import tempfile
import warnings
from pathlib import Path

import numpy as np
import zarr
import zarr.storage
from harness import Bench, add_options

from zarrstore.storage import LocalStore, MemoryStore, ZipStore

SHAPE = (2048, 1024)
DATA = np.random.default_rng(0).integers(0, 1 << 30, SHAPE, dtype="<i4")
LAYOUTS = {
    "4 KiB chunks": {"chunks": (1, 1024)},
    "shards of 64 chunks of 4 KiB": {"chunks": (1, 1024), "shards": (64, 1024)},
}
# Ratios that arrays in folders should reach; no other store leaves that much to gain.
FLOORS = {("local", "read"): 1.6, ("local", "write"): 1.3}


class FreeStore(zarr.storage.MemoryStore):
    """Keeps buffers and returns them as they are: what remains is the time of everything else."""

    async def get(self, key, prototype=None, byte_range=None):
        value = self._store_dict.get(key)
        if value is None or byte_range is None:
            return value
        return await super().get(key, prototype, byte_range)

    async def set(self, key, value, byte_range=None):
        self._store_dict[key] = value


def contestants(kind, folder):
    """Return a function for each contestant that makes its stores; the reader reads what the writer wrote."""
    if kind == "memory":
        kept = {"zarr": zarr.storage.MemoryStore(), "zarrstore": MemoryStore()}
        makers = {who: lambda mode, store=store: store for who, store in kept.items()}
    elif kind == "local":
        makers = {
            "zarr": lambda mode: zarr.storage.LocalStore(folder / "zarr"),
            "zarrstore": lambda mode: LocalStore(folder / "ours"),
        }
    else:

        def theirs(mode):
            if mode == "w":
                (folder / "zarr.zip").unlink(missing_ok=True)
            return zarr.storage.ZipStore(folder / "zarr.zip", mode=mode)

        makers = {"zarr": theirs, "zarrstore": lambda mode: ZipStore(folder / "ours.zip", mode=mode)}
    free = FreeStore()
    return {**makers, "free": lambda mode: free}


async def measure(bench, kind, layout, folder):
    makers = contestants(kind, folder)
    arrays = {}

    def create(make):
        store = make("w")
        array = zarr.create_array(
            store, shape=SHAPE, dtype="<i4", compressors=None, overwrite=True, **LAYOUTS[layout]
        )
        return store, array

    def write(make):
        store, array = create(make)
        array[:] = DATA
        if kind == "zip":
            store.close()

    def read(array, step):
        result = array[::step]
        assert result[-1, -1] == DATA[::step][-1, -1]

    name = f"{kind}, {layout}: "
    await bench.line(
        name + "create and write",
        {who: lambda make=make: write(make) for who, make in makers.items()},
        per=SHAPE[0], floor=FLOORS.get((kind, "write")) if "shards" not in layout else None,
    )  # fmt: skip
    for who, make in makers.items():
        arrays[who] = zarr.open_array(make("r"), mode="r")
    await bench.line(
        name + "read",
        {who: lambda array=array: read(array, 1) for who, array in arrays.items()},
        per=SHAPE[0], floor=FLOORS.get((kind, "read")) if "shards" not in layout else None,
    )  # fmt: skip
    if "shards" in layout:
        await bench.line(
            name + "read every eighth",
            {who: lambda array=array: read(array, 8) for who, array in arrays.items()},
            per=SHAPE[0] // 8,
        )
    for array in arrays.values():
        if kind == "zip":
            array.store.close()


def main():
    parser = add_options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--only", default="", help="local, memory or zip")
    parser.add_argument("--rounds", type=int, default=25, help="of a line at least; 25")
    options = parser.parse_args()
    bench = Bench(5 if options.quick else options.rounds, paired=True)
    warnings.simplefilter("ignore")
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        kinds = (options.only,) if options.only else ("local", "memory", "zip")
        for number, (kind, layout) in enumerate(itertools.product(kinds, LAYOUTS)):
            place = Path(folder) / str(number)
            place.mkdir()
            asyncio.run(measure(bench, kind, layout, place))
    bench.finish(options)


if __name__ == "__main__":
    main()
