"""Copies within one bucket, and between buckets of one name: nothing is overwritten before it is read."""

import pytest
from object_servers import seaweed_s3
from obstore.store import S3Store
from s3fs import S3FileSystem

from zarrstore import FsspecStore, ObjectStore, copy_store_sync
from zarrstore.errors import RefusedError

VALUES = {"a": b"1", "b/a": b"2", "b/b/a": b"3"}


def by_obstore(server, place):
    return ObjectStore(S3Store(place[0], prefix=place[1], **server.obstore_options()))


def by_fsspec(server, place):
    fs = S3FileSystem(asynchronous=True, **server.fsspec_options())
    return FsspecStore(fs, path="/".join(place))


BACKENDS = [by_obstore, by_fsspec]


def content(store):
    return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


@pytest.mark.parametrize("reader", BACKENDS)
@pytest.mark.parametrize("writer", BACKENDS)
def test_within_one_bucket(reader, writer, s3_server, s3_place):
    bucket, prefix = s3_place
    store = reader(s3_server, s3_place)
    for key, value in VALUES.items():
        store.set_sync(key, value)
    with pytest.raises(RefusedError, match="onto the source"):
        copy_store_sync(store, writer(s3_server, s3_place), if_exists="replace")
    with pytest.raises(RefusedError, match="own subtree"):
        copy_store_sync(store, writer(s3_server, (bucket, f"{prefix}/b")), if_exists="replace")
    with pytest.raises(RefusedError, match="before it is read"):
        copy_store_sync(
            reader(s3_server, (bucket, f"{prefix}/b")), writer(s3_server, s3_place), if_exists="replace"
        )
    assert content(store) == VALUES
    copy_store_sync(store, writer(s3_server, (bucket, f"{prefix}-beside")))
    assert content(reader(s3_server, (bucket, f"{prefix}-beside"))) == VALUES


@pytest.mark.parametrize("writer", BACKENDS)
def test_between_two_servers(writer, s3_server, s3_place):
    with seaweed_s3() as other:
        source = by_fsspec(s3_server, s3_place)
        source.set_sync("a", b"1")
        target = writer(other, s3_place)
        assert copy_store_sync(source, target).keys == 1
        assert content(target) == {"a": b"1"}
