"""The tools for testing stores: do they notice, and do they misbehave as planned?"""

import asyncio
import contextlib
import time

import pytest
from hypothesis import HealthCheck, Phase, settings

from zarrstore.errors import BackendError, TransientError
from zarrstore.storage import LocalStore, MemoryStore, WrapperStore
from zarrstore.testing import (
    QUESTIONS,
    FaultPlan,
    FaultyStore,
    LatencyStore,
    StoreContract,
    check_store,
    run_machine,
)

_QUICK = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_there_are_a_few_hundred_questions_of_different_names():
    names = [question.name for question in QUESTIONS]
    assert len(names) == len(set(names)) > 400


class _LosingTwo(MemoryStore):
    """Takes two of the wrong keys for missing values."""

    async def get(self, key, *args, **kwargs):
        return None if key in ("a/", "a//b") else await super().get(key, *args, **kwargs)


class _Contract:
    """What pytest tells a class of tests, and the cases that it gets."""

    fixturenames = ("store", "asked", "face")

    def parametrize(self, names, cases, ids):
        self.cases = dict(zip(ids, cases, strict=True))


def test_all_questions_are_asked_through_each_face_in_some_test():
    told = _Contract()
    StoreContract().pytest_generate_tests(told)
    for face in ("await", "block"):
        asked = [
            question
            for questions, its_face in told.cases.values()
            for question in questions
            if its_face == face
        ]
        assert sorted(asked, key=str) == sorted(QUESTIONS, key=str)
    assert len(told.cases) < len(QUESTIONS)


def test_a_test_of_many_questions_names_each_that_was_answered_wrongly():
    told = _Contract()
    StoreContract().pytest_generate_tests(told)
    with pytest.raises(ExceptionGroup, match="2 of 184 are wrong") as caught:
        StoreContract().test_contract(_LosingTwo(), *told.cases["key_refused/await"])
    named = [note for error in caught.value.exceptions for note in error.__notes__]
    assert [name.split("/await")[0] for name in named] == [
        "the answer to key_refused[get-'a/']",
        "the answer to key_refused[get-'a//b']",
    ]


@pytest.mark.parametrize("make", [MemoryStore, lambda: MemoryStore({}), lambda: WrapperStore(MemoryStore())])
def test_the_machine_on_memory(make):
    run_machine(make, settings=_QUICK)


def test_the_machine_on_folders(tmp_path_factory):
    run_machine(lambda: LocalStore(tmp_path_factory.mktemp("m") / "root"), settings=_QUICK)


class _Forgetful(MemoryStore):
    def _remove_below(self, prefix):
        if not prefix:
            super()._remove_below(prefix)


class _Shortening(MemoryStore):
    def _read(self, key, request, allocate):
        value = super()._read(key, request, allocate)
        return value[:-1] if value is not None and len(value) > 20 else value

    _read_nowait = _read


@pytest.mark.parametrize("make", [_Forgetful, _Shortening])
def test_the_machine_notices(make):
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_machine(make, settings=settings(_QUICK, max_examples=200, phases=[Phase.generate]))


def test_a_faulty_store_fails_by_plan_and_the_same_each_time():
    def history(seed):
        store = FaultyStore(MemoryStore(), FaultPlan(fail_reads=0.3, fail_writes=0.3), seed=seed)
        for i in range(100):
            for call in (lambda i=i: store.set_sync(f"k{i}", b"1"), lambda i=i: store.get_sync(f"k{i}")):
                with contextlib.suppress(TransientError):
                    call()
        return store.faults

    assert history(1) == history(1) != history(2)
    assert 30 < len(history(1)) < 90


def test_faults_come_through_every_face_and_wrapper():
    inner = MemoryStore({"k": b"0123"})
    store = WrapperStore(FaultyStore(inner, FaultPlan(fail_reads=1, fail_writes=1, transient=False)))
    calls = [
        lambda: store.get_sync("k"),
        lambda: asyncio.run(store.get("k")),
        lambda: store.get_partial_values_sync(None, [("k", None)]),
        lambda: store.exists_sync("k"),
        lambda: list(store.list_sync()),
        lambda: store.is_empty_sync(),
        lambda: store.set_sync("k", b"2"),
        lambda: store.set_partial_values_sync([("k", 0, b"x")]),
        lambda: store.create_sync("n", b"2"),
        lambda: store.delete_sync("k"),
        lambda: store.delete_dir_sync(""),
        lambda: store.clear_sync(),
    ]
    for call in calls:
        with pytest.raises(BackendError, match="on purpose"):
            call()
    with pytest.raises(ExceptionGroup) as caught:
        store.get_ranges_sync("k", [None])
    assert caught.group_contains(BackendError)
    assert bytes(inner.get_sync("k")) == b"0123"


def test_a_lost_answer_did_happen_and_a_truncated_read_is_short():
    inner = MemoryStore()
    losing = FaultyStore(inner, FaultPlan(lose_answers=1))
    with pytest.raises(TransientError):
        losing.set_sync("k", b"0123456789")
    assert bytes(inner.get_sync("k")) == b"0123456789"
    assert len(FaultyStore(inner, FaultPlan(truncate=1)).get_sync("k")) < 10
    choosy = FaultyStore(inner, fail_if=lambda verb, key: key == "k" and verb == "read")
    choosy.set_sync("other", b"1")
    with pytest.raises(TransientError):
        choosy.get_sync("k")
    assert choosy.faults == [("fail", "read", "k")]


def test_a_cancelled_write_did_not_happen():
    inner = MemoryStore({"k": b"old"})
    store = FaultyStore(inner, FaultPlan(cancel=1))
    with pytest.raises(asyncio.CancelledError):
        store.set_sync("k", b"new")
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(store.get("k"))
    assert bytes(inner.get_sync("k")) == b"old"
    assert store.faults == [("cancel", "write", "k"), ("cancel", "read", "k")]


def test_a_faulty_store_without_faults_keeps_the_contract():
    report = check_store(lambda: FaultyStore(MemoryStore(), FaultPlan(delay=0.05, seconds=0)))
    assert not report.wrong, str(report)


def test_latency_is_added_to_each_face():
    store = LatencyStore(MemoryStore(), get_latency=0.02, set_latency=0.03)
    for call, least in (
        (lambda: store.set_sync("k", b"1"), 0.03),
        (lambda: store.get_sync("k"), 0.02),
        (lambda: asyncio.run(store.get("k")), 0.02),
        (lambda: store.exists_sync("k"), 0.02),
        (lambda: list(store.list_sync()), 0.02),
        (lambda: store.delete_sync("k"), 0.03),
    ):
        start = time.perf_counter()
        call()
        assert time.perf_counter() - start >= least


def test_waiting_is_shared_by_concurrent_reads():
    store = LatencyStore(MemoryStore({"k": b"1"}), get_latency=0.2)

    async def many():
        await asyncio.gather(*(store.get("k") for _ in range(50)))

    start = time.perf_counter()
    asyncio.run(many())
    assert time.perf_counter() - start < 5  # one after the other: ten seconds


def test_the_report_reads_well():
    class Wrong(MemoryStore):
        def _stat(self, key):
            return None

    report = check_store(Wrong, faces=["block"])
    assert "value_round_trip[one]/block" in report.wrong
    assert str(report).endswith(f"{report.asked} asked, {len(report.wrong)} wrong")
