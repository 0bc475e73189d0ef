"""Blocking listings on an event loop: pages that a thread has in a moment come together."""

import asyncio
import time
from contextlib import aclosing

import pytest

from zarrstore._async import threads
from zarrstore._core.verbs import Entry
from zarrstore.abc.store import Store


class Paged(Store):
    """Lists pages that a function yields."""

    def __init__(self, pages):
        super().__init__()
        self.pages = pages

    @property
    def _location(self):
        return "memory://pages"

    def _read(self, key, request, allocate):
        return None

    def _write(self, key, pieces, condition):
        raise NotImplementedError

    def _remove(self, key, condition):
        raise NotImplementedError

    def _scan(self, prefix, deep, sizes):
        return self.pages()


@pytest.fixture
def calls(monkeypatch):
    """The calls that were made in threads."""
    made, real = [], threads.to_thread

    def counted(function, *args, **kwargs):
        made.append(function)
        return real(function, *args, **kwargs)

    monkeypatch.setattr(threads, "to_thread", counted)
    return made


def page(*keys):
    return [Entry(key, 1) for key in keys]


async def listed(pages):
    return [key async for key in Paged(pages).list()]


def test_a_short_listing_takes_a_thread_once(calls):
    assert asyncio.run(listed(lambda: iter([page("a", "b"), page("c")]))) == ["a", "b", "c"]
    assert len(calls) == 1


def test_pages_that_take_long_come_one_by_one(calls):
    def pages():
        for key in "abc":
            time.sleep(0.01)
            yield page(key)

    assert asyncio.run(listed(pages)) == ["a", "b", "c"]
    assert len(calls) == 4


def test_what_was_listed_before_an_error_comes_before_it():
    def pages():
        yield page("a")
        yield page("b")
        raise OSError("the disk is gone")

    async def steps():
        keys = Paged(pages).list()
        return [
            await anext(keys),
            await anext(keys),
            await asyncio.gather(anext(keys), return_exceptions=True),
        ]

    first, second, (error,) = asyncio.run(steps())
    assert (first, second, str(error)) == ("a", "b", "the disk is gone")


def test_a_listing_that_is_left_early_is_closed():
    ended = []

    def pages():
        try:
            while True:
                yield page("a")
        finally:
            ended.append(True)

    async def leave():
        store = Paged(pages)
        async with aclosing(store._own_async_verbs.scan("", True, False)) as listing:
            await anext(listing)

    asyncio.run(leave())
    assert ended == [True]
