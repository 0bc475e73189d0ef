"""Values that are written in pieces to object servers: in parts, none of which stays if the write fails."""

import asyncio
import os

import numpy as np
import obstore
import pytest
from obstore.store import AzureStore, S3Store
from proxy import proxied
from s3fs import S3FileSystem

from zarrstore import FsspecStore, LocalStore, MemoryStore, ObjectStore, copy_store_sync
from zarrstore.abc.store import ABSENT, ANY, CONFLICT
from zarrstore.errors import ChangedError, KeyConflictError
from zarrstore.storage._fsspec import store as fsspec_store
from zarrstore.storage._remote import store as remote

MIB = 1 << 20
LARGE = np.random.default_rng(3).integers(0, 256, 9 * MIB + 5, dtype=np.uint8).tobytes()


def by_obstore(server, place, **more):
    return ObjectStore(S3Store(place[0], prefix=place[1], **server.obstore_options()), **more)


def by_fsspec(server, place, **more):
    fs = S3FileSystem(asynchronous=True, skip_instance_cache=True, **server.fsspec_options())
    return FsspecStore(fs, path="/".join(place), **more)


def azure_by_obstore(server, place, **more):
    return ObjectStore(AzureStore(place[0], prefix=place[1], **server.obstore_options()), **more)


@pytest.fixture(params=[by_obstore, by_fsspec, azure_by_obstore])
def store(request, place):
    kind = "azure" if request.param is azure_by_obstore else "s3"
    return request.param(request.getfixturevalue(f"{kind}_server"), place)


@pytest.fixture(params=[by_obstore, by_fsspec])
def make_s3(request):
    return request.param


@pytest.fixture
def s3(make_s3, s3_server, s3_place):
    return make_s3(s3_server, s3_place)


async def pieces_of(value, size=8 * MIB, act=None):
    for start in range(0, len(value), size):
        yield value[start : start + size]
    if act is not None:
        await act()


def write(store, key, pieces, condition):
    async def main():
        return await store._verbs_for_wrapper(sync=False).write(key, pieces, condition)

    return asyncio.run(main())


@pytest.mark.parametrize("condition", [ANY, ABSENT])
@pytest.mark.parametrize("size", [0, 8 * MIB, len(LARGE)])
def test_a_value_in_pieces_arrives(store, condition, size):
    if condition is ANY:
        store.set_sync("k", b"old")
    version = write(store, "k", pieces_of(LARGE[:size]), condition)
    assert store.get_sync("k").to_bytes() == LARGE[:size]
    if store.capabilities.versions:
        assert store.get_versioned_sync("k")[1] == version
    assert write(store, "k", pieces_of(LARGE), ABSENT) is CONFLICT
    assert store.getsize_sync("k") == size


def test_a_value_that_is_made_meanwhile_is_not_overwritten(s3):
    async def act():
        await s3.set("k", b"theirs")

    assert write(s3, "k", pieces_of(LARGE, act=act), ABSENT) is CONFLICT
    assert s3.get_sync("k").to_bytes() == b"theirs"
    assert write(s3, "k", pieces_of(LARGE, act=act), ANY) is not CONFLICT
    assert s3.getsize_sync("k") == len(LARGE)


def test_a_write_that_fails_leaves_nothing(make_s3, s3_server, s3_place):
    async def act():
        raise LookupError("no more pieces")

    with proxied(s3_server.endpoint) as (proxy, url):
        store = make_s3(type(s3_server)(url), s3_place)
        with pytest.raises(LookupError, match="no more"):
            write(store, "k", pieces_of(LARGE, act=act), ANY)
        assert [method for method, target in proxy.requests if "uploadId" in target][-1] == "DELETE"
        assert not store.exists_sync("k")


def test_a_lost_part_is_sent_again(make_s3, s3_server, s3_place):
    with proxied(s3_server.endpoint) as (proxy, url):
        store = make_s3(type(s3_server)(url), s3_place)
        lost = iter([503, "reset", 500])
        proxy.plan = lambda method, target: next(lost, None) if "partNumber=2" in target else None
        write(store, "k", pieces_of(LARGE), ABSENT)
        assert store.get_sync("k").to_bytes() == LARGE


def test_one_request_at_a_time_is_no_dead_end(make_s3, s3_server, s3_place):
    store = make_s3(s3_server, s3_place, concurrency=1)
    store.set_sync("a/k", LARGE)
    copy_store_sync(store, store, prefix="a", target_prefix="b", verify=True)
    assert store.get_sync("b/k").to_bytes() == LARGE


def test_a_source_that_changes_ends_the_upload(s3, tmp_path):
    source = LocalStore(tmp_path)
    source.set_sync("k", LARGE)

    def cut(progress):
        if progress.bytes_done:
            os.truncate(tmp_path / "k", 8 * MIB + 1)

    with pytest.raises(ChangedError) as caught:
        copy_store_sync(source, s3, progress=cut)
    assert caught.value.key == "k"
    assert not s3.exists_sync("k")


def test_a_large_value_of_another_writer_is_told(s3, s3_server, s3_place):
    theirs = S3Store(s3_place[0], prefix=s3_place[1], **s3_server.obstore_options())

    class Made(MemoryStore):
        def _read(self, key, request, allocate):
            obstore.put(theirs, "k", b"theirs")
            return super()._read(key, request, allocate)

    source = Made()
    source.set_sync("k", LARGE)
    with pytest.raises(KeyConflictError, match="another writer"):
        copy_store_sync(source, s3)
    assert copy_store_sync(source, s3, if_exists="resume", verify=True).replaced == 1


@pytest.mark.parametrize("way", ["set", "copy"])
def test_no_value_has_more_parts_than_a_server_takes(s3, s3_server, s3_place, tmp_path, monkeypatch, way):
    monkeypatch.setattr(remote, "MOST_PARTS", 3)
    monkeypatch.setattr(fsspec_store, "WHOLE", 8 * MIB)
    value = 4 * LARGE
    if way == "set":
        s3.set_sync("k", value)
    else:
        source = LocalStore(tmp_path)
        source.set_sync("k", value)
        copy_store_sync(source, s3)
    assert s3.get_sync("k").to_bytes() == value
    theirs = S3Store(s3_place[0], prefix=s3_place[1], **s3_server.obstore_options())
    assert obstore.head(theirs, "k")["e_tag"].endswith('-3"')  # so many parts
