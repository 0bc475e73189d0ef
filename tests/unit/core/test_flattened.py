"""Pages, and items out of them: order, ends, laziness, closing."""

import asyncio

import pytest

from zarrstore._core.listing import Flattened, closing_pages


def collected(pages):
    async def source():
        for page in pages:
            yield page

    async def run():
        return [item async for item in Flattened(source)]

    return asyncio.run(run())


@pytest.mark.parametrize("pages", [[], [[]], [[1]], [[], [1, 2], [], [], [3], []]])
def test_pages_are_told_in_order_and_empty_ones_passed_over(pages):
    assert collected(pages) == [item for page in pages for item in page]


def test_nothing_starts_before_the_first_step_and_the_end_stays_the_end():
    started = []

    async def source():
        started.append(1)
        yield [1]

    async def run():
        items = Flattened(source)
        assert not started
        assert await anext(items) == 1
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(items)

    asyncio.run(run())
    assert started == [1]


@pytest.mark.parametrize("steps", [0, 1])
def test_closing_ends_it_and_what_it_reads(steps):
    seen = []

    async def source():
        try:
            yield [1, 2]
            yield [3]
        finally:
            seen.append("closed")

    async def run():
        items = Flattened(source)
        for _ in range(steps):
            await anext(items)
        await items.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(items)

    asyncio.run(run())
    assert seen == ["closed"] * steps


def test_an_error_of_a_page_is_raised():
    async def source():
        yield [1]
        raise OSError("no more")

    async def run():
        items = Flattened(source)
        assert await anext(items) == 1
        with pytest.raises(OSError, match="no more"):
            await anext(items)

    asyncio.run(run())


def test_pages_are_closed_at_the_end_of_a_block_that_leaves_early():
    seen = []

    async def source():
        try:
            yield 1
        finally:
            seen.append("closed")

    async def run():
        async with closing_pages(source()) as pages:
            assert await anext(pages) == 1
        assert seen == ["closed"]

    asyncio.run(run())
