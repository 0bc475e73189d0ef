"""The memory store's own ways: a caller's mapping, identity, pickling, the tree."""

import asyncio
import copy
import pickle
import random
import subprocess
import sys

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


def test_only_what_nobody_can_change_is_kept_without_a_copy():
    store = MemoryStore()

    def is_shared(value, own):
        store.set_sync("k", value)
        return np.shares_memory(store.get_sync("k").as_numpy_array(), own)

    frozen, changing = bytes(1000), bytearray(1000)
    of_frozen, of_changing = np.frombuffer(frozen, "B"), np.frombuffer(changing, "B")
    assert is_shared(frozen, of_frozen)
    assert is_shared(cpu.Buffer.from_bytes(frozen), of_frozen)
    assert not is_shared(memoryview(frozen)[:10], of_frozen)  # it would keep all of the rest
    for value in (changing, memoryview(changing).toreadonly(), cpu.Buffer(of_changing)):
        assert not is_shared(value, of_changing)
    seemingly = of_changing.view()
    seemingly.flags.writeable = False
    assert not is_shared(cpu.Buffer(seemingly), of_changing)


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
