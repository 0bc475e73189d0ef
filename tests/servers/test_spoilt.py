"""Remote stores behind a proxy that spoils requests: nothing wrong is ever accepted, nothing is made up."""

import numpy as np
import pytest
import zarr
from object_servers import S3Server
from obstore.store import S3Store
from proxy import proxied, share
from s3fs import S3FileSystem

from zarrstore import FsspecStore, ObjectStore, RetryPolicy, RetryStore, errors

QUICK = RetryPolicy(attempts=10, base=0.001, cap=0.01)


@pytest.fixture(scope="module")
def spoilt(s3_server):
    with proxied(s3_server.endpoint) as (proxy, url):
        yield proxy, S3Server(url)


@pytest.fixture(params=["fsspec", "obstore"])
def store_and_proxy(request, spoilt, s3_place):
    """A store whose client tries nothing again, so that each spoilt request is seen."""
    proxy, server = spoilt
    proxy.plan = None
    bucket, prefix = s3_place
    if request.param == "fsspec":
        once = {"retries": {"max_attempts": 0}}
        fs = S3FileSystem(asynchronous=True, **server.fsspec_options(config_kwargs=once))
        fs.retries = 1
        store = FsspecStore(fs, path=f"{bucket}/{prefix}")
        store._files.client.retries = 1
    else:
        theirs = S3Store(bucket, prefix=prefix, **server.obstore_options(retry_config={"max_retries": 0}))
        store = ObjectStore(theirs)
    store.set_sync("warm", b"0123456789" * 100)
    yield store, proxy
    proxy.plan = None


def test_an_array_through_a_tenth_of_failures(store_and_proxy):
    store, proxy = store_and_proxy
    proxy.done.clear()
    proxy.plan = share(0.1, [408, 429, 500, 503, "reset", "lose", "truncate", "delay"], seed=7)
    patient = RetryStore(store, QUICK)
    array = zarr.create_array(patient, shape=(20, 20), chunks=(1, 1), dtype="i4", compressors=None)
    values = np.arange(1, 401, dtype="i4").reshape(20, 20)
    array[:] = values
    array[::2] = values[::2] * 3
    values[::2] *= 3
    assert np.array_equal(zarr.open_array(patient)[:], values)
    proxy.plan = None
    assert np.array_equal(zarr.open_array(store)[:], values)
    assert len(proxy.done) == 9  # every way, and none


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (401, errors.AccessDeniedError),
        (403, errors.AccessDeniedError),
        (408, errors.TransientError),
        (429, errors.TransientError),
        (500, errors.TransientError),
        (503, errors.TransientError),
        ("reset", errors.TransientError),
        ("truncate", (errors.TruncatedError, errors.TransientError)),
    ],
)
def test_each_failure_is_told_as_what_it_is(store_and_proxy, act, kind):
    store, proxy = store_and_proxy
    proxy.plan = lambda method, target: act if target.endswith("/warm") else None
    with pytest.raises(kind, match="warm") as caught:
        store.get_sync("warm")
    assert caught.value.key == "warm"
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("act", [401, 403, 408, 500, "reset"])
def test_a_listing_that_fails_raises(store_and_proxy, act):
    store, proxy = store_and_proxy
    proxy.plan = lambda method, target: act if "list-type=2" in target else None
    with pytest.raises(errors.BackendError):
        list(store.list_sync())
    with pytest.raises(errors.BackendError):
        store.is_empty_sync("")
    with pytest.raises(errors.BackendError):
        store.clear_sync()


def test_a_create_whose_answer_was_lost(store_and_proxy):
    store, proxy = store_and_proxy
    lost = iter(["lose"])
    proxy.plan = lambda method, target: next(lost, None) if method == "PUT" else None
    patient = RetryStore(store, QUICK)
    assert patient.create_sync("new", b"mine")
    assert not patient.create_sync("new", b"theirs")
    assert store.get_sync("new").to_bytes() == b"mine"
