"""Requests that are waited for whatever happens, and bulk requests, which hold everything once."""

import asyncio
import gc
import weakref

import pytest

from zarrstore._async.concurrency import batches, finished


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [
        (0, 1000, []),
        (1, 1000, [1]),
        (100, 1000, [100]),
        (101, 1000, [100, 1]),
        (250, 1000, [100, 100, 50]),
        (1000, 1000, [334, 334, 332]),
        (3001, 1000, [1000, 1000, 1000, 1]),
        (1000, 256, [256, 256, 256, 232]),
        (250, 100, [100, 100, 50]),
    ],
)
def test_a_few_requests_side_by_side_each_worth_it(count, most, sizes):
    items = list(range(count))
    parts = batches(items, most)
    assert [len(part) for part in parts] == sizes
    assert [item for part in parts for item in part] == items


@pytest.mark.parametrize("kind", ["future", "coroutine"])
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("cancels", [0, 1, 3])
@pytest.mark.parametrize("fails", [False, True])
async def test_what_was_sent_is_waited_for(kind, timeout, cancels, fails):
    """A cancelled task ends, cancelled, when the request has: neither before nor without it."""
    ended = asyncio.get_running_loop().create_future()

    async def request():
        return await ended

    task = asyncio.ensure_future(_awaited(ended if kind == "future" else request(), timeout))
    await asyncio.sleep(0)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0.001)
        assert not task.done()
        assert not ended.done()
    if fails:
        ended.set_exception(KeyError("k"))
    else:
        ended.set_result("answer")
    if cancels:
        with pytest.raises(asyncio.CancelledError):
            await task
    elif fails:
        with pytest.raises(KeyError):
            await task
    else:
        assert await task == "answer"
    # Nobody may be told of an error that nobody waits for.
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    task = ended = None
    gc.collect()
    await asyncio.sleep(0)
    assert not told


async def _awaited(request, timeout):
    return await finished(request, timeout)


async def test_a_task_cancelled_before_it_begins_to_wait_waits_for_what_was_sent():
    ended = asyncio.get_running_loop().create_future()

    async def send():
        sent = finished(ended)
        asyncio.current_task().cancel()
        return await sent

    task = asyncio.ensure_future(send())
    await asyncio.sleep(0.001)
    assert not task.done()
    ended.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_answer_that_is_there_already_is_given():
    ended = asyncio.get_running_loop().create_future()
    ended.set_result(5)
    assert await finished(ended) == 5
    assert await finished(ended, 30) == 5


async def test_what_takes_too_long_is_cut_off():
    cut = []

    async def request():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cut.append(True)
            raise

    with pytest.raises(TimeoutError, match=r"0.01 seconds"):
        await finished(request(), 0.01)
    assert cut


async def test_a_request_that_cancels_itself_says_so():
    ended = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(_awaited(ended, None))
    await asyncio.sleep(0)
    ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_limit_of_the_callers_is_noticed_at_the_end():
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.call_later(0.05, ended.set_result, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await finished(ended)
    assert ended.done()


@pytest.mark.parametrize("timeout", [None, 5])
def test_an_error_does_not_keep_its_request(timeout):
    async def failed():
        loop = asyncio.get_running_loop()
        request = loop.create_future()
        loop.call_soon(request.set_exception, OSError("refused"))
        gone = weakref.ref(request)
        sent = [finished(request, timeout)]
        del request
        try:
            await sent.pop()
        except OSError as error:
            return error, gone

    async def main():
        error, gone = await failed()
        assert error.__traceback__ is not None
        await asyncio.sleep(0)  # the loop itself holds it until this step ends
        assert gone() is None

    asyncio.run(main())
