"""The memory store's own ways: a caller's mapping, identity, pickling, the tree."""

import asyncio
import copy
import pickle
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

from zarrstore.buffer import cpu
from zarrstore.errors import DetachedError
from zarrstore.storage import MemoryStore


def test_a_callers_mapping_is_used_and_may_change():
    mapping = {"a/x": cpu.Buffer.from_bytes(b"1"), "raw": b"bytes", "../bad": b"never listed"}
    store = MemoryStore(mapping)
    assert bytes(store.get_sync("a/x")) == b"1"
    assert bytes(store.get_sync("raw")) == b"bytes"
    store.set_sync("b", b"2")
    assert bytes(mapping["b"]) == b"2"
    mapping["c/d/e"] = cpu.Buffer.from_bytes(b"3")
    assert sorted(store.list_sync()) == ["a/x", "b", "c/d/e", "raw"]
    assert sorted(store.list_dir_sync("")) == ["a", "b", "c", "raw"]
    del mapping["a/x"]
    assert store.is_empty_sync("a")
    assert store.getsize_prefix_sync("c") == 1
    store.delete_sync("b")
    assert "b" not in mapping


def test_reads_of_a_callers_writable_memory_are_read_only_views():
    array = np.zeros(4, "B")
    store = MemoryStore({"k": cpu.Buffer(array)})
    got = store.get_sync("k").as_numpy_array()
    assert np.shares_memory(got, array)
    with pytest.raises(ValueError, match="read-only"):
        got[0] = 1
    assert array.flags.writeable


def test_reads_share_memory_and_copy_nothing():
    store = MemoryStore()
    store.set_sync("k", bytes(1000))
    first, second = store.get_sync("k").as_numpy_array(), store.get_sync("k").as_numpy_array()
    assert np.shares_memory(first, second)
    assert not first.flags.writeable


@pytest.mark.parametrize("size", [1000, 300_000])
def test_only_what_nobody_can_change_is_kept_without_a_copy(size):
    store = MemoryStore()

    def is_shared(value, own):
        store.set_sync("k", value)
        return np.shares_memory(store.get_sync("k").as_numpy_array(), own)

    frozen, changing = bytes(size), bytearray(size)
    of_frozen, of_changing = np.frombuffer(frozen, "B"), np.frombuffer(changing, "B")
    assert is_shared(frozen, of_frozen)
    assert is_shared(cpu.Buffer.from_bytes(frozen), of_frozen)
    assert not is_shared(memoryview(frozen)[:10], of_frozen)  # it would keep all of the rest
    for value in (changing, memoryview(changing).toreadonly(), cpu.Buffer(of_changing)):
        assert not is_shared(value, of_changing)
    seemingly = of_changing.view()
    seemingly.flags.writeable = False
    assert not is_shared(cpu.Buffer(seemingly), of_changing)
    backwards = np.ndarray(4, "B", b"abcd", 3, (-1,))
    store.set_sync("k", cpu.Buffer(backwards))
    assert bytes(store.get_sync("k")) == b"dcba"


def test_identity_goes_by_the_mapping():
    mapping = {}
    assert MemoryStore(mapping) == MemoryStore(mapping)
    assert MemoryStore(mapping) != MemoryStore({})
    assert MemoryStore() != MemoryStore()
    assert MemoryStore(mapping) != MemoryStore(mapping, read_only=True)
    assert len({MemoryStore(mapping), MemoryStore(mapping), MemoryStore()}) == 2


def test_stores_on_one_mapping_never_surprise_each_other():
    mapping = {}
    one, two = MemoryStore(mapping), MemoryStore(mapping)
    one.set_sync("a/b", b"1")
    assert list(two.list_dir_sync("")) == ["a"]
    two.delete_sync("a/b")
    assert one.is_empty_sync()
    own = MemoryStore()
    view = own.with_read_only(True)
    own.set_sync("a/b", b"1")
    assert list(view.list_dir_sync("a")) == ["b"]


def test_pickled_in_one_process_it_is_the_same_store():
    store = MemoryStore()
    for twin in (pickle.loads(pickle.dumps(store)), copy.copy(store), copy.deepcopy(store)):
        twin.set_sync("k", b"1")
        assert bytes(store.get_sync("k")) == b"1"
        store.delete_sync("k")


_ELSEWHERE = """
import pickle, sys
from zarrstore.errors import DetachedError
store = pickle.load(sys.stdin.buffer)
assert bytes(store.get_sync("a/k")) == b"1" and list(store.list_dir_sync("")) == ["a"]
for call in (lambda: store.set_sync("k", b"2"), lambda: store.delete_sync("a/k"), store.clear_sync,
             lambda: store.create_sync("n", b"1")):
    try:
        call()
    except DetachedError as error:
        assert "lost" in str(error) and isinstance(error, ValueError)
    else:
        raise SystemExit("written")
sys.stdout.buffer.write(pickle.dumps(store))
"""


def test_pickled_to_another_process_it_reads_and_refuses_to_write():
    store = MemoryStore()
    store.set_sync("a/k", b"1")
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE], input=pickle.dumps(store), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    home = pickle.loads(done.stdout)
    home.set_sync("b", b"2")
    assert bytes(store.get_sync("b")) == b"2"


def test_a_copy_whose_home_is_gone_stays_detached():
    store = MemoryStore()
    store.set_sync("k", b"1")
    data = pickle.dumps(store)
    del store
    copy_ = pickle.loads(data)
    assert bytes(copy_.get_sync("k")) == b"1"
    with pytest.raises(DetachedError):
        copy_.set_sync("k", b"2")


def test_the_tree_agrees_with_the_keys_after_any_history():
    rng = random.Random(3)
    store, model = MemoryStore(), {}
    names = ["a", "b", "c"]
    for _ in range(3000):
        key = "/".join(rng.choices(names, k=rng.randint(1, 4)))
        action = rng.random()
        if action < 0.55:
            store.set_sync(key, key.encode())
            model[key] = key.encode()
        elif action < 0.9:
            store.delete_sync(key)
            model.pop(key, None)
        else:
            store.delete_dir_sync(key)
            model = {k: v for k, v in model.items() if not k.startswith(key + "/")}
        prefix = "/".join(rng.choices(names, k=rng.randint(0, 3)))
        inside = prefix + "/" if prefix else ""
        below = [k for k in model if k.startswith(inside)]
        assert sorted(store.list_prefix_sync(prefix)) == sorted(below)
        assert sorted(store.list_dir_sync(prefix)) == sorted({k[len(inside) :].split("/")[0] for k in below})
        assert store.getsize_prefix_sync(prefix) == sum(map(len, below))


def test_reads_do_not_starve_the_loop():
    store = MemoryStore()
    store.set_sync("k", b"1")

    async def main():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        for _ in range(1000):
            await store.get("k")
        task.cancel()
        return turns

    assert asyncio.run(main()) >= 3


def test_many_tasks_of_one_call_each_need_no_turns():
    """Each is the others' turn: one that stepped back would keep waiting whoever wants its place."""
    store = MemoryStore()
    turns = []

    async def other():
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    async def main():
        places = asyncio.Semaphore(10)

        async def one(number):
            async with places:
                await store.set(f"k/{number}", b"1")
                return await store.get(f"k/{number}")

        task = asyncio.ensure_future(other())
        values = await asyncio.gather(*(one(number) for number in range(2000)))
        task.cancel()
        return values

    assert all(value.to_bytes() == b"1" for value in asyncio.run(main()))
    assert len(turns) <= 3


def test_listings_after_many_writes_leave_the_loop_to_others():
    # None of these keys is in the tree when somebody lists: that is caught up with in the pool.
    store = MemoryStore()
    for number in range(50_000):
        store.set_sync(f"a/{number // 100}/{number}", b"1")

    async def main():
        waits = []

        async def beat():
            while True:
                waits.append(None)
                await asyncio.sleep(0)

        other = asyncio.create_task(beat())
        await asyncio.sleep(0)
        for ask, answer in [
            (lambda: store.is_empty("b"), True),
            (lambda: _collected(store.list_dir("a")), {str(number) for number in range(500)}),
            (lambda: store.delete_dir("a/3"), None),
            (lambda: _collected(store.list_prefix("a/3")), set()),
        ]:
            before = len(waits)
            for number in range(2000):
                store.set_sync(f"more/{number}", b"1")
                store.delete_sync(f"more/{number}")
            for number in range(2000):
                store.set_sync(f"more/{before}/{number}", b"1")
            assert await ask() == answer
            assert len(waits) > before
        other.cancel()
        assert len(await _collected(store.list())) == 49_900 + 8_000

    asyncio.run(main())


async def _collected(listing):
    return {item async for item in listing}


def test_keys_that_come_and_go_leave_nothing_behind():
    store = MemoryStore()
    for number in range(20_000):
        store.set_sync(f"k/{number % 3}", b"1")
        store.delete_sync(f"k/{number % 3}")
    assert len(store._data.fresh) < 2_500
    assert store.is_empty_sync("")
    store.set_sync("k/0", b"1")
    assert list(store.list_sync()) == ["k/0"]


def test_threads_that_list_see_whatever_was_written_before():
    store = MemoryStore()
    failures = []

    def write_and_list(name):
        for number in range(300):
            store.set_sync(f"{name}/{number}", b"1")
            found = set(store.list_dir_sync(name))
            if found != {str(earlier) for earlier in range(number + 1)}:
                failures.append((name, number, len(found)))

    threads = [threading.Thread(target=write_and_list, args=(f"t{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_versions_tell_what_others_put_into_a_mapping_apart():
    mapping = {"k": cpu.Buffer.from_bytes(b"1")}
    store = MemoryStore(mapping)
    _, version = store.get_versioned_sync("k")
    assert store.get_versioned_sync("k")[1] == version
    mapping["k"] = cpu.Buffer.from_bytes(b"1")
    assert store.set_if_unchanged_sync("k", b"2", version) is None
    _, version = store.get_versioned_sync("k")
    del mapping["k"]
    mapping["k"] = cpu.Buffer.from_bytes(b"3")
    assert store.set_if_unchanged_sync("k", b"2", version) is None
    assert bytes(store.get_sync("k")) == b"3"


def test_a_version_outlives_no_write():
    store = MemoryStore()
    store.set_sync("k", b"1")
    seen = [store.get_versioned_sync("k")[1]]
    for change in (
        lambda: store.set_sync("k", b"1"),
        lambda: (store.delete_sync("k"), store.set_sync("k", b"1")),
        lambda: (store.delete_dir_sync(""), store.set_sync("k", b"1")),
        lambda: store.set_partial_values_sync([("k", 0, b"1")]),
        lambda: store.create_sync("other", b"1"),
    ):
        change()
        seen.append(store.get_versioned_sync("k")[1])
    assert len(set(seen)) == 5
    assert seen[-1] == seen[-2]
    assert store.set_if_unchanged_sync("k", b"2", seen[-1])


def test_a_subclass_that_writes_in_its_own_way_is_asked_by_every_set():
    written = []

    class Mixin:
        def _write(self, key, pieces, condition):
            written.append(key)
            return super()._write(key, pieces, condition)

    class Noting(Mixin, MemoryStore):
        pass

    store = Noting()
    asyncio.run(store.set("a", b"1"))
    store.set_sync("b", b"2")
    asyncio.run(store.set("a", b"3", byte_range=(0, 1)))
    assert written[:2] == ["a", "b"]
    assert bytes(store.get_sync("a")) == b"3"


@pytest.mark.filterwarnings("ignore:Setting the dtype:DeprecationWarning")
def test_who_gets_an_array_may_give_it_another_type():
    store = MemoryStore()
    frozen = np.frombuffer(bytes(range(8)), "B")
    for key, value in ("copied", bytearray(range(8))), ("kept", cpu.Buffer(frozen)):
        store.set_sync(key, value)
        for array in (
            frozen,
            store.get_sync(key).as_numpy_array(),
            asyncio.run(store.get(key)).as_numpy_array(),
            asyncio.run(store.get_partial_values(None, [(key, None)]))[0].as_numpy_array(),
        ):
            array.dtype = np.dtype("<u4")
            assert bytes(store.get_sync(key)) == bytes(asyncio.run(store.get(key))) == bytes(range(8))
            array.dtype = np.dtype("B")
        assert store.getsize_sync(key) == 8
