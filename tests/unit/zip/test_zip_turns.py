"""An archive of many members on an event loop: threads that work on it let the loop go on."""

import time

import pytest
from loop_watchdog import check_longest, gaps

from zarrstore import ZipStore
from zarrstore.storage._zip import index as _index


def written(path, count):
    with ZipStore(path, mode="w", deletes=True) as store:
        for number in range(count):
            store.set_sync(f"a/{number}", b"x")
        store.set_sync("a/é", b"accent")
    return ZipStore(path, mode="a", deletes=True)


@pytest.mark.parametrize("more", [-2, -1, 0, 1, _index._AT_ONCE])
def test_names_are_the_same_wherever_they_are_cut(tmp_path, monkeypatch, more):
    """Names are handled some at a time; all come back, each with its own value."""
    monkeypatch.setattr(_index, "_AT_ONCE", 64)
    count = 64 + more if more < 64 else 1000
    with written(tmp_path / "z.zip", count) as store:
        assert sorted(store.list_sync()) == sorted([*(f"a/{number}" for number in range(count)), "a/é"])
        assert store.get_sync("a/é").to_bytes() == b"accent"
        assert store.get_sync(f"a/{count - 1}").to_bytes() == b"x"
        store.delete_sync("a/0")
        store.set_sync("a/1", b"newer")
        store.compact_sync()
        assert store.get_sync("a/1").to_bytes() == b"newer"
        assert not store.exists_sync("a/0")
        assert len(list(store.list_sync())) == count


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("call", ["open", "list_dir", "list"])
def test_the_loop_goes_on(tmp_path, call):
    """With 300,000 members: a thread that computes gives way after 5 ms, unless a call in C takes longer."""
    written(tmp_path / "z.zip", 300_000)

    async def longest():
        store = ZipStore(tmp_path / "z.zip")
        if call != "open":
            await store.exists("a/0")
        async with gaps(time.perf_counter, pause=0.0005) as found:
            if call == "open":
                assert await store.exists("a/0")
            else:
                listing = store.list_dir("a") if call == "list_dir" else store.list()
                assert len([key async for key in listing]) == 300_001
        store.close()
        return max(found)

    check_longest(longest, 0.015)
