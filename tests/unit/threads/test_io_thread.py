"""What a blocking call on the private I/O thread does when its caller is interrupted."""

import asyncio
import signal
import threading

import pytest

from zarrstore._async import io_loop


def test_an_interrupted_call_has_ended_when_it_returns():
    ended = threading.Event()

    async def slow():
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.1)  # clearing up takes a while
            ended.set()

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            io_loop.run_on_io(slow())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended.is_set()


def test_results_and_errors_come_back():
    async def answer():
        return 42

    async def fail():
        raise LookupError("nothing here")

    assert io_loop.run_on_io(answer()) == 42
    with pytest.raises(LookupError, match="nothing here"):
        io_loop.run_on_io(fail())


def test_waiting_for_oneself_is_refused():
    async def outer():
        return io_loop.run_on_io(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await instead"):
        io_loop.run_on_io(outer())
