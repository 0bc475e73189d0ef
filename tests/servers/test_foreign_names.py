"""Objects whose names are no keys: left out of listings, removed with their directory, by any backend."""

import pickle

import pytest
from adlfs import AzureBlobFileSystem
from foreign_objects import names_raw, put_raw
from gcsfs import GCSFileSystem
from obstore.store import AzureStore, GCSStore

from zarrstore import FsspecStore, MemoryStore, ObjectStore, copy_store_sync, errors
from zarrstore.storage import make_store_sync

# What each server can hold. SeaweedFS makes folders of slashes: S3 is asked elsewhere, by a scripted server.
FOREIGN = {
    "azure": ("f/a//b", "f//", "mark/", "data/"),
    "gcs": ("f/a//b", "f//", "f/./q", "f/../z", "mark/", "data/"),
}
KEYS = ("a", "f/a/0", "f/zz", "zz/k")


def over_fsspec(kind, server, place):
    make = {"azure": AzureBlobFileSystem, "gcs": GCSFileSystem}[kind]
    fs = make(asynchronous=True, skip_instance_cache=True, **server.fsspec_options())
    return FsspecStore(fs, path="/".join(place))


def over_obstore(kind, server, place, **more):
    make = {"azure": AzureStore, "gcs": GCSStore}[kind]
    return ObjectStore(make(place[0], prefix=place[1], **server.obstore_options()), **more)


@pytest.fixture(params=FOREIGN)
def crowded(request, place):
    kind = request.param
    server = request.getfixturevalue(f"{kind}_server")
    values = {**dict.fromkeys(FOREIGN[kind], b""), "f/a//b": b"xyz", **dict.fromkeys(KEYS, b"1")}
    put_raw(server, {f"{place[1]}/{name}": value for name, value in values.items()})
    return kind, server, place


def check(store):
    assert sorted(store.list_sync()) == sorted(KEYS)
    assert sorted(store.list_prefix_sync("f")) == ["f/a/0", "f/zz"]
    assert sorted(store.list_dir_sync("f")) == ["a", "zz"]
    assert sorted(store.list_dir_sync("f/a")) == ["0"]
    assert store.getsize_prefix_sync("") == len(KEYS)
    assert not store.is_empty_sync("f")
    target = MemoryStore()
    copy_store_sync(store, target, verify=True)
    assert sorted(target.list_sync()) == sorted(KEYS)


def check_removal(store, server, prefix):
    store.delete_dir_sync("f")
    assert [name for name in names_raw(server, f"{prefix}/") if name.startswith(f"{prefix}/f/")] == []
    assert sorted(store.list_sync()) == ["a", "zz/k"]
    store.clear_sync()
    assert names_raw(server, f"{prefix}/") == []


@pytest.mark.parametrize("backend", ["obstore", "fsspec"])
def test_left_out_and_removed(crowded, backend):
    kind, server, place = crowded
    store = over_fsspec(kind, server, place)
    if backend == "obstore":
        store = over_obstore(kind, server, place, fallback=lambda: over_fsspec(kind, server, place))
    check(store)
    check_removal(store, server, place[1])


@pytest.mark.parametrize("crowded", ["azure"], indirect=True)
def test_a_url_brings_what_obstore_lacks(crowded):
    _, server, place = crowded
    url = f"az://{'/'.join(place)}"
    store = make_store_sync(url, storage_options=server.fsspec_options())
    assert isinstance(store, ObjectStore)
    check(pickle.loads(pickle.dumps(store)))
    check_removal(store.with_read_only(False), server, place[1])


def test_without_a_fallback_the_object_is_named_and_nothing_is_lost(crowded):
    kind, server, place = crowded
    store = over_obstore(kind, server, place)
    before = names_raw(server, f"{place[1]}/")
    for call in (
        lambda: list(store.list_sync()),
        lambda: list(store.list_prefix_sync("f")),
        lambda: list(store.list_dir_sync("f/a")),
        lambda: store.is_empty_sync("f/a"),
        lambda: store.delete_dir_sync("f"),
        store.clear_sync,
        lambda: copy_store_sync(store, MemoryStore(), verify=True),
    ):
        with pytest.raises(errors.BackendError, match=f"{place[1]}/f/.*fallback") as caught:
            call()
        assert caught.value.store == str(store)
    assert names_raw(server, f"{place[1]}/") == before
