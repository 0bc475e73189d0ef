"""Reads files from the page cache into a GPU's memory: zarr-python's way beside ours.

    python benchmarks/gpu.py [--quick] [--folder DIR]

Needs a GPU, cupy and zarr-python. It prints milliseconds, gigabytes per second, how many times faster that is
than zarr-python (which reads into host memory and copies from there), and the share of the bus's bandwidth,
measured first with copies from pinned memory. Everything runs in turn, several times over; the best time of
each counts. What was read is compared with what was written.

Without a GPU it says so and exits with code 3. ``--stand-in`` runs the same code on a stand-in for cupy in
NumPy: its figures mean nothing, and it says that, too.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MIB = 1 << 20
NO_DEVICE = 3


def measure_bus(cupy, size: int, rounds: int) -> float:
    """Return the bytes per second of copies from pinned memory to the device."""
    cuda = cupy.cuda
    pinned = cuda.alloc_pinned_memory(size)
    np.frombuffer(pinned, np.uint8, size)[:] = 1  # touched, so that the memory is really allocated
    array = cupy.empty(size, np.uint8)
    stream = cuda.Stream(non_blocking=True)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(8):
            cuda.runtime.memcpyAsync(
                array.data.ptr, pinned.ptr, size, cuda.runtime.memcpyHostToDevice, stream.ptr
            )
        stream.synchronize()
        best = min(best, time.perf_counter() - start)
    return 8 * size / best


def describe(cupy) -> str:
    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    try:
        import kvikio
        import kvikio.defaults

        direct = "off" if kvikio.defaults.is_compat_mode_preferred() else f"kvikio {kvikio.__version__}"
    except ImportError:
        direct = "no kvikio"
    version = runtime.runtimeGetVersion()
    return (
        f"{name}; CUDA {version // 1000}.{version % 1000 // 10}, cupy {cupy.__version__}; "
        f"GPUDirect Storage: {direct}"
    )


async def line(cupy, title: str, folder: Path, count: int, size: int, rounds: int, bus: float) -> None:
    """Time each way of reading some values, and print how they compare."""
    from zarr.core.buffer import gpu as their_buffers
    from zarr.storage import LocalStore as TheirStore

    from zarrstore._core.verbs import host_memory
    from zarrstore.buffer import gpu as our_buffers
    from zarrstore.storage import LocalStore

    theirs, ours = await TheirStore.open(folder), LocalStore(folder)
    keys = [f"{title.replace(' ', '-')}/{index}" for index in range(count)]
    data = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    for key in keys:
        await ours.set(key, data)
    for key in keys:
        ours._read(key, None, host_memory)  # now it is in the page cache
    their_kind, our_kind = their_buffers.buffer_prototype, our_buffers.buffer_prototype

    async def gather(store, kind):
        return await asyncio.gather(*(store.get(key, kind) for key in keys))

    async def batch():
        return await ours.get_partial_values(our_kind, [(key, None) for key in keys])

    ways = {"zarr-python": lambda: gather(theirs, their_kind), "zarrstore": lambda: gather(ours, our_kind)}
    if count > 1:
        ways["zarrstore, as a batch"] = batch
    best = dict.fromkeys(ways, float("inf"))
    for round_ in range(rounds + 1):
        for who in reversed(ways) if round_ % 2 else ways:
            start = time.perf_counter()
            values = await ways[who]()
            cupy.cuda.Device().synchronize()
            if round_:  # the first one creates threads and memory blocks
                best[who] = min(best[who], time.perf_counter() - start)
            for value in (values[0], values[-1]):
                if not np.array_equal(cupy.asnumpy(value.as_array_like()), data):
                    raise SystemExit(f"{who} read something else than was written")
            del values, value
    print(f"\n{title}")
    for who, seconds in best.items():
        rate = count * size / seconds
        print(
            f"  {who:24}{seconds * 1e3:9.1f} ms {rate / 1e9:8.2f} GB/s "
            f"{best['zarr-python'] / seconds:7.2f} x zarr-python {rate / bus:7.0%} of the bus"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few and small values")
    parser.add_argument("--folder", help="where to write the values; by default a temporary folder")
    parser.add_argument("--stand-in", action="store_true", help="on NumPy, to try this script")
    options = parser.parse_args()
    if options.stand_in:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
        import numpy_cupy

        numpy_cupy.install_for_good()
        print("THIS IS NO GPU: a stand-in for cupy on NumPy runs; the figures mean nothing.")

    from zarrstore.buffer._cupy import cupy as find_cupy
    from zarrstore.errors import MissingDependencyError

    try:
        cupy = find_cupy()
    except MissingDependencyError as error:
        print(f"There is nothing to measure here: {error}", file=sys.stderr)
        raise SystemExit(NO_DEVICE) from None

    rounds, many, large = (1, 20, 16 * MIB) if options.quick else (7, 1000, 1024 * MIB)
    bus = measure_bus(cupy, (4 if options.quick else 64) * MIB, rounds)
    print(f"{describe(cupy)}; out of pinned memory to the device: {bus / 1e9:.2f} GB/s")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for title, count, size in (
            (f"{many:,} values of 1 MiB", many, MIB),
            (f"one value of {large // MIB:,} MiB", 1, large),
        ):
            asyncio.run(line(cupy, title, Path(folder), count, size, rounds, bus))


if __name__ == "__main__":
    main()
