"""Questions about identity, opening and closing, loops, threads and cancellation."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING

from zarrstore.testing._question import VALUE, in_threads, question, raises

if TYPE_CHECKING:
    from zarrstore.testing._asker import Asker


@question("write ours")
async def identity(ask: Asker) -> None:
    """Equality and hash depend on location and read-only; pickling keeps them; text forms name the store."""
    store = ask.store
    await ask.set("k", VALUE)
    same = store.with_read_only(store.read_only)
    other = store.with_read_only(True)
    assert store == same
    assert hash(store) == hash(same)
    assert store != other
    assert store != "text"
    revived = pickle.loads(pickle.dumps(store))
    assert revived == store
    assert hash(revived) == hash(store)
    assert revived.read_only == store.read_only
    assert await ask.with_store(revived).get("k") == VALUE
    assert str(store)
    assert type(store).__name__ in repr(store)
    assert store.__dask_tokenize__() == revived.__dask_tokenize__()
    assert store.__dask_tokenize__() != other.__dask_tokenize__()


@question("write")
async def closing(ask: Asker) -> None:
    """A store is closed at the end of a with block, and the next call opens it again."""
    with ask.store as store:
        await ask.set("k", VALUE)
        assert store._is_open
    assert not ask.store._is_open
    assert await ask.get("k") == VALUE
    await ask.set("k", b"2")
    ask.store.close()
    ask.store.close()
    assert await ask.get("k") == b"2"


@question("write")
async def opening_twice(ask: Asker) -> None:
    """Opening an open store raises."""
    await ask.store._ensure_open()
    await ask.store._ensure_open()
    await raises(ValueError, ask.store._open(), "store is already open")


@question("write ours")
async def no_loop_of_its_own(ask: Asker) -> None:
    """One store works on several event loops, in turn and at once."""
    await ask.set("k", VALUE)

    async def work() -> None:
        for i in range(5):
            assert bytes(await ask.store.get("k")) == VALUE
            await ask.store.set(f"l/{i}", b"1")

    await in_threads(lambda _: asyncio.run(work()), 3)
    assert bytes(await ask.store.get("k")) == VALUE


@question("write ours")
async def many_threads(ask: Asker) -> None:
    """One store works in many threads, and its blocking methods also inside a running loop."""

    def work(number: int) -> None:
        for i in range(20):
            ask.store.set_sync(f"t/{number}/{i}", str(i).encode())
            assert bytes(ask.store.get_sync(f"t/{number}/{i}")) == str(i).encode()

    await in_threads(work, 4)
    work(9)
    if ask.store.supports_listing:
        assert len(await ask.names("list_prefix", "t")) == 100


@question("write ours")
async def cancelled_writes_never_come_back(ask: Asker) -> None:
    """Once a cancelled set has returned, it no longer writes."""
    big = bytes(2_000_000)
    for attempt in range(12):
        task = asyncio.ensure_future(ask.store.set("k", big))
        for _ in range(attempt % 4):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        await ask.store.set("k", str(attempt).encode())
        await asyncio.sleep(0.002)
        assert bytes(await ask.store.get("k")) == str(attempt).encode()
    if ask.store.supports_listing:
        assert await ask.names("list") == ["k"]


@question("write")
async def concurrent_writers_of_one_key(ask: Asker) -> None:
    """The value is one of those written, complete."""
    values = [bytes([i]) * 50_000 for i in range(12)]
    await asyncio.gather(*(ask.store.set("k", ask.value(value)) for value in values))
    assert await ask.get("k") in values


@question("write")
async def readers_see_whole_values(ask: Asker) -> None:
    """Readers of a value that is being replaced see the old one or the new one, complete."""
    values = {bytes([i]) * 30_000 for i in range(8)}
    await ask.set("k", next(iter(values)))

    async def write() -> None:
        for value in values:
            await ask.store.set("k", ask.value(value))

    async def read() -> None:
        for _ in range(20):
            assert await ask.get("k") in values

    await asyncio.gather(write(), read(), write(), read())
