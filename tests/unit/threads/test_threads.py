"""The pool, the mailboxes and the I/O loop: cancellation, growth, errors, fork."""

import asyncio
import contextvars
import signal
import subprocess
import sys
import threading
import time

import pytest

from zarrstore._async import io_loop
from zarrstore._async import threads as _threads
from zarrstore._core.verbs import ANY


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
        all_begun = threading.Barrier(_threads.POOL_SIZE + 1)

        def block():
            all_begun.wait()
            gate.wait()

        blockers = [asyncio.ensure_future(_threads.to_thread(block)) for _ in range(_threads.POOL_SIZE)]
        await asyncio.to_thread(all_begun.wait)  # the pool grows to its size
        task = asyncio.ensure_future(_threads.to_thread(ran.append, 1))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task  # while no thread is free
        gate.set()
        await asyncio.gather(*blockers)
        await asyncio.sleep(0.02)
        assert not ran

    asyncio.run(main())


@pytest.mark.parametrize("cancels", [1, 3])
def test_a_call_that_has_begun_is_waited_for(cancels):
    async def main():
        begun, gate, ended = threading.Event(), threading.Event(), []

        def work():
            begun.set()
            gate.wait()
            ended.append(1)

        task = asyncio.ensure_future(_threads.to_thread(work))
        await asyncio.to_thread(begun.wait)
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    asyncio.run(main())


def test_a_call_without_effect_is_left_behind():
    async def main():
        gate = threading.Event()
        task = asyncio.ensure_future(_threads.to_thread(gate.wait, abandon_on_cancel=True))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task  # while the call waits
        gate.set()

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

    assert io_loop.run_on_io(where()) == "zarrstore-io"
    assert asyncio.run(io_loop.await_on_io(where())) == "zarrstore-io"

    async def nested():
        return await io_loop.await_on_io(where())

    assert io_loop.run_on_io(nested()) == "zarrstore-io"
    assert len(seen) == 1

    async def wait_for_itself():
        return io_loop.run_on_io(where())

    with pytest.raises(RuntimeError, match="wait for itself"):
        io_loop.run_on_io(wait_for_itself())


def test_cancelling_a_call_on_the_io_loop_waits_for_its_end():
    begun, ended = threading.Event(), []

    async def work():
        try:
            begun.set()
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.05)
            ended.append(1)

    async def main():
        task = asyncio.ensure_future(io_loop.await_on_io(work()))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    asyncio.run(main())


def test_errors_cross_from_the_io_loop():
    async def fail():
        raise KeyError("k")

    with pytest.raises(KeyError):
        io_loop.run_on_io(fail())
    with pytest.raises(KeyError):
        asyncio.run(io_loop.await_on_io(fail()))


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
from zarrstore._async import io_loop, threads as _threads
from zarrstore._core.verbs import ANY
async def use():
    assert await _threads.to_thread(lambda: 1) == 1
    assert await io_loop.await_on_io(asyncio.sleep(0, 2)) == 2
asyncio.run(use())
child = os.fork()
if not child:
    asyncio.run(use())
    assert io_loop.run_on_io(asyncio.sleep(0, 3)) == 3
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
asyncio.run(use())
"""


def test_threads_are_made_anew_after_a_fork():
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=30)


def test_writes_under_way_end_before_the_interpreter_does(tmp_path):
    code = f"""
import asyncio, threading, time
from zarrstore._async import io_loop, threads as _threads
from zarrstore._core.verbs import ANY
begun = threading.Event()
def write():
    begun.set()
    time.sleep(0.2)
    open({str(tmp_path / "done")!r}, "w").close()
async def main():
    asyncio.ensure_future(_threads.to_thread(write))
    await asyncio.to_thread(begun.wait)
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


def test_the_rest_of_a_call_comes_behind_those_that_wait(monkeypatch):
    monkeypatch.setattr(_threads, "_pool", _threads._Pool(1))  # several threads would not keep an order
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
    begun, done, go = threading.Event(), [], threading.Event()

    def rest():
        begun.set()
        go.wait(5)
        done.append("rest")

    async def main():
        task = asyncio.ensure_future(_threads.to_thread(lambda: _threads.Continuation(rest)))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        threading.Timer(0.05, go.set).start()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["rest"]

    asyncio.run(main())


def test_calls_made_together_share_one_call():
    lists, begun, busy = [], threading.Event(), threading.Event()

    def double(items):
        begun.set()
        busy.wait(5)
        lists.append([number for (number,) in items])
        return [ValueError("three") if number == 3 else 2 * number for (number,) in items]

    async def main():
        tasks = [asyncio.ensure_future(_threads.to_thread_batched(double, number)) for number in range(5)]
        await asyncio.to_thread(begun.wait)
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


@pytest.fixture
def one_thread(monkeypatch):
    """A pool of one thread."""
    pool = _threads._Pool(1)
    monkeypatch.setattr(_threads, "_pool", pool)
    yield pool
    pool.finish()


def in_time(function, seconds=10):
    """What a call returns that must not hang, made in a thread that may be left behind."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert answers, "it hangs"
    return answers[0]


async def several(depth):
    """Calls in the pool that wait for a loop's calls in the pool, and those likewise."""

    def call(number):
        return number if not depth else io_loop.run_on_io(several(depth - 1))

    return sum(await asyncio.gather(*(_threads.to_thread(call, number) for number in range(4))))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_threads_of_the_pool_may_wait_for_loops_that_need_the_pool(one_thread, depth):
    assert in_time(lambda: asyncio.run(several(depth))) == 6 * 4**depth
    assert in_time(lambda: io_loop.run_on_io(several(depth))) == 6 * 4**depth
    assert len(one_thread._threads) == 1


def test_threads_of_the_pool_may_wait_for_calls_made_together(one_thread):
    def double(items):
        return [2 * number for (number,) in items]

    async def inner():
        return sum(await asyncio.gather(*(_threads.to_thread_batched(double, number) for number in range(4))))

    async def outer():
        return await asyncio.gather(*(_threads.to_thread(io_loop.run_on_io, inner()) for _ in range(4)))

    assert in_time(lambda: asyncio.run(outer())) == [12] * 4


def test_a_signal_ends_a_call_that_the_waiting_thread_makes_itself(one_thread):
    """The loop goes on, sees the call cancelled, and the next one works."""
    seen, gate = [], threading.Event()

    async def call():
        try:
            await _threads.to_thread(time.sleep, 20)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def occupy():
        return await _threads.to_thread(gate.wait, 20)

    busy = threading.Thread(target=asyncio.run, args=(occupy(),))
    busy.start()
    time.sleep(0.05)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    start = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            io_loop.run_on_io(call())
    finally:
        signal.signal(signal.SIGALRM, before)
        gate.set()
        busy.join()
    assert time.perf_counter() - start < 5
    assert seen == ["cancelled"]
    assert io_loop.run_on_io(_threads.to_thread(lambda: 1)) == 1


def test_a_thread_of_the_pool_that_waits_for_a_lock_is_replaced(one_thread):
    lock, done = _threads.PatientLock(), []

    def wait():
        with lock, lock:
            done.append("locked")

    async def main():
        with lock:
            tasks = [asyncio.ensure_future(_threads.to_thread(wait)) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert await asyncio.wait_for(_threads.to_thread(lambda: 1), 5) == 1
            assert not done
        await asyncio.gather(*tasks)
        for _ in range(20):
            await _threads.to_thread(lambda: None)

    in_time(lambda: asyncio.run(main()) or True)
    assert done == ["locked"] * 3
    assert len(one_thread._threads) == 1


def test_a_call_beside_the_pool_needs_no_thread_of_it(one_thread):
    gate = threading.Event()

    async def main():
        busy = asyncio.ensure_future(_threads.to_thread(gate.wait, 20))
        await asyncio.sleep(0.02)
        loop = asyncio.get_running_loop()

        async def piece():
            return await _threads.to_thread(lambda: 5)

        assert await asyncio.wait_for(_threads.to_extra_thread(_threads.wait_on, loop, piece()), 5) == 5
        gate.set()
        await busy

    in_time(lambda: asyncio.run(main()) or True)


def test_where_no_thread_can_be_started_pieces_are_gathered_first(monkeypatch, tmp_path):
    from zarrstore.storage import LocalStore

    class NoThread:
        def __init__(self, **kwargs):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    async def pieces():
        for piece in (b"a", b"b"):
            await asyncio.sleep(0)
            yield piece

    async def main():
        store = LocalStore(tmp_path)
        await store._own_async_verbs.write("k", pieces(), ANY)
        assert store.get_sync("k").to_bytes() == b"ab"

    monkeypatch.setattr(_threads, "_pool", _threads._Pool(4))
    monkeypatch.setattr(_threads.threading, "Thread", NoThread)
    asyncio.run(main())
