"""ObjectStore beyond the contract: what it holds, what it tells, and what a fork does to it."""

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
from obstore.store import HTTPStore, LocalStore, MemoryStore, S3Store

from zarrstore import ObjectStore, RangeByteRequest, errors
from zarrstore.storage import make_store_sync

NOWHERE = "http://127.0.0.1:9"


def s3(bucket="b", **more):
    options = {"secret_access_key": "HUSH", "access_key_id": "me", "region": "us-east-1", **more}
    return S3Store(bucket, retry_config={"max_retries": 0}, **options)


def test_only_obstores_stores():
    with pytest.raises(TypeError, match="expected ObjectStore"):
        ObjectStore({})
    assert isinstance(make_store_sync(MemoryStore()), ObjectStore)


def test_what_is_read_is_not_copied():
    store = ObjectStore(MemoryStore())
    store.set_sync("k", b"0123")
    array = store.get_sync("k").as_numpy_array()
    assert array.dtype == np.uint8
    assert not array.flags.owndata


def test_secrets_stay_out_of_text_forms_and_errors():
    store = ObjectStore(s3(endpoint=NOWHERE, client_options={"allow_http": True}))
    assert "HUSH" not in f"{store} {store!r} {store.__dask_tokenize__()}"
    with pytest.raises(errors.TransientError) as caught:
        store.get_sync("k")
    assert "HUSH" not in f"{caught.value} {caught.value.__cause__}"
    assert caught.value.key == "k"
    web = ObjectStore(HTTPStore("https://me:HUSH@example.org/data?token=HUSH"))
    assert "HUSH" not in f"{web!r}"


def test_pickles_and_equality(tmp_path):
    for theirs in (s3(), LocalStore(tmp_path)):
        store = ObjectStore(theirs, read_only=True)
        assert pickle.loads(pickle.dumps(store)) == store
    assert ObjectStore(s3()) != ObjectStore(s3(endpoint=NOWHERE))
    assert ObjectStore(s3()).__dask_tokenize__() != ObjectStore(s3(endpoint=NOWHERE)).__dask_tokenize__()
    assert ObjectStore(MemoryStore()) != ObjectStore(MemoryStore())


def test_keys_that_it_cant_hold_are_refused():
    store = ObjectStore(MemoryStore())
    with pytest.raises(errors.InvalidKeyError, match="can't hold"):
        store.set_sync("a\nb", b"")
    assert list(store.list_sync()) == []


def test_capabilities():
    assert ObjectStore(s3()).capabilities.atomic_create
    assert ObjectStore(s3()).capabilities.versions
    assert not ObjectStore(HTTPStore("https://example.org")).capabilities.atomic_create


FORK = """
import os, signal, sys, time
import obstore
from obstore.store import MemoryStore
from zarrstore import ObjectStore, errors

theirs, store = MemoryStore(), ObjectStore(MemoryStore())
if sys.argv[1] == "ours":
    store.set_sync("k", b"1")
elif sys.argv[1] == "theirs":
    obstore.put(theirs, "k", b"1")
    time.sleep(0.2)  # its threads take a moment to say their names
child = os.fork()
if not child:
    signal.alarm(20)
    for asked in (store, ObjectStore(MemoryStore())):
        try:
            asked.set_sync("k", b"2")
            print("wrote", asked.get_sync("k").to_bytes())
        except errors.ForkError as error:
            print("ForkError", "spawn" in str(error) and "forkserver" in str(error))
    sys.stdout.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork") or not hasattr(signal, "alarm"), reason="there is no fork here")
@pytest.mark.parametrize(
    ("who", "said"), [("ours", "ForkError True"), ("theirs", "ForkError True"), ("nobody", "wrote b'2'")]
)
def test_in_a_forked_child(who, said):
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, who],
        check=True,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert told.stdout.splitlines() == [said] * 2


@pytest.mark.parametrize(
    "key", ["NoSuchBucket/zarr.json", "bucket does not exist", "a/invalid range", "timed out"]
)
def test_words_in_a_key_are_no_words_of_the_server(key):
    """obstore's errors quote the key, which may read like any error there is."""
    store = ObjectStore(MemoryStore())
    assert store.get_sync(key) is None
    assert store.get_sync(key, byte_range=RangeByteRequest(5, 9)) is None
    assert not store.exists_sync(key)
