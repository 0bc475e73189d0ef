"""What a public method costs over a verb, and a wrapper over a public method. Prints microseconds per call.

python benchmarks/face.py
"""

from __future__ import annotations

import asyncio
import tempfile
import time

from zarrstore._core.verbs import host_memory
from zarrstore.storage import LocalStore, MemoryStore, WrapperStore

ROUNDS, CALLS = 15, 4000


class PassingOn(WrapperStore):
    """The least that a wrapper can do with a read."""

    async def _read(self, below, key, request, allocate):
        return await below.read(key, request, allocate)


async def timed(call) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter() - start) / CALLS * 1e6


def timed_sync(call) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


async def measure(store) -> dict[str, float]:
    await store.set("k", bytes(4096))
    through = WrapperStore(store)
    one = PassingOn(store)
    two = PassingOn(one)
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        row = {
            "verb": timed_sync(lambda: store._read_nowait("k", None, host_memory)),
            "blocking verb": timed_sync(lambda: store._read("k", None, host_memory)),
            "get_sync": timed_sync(lambda: store.get_sync("k")),
            "await get": await timed(lambda: store.get("k")),
            "... a wrapper that changes nothing": await timed(lambda: through.get("k")),
            "... a wrapper of reads": await timed(lambda: one.get("k")),
            "... two of them": await timed(lambda: two.get("k")),
            "... get_sync, one of them": timed_sync(lambda: one.get_sync("k")),
        }
        for name, value in row.items():
            best[name] = min(value, best.get(name, value))
    return best


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for store in (LocalStore(folder), MemoryStore()):
            best = asyncio.run(measure(store))
            print(f"{type(store).__name__}, a value of 4 KiB, microseconds a call, best of {ROUNDS} rounds")
            for name, value in best.items():
                print(f"  {name:40} {value:6.2f}")
            print(f"  {'the face over the verb (await)':40} {best['await get'] - best['verb']:6.2f}")
            print(
                f"  {'the face over the verb (blocking)':40} {best['get_sync'] - best['blocking verb']:6.2f}"
            )
            print(f"  {'a wrapper of reads':40} {best['... a wrapper of reads'] - best['await get']:6.2f}")


if __name__ == "__main__":
    main()
