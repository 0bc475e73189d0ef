"""How many requests each call makes of an S3 server, counted by a proxy in front of it."""

import asyncio

import pytest
from object_servers import S3Server
from obstore.store import S3Store
from proxy import proxied
from s3fs import S3FileSystem

from zarrstore import FsspecStore, ObjectStore, RangeByteRequest


@pytest.fixture(scope="module")
def counted(s3_server):
    with proxied(s3_server.endpoint) as (proxy, url):
        yield proxy, S3Server(url)


@pytest.fixture(params=["fsspec", "obstore"])
def store_and_count(request, counted, s3_place):
    proxy, server = counted
    proxy.plan = None
    bucket, prefix = s3_place
    if request.param == "fsspec":
        fs = S3FileSystem(asynchronous=True, **server.fsspec_options())
        store = FsspecStore(fs, path=f"{bucket}/{prefix}")
    else:
        store = ObjectStore(S3Store(bucket, prefix=prefix, **server.obstore_options()))
    store.set_sync("warm", b"up")
    return store, proxy.count


def test_single_calls(store_and_count):
    store, count = store_and_count
    assert count(lambda: store.set_sync("k", b"0123456789")) == (1, None)
    assert count(lambda: store.get_sync("k").to_bytes()) == (1, b"0123456789")
    assert count(lambda: store.get_sync("k", byte_range=RangeByteRequest(2, 5)).to_bytes()) == (1, b"234")
    # Fewer bytes than asked may be all there are, or all that arrived: through obstore a second look tells.
    requests = 1 if isinstance(store, FsspecStore) else 2
    past_the_end = RangeByteRequest(7, 99)
    assert count(lambda: store.get_sync("k", byte_range=past_the_end).to_bytes()) == (requests, b"789")
    assert count(lambda: store.get_sync("missing")) == (1, None)
    assert count(lambda: store.get_sync("missing", byte_range=RangeByteRequest(7, 99))) == (1, None)
    assert count(lambda: store.exists_sync("k")) == (1, True)
    assert count(lambda: store.getsize_sync("k")) == (1, 10)
    # Below s3fs lost requests are repeated, whatever one says, so it is asked whose the value is.
    whose = isinstance(store, FsspecStore)
    assert count(lambda: store.create_sync("k", b"")) == (1 + whose, False)
    assert count(lambda: store.create_sync("new", b"")) == (1, True)
    assert count(lambda: store.delete_sync("k")) == (1, None)
    # The same again: nothing was answered from memory.
    assert count(lambda: store.exists_sync("k")) == (1, False)


def test_many_keys(store_and_count):
    store, count = store_and_count
    keys = [f"a/{number // 100}/{number}" for number in range(1000)]

    async def plant():
        gate = asyncio.Semaphore(16)

        async def put(key):
            async with gate:
                await store.set(key, b"12")

        await asyncio.gather(*map(put, keys))

    asyncio.run(plant())
    # obstore takes any answer for a listing: the store looks whether there is more behind its end.
    once = 1 + isinstance(store, ObjectStore)
    assert count(lambda: store.getsize_prefix_sync("a")) == (once, 2000)
    assert count(lambda: store.is_empty_sync("a")) == (1, False)
    assert count(lambda: store.is_empty_sync("b")) == (once, True)
    # The server may be asked for one key only; what isn't a key of ours is no key.
    assert count(lambda: store.sub("a").is_empty_sync("")) == (1, False)
    made, listed = count(lambda: sorted(store.list_prefix_sync("a")))
    assert (made, listed) == (once, sorted(keys))
    made, names = count(lambda: sorted(store.list_dir_sync("a")))
    assert (made, names) == (once, sorted(map(str, range(10))))
    made, _ = count(lambda: store.delete_dir_sync("a"))
    assert made <= 3 + once
    assert list(store.list_sync()) == ["warm"]


def test_near_ranges_of_one_value(store_and_count):
    store, count = store_and_count
    value = bytes(range(256)) * 1200
    store.set_sync("k", value)
    ranges = [RangeByteRequest(1000 * number, 1000 * number + 100) for number in range(300)]
    made, parts = count(lambda: store.get_partial_values_sync(None, [("k", part) for part in ranges]))
    assert made <= 8
    assert [part.to_bytes() for part in parts] == [value[part.start : part.end] for part in ranges]
    made, batches = count(lambda: list(store.get_ranges_sync("k", ranges)))
    assert made <= 8
    assert len(batches) == 300


def test_equal_reads_of_one_call_share_a_request(store_and_count):
    store, count = store_and_count
    store.set_sync("k", b"0123456789")
    made, values = count(lambda: store.get_partial_values_sync(None, [("k", None), ("warm", None)] * 20))
    assert made == 2
    assert {value.to_bytes() for value in values} == {b"0123456789", b"up"}
