"""Memory is used again when nobody sees it any more, and never before."""

import ctypes
import gc
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zarrstore._core.recycling import LARGEST, SMALLEST, Recycler
from zarrstore.buffer import cpu
from zarrstore.storage import LocalStore

SIZE = 100_000


def address(array):
    return array.ctypes.data


def test_dropped_memory_is_used_again():
    allocate = Recycler(1 << 20).allocate
    first = allocate(SIZE)
    place = address(first)
    del first
    assert address(allocate(SIZE - 100)) == place


def test_only_what_was_dropped_is_there_to_reuse():
    recycler = Recycler(1 << 20)
    assert recycler.reuse(SIZE) is None
    first = recycler.allocate(SIZE)
    assert recycler.reuse(SIZE) is None
    place = address(first)
    del first
    assert address(recycler.reuse(SIZE - 100)) == place
    assert recycler.reuse(2 << 20) is None


class Holder:
    """Shows an array to NumPy by its address."""

    def __init__(self, array):
        self.array = array
        self.__array_interface__ = array.__array_interface__


SIGHTS = {
    "slice": lambda array: array[7:9],
    "type": lambda array: array.view(np.float32)[3:],
    "shape": lambda array: array.reshape(10, -1)[2],
    "read-only": lambda array: np.lib.stride_tricks.as_strided(array, writeable=False),
    "memoryview": memoryview,
    "part of a memoryview": lambda array: memoryview(array)[9:],
    "array of a memoryview": lambda array: np.frombuffer(memoryview(array)[9:], np.uint8),
    "ctypes": lambda array: (ctypes.c_char * 9).from_buffer(array),
    "dlpack": lambda array: np.from_dlpack(array),
    "array interface": lambda array: np.asarray(Holder(array)),
    "pickle buffer": pickle.PickleBuffer,
    "Buffer": cpu.Buffer.from_array_like,
    "slice of a Buffer": lambda array: cpu.Buffer.from_array_like(array)[5:10],
    "owner": lambda array: array.base,
}


@pytest.mark.parametrize("sight", SIGHTS)
def test_memory_that_is_seen_is_left_alone(sight):
    allocate = Recycler(64 << 20).allocate
    array = allocate(SIZE)
    place = range(address(array), address(array) + SIZE)
    seen = SIGHTS[sight](array)
    del array
    others = [allocate(SIZE) for _ in range(20)]
    assert not any(address(other) in place for other in others)
    del seen, others
    gc.collect()
    assert any(address(array) in place for array in [allocate(SIZE) for _ in range(21)])


def test_memory_that_garbage_brings_back_to_life_is_left_alone():
    allocate = Recycler(1 << 20).allocate
    saved = []

    class Phoenix:
        def __init__(self):
            self.array = allocate(SIZE)
            self.me = self

        def __del__(self):
            saved.append(self.array)

    Phoenix()
    gc.collect()
    assert address(allocate(SIZE)) != address(saved[0])


@pytest.mark.parametrize("size", [0, 1, SMALLEST - 1, LARGEST + 1])
def test_other_sizes_are_left_to_the_system(size):
    recycler = Recycler(64 << 20)
    array = recycler.allocate(size)
    assert len(array) == size
    assert array.base is None
    assert not recycler._rings


def held(recycler):
    return sum(len(memory) for ring in recycler._rings.values() for memory in ring)


def test_no_more_than_the_limit_is_kept():
    recycler = Recycler(1 << 20)
    for size in (SIZE, 300_000, 50_000, SIZE, 2 << 20):
        arrays = [recycler.allocate(size) for _ in range(30)]
        assert all(len(array) == size for array in arrays)
        del arrays
        assert held(recycler) <= 1 << 20


def test_a_new_size_finds_room():
    recycler = Recycler(1 << 20)
    del [recycler.allocate(SIZE) for _ in range(10)][:]
    recycler.allocate(700_000)
    place = address(recycler.allocate(700_000))
    assert address(recycler.allocate(700_000)) == place


def test_values_that_are_kept_for_long_do_not_end_the_reuse():
    allocate = Recycler(1 << 20).allocate
    kept = [allocate(SIZE) for _ in range(9)]
    places = {address(allocate(SIZE)) for _ in range(40)}
    assert len(places) < 20
    assert not places & {address(array) for array in kept}


def test_a_limit_of_zero_turns_it_off():
    code = "from zarrstore._core.verbs import host_memory as a; x = a(100_000); assert x.base is None"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "ZARRSTORE_RECYCLED_BYTES": "0"}
    )


def test_threads_never_share_memory():
    recycler = Recycler(2 << 20)
    wrong = []

    def work(mark):
        for turn in range(300):
            arrays = [recycler.allocate(SIZE) for _ in range(1 + turn % 4)]
            for array in arrays:
                array[:] = mark
            if not all((array == mark).all() for array in arrays):
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert held(recycler) <= 2 << 20


def test_what_a_store_gave_stays_as_it_was(tmp_path):
    store = LocalStore(tmp_path / "s")
    for number in range(50):
        store.set_sync(f"c/{number}", bytes([number]) * SIZE)
    parts = []
    for number in range(50):
        value = store.get_sync(f"c/{number}")
        parts.append(value[10 : 10 + number])
    for number, part in enumerate(parts):
        assert part.to_bytes() == bytes([number]) * number


class Machine(RuleBasedStateMachine):
    """Arrays and views of them come and go; what is seen of them never changes."""

    def __init__(self):
        super().__init__()
        self.recycler = Recycler(1 << 20)
        self.seen = []
        self.mark = 0

    @rule(size=st.sampled_from([40_000, 41_000, SIZE, 300_000]), sight=st.sampled_from(["all", *SIGHTS]))
    def allocate(self, size, sight):
        self.mark = (self.mark + 1) % 251
        array = self.recycler.allocate(size)
        array[:] = self.mark
        self.seen.append((array if sight == "all" else SIGHTS[sight](array), size, self.mark))

    @rule(data=st.data())
    def drop(self, data):
        if self.seen:
            del self.seen[data.draw(st.integers(0, len(self.seen) - 1))]

    @invariant()
    def nothing_changed(self):
        for sight, size, mark in self.seen:
            shown = sight.to_bytes() if isinstance(sight, cpu.Buffer) else memoryview(sight).tobytes()
            shown = shown[:size]  # an array's owner is larger
            assert shown.count(mark) == len(shown)

    @invariant()
    def limit_is_kept(self):
        assert held(self.recycler) <= 1 << 20


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
