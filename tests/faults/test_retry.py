"""RetryStore on stores that fail by plan: what it bears, and what it must not."""

import asyncio

import numpy as np
import pytest
import zarr

from zarrstore import LocalStore, MemoryStore, RetryPolicy, RetryStore, errors
from zarrstore.testing import FaultPlan, FaultyStore, StoreContract

QUICK = RetryPolicy(attempts=12, base=0.0001, cap=0.001)


class TestContract(StoreContract):
    @pytest.fixture
    def store(self):
        return RetryStore(MemoryStore(), QUICK)


def test_thousands_of_calls_through_an_array():
    plan = FaultPlan(fail_reads=0.1, fail_writes=0.1, lose_answers=0.1, delay=0.01)
    faulty = FaultyStore(MemoryStore(), plan)
    store = RetryStore(faulty, QUICK)
    array = zarr.create_array(store, shape=(40, 40), chunks=(1, 1), dtype="i4")
    values = np.arange(1600, dtype="i4").reshape(40, 40)
    array[:] = values
    array[::2] = values[::2] * 3
    values[::2] *= 3
    assert np.array_equal(zarr.open_array(store)[:], values)
    assert len(faulty.faults) > 500
    assert {kind for kind, _, _ in faulty.faults} >= {"fail", "lose"}


@pytest.mark.parametrize("make", [MemoryStore, LocalStore])
def test_both_faces(make, tmp_path):
    inner = make() if make is MemoryStore else make(tmp_path)
    store = RetryStore(FaultyStore(inner, FaultPlan(fail_reads=0.3, fail_writes=0.3)), QUICK)
    for number in range(50):
        store.set_sync(f"a/{number}", b"1")
    assert len(list(store.list_sync())) == 50
    assert asyncio.run(store.getsize_prefix("a")) == 50
    store.delete_dir_sync("a")
    assert asyncio.run(store.is_empty(""))


def test_a_create_whose_answer_was_lost_is_no_conflict_with_itself():
    inner = MemoryStore()
    store = RetryStore(FaultyStore(inner, FaultPlan(lose_answers=0.4), seed=3), QUICK)
    for number in range(50):
        assert store.create_sync(f"{number}", b"mine")
        assert not inner.create_sync(f"{number}", b"theirs")
    inner.set_sync("taken", b"theirs")
    assert not store.create_sync("taken", b"mine")
    _, version = inner.get_versioned_sync("1")
    assert store.set_if_unchanged_sync("1", b"newer", version)


@pytest.mark.parametrize("kind", [errors.AccessDeniedError, errors.BackendError, errors.KeyNotFoundError])
def test_what_will_not_pass_is_asked_once(kind):
    calls = []

    class Refusing(FaultyStore):
        async def _before(self, below, verb, key):
            calls.append(verb)
            raise kind("no.", key=key)

    store = RetryStore(Refusing(MemoryStore()), QUICK)
    with pytest.raises(kind, match="k"):
        store.get_sync("k")
    assert calls == ["read"]


def test_it_gives_up_in_the_end():
    faulty = FaultyStore(MemoryStore(), FaultPlan(fail_reads=1.0))
    with pytest.raises(errors.TransientError):
        RetryStore(faulty, RetryPolicy(attempts=3, base=0)).get_sync("k")
    assert len(faulty.faults) == 3


def test_waits_grow_up_to_a_cap_and_vary():
    policy = RetryPolicy(base=1, factor=2, cap=5, jitter=0)
    assert [policy.wait(attempt) for attempt in (1, 2, 3, 4, 9)] == [1, 2, 4, 5, 5]
    waits = {RetryPolicy(base=1).wait(1) for _ in range(20)}
    assert len(waits) > 10
    assert all(0.5 <= wait <= 1 for wait in waits)
