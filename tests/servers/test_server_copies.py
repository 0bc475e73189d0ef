"""Copies within one bucket: the server makes them, and what could be overwritten isn't."""

import asyncio
import os

import pytest
from obstore.store import AzureStore, S3Store
from proxy import proxied
from s3fs import S3FileSystem

from zarrstore import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    ObjectStore,
    RetryPolicy,
    copy_store,
    copy_store_sync,
    move_store_sync,
    sync_store_sync,
)
from zarrstore.abc.store import ABSENT, ANY, CONFLICT
from zarrstore.errors import ChangedError, KeyConflictError

KINDS = {"s3": S3Store, "azure": AzureStore}
VALUES = {"zarr.json": b"{}", "c/0": b"1" * 1000, "c/1": b"", "c/2": b"x" * 300_000}


@pytest.fixture(params=[*KINDS, "s3fs"])
def ends(request, place):
    """Two prefixes of a bucket behind a proxy, the first with values, and the proxy."""
    kind = request.param
    server = request.getfixturevalue("azure_server" if kind == "azure" else "s3_server")
    with proxied(server.endpoint) as (proxy, url):
        front, retry = type(server)(url), RetryPolicy(base=0.01)

        def made(name):
            prefix = f"{place[1]}/{name}"
            if kind == "s3fs":
                fs = S3FileSystem(asynchronous=True, skip_instance_cache=True, **front.fsspec_options())
                return FsspecStore(fs, path=f"{place[0]}/{prefix}", retry=retry)
            return ObjectStore(KINDS[kind](place[0], prefix=prefix, **front.obstore_options()), retry=retry)

        source, target = made("from"), made("to")
        for key, content in VALUES.items():
            source.set_sync(key, content)
        yield source, target, proxy


def content(store):
    return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


def requests(proxy, call):
    before = len(proxy.requests)
    report = call()
    return report, [method for method, _ in proxy.requests[before:]]


def test_no_value_passes_through_here(ends):
    source, target, proxy = ends
    report, methods = requests(proxy, lambda: copy_store_sync(source, target))
    assert (report.keys, report.bytes) == (4, sum(map(len, VALUES.values())))
    assert methods.count("PUT") == 4
    assert len(methods) <= 4 + 6  # listings of the source, a look at the target, a mark's look-up
    assert content(target) == VALUES
    report = asyncio.run(copy_store(source, target, target_prefix="deep", prefix="c"))
    assert report.keys == 3
    assert content(target) == {**VALUES, **{f"deep/{n}": VALUES[f"c/{n}"] for n in range(3)}}
    assert copy_store_sync(source, target, if_exists="replace").keys == 4


def test_what_is_there_stays_there(ends):
    source, target, _ = ends
    target.set_sync("c/0", b"mine")
    with pytest.raises(KeyConflictError, match="nothing was written"):
        copy_store_sync(source, target)
    assert copy_store_sync(source, target, if_exists="skip").skipped == 1
    assert content(target) == {**VALUES, "c/0": b"mine"}
    assert copy_store_sync(source, target, if_exists="resume").replaced == 1
    assert content(target) == VALUES


def test_a_key_of_another_writer_is_told(ends):
    source, target, _ = ends
    copies = target._copies_from(source)

    async def main():
        await target.set("c/0", b"theirs")
        assert await copies.copy("c/0", "c/0", ABSENT) is CONFLICT
        assert (await target.get("c/0")).to_bytes() == b"theirs"
        await copies.copy("c/0", "c/0", ANY)
        assert (await target.get("c/0")).to_bytes() == VALUES["c/0"]

    asyncio.run(main())


def test_a_lost_answer_is_no_conflict(ends):
    source, target, proxy = ends
    lost = iter(["lose"])
    proxy.plan = lambda method, path: next(lost, None) if method == "PUT" and path.endswith("c/0") else None
    assert copy_store_sync(source, target).keys == 4
    assert proxy.done["lose"] == 1
    assert content(target) == VALUES


def test_a_source_that_is_gone_is_told(ends):
    source, target, _ = ends

    class Late(type(source)):
        async def _scan(self, prefix, deep, sizes):
            async for page in super()._scan(prefix, deep, sizes):
                yield page
            await self.delete("c/1")

    late = Late(source.fs, path=source.path) if isinstance(source, FsspecStore) else Late(source.store)
    with pytest.raises(ChangedError, match="removed"):
        copy_store_sync(late, target)


def test_a_verified_copy_is_read(ends):
    source, target, proxy = ends
    report, methods = requests(proxy, lambda: copy_store_sync(source, target, verify=True))
    assert report.verified == 4
    assert methods.count("GET") >= 8


def test_a_move_within_a_bucket(ends):
    source, target, _ = ends
    assert move_store_sync(source, target).deleted == 4
    assert (content(source), content(target)) == ({}, VALUES)


def test_other_places_are_read(ends):
    source, target, _ = ends
    assert target._copies_from(source) is not None
    assert target._copies_from(MemoryStore()) is None

    class Own(type(source)):
        async def get(self, *args, **kwargs):
            return await super().get(*args, **kwargs)

    if isinstance(target, FsspecStore):
        options = {**target.fs.storage_options, "secret": "other"}
        other = FsspecStore(S3FileSystem(**options), path=source.path)
        own = Own(source.fs, path=source.path)
    else:
        config = {**target.store.config}
        secret = "secret_access_key" if "secret_access_key" in config else "account_key"
        options = target.store.__getnewargs_ex__()[1]
        other = ObjectStore(type(target.store)(**{**options, "config": {**config, secret: "b3RoZXI="}}))
        own = Own(source.store)
    assert target._copies_from(other) is None
    assert target._copies_from(own) is None


def test_what_is_up_to_date_takes_listings_only(s3_server, s3_place, tmp_path):
    source = LocalStore(tmp_path)
    for number in range(1500):
        source.set_sync(f"c/{number}", b"1")
        os.utime(tmp_path / f"c/{number}", (1e9, 1e9))
    with proxied(s3_server.endpoint) as (proxy, url):
        options = type(s3_server)(url).obstore_options()
        target = ObjectStore(S3Store(s3_place[0], prefix=s3_place[1], **options))
        assert sync_store_sync(source, target).keys == 1500
        before = len(proxy.requests)
        assert sync_store_sync(source, target).keys == 0
        new = proxy.requests[before:]
        others = [target for method, target in new if "list-type=2" not in target]
        assert all(target.endswith("/c") for target in others), others  # the name at the top may be a key
        assert len(new) <= 12
