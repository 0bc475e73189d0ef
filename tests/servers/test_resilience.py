"""Remote stores as they are by default, behind a proxy that spoils requests: what they bear by themselves."""

import asyncio
import pickle

import numpy as np
import pytest
import zarr
from object_servers import S3Server
from obstore.store import S3Store
from proxy import proxied, share
from s3fs import S3FileSystem

from zarrstore import FsspecStore, ObjectStore, RangeByteRequest, RetryPolicy, errors

QUICK = RetryPolicy(attempts=12, base=0.001, cap=0.01)
EVERY = [408, 429, 500, 503, "reset", "lose", "truncate", "delay"]


@pytest.fixture(scope="module")
def spoilt(s3_server):
    with proxied(s3_server.endpoint) as (proxy, url):
        yield proxy, S3Server(url)


@pytest.fixture(params=["fsspec", "obstore"])
def place(request, spoilt, s3_place):
    """The proxy, and what makes a store behind it."""
    proxy, server = spoilt
    proxy.plan = None
    bucket, prefix = s3_place

    def make(retry=QUICK, **options):
        if request.param == "fsspec":
            fs = S3FileSystem(asynchronous=True, **server.fsspec_options())
            return FsspecStore(fs, path=f"{bucket}/{prefix}", retry=retry, **options)
        theirs = S3Store(bucket, prefix=prefix, **server.obstore_options())
        return ObjectStore(theirs, retry=retry, **options)

    make().set_sync("warm", b"0123456789" * 100)
    yield proxy, make
    proxy.plan = None


@pytest.mark.parametrize("side", [24, pytest.param(71, marks=pytest.mark.slow)])
def test_many_reads_and_writes_through_a_tenth_of_failures(place, side):
    """As many writes as that squared, and as many reads."""
    proxy, make = place
    store = make()
    proxy.done.clear()
    proxy.plan = share(0.1, EVERY, seed=11)
    array = zarr.create_array(
        store, name="a", shape=(side, side), chunks=(1, 1), dtype="i4", compressors=None, fill_value=-1
    )
    values = np.random.default_rng(3).integers(0, 1 << 30, (side, side), dtype="i4")
    with zarr.config.set({"async.concurrency": 32}):
        array[:] = values
        assert np.array_equal(zarr.open_array(store, path="a", mode="r")[:], values)
    assert sum(proxy.done.values()) > 2 * side * side
    assert all(proxy.done[act] for act in EVERY)
    # And with nothing in between they are there.
    proxy.plan = None
    assert store.getsize_prefix_sync("a/c") == side * side * 4
    keys = [f"a/c/{row}/{column}" for row in range(side) for column in range(side)]
    found = store.get_partial_values_sync(None, [(key, None) for key in keys])
    assert b"".join(value.to_bytes() for value in found) == values.tobytes()


def test_a_refused_chunk_is_named_and_never_filled_in(place):
    proxy, make = place
    store = make()
    array = zarr.create_array(store, name="a", shape=(4, 4), chunks=(1, 4), dtype="i4", fill_value=7)
    array[:] = 1
    proxy.plan = lambda method, target: 403 if target.endswith("/a/c/2/0") and method == "GET" else None
    before = len(proxy.requests)
    with pytest.raises(errors.AccessDeniedError) as caught:
        zarr.open_array(store, path="a", mode="r")[:]
    assert caught.value.key == "a/c/2/0"
    assert "a/c/2/0" in str(caught.value)
    asked = [target for _, target in proxy.requests[before:] if target.endswith("/a/c/2/0")]
    assert len(asked) == 1  # what is refused is not asked for again


@pytest.mark.parametrize("times", [1, 2])
def test_answers_cut_short_are_never_accepted(place, times):
    proxy, make = place
    once = RetryPolicy(attempts=1)
    value = bytes(range(256)) * 40
    make().set_sync("k", value)
    make().set_sync("large", value * 900)
    for number in range(30):
        make().set_sync(f"many/{number}", b"v")
    ranges = [("k", RangeByteRequest(start, start + 100)) for start in range(0, 10_000, 4000)]
    calls = (
        lambda store: store.get_sync("k").to_bytes(),
        lambda store: store.get_sync("large").to_bytes(),
        lambda store: store.get_sync("k", byte_range=RangeByteRequest(100, 9000)).to_bytes(),
        lambda store: [part.to_bytes() for part in store.get_partial_values_sync(None, ranges)],
        lambda store: sorted(store.list_prefix_sync("many")),
        lambda store: sorted(store.list_dir_sync("many")),
        lambda store: store.getsize_prefix_sync("many"),
    )
    proxy.plan = None
    rights = [call(make()) for call in calls]
    for call, right in zip(calls, rights, strict=True):
        acts = iter(["truncate"] * times)
        proxy.plan = lambda method, target, acts=acts: next(acts, None)
        if times == 1:
            assert call(make()) == right
        else:
            proxy.plan = lambda method, target: "truncate"
            with pytest.raises((errors.TruncatedError, errors.TransientError)):
                call(make(retry=once))


def test_what_stalls_is_asked_for_again(place):
    proxy, make = place
    store = make(retry=RetryPolicy(attempts=3, base=0, timeout=0.5))
    for call in (
        lambda: store.get_sync("warm").to_bytes(),
        lambda: store.set_sync("new", b"v"),
        lambda: store.exists_sync("new"),
        lambda: store.delete_sync("new"),
    ):
        proxy.plan = None
        right = call()
        acts = iter(["stall", "stall"])
        proxy.plan = lambda method, target, acts=acts: next(acts, None)
        assert call() == right
    proxy.plan = lambda method, target: "stall"
    with pytest.raises(errors.TransientError) as caught:
        store.get_sync("warm")
    assert caught.value.key == "warm"


def test_one_request_is_not_multiplied(place):
    proxy, make = place
    store = make(retry=RetryPolicy(attempts=3, base=0))
    for act in (500, 503, "reset"):
        proxy.plan = lambda method, target, act=act: act if target.endswith("/warm") else None
        for call in (store.get_sync, lambda key: store.set_sync(key, b"v"), store.exists_sync):
            before = len(proxy.requests)
            with pytest.raises(errors.TransientError):
                call("warm")
            made = len(proxy.requests) - before
            # aiohttp sends what it lost a connection over once more, whatever one says.
            twice = act == "reset" and isinstance(store, FsspecStore)
            assert made in ((3, 6) if twice else (3,)), (act, call)


def test_creates_whose_answers_were_lost(place):
    proxy, make = place
    store = make()
    for lost in (["lose"], ["lose", "lose"], ["truncate"], ["reset", "lose", 500]):
        key = "-".join(map(str, lost))
        acts = iter(lost)
        proxy.plan = lambda method, target, acts=acts: next(acts, None) if method == "PUT" else None
        assert store.create_sync(key, b"mine")
        # Another's create of the very same bytes is a conflict all the same, answers lost or not.
        proxy.plan = None
        assert not make().create_sync(key, b"mine")
        acts = iter(["reset", "lose"])
        proxy.plan = lambda method, target, acts=acts: next(acts, None) if method == "PUT" else None
        assert not make().create_sync(key, b"mine")


def test_conditional_writes_whose_answers_were_lost(place):
    proxy, make = place
    store = make()
    if not store.capabilities.versions:
        with pytest.raises(errors.UnsupportedOperationError):
            store.set_if_unchanged_sync("warm", b"", "v")
        return
    _, version = store.get_versioned_sync("warm")
    acts = iter(["lose"])
    proxy.plan = lambda method, target: next(acts, None) if method == "PUT" else None
    newer = store.set_if_unchanged_sync("warm", b"newer", version)
    assert newer == store.get_versioned_sync("warm")[1] != version
    acts = iter(["reset", "lose"])
    assert store.set_if_unchanged_sync("warm", b"newer", version) is None


@pytest.mark.parametrize("codes", [(), (403,)])
def test_what_a_bucket_without_listing_says_of_missing_keys(place, codes):
    proxy, make = place
    store = make(missing_on=set(codes))
    proxy.plan = lambda method, target: 403
    for call, missing in (
        (lambda s: s.get_sync("k"), None),
        (lambda s: s.get_sync("k", byte_range=RangeByteRequest(0, 5)), None),
        (lambda s: s.get_partial_values_sync(None, [("k", None), ("l", None)]), [None, None]),
        (lambda s: s.exists_sync("k"), False),
    ):
        for kind in (store, pickle.loads(pickle.dumps(store)), store.with_read_only(True)):
            if codes:
                assert call(kind) == missing
            else:
                with pytest.raises(errors.AccessDeniedError):
                    call(kind)
    # What changes something, or lists, is refused and says so.
    for call in (
        lambda: store.set_sync("k", b"v"),
        lambda: store.delete_sync("k"),
        lambda: list(store.list_sync()),
        store.clear_sync,
    ):
        with pytest.raises(errors.AccessDeniedError):
            call()


def test_gap_and_size_limits_of_what_is_read_as_one(place):
    proxy, make = place
    value = bytes(range(250)) * 400
    make().set_sync("k", value)
    ranges = [RangeByteRequest(start, start + 100) for start in range(0, 100_000, 1000)]
    asked = [("k", part) for part in ranges]
    for options, requests in (
        ({}, 1),
        ({"max_gap_bytes": 899}, 100),
        ({"max_gap_bytes": 900}, 1),
        ({"max_gap_bytes": 900, "max_coalesced_bytes": 10_000}, 10),
        ({"max_gap_bytes": 900, "max_coalesced_bytes": 0}, 100),
    ):
        store = pickle.loads(pickle.dumps(make(**options)))
        made, parts = proxy.count(lambda store=store: store.get_partial_values_sync(None, asked))
        assert made == requests, options
        assert [part.to_bytes() for part in parts] == [value[part.start : part.end] for part in ranges]


def test_equal_reads_at_once_are_one_request(place):
    proxy, make = place
    store = make()
    store.get_sync("warm")
    proxy.plan = lambda method, target: "delay"

    async def many():
        other = store.with_read_only(True)
        return await asyncio.gather(*((store, other)[n % 2].get("warm") for n in range(40)))

    made, values = proxy.count(lambda: asyncio.run(many()))
    assert made == 1
    assert {value.to_bytes() for value in values} == {b"0123456789" * 100}


def test_a_read_after_a_write_is_the_write(place):
    proxy, make = place
    store, writer = make(), make()  # sharing knows of the writes of other store objects too

    async def race():
        for number in range(1, 31):
            slow = asyncio.ensure_future(store.get("warm"))
            await asyncio.sleep(0.001 * (number % 7))
            change = [str(number).encode(), None][number % 5 == 0]
            await (writer.set("warm", change) if change else writer.delete("warm"))
            found = await store.get("warm")
            assert (found and found.to_bytes()) == change
            await slow

    # The server answers the first read before the write, and the answer comes after it.
    proxy.plan = lambda method, target: "late" if method == "GET" else None
    asyncio.run(race())
    assert proxy.done["late"] >= 60


def test_the_server_says_slow_down(place):
    proxy, make = place
    store = make(concurrency=32)
    for number in range(64):
        store.set_sync(f"{number}", b"v")
    acts = iter([0.01] * 12 + [503] * 12)  # what a server does that bears a dozen requests at once
    proxy.plan = lambda method, target: next(acts, 0.01)
    requests = [(f"{number}", None) for number in range(64)]
    assert all(store.get_partial_values_sync(None, requests))
    assert min(store._dispatcher.limits()) < 32


def test_long_listings_bear_failures(place):
    proxy, make = place
    store = make()
    keys = sorted(f"l/{number:04}" for number in range(2100))

    async def plant():
        await asyncio.gather(*(store.set(key, b"v") for key in keys))

    asyncio.run(plant())
    for act in ("reset", 500, 503, "truncate"):
        seen = []

        def plan(method, target, act=act, seen=seen):
            if "list-type=2" not in target:
                return None
            seen.append(target)
            return act if len(seen) in (2, 4) else None

        proxy.plan = plan
        assert sorted(store.list_prefix_sync("l")) == keys
        assert len(seen) > 3
    proxy.plan = None
    acts = iter([503, "reset", "lose"])
    proxy.plan = lambda method, target: next(acts, None) if method == "POST" else None
    store.delete_dir_sync("l")
    proxy.plan = None
    assert store.is_empty_sync("l")
