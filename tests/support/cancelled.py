"""Cancels a coroutine at one of its suspensions, at any moment between asking and getting the answer."""

import asyncio
import types

# When a waiting task is cancelled: before the loop goes round, some rounds later, or when what it waits for
# is there and the task doesn't know yet.
MOMENTS = ("at once", "one round later", "three rounds later", "with the answer")


@types.coroutine
def _cancelled_at(coroutine, number, moment, reached):
    """Await a coroutine; cancel the task that does so when it is suspended for the ``number``th time."""
    steps = coroutine.__await__()
    count, failure = 0, None
    while True:
        try:
            waits_for = steps.send(None) if failure is None else steps.throw(failure)
        except StopIteration as end:
            return end.value
        count, failure = count + 1, None
        if count == number:
            reached.append(number)
            _cancel(asyncio.current_task(), waits_for, moment)
        try:
            yield waits_for
        except BaseException as error:
            failure = error


def _cancel(task, waits_for, moment):
    loop = task.get_loop()
    if moment == "at once":
        task.cancel()
    elif moment == "with the answer" and waits_for is not None:
        waits_for.add_done_callback(lambda _: task.cancel())
    else:
        _cancel_later(loop, task, 3 if moment == "three rounds later" else 1)


def _cancel_later(loop, task, rounds):
    loop.call_soon(task.cancel if rounds == 1 else lambda: _cancel_later(loop, task, rounds - 1))


async def cancelled_at(make, number, moment):
    """Run what ``make()`` returns, cancelled at a suspension; return whether it got so far."""
    reached = []
    task = asyncio.ensure_future(_run(make, number, moment, reached))
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    return bool(reached)


async def _run(make, number, moment, reached):
    return await _cancelled_at(make(), number, moment, reached)
