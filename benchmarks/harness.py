"""Shared by the benchmarks: runs contestants in turn in one process; times, ratios and floors."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import platform
import statistics
import sys
import time

import zarr


class Bench:
    """Runs the contestants of each line in turn, and keeps the best time of each.

    Parameters
    ----------
    rounds : int
        How often each contestant runs.
    paired : bool
        Whether ratios are medians of the rounds' ratios instead of ratios of the best times. They show
        differences of a few percent even if the machine's speed changes from minute to minute. For such a
        line, garbage of earlier runs is collected first, and the 95% interval is printed too. It runs for up
        to twice as many rounds while that interval is wider than 1% to both sides and near 1. A ratio whose
        whole interval is below 1 counts as slower.
    """

    def __init__(self, rounds, *, paired=False):
        self.rounds = rounds
        self.paired = paired
        self.rows = {}
        self.times = {}
        self.sizes = {}
        self.floors = {}
        print(
            f"Python {sys.version.split()[0]}, zarr-python {zarr.__version__}, "
            f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"
        )

    async def line(self, name, contestants, *, per=1, floor=None, size=None):
        """Time each contestant and print the line.

        Parameters
        ----------
        contestants : dict of str to callable
            What is timed; coroutines are awaited. A tuple is (prepare, call) or (prepare, call, finish), of
            which only the call is timed; None is left out. Ratios compare "zarr" with "zarrstore"; "bare" is
            the least that can be done, "free" a store that costs as little as possible.
        per : int
            Operations per call.
        floor : float
            How many times as fast as zarr-python this should be.
        size : int
            Bytes per call, for a line in gigabytes per second.
        """
        contestants = {who: call for who, call in contestants.items() if call is not None}
        times = self.times[name] = {who: [] for who in contestants}
        orders = _orders(list(contestants))
        for round_ in range(2 * self.rounds if self.paired else self.rounds):
            if self.paired and round_ >= self.rounds and not round_ % 2 and is_settled(*self.interval(name)):
                break
            for who in next(orders):
                steps = contestants[who] if isinstance(contestants[who], tuple) else (None, contestants[who])
                prepare, call, finish = (*steps, None)[:3]
                if prepare is not None:
                    prepare()
                if self.paired:
                    gc.collect()
                    gc.freeze()
                if size is not None:
                    # Other threads free what the last one left; otherwise that would cost memory and time
                    # here.
                    gc.collect()
                    await asyncio.sleep(0.02)
                start = time.perf_counter()
                answer = call()
                if asyncio.iscoroutine(answer):
                    await answer
                times[who].append((time.perf_counter() - start) / per * 1e6)
                if finish is not None:
                    finish()
        self.rows[name] = {who: min(taken) for who, taken in times.items()}
        self.sizes[name] = size
        if floor is not None:
            self.floors[name] = floor
        self._show(name)

    def ratio(self, name):
        """Return how many times as fast as zarr-python we are."""
        return self._ratio(name, "zarrstore")

    def _ratio(self, name, who):
        if not self.paired:
            return self.rows[name]["zarr"] / self.rows[name][who]
        return compared(self.times[name]["zarr"], self.times[name][who])[0]

    def interval(self, name):
        """Return the 95% interval of our ratio."""
        return compared(self.times[name]["zarr"], self.times[name]["zarrstore"])[1:]

    def is_slower(self, name):
        """Whether we are slower than zarr-python beyond chance."""
        return self.paired and self.interval(name)[1] < 1

    def _show(self, name):
        best, ours = self.rows[name], self.rows[name]["zarrstore"]
        cells = [f"{who} {self._text(name, value)}" for who, value in best.items()]
        ratios = []
        if "zarr" in best:
            floor = f" (floor {self.floors[name]:g})" if name in self.floors else ""
            span = " ({:.2f} to {:.2f})".format(*self.interval(name)) if self.paired else ""
            slower = "   <- slower" if self.is_slower(name) else ""
            ratios.append(f"{self.ratio(name):.2f} x zarr{span}{floor}{slower}")
        if "tensorstore" in best:
            ratios.append(f"{best['tensorstore'] / ours:.2f} x tensorstore")
        if "bare" in best:
            ratios.append(f"{ours / best['bare']:.2f} of bare")
        if "free" in best:
            ratios.append(f"{self._ratio(name, 'free'):.2f} x would be a store that costs nothing")
        print(f"{name:52} {', '.join(cells):72} {'; '.join(ratios)}", flush=True)

    def _text(self, name, microseconds):
        if self.sizes[name]:
            return f"{self.sizes[name] / microseconds / 1e3:.2f} GB/s"
        return f"{microseconds:.1f} us" if microseconds < 1e4 else f"{microseconds / 1e3:.1f} ms"

    def finish(self, options):
        """Print which floors were missed; save the figures if the options say so."""
        missed = [name for name, floor in self.floors.items() if self.ratio(name) < floor]
        print(f"{len(self.floors) - len(missed)} floors reached, {len(missed)} missed")
        for name in missed:
            print(f"  {name}: {self.ratio(name):.2f}, not {self.floors[name]:g}")
        if self.paired:
            slower = [name for name in self.rows if self.is_slower(name)]
            print(f"{len(self.rows)} lines, {len(slower)} slower than zarr-python's")
        if options.json:
            options.json.write_text(json.dumps({"us": self.rows, "floors": self.floors}, indent=1))


def _orders(names):
    """Yield an order for each round, so that each name has each place, and follows itself, equally often.

    A contestant that runs after itself finds its memory warm.
    """
    for first in itertools.cycle(range(len(names))):
        turned = names[first:] + names[:first]
        yield turned
        yield turned[::-1]


def compared(theirs, ours):
    """Compare times that were measured in turn.

    Returns
    -------
    (float, float, float)
        How many times as fast we are, as the median of the rounds' ratios, and the ratios that bound its 95%
        interval, whatever their distribution.
    """
    ratios = sorted(their / our for their, our in zip(theirs, ours, strict=True))
    rank = max(0, int(len(ratios) / 2 - 0.98 * len(ratios) ** 0.5))
    return statistics.median(ratios), ratios[rank], ratios[-1 - rank]


def is_settled(low, high):
    """Whether more rounds would add nothing: the interval is narrow, or far from 1."""
    return high - low < 0.02 or low > 1.05


def add_options(parser):
    """Add the options of every benchmark to a parser."""
    from pathlib import Path

    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    return parser


async def collect(listing):
    """Count the items of a listing."""
    count = 0
    async for _ in listing:
        count += 1
    return count


async def one_by_one(call, keys):
    """Await a call for each key, one after another."""
    for key in keys:
        await call(key)


async def at_once(call, keys):
    """Await calls for all keys concurrently."""
    await asyncio.gather(*(call(key) for key in keys))
