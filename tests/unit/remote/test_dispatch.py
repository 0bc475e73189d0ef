"""How remote stores make their requests: the limit, the sharing of reads, the time they may take."""

import asyncio
import itertools
import pickle
import sys

import pytest

from zarrstore import RetryPolicy
from zarrstore.errors import TransientError
from zarrstore.storage._remote import dispatch
from zarrstore.storage._remote.dispatch import Dispatcher

QUICK = RetryPolicy(attempts=5, base=0, timeout=None)


class Busy(Exception):
    pass


def is_busy(error):
    return isinstance(error, Busy)


def make(concurrency=8, retry=None, **options):
    return Dispatcher(retry, concurrency, is_busy, **options)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


# -- how many at once -----------------------------------------------------------------------------


class Server:
    """Answers when told, and remembers how many requests it had at once."""

    def __init__(self):
        self.now = self.most = 0
        self.fails = lambda: False

    async def request(self):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await turns(2)
            if self.fails():
                raise Busy
        finally:
            self.now -= 1


def test_the_limit_is_the_stores_and_not_a_calls():
    async def main():
        server, dispatcher = Server(), make(8)
        calls = [dispatcher.dispatch(server.request) for _ in range(50)]
        more = [dispatcher.dispatch_write(server.request) for _ in range(50)]
        await asyncio.gather(asyncio.gather(*calls), asyncio.gather(*more))
        return server.most

    assert asyncio.run(main()) == 8


def test_it_halves_when_told_to_slow_down_and_comes_back():
    async def main():
        server, dispatcher = Server(), make(16)
        most = []
        for busy in (False, True, True, False):
            server.most, server.fails = 0, lambda busy=busy: busy
            await asyncio.gather(
                *(dispatcher.dispatch(server.request) for _ in range(16)), return_exceptions=True
            )
            most.append(server.most)
        # All that were sent together count once, and what succeeds adds a little.
        assert most[:3] == [16, 16, 8]
        assert 4 <= most[3] < 8
        for _ in range(300):
            await dispatcher.dispatch(server.request)
        server.most = 0
        await asyncio.gather(*(dispatcher.dispatch(server.request) for _ in range(40)))
        return server.most

    assert asyncio.run(main()) == 16


def test_it_goes_down_to_one_and_no_further():
    async def main():
        server, dispatcher = Server(), make(4)
        server.fails = lambda: True
        for _ in range(10):
            with pytest.raises(Busy):
                await dispatcher.dispatch(server.request)
        server.most, server.fails = 0, lambda: False
        await asyncio.wait_for(asyncio.gather(*(dispatcher.dispatch(server.request) for _ in range(2))), 5)
        return server.most

    assert asyncio.run(main()) == 1


def test_other_failures_slow_nothing_down():
    async def main():
        server, dispatcher = Server(), make(4)

        async def fail():
            raise ValueError

        for _ in range(10):
            with pytest.raises(ValueError):
                await dispatcher.dispatch(fail)
        await asyncio.gather(*(dispatcher.dispatch(server.request) for _ in range(8)))
        return server.most

    assert asyncio.run(main()) == 4


@pytest.mark.parametrize("victims", [(1,), (1, 2), (0, 2), (0, 1, 2), (3,)])
def test_places_of_the_cancelled_are_given_on(victims):
    async def main():
        server, dispatcher = Server(), make(1)
        for after in range(6):
            tasks = [asyncio.ensure_future(dispatcher.dispatch(server.request)) for _ in range(4)]
            await turns(after)
            for victim in victims:
                tasks[victim].cancel()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
            await asyncio.wait_for(dispatcher.dispatch(server.request), 5)
        assert server.most == 1

    asyncio.run(main())


def test_one_limit_an_event_loop_and_none_in_a_pickle():
    dispatcher = make(2, QUICK)
    for _ in range(2):
        asyncio.run(dispatcher.dispatch(Server().request))
    copy = pickle.loads(pickle.dumps(dispatcher))
    assert (copy.retry, copy.concurrency) == (QUICK, 2)
    asyncio.run(copy.dispatch(Server().request))
    with pytest.raises(ValueError, match="at least 1"):
        make(0)


# -- in what time, and again ----------------------------------------------------------------------


def test_what_stalls_is_given_up():
    async def main():
        ended = []

        async def stall():
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        dispatcher = make(retry=RetryPolicy(timeout=0.01))
        for call in (dispatcher.dispatch, dispatcher.dispatch_write):
            with pytest.raises(TimeoutError):
                await call(stall)
        assert ended == [True, True]  # a write too is cut off, not left behind
        untimed = make(retry=RetryPolicy(timeout=0.01), timed=False)
        await untimed.dispatch(lambda: asyncio.sleep(0.05))

    asyncio.run(main())


def test_a_change_is_waited_for_when_cancelled():
    async def main():
        done = []

        async def write():
            await turns(10)
            done.append(True)

        task = asyncio.ensure_future(make().dispatch_write(write))
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [True]

    asyncio.run(main())


def test_again_by_the_policy_or_not_at_all():
    async def main():
        calls = []

        async def fail():
            calls.append(None)
            raise TransientError("no.")

        for retry, wanted in ((None, 1), (QUICK, 5)):
            calls.clear()
            with pytest.raises(TransientError):
                await make(retry=retry).retry_call(fail)
            assert len(calls) == wanted

    asyncio.run(main())


# -- for whom -------------------------------------------------------------------------------------


class Value:
    """A value on a server: a read gives what was there when it was sent, however late it comes."""

    def __init__(self):
        self.value = 0
        self.sent = 0

    async def read(self, arrived):
        self.sent += 1
        value = self.value
        await arrived.wait()
        return value

    async def write(self, value):
        self.value = value


def test_equal_reads_share_one_request():
    async def main():
        dispatcher, server, arrived = make(), Value(), asyncio.Event()
        reads = [
            asyncio.ensure_future(dispatcher.single_flight("k", lambda: server.read(arrived)))
            for _ in range(9)
        ]
        other = asyncio.ensure_future(dispatcher.single_flight("l", lambda: server.read(arrived)))
        await turns()
        arrived.set()
        assert await asyncio.gather(*reads, other) == [0] * 10
        assert server.sent == 2
        await dispatcher.single_flight("k", lambda: server.read(arrived))
        assert server.sent == 3  # nothing is kept

    asyncio.run(main())


def test_no_read_is_older_than_a_write_that_was_acknowledged():
    # Every order in which three reads and two writes can begin and end.
    steps = [("read", 0), ("read", 1), ("read", 2), ("write", 1), ("write", 2), ("end", 0), ("end", 1)]

    async def play(order):
        dispatcher, server = make(64), Value()
        arrivals = [asyncio.Event() for _ in range(3)]
        reads, floors, acknowledged = {}, {}, 0
        for act, number in order:
            if act == "read":
                floors[number] = acknowledged
                reads[number] = asyncio.ensure_future(
                    dispatcher.single_flight("k", lambda number=number: server.read(arrivals[number]))
                )
            elif act == "write":
                await dispatcher.dispatch_write(lambda number=number: server.write(number))
                acknowledged = number
            else:
                arrivals[number].set()
            await turns(2)
        for arrival in arrivals:
            arrival.set()
        for number, read in reads.items():
            assert await read >= floors[number], order
        return server.sent

    async def main():
        sent = set()
        for order in itertools.permutations(steps):
            if order.index(("write", 1)) < order.index(("write", 2)):
                sent.add(await play(order))
        assert sent == {1, 2, 3}

    asyncio.run(main())


def test_who_shares_outlives_the_one_who_asked():
    async def main():
        dispatcher, server, arrived = make(), Value(), asyncio.Event()

        def read():
            return asyncio.ensure_future(dispatcher.single_flight("k", lambda: server.read(arrived)))

        first, second, third = read(), read(), read()
        await turns()
        first.cancel()
        await turns()
        assert server.sent == 2  # one of the others asks now
        third.cancel()
        arrived.set()
        assert await second == 0
        for gone in (first, third):
            with pytest.raises(asyncio.CancelledError):
                await gone

    asyncio.run(main())


def test_a_failure_is_shared_too_and_nothing_hangs():
    async def main():
        dispatcher, calls = make(), []

        async def fail():
            calls.append(None)
            await turns()
            raise TransientError("no.")

        reads = [asyncio.ensure_future(dispatcher.single_flight("k", fail)) for _ in range(4)]
        await turns(2)
        reads[3].cancel()
        answers = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(answer) for answer in answers] == [TransientError] * 3 + [asyncio.CancelledError]
        assert len(calls) == 1
        # Alone with a failure, and all others gone: it is told to the one that asked.
        reads = [asyncio.ensure_future(dispatcher.single_flight("k", fail)) for _ in range(2)]
        await turns(2)
        reads[1].cancel()
        with pytest.raises(TransientError):
            await reads[0]

    asyncio.run(main())


# -- how many by default --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "most"), [(256, 64), (1024, 256), (4096, 512), (1 << 20, 512), (20, 16), (-1, 512)]
)
def test_the_usual_limit_leaves_files_to_others(monkeypatch, files, most):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    assert dispatch.default_concurrency() == most


def test_where_sockets_are_no_files_there_is_a_limit_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert dispatch.default_concurrency() == 512


# -- again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attempts", "asked"), [(1, 1), (2, 2), (5, 4)])
def test_shared_reads_are_made_again_as_often_as_the_policy_says(attempts, asked):
    asks = []

    async def read():
        asks.append(None)
        await turns()
        if len(asks) < 4:
            raise TransientError("not yet")
        return b"value"

    async def main():
        dispatcher = make(retry=RetryPolicy(attempts=attempts, base=0, timeout=None))
        return await asyncio.gather(
            dispatcher.single_flight("k", read), dispatcher.single_flight("k", read), return_exceptions=True
        )

    answers = asyncio.run(main())
    assert len(asks) == asked
    if asked == 4:
        assert answers == [b"value", b"value"]
    else:
        assert [str(answer) for answer in answers] == ["not yet"] * 2


def test_shared_reads_without_a_policy_fail_at_once():
    async def read():
        raise TransientError("not yet")

    async def main():
        with pytest.raises(TransientError):
            await make(retry=None).single_flight("k", read)

    asyncio.run(main())
