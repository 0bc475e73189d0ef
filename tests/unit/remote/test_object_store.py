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


def s3_of(secret="s", **more):
    return S3Store("b", prefix="p", region="x", access_key_id="k", secret_access_key=secret, **more)


def test_a_thousand_unpickled_stores_share_one_client():
    data = pickle.dumps(ObjectStore(s3_of()))
    stores = [pickle.loads(data) for _ in range(1000)]
    assert len({id(store.store) for store in stores}) == 1
    assert len({id(store._client) for store in stores}) == 1
    assert len({id(store._lister) for store in stores}) == 1
    assert stores[0] == ObjectStore(s3_of())
    assert stores[0].store.config == s3_of().config


def test_other_credentials_make_another_client():
    first, second = (pickle.loads(pickle.dumps(ObjectStore(s3_of(secret)))) for secret in ("one", "two"))
    assert first._client is not second._client
    assert first._client.config["secret_access_key"] == "one"
    assert second._client.config["secret_access_key"] == "two"


def test_other_credentials_in_the_environment_make_another_client(monkeypatch):
    found = []
    for secret in ("one", "two"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        found.append(ObjectStore(S3Store("b", region="x"))._client)
    assert found[0] is not found[1]


class Provider:
    """Credentials of its own, which no text tells."""

    def __init__(self, secret):
        self.secret = secret

    def __repr__(self):
        return "Provider()"

    def __call__(self):
        return {"access_key_id": "k", "secret_access_key": self.secret, "expires_at": None}


def test_providers_of_credentials_are_never_shared():
    stores = [ObjectStore(S3Store("b", region="x", credential_provider=Provider(name))) for name in "ab"]
    assert stores[0]._client is not stores[1]._client
    read = [pickle.loads(pickle.dumps(store)) for store in stores for _ in range(2)]
    assert len({id(store.store) for store in read}) == 4
    assert [store.store.credential_provider.secret for store in read] == ["a", "a", "b", "b"]


def test_few_clients_are_kept():
    from zarrstore.storage._obstore import recipes

    for number in range(40):
        _ = ObjectStore(s3_of(f"s{number}"))._client
    assert len(recipes._made) <= recipes._MOST


def test_a_forked_child_waits_for_no_thread_of_its_parent():
    """The lock may be held when the process forks, and its holder isn't there any more."""
    code = """
import os, pickle, signal, sys
from obstore.store import S3Store
from zarrstore import ObjectStore
from zarrstore.storage._obstore import recipes
data = pickle.dumps(ObjectStore(S3Store("b", region="x", access_key_id="k", secret_access_key="s")))
with recipes._lock:
    child = os.fork()
    if not child:
        signal.alarm(20)
        pickle.loads(data)
        os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_copies_of_a_store_share_its_client():
    store = ObjectStore(s3_of())
    assert store.with_read_only(True)._client is store._client
    assert store.with_read_only(True).store is store.store
