"""System calls per operation: a traced child process does some operations, and then twice as many.

python -m benchmarks.calls PEER WHAT COUNT FOLDER    is that child
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import peers as them

_COUNT = 200
_VALUE = os.urandom(4096)
_WHATS = {"read": "get_all", "write": "set_all", "blocking read": "get_now"}


def system_calls():
    """Return figures like `benchmarks.measure.measure`: system calls per 4 KiB value in a folder."""
    if shutil.which("strace") is None:
        return []
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for peer in them.in_folder(folder):
            if isinstance(peer, them.Icechunk):
                continue  # another process would rewrite its repository
            asyncio.run(_fill(peer))
            for what, method in _WHATS.items():
                if getattr(peer, method, None) is None or (what == "write" and not peer.is_fresh):
                    continue
                # Threads sometimes wait for each other, so the minimum is the necessary number.
                some, more = (
                    min(_traced(peer.name, what, count, folder) for _ in range(3))
                    for count in (_COUNT, 2 * _COUNT)
                )
                figures.append(
                    {
                        "question": "folder on disk: system calls",
                        "row": what,
                        "unit": "calls a value of 4 KiB",
                        "peer": peer.name,
                        "median": (more - some) / _COUNT,
                        "cpu": 0,
                        "memory": 0,
                    }
                )
    return figures


def _keys(count):
    return [f"c/{number}" for number in range(count)]


async def _fill(peer):
    await peer.ready()
    await peer.set_all([(key, _VALUE) for key in _keys(2 * _COUNT)], 1)
    await peer.close()


def _traced(name, what, count, folder):
    """Return the number of system calls of a child that does something ``count`` times."""
    with tempfile.NamedTemporaryFile("r") as told:
        child = [sys.executable, "-m", "benchmarks.calls", name, what, str(count), folder]
        root = Path(__file__).parent.parent
        subprocess.run(["strace", "-f", "-qq", "-c", "-o", told.name, *child], cwd=root, check=True)
        (total,) = (line for line in told.read().splitlines() if line.endswith(" total"))
    return int(total.split()[3] if len(total.split()) > 4 else total.split()[-2])


async def _work(name, what, count, folder):
    (peer,) = (peer for peer in them.in_folder(folder) if peer.name == name)
    keys = _keys(count)
    await peer.ready()
    if what == "read":
        await peer.get_all(keys, 1)
    elif what == "write":
        await peer.set_all([(key, _VALUE) for key in keys], 1)
    else:
        for key in keys:
            peer.get_now(key)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
