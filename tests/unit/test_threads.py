"""The pool, the mailboxes and the I/O loop: cancellation, growth, errors, fork."""

import asyncio
import contextvars
import subprocess
import sys
import threading
import time

import pytest

from zarrstore._async import threads as _threads


def test_results_and_errors_come_back():
    async def main():
        assert await _threads.to_thread(lambda a, b: a + b, 1, 2) == 3
        with pytest.raises(ZeroDivisionError):
            await _threads.to_thread(lambda: 1 / 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await _threads.to_thread(next, iter(()))
        return await asyncio.gather(*(_threads.to_thread(lambda i=i: i * i) for i in range(500)))

    assert asyncio.run(main()) == [i * i for i in range(500)]


def test_a_call_that_has_not_begun_is_withdrawn():
    async def main():
        gate, ran = threading.Event(), []
        blockers = [asyncio.ensure_future(_threads.to_thread(gate.wait)) for _ in range(_threads.POOL_SIZE)]
        await asyncio.sleep(0.3)  # the pool grows to its size
        task = asyncio.ensure_future(_threads.to_thread(ran.append, 1))
        await asyncio.sleep(0.01)
        task.cancel()
        start = time.perf_counter()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.perf_counter() - start < 0.2
        gate.set()
        await asyncio.gather(*blockers)
        await asyncio.sleep(0.02)
        assert not ran

    asyncio.run(main())


@pytest.mark.parametrize("cancels", [1, 3])
def test_a_call_that_has_begun_is_waited_for(cancels):
    async def main():
        ended = []

        def work():
            time.sleep(0.1)
            ended.append(1)

        task = asyncio.ensure_future(_threads.to_thread(work))
        await asyncio.sleep(0.03)
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    asyncio.run(main())


def test_a_call_without_effect_is_left_behind():
    async def main():
        task = asyncio.ensure_future(_threads.to_thread(time.sleep, 0.3, abandon_on_cancel=True))
        await asyncio.sleep(0.02)
        task.cancel()
        start = time.perf_counter()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.perf_counter() - start < 0.1

    asyncio.run(main())


def test_slow_calls_get_more_threads_and_run_side_by_side():
    async def main():
        start = time.perf_counter()
        await asyncio.gather(*(_threads.to_thread(time.sleep, 0.05) for _ in range(_threads.POOL_SIZE * 2)))
        return time.perf_counter() - start

    assert asyncio.run(main()) < 0.05 * _threads.POOL_SIZE


def test_the_io_loop_serves_any_loop_and_thread():
    seen = set()

    async def where():
        seen.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert _threads.run_on_io(where()) == "zarrstore-io"
    assert asyncio.run(_threads.await_on_io(where())) == "zarrstore-io"

    async def nested():
        return await _threads.await_on_io(where())

    assert _threads.run_on_io(nested()) == "zarrstore-io"
    assert len(seen) == 1

    async def wait_for_itself():
        return _threads.run_on_io(where())

    with pytest.raises(RuntimeError, match="wait for itself"):
        _threads.run_on_io(wait_for_itself())


def test_cancelling_a_call_on_the_io_loop_waits_for_its_end():
    ended = []

    async def work():
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.05)
            ended.append(1)

    async def main():
        task = asyncio.ensure_future(_threads.await_on_io(work()))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    asyncio.run(main())


def test_errors_cross_from_the_io_loop():
    async def fail():
        raise KeyError("k")

    with pytest.raises(KeyError):
        _threads.run_on_io(fail())
    with pytest.raises(KeyError):
        asyncio.run(_threads.await_on_io(fail()))


def test_where_no_thread_can_be_started_the_call_is_made_in_place(monkeypatch):
    class NoThread:
        def __init__(self, **kwargs):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_threads, "_pool", _threads._Pool(4))
    monkeypatch.setattr(_threads.threading, "Thread", NoThread)
    me = threading.get_ident()
    assert asyncio.run(_threads.to_thread(threading.get_ident)) == me


_FORK = """
import asyncio, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from zarrstore._async import threads as _threads
async def use():
    assert await _threads.to_thread(lambda: 1) == 1
    assert await _threads.await_on_io(asyncio.sleep(0, 2)) == 2
asyncio.run(use())
child = os.fork()
if not child:
    asyncio.run(use())
    assert _threads.run_on_io(asyncio.sleep(0, 3)) == 3
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
asyncio.run(use())
"""


def test_threads_are_made_anew_after_a_fork():
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=30)


def test_writes_under_way_end_before_the_interpreter_does(tmp_path):
    code = f"""
import asyncio, time
from zarrstore._async import threads as _threads
def write():
    time.sleep(0.2)
    open({str(tmp_path / "done")!r}, "w").close()
async def main():
    asyncio.ensure_future(_threads.to_thread(write))
    await asyncio.sleep(0.05)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert (tmp_path / "done").exists()


def test_context_is_the_callers_on_the_loop():
    variable = contextvars.ContextVar("variable", default=0)

    async def main():
        variable.set(5)
        await _threads.to_thread(lambda: None)
        assert variable.get() == 5

    asyncio.run(main())


def test_the_rest_of_a_call_comes_behind_those_that_wait():
    done, begun = [], threading.Event()

    def first():
        begun.wait(5)
        return _threads.Continuation(lambda: done.append("rest") or "answer")

    async def main():
        one = asyncio.ensure_future(_threads.to_thread(first))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(_threads.to_thread(done.append, number)) for number in range(3)]
        await asyncio.sleep(0)
        begun.set()
        answers = await asyncio.gather(one, *others)
        assert answers == ["answer", None, None, None]

        def fail():
            raise ValueError("at the end")

        with pytest.raises(ValueError, match="at the end"):
            await _threads.to_thread(lambda: _threads.Continuation(fail))

    asyncio.run(main())
    assert sorted(map(str, done)) == ["0", "1", "2", "rest"]
    assert done.index("rest") > 0


def test_cancellation_waits_for_the_rest_of_a_call():
    done, go = [], threading.Event()

    def rest():
        go.wait(5)
        done.append("rest")

    async def main():
        task = asyncio.ensure_future(_threads.to_thread(lambda: _threads.Continuation(rest)))
        await asyncio.sleep(0.05)
        task.cancel()
        threading.Timer(0.05, go.set).start()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["rest"]

    asyncio.run(main())


def test_calls_made_together_share_one_call():
    lists, busy = [], threading.Event()

    def double(items):
        busy.wait(5)
        lists.append([number for (number,) in items])
        return [ValueError("three") if number == 3 else 2 * number for (number,) in items]

    async def main():
        tasks = [asyncio.ensure_future(_threads.to_thread_batched(double, number)) for number in range(5)]
        await asyncio.sleep(0.05)
        tasks.append(asyncio.ensure_future(_threads.to_thread_batched(double, 5)))
        tasks.append(asyncio.ensure_future(_threads.to_thread_batched(double, 6)))
        await asyncio.sleep(0)
        tasks[-1].cancel()  # it waits for the others' end, and hasn't begun
        await asyncio.sleep(0)
        busy.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[:3] == [0, 2, 4]
        assert isinstance(answers[3], ValueError)
        assert answers[4:6] == [8, 10]
        assert isinstance(answers[6], asyncio.CancelledError)

        def fail(items):
            raise KeyError("all")

        answers = await asyncio.gather(
            *(_threads.to_thread_batched(fail, number) for number in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [KeyError] * 3
        assert await _threads.to_thread_batched(double, 7) == 14

    asyncio.run(main())
    assert sorted(number for numbers in lists for number in numbers) == [0, 1, 2, 3, 4, 5, 7]
    assert len(lists) <= 5


def test_cancellation_waits_for_a_call_made_together():
    done, begun, go = [], threading.Event(), threading.Event()

    def slow(items):
        begun.set()
        go.wait(5)
        done.append(len(items))
        return [None] * len(items)

    async def main():
        task = asyncio.ensure_future(_threads.to_thread_batched(slow, 1))
        await asyncio.sleep(0)
        begun.wait(5)
        task.cancel()
        threading.Timer(0.05, go.set).start()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [1]

    asyncio.run(main())
