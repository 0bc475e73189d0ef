"""A bucket behind a server of ours, which reads with its own credentials, and shows them to nobody."""

import logging

import pytest
from served import serving

from zarrstore import make_store_sync
from zarrstore.serve._values import _REMOTE_PIECE

VALUE = bytes(range(256)) * 40


@pytest.fixture(params=["obstore", "fsspec"])
def bucket(request, s3_server, s3_place):
    place = f"s3://{'/'.join(s3_place)}"
    store = make_store_sync(place, storage_options=s3_server.fsspec_options(), backend=request.param)
    yield store
    store.close()


def test_values_and_listings_of_a_bucket(bucket, s3_server, caplog):
    bucket.set_sync("a/k", VALUE)
    bucket.set_sync("zarr.json", b"{}")
    large = VALUE * (3 * _REMOTE_PIECE // (2 * len(VALUE)))
    bucket.set_sync("large", large)
    with serving(bucket) as web, caplog.at_level(logging.INFO, "zarrstore.serve"):
        whole = web.ask("/a/k")
        assert (whole.status, whole.body) == (200, VALUE)
        assert web.ask("/a/k", range="bytes=-3").body == VALUE[-3:]
        assert web.ask("/a/k", if_none_match=whole.headers["etag"]).status == 304
        assert web.ask("/nothing").status == 404
        assert web.ask("/large").body == large
        listed = web.ask("/?list-type=2").body
        assert b"<Key>large</Key>" in listed
        # fsspec's listings bring no versions.
        assert (f"<ETag>{whole.headers['etag']}</ETag>".encode() in listed) == bucket.capabilities.versions
        assert b'href="./a/"' in web.ask("/").body
        bucket.set_sync("a/k", VALUE[::-1])
        assert web.ask("/a/k", if_none_match=whole.headers["etag"]).body == VALUE[::-1]
    for secret in s3_server.fsspec_options()["secret"], s3_server.endpoint:
        assert secret not in caplog.text


@pytest.mark.parametrize("backend", ["obstore", "fsspec"])
def test_a_missing_bucket_is_no_absence(s3_server, backend):
    options = s3_server.fsspec_options()
    missing = make_store_sync("s3://no-such-bucket/data", storage_options=options, backend=backend)
    with serving(missing) as web:
        for path in ("/a/k", "/", "/?list-type=2"):
            assert web.ask(path).status == 500
    missing.close()
