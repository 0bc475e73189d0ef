"""What is missing and what is refused on Azure's and Google's servers, and what they have of their own."""

import asyncio
import os
import pickle
import subprocess
import sys

import pytest
from adlfs import AzureBlobFileSystem
from azure.storage.blob import BlobServiceClient
from gcsfs import GCSFileSystem
from object_servers import ACCOUNT_KEY, BUCKET, AzureServer, GcsServer
from obstore.store import AzureStore, GCSStore
from proxy import proxied

from zarrstore import FsspecStore, ObjectStore, errors, make_store_sync

KINDS = ("azure by fsspec", "azure by obstore", "gcs by fsspec")


@pytest.fixture(params=KINDS)
def make(request):
    """Makes a store in any container, on the server or on one that stands in for it."""
    name = "gcs_server" if "gcs" in request.param else "azure_server"

    def make(container, prefix, server=None, **more):
        server = server or request.getfixturevalue(name)
        if request.param == "azure by obstore":
            quick = {"retry_config": {"max_retries": 0}}
            options = server.obstore_options(**quick, **more)
            return ObjectStore(AzureStore(container, prefix=prefix, **options))
        kind = GCSFileSystem if "gcs" in request.param else AzureBlobFileSystem
        fs = kind(asynchronous=True, **server.fsspec_options(**more))
        return FsspecStore(fs, path=f"{container}/{prefix}")

    make.kind = request.param
    make.server = name
    return make


CALLS = {
    "get": lambda store: store.get_sync("k"),
    "get_partial_values": lambda store: store.get_partial_values_sync(None, [("k", None), ("l", None)]),
    "exists": lambda store: store.exists_sync("k"),
    "getsize": lambda store: store.getsize_sync("k"),
    "set": lambda store: store.set_sync("k", b"v"),
    "create": lambda store: store.create_sync("k", b"v"),
    "delete": lambda store: store.delete_sync("k"),
    "delete_dir": lambda store: store.delete_dir_sync("a"),
    "clear": lambda store: store.clear_sync(),
    "list": lambda store: list(store.list_sync()),
    "list_dir": lambda store: list(store.list_dir_sync("a")),
    "is_empty": lambda store: store.is_empty_sync("a"),
    "getsize_prefix": lambda store: store.getsize_prefix_sync("a"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_missing_container_is_an_error_of_every_call(make, call):
    store = make("no-such-container", "a")
    with pytest.raises(errors.BackendError, match="does not exist") as caught:
        CALLS[call](store)
    assert not isinstance(caught.value, FileNotFoundError)
    assert "Create it" in str(caught.value)


def test_a_missing_key_is_none_before_anything_was_written(make, place):
    store = make(*place)
    assert store.get_sync("k") is None
    assert not make(*place).exists_sync("k")
    make(*place).delete_sync("k")
    assert list(make(*place).list_sync()) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_is_never_missing_data(make, place, request, call):
    real = request.getfixturevalue(make.server)
    with proxied(real.endpoint) as (proxy, url):
        proxy.plan = lambda method, target: 403
        store = make(*place, type(real)(url))
        with pytest.raises(errors.AccessDeniedError) as caught:
            CALLS[call](store)
    assert ACCOUNT_KEY not in f"{caught.value} {caught.value.__cause__}"


def test_clear_leaves_the_container_and_what_lies_beside(make, place):
    container, prefix = place
    store, beside = make(*place), make(container, f"{prefix}-beside")
    beside.set_sync("k", b"v")
    for key in ("a/b", "a/c d", "é", "z"):
        store.set_sync(key, b"v")
    store.clear_sync()
    assert list(store.list_sync()) == []
    assert store.is_empty_sync()
    store.set_sync("c", b"again")
    assert list(beside.list_sync()) == ["k"]


@pytest.mark.parametrize("mark", ["hdi_isfolder", "Hdi_isfolder"])
def test_a_blob_that_marks_a_folder_is_no_value(azure_server, place, mark):
    container, prefix = place
    fs = AzureBlobFileSystem(asynchronous=True, **azure_server.fsspec_options())
    store = FsspecStore(fs, path=f"{container}/{prefix}")
    with BlobServiceClient.from_connection_string(azure_server.connection_string) as client:
        for name in ("a", "a/empty"):
            blob = client.get_blob_client(container, f"{prefix}/{name}")
            blob.upload_blob(b"", metadata={mark: "true"})
        assert store.is_empty_sync()
        store.set_sync("a/k", b"v")
        assert store.get_sync("a") is None
        assert not store.exists_sync("a")
        assert list(store.list_sync()) == ["a/k"]
        assert list(store.list_dir_sync("")) == ["a"]
        assert list(store.list_dir_sync("a")) == ["k"]
        store.clear_sync()
        left = client.get_container_client(container).list_blob_names(name_starts_with=f"{prefix}/")
        assert list(left) == []


@pytest.mark.parametrize("key", ["a\\b", "a.", "a./b", "..."])
def test_keys_that_azure_alters_are_refused(make, place, key):
    store = make(*place)
    if "azure" not in make.kind:
        store.set_sync(key, b"v")
        assert list(store.list_sync()) == [key]
        return
    for call in (store.get_sync, store.exists_sync, store.delete_sync, lambda k: store.set_sync(k, b"v")):
        with pytest.raises(errors.InvalidKeyError, match="another name"):
            call(key)
    with pytest.raises(errors.InvalidKeyError, match="another name"):
        asyncio.run(store._remove_many(["k", key]))  # as a wrapper may, with any keys
    assert list(store.list_sync()) == []


def test_text_forms_hold_no_key_and_pickles_connect_again(make, place):
    store = make(*place)
    store.set_sync("k", b"v")
    assert ACCOUNT_KEY not in f"{store} {store!r} {store.__dask_tokenize__()}"
    assert pickle.loads(pickle.dumps(store)).get_sync("k").to_bytes() == b"v"


EXIT = """
import os, warnings
from zarrstore import FsspecStore
store = FsspecStore.from_url("az://{container}/{prefix}", {{"connection_string": os.environ["AT"]}})
store.set_sync("k", b"v")
warnings.simplefilter("ignore")
child = os.fork()
if not child:
    assert store.get_sync("k").to_bytes() == b"v"
    raise SystemExit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
"""


def test_adlfs_ends_with_its_process_and_in_a_forked_child(azure_server, place):
    container, prefix = place
    done = subprocess.run(
        [sys.executable, "-c", EXIT.format(container=container, prefix=prefix)],
        env={**os.environ, "AT": azure_server.connection_string},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_urls_of_azure_go_by_obstore_where_it_can(azure_server, place):
    container, prefix = place
    options = azure_server.fsspec_options()
    url = f"{container}/{prefix}"
    for scheme in ("az", "abfs", "abfss"):
        store = make_store_sync(f"{scheme}://{url}", storage_options=options)
        assert type(store) is ObjectStore
        store.set_sync(scheme, b"v")
    theirs = make_store_sync(f"az://{url}", storage_options=options, backend="fsspec")
    assert type(theirs) is FsspecStore
    assert sorted(theirs.list_sync()) == ["abfs", "abfss", "az"]


def test_urls_of_gcs_go_by_obstore_for_public_data(gcs_server):
    anonymous = {"token": "anon"}
    assert type(make_store_sync("gs://bucket/a", storage_options=anonymous)) is ObjectStore
    assert type(make_store_sync("gcs://bucket/a", storage_options=anonymous)) is ObjectStore
    options = gcs_server.fsspec_options()
    store = make_store_sync(f"gs://{BUCKET}/urls", storage_options=options)
    assert type(store) is FsspecStore
    store.set_sync("k", b"v")
    assert store.get_sync("k").to_bytes() == b"v"


def test_a_refusal_by_google_through_obstore(gcs_server):
    with proxied(gcs_server.endpoint) as (proxy, url):
        proxy.plan = lambda method, target: 403
        store = ObjectStore(GCSStore(BUCKET, **GcsServer(url).obstore_options()))
        for call in (CALLS["get"], CALLS["exists"], CALLS["list"], CALLS["is_empty"]):
            with pytest.raises(errors.AccessDeniedError):
                call(store)


def test_a_wrong_account_key_is_a_refusal(azure_server, place):
    wrong = AzureServer(azure_server.endpoint).connection_string.replace(ACCOUNT_KEY, "d3Jvbmc=")
    store = FsspecStore.from_url(f"az://{'/'.join(place)}", {"connection_string": wrong})
    with pytest.raises(errors.AccessDeniedError):
        store.get_sync("k")
