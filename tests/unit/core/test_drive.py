"""Driving coroutines without a loop, and what is said of one that suspends."""

import asyncio
from contextlib import aclosing

import pytest

from zarrstore._core.verbs import drive


def test_results_and_errors():
    async def answer():
        return 42

    async def fail():
        raise LookupError("nothing here")

    assert drive(answer()) == 42
    with pytest.raises(LookupError, match="nothing here"):
        drive(fail())


def test_suspending_is_told_even_in_the_middle_of_a_generator():
    async def numbers():
        await asyncio.sleep(0)
        yield 1

    async def total():
        async with aclosing(numbers()) as found:
            return sum([number async for number in found])

    with pytest.raises(RuntimeError, match=r"a blocking verb \(.*total.*\) suspended where no event loop"):
        drive(total())
