"""Measures everything, beside every peer: in turn in one process, on the same data.

    python -m benchmarks [--long] [--only PART] [--json FILE] [--page FILE]

The short form takes some minutes, the long one an hour: all sizes, a million keys, more rounds. ``--page``
writes a page of tables and charts; with ``--from FILE`` it uses figures saved by ``--json``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import page
from benchmarks.calls import system_calls
from benchmarks.measure import machine, measure
from benchmarks.questions import everything

# A file system in memory, if there is one.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


async def run(options):
    """Measure all rows; print each when it is done."""
    figures = []
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=MEMORY) as tmpfs,
    ):
        async for row in everything(folder, tmpfs, long=options.long, only=options.only):
            found = await measure(row, 15 if options.long else 5, 20 if options.long else 3)
            figures += found
            cells = [f"{figure['peer']} {figure['median']:.1f}" for figure in found]
            print(f"{row.question:48} {row.label:16} {', '.join(cells)} ({row.unit})", flush=True)
    if options.only in ("", "calls"):
        figures += await asyncio.to_thread(system_calls)
    return {"machine": machine(), "figures": figures}


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="all sizes and counts, and more rounds")
    parser.add_argument("--only", default="", help="folder, tmpfs, memory, zip, s3, arrays or calls")
    page.add_options(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    page.make(options, lambda options: asyncio.run(run(options)), page.write)


if __name__ == "__main__":
    main()
