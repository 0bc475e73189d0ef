"""Measures peers in turn in one process: times, ratios with intervals, CPU time and memory."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.harness import compared

LIBRARIES = (
    *("zarrstore", "zarr", "obstore", "tensorstore", "fsspec", "s3fs", "icechunk"),
    *("zarrs", "xarray", "dask", "numpy"),
)


async def measure(row, rounds, seconds):
    """Have each peer do a row in turn, repeatedly.

    Parameters
    ----------
    row : Row
        What to do.
    rounds : int
        How often, at least three times.
    seconds : float
        After this time no further round begins.

    Returns
    -------
    list of dict
        By peer: median and extremes in microseconds per operation, CPU time, peak memory above that before,
        and the ratio to our time, with its 95% interval.
    """
    samples = {name: [] for name in row.calls}
    failed = {}
    began = time.monotonic()
    for number in range(rounds):
        if number >= 3 and time.monotonic() - began > seconds:
            break
        names = list(samples)
        shift = number % len(names)
        for name in [*names[shift:], *names[:shift]]:
            try:
                samples[name].append(await _once(row, name))
            except Exception as error:  # a peer that can't do it is reported and left out
                failed[name] = f"{type(error).__name__}: {error}"
                del samples[name]
    for name, why in failed.items():
        print(f"    {name} failed: {why[:150]}", file=sys.stderr)
    ours = samples.get("zarrstore")
    return [_figures(row, name, taken, ours) for name, taken in samples.items()]


async def _once(row, name):
    if row.before is not None and asyncio.iscoroutine(answer := row.before(name)):
        await answer
    sent = row.sent() if row.sent else 0
    taken, cpu, memory = await once(row.calls[name])
    requests = (row.sent() - sent) / row.per if row.sent else None
    return taken / row.per * 1e6, cpu / row.per * 1e6, memory, requests


async def once(call):
    """Call, and await a coroutine.

    Returns
    -------
    (float, float, int)
        Seconds, seconds of the processor, and bytes of memory: the most over what there was before.
    """
    gc.collect()
    memory = _restart_peak()
    cpu, start = time.process_time(), time.perf_counter()
    answer = call()
    if asyncio.iscoroutine(answer):
        await answer
    return time.perf_counter() - start, time.process_time() - cpu, _peak() - memory


def _figures(row, name, taken, ours):
    times, cpu, memory, requests = zip(*taken, strict=True)
    figures = {
        "question": row.question,
        "row": row.label,
        "unit": row.unit,
        "peer": name,
        "median": statistics.median(times),
        "best": min(times),
        "worst": max(times),
        "cpu": statistics.median(cpu),
        "memory": max(0, max(memory)),
        "rounds": len(times),
    }
    if requests[0] is not None:
        figures["requests"] = statistics.median(requests)
    if ours is not None and len(ours) == len(times):
        ratio, low, high = compared(times, [own[0] for own in ours])
        figures.update(ratio=ratio, low=low, high=high)
    return figures


def _restart_peak():
    """Reset the kernel's peak memory; return the current memory in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return _status("VmRSS")


def _peak():
    return _status("VmHWM")


def _status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def machine():
    """Return the machine and versions on which the figures were measured."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "memory": memory,
        "versions": found,
    }
