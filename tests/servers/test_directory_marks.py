"""Marks of directories, empty objects whose names end in "/", are no keys, by any backend, on any server."""

import pytest
from adlfs import AzureBlobFileSystem
from foreign_objects import names_raw, put_raw
from gcsfs import GCSFileSystem
from obstore.store import AzureStore, GCSStore, S3Store
from proxy import proxied
from s3fs import S3FileSystem

from zarrstore import FsspecStore, MemoryStore, ObjectStore, copy_store_sync, errors

SERVERS = {"s3": "s3_server", "azure": "azure_server", "gcs": "gcs_server"}
FILE_SYSTEMS = {"s3": S3FileSystem, "azure": AzureBlobFileSystem, "gcs": GCSFileSystem}
OBSTORES = {"s3": S3Store, "azure": AzureStore, "gcs": GCSStore}
# A mark of the root's, of directories with and without keys, and values, one of them empty.
MARKS = ("", "air/", "air/c/", "alone/", "alone/inside/")
VALUES = {"air/zarr.json": b"{}", "air/c/0": b"01", "air-x": b"", "zz": b"1"}


def make(kind, backend, server, place):
    bucket, prefix = place
    if backend == "obstore":
        return ObjectStore(OBSTORES[kind](bucket, prefix=prefix, **server.obstore_options()))
    fs = FILE_SYSTEMS[kind](asynchronous=True, skip_instance_cache=True, **server.fsspec_options())
    return FsspecStore(fs, path=f"{bucket}/{prefix}")


@pytest.fixture(
    params=[(kind, backend) for kind in SERVERS for backend in ("obstore", "fsspec")], ids=" by ".join
)
def marked(request, place):
    """A store with marks of directories, which kind it is of, its server and its place there."""
    kind, backend = request.param
    server = request.getfixturevalue(SERVERS[kind])
    values = {**dict.fromkeys(MARKS, b""), **VALUES}
    put_raw(server, {f"{place[1]}/{name}": value for name, value in values.items()})
    return make(kind, backend, server, place), kind, server, place


def test_marks_are_no_keys(marked):
    store = marked[0]
    assert sorted(store.list_sync()) == sorted(VALUES)
    assert sorted(store.list_prefix_sync("air")) == ["air/c/0", "air/zarr.json"]
    assert list(store.list_prefix_sync("alone")) == []
    assert sorted(store.list_dir_sync("air")) == ["c", "zarr.json"]
    assert store.getsize_prefix_sync("") == 5
    empty = {"": False, "air": False, "air/c": False, "alone": True, "alone/inside": True}
    assert {prefix: store.is_empty_sync(prefix) for prefix in empty} == empty
    for name in ("air", "air/c", "alone", "alone/inside"):
        assert not store.exists_sync(name)
        assert store.get_sync(name) is None
        with pytest.raises(errors.KeyNotFoundError):
            store.getsize_sync(name)
    target = MemoryStore()
    copy_store_sync(store, target, verify=True)
    assert {key: target.get_sync(key).to_bytes() for key in target.list_sync()} == VALUES
    assert store.exists_sync("air-x")
    assert store.get_sync("air-x").to_bytes() == b""


def test_a_value_beside_a_mark_of_its_name_is_listed_once(marked):
    store, kind, server, (_, prefix) = marked
    # SeaweedFS keeps files and folders: there a value and a mark can't share a name.
    beside = {} if kind == "s3" else {"zz/": b"", "air-x/": b"", "air": b"12", "air/c": b""}
    put_raw(server, {f"{prefix}/{name}": value for name, value in beside.items()})
    values = {**VALUES, **{name: value for name, value in beside.items() if name[-1] != "/"}}
    assert sorted(store.list_sync()) == sorted(values)
    assert sorted(store.list_dir_sync("")) == sorted({name.partition("/")[0] for name in values} | {"alone"})
    assert {name: store.get_sync(name).to_bytes() for name in values} == values


def test_removing_a_directory(marked):
    store, _, server, (_, prefix) = marked
    store.delete_dir_sync("air")
    assert sorted(store.list_sync()) == ["air-x", "zz"]
    store.clear_sync()
    assert store.is_empty_sync("")
    left = names_raw(server, f"{prefix}/")
    if isinstance(store, FsspecStore):
        assert left == []
    else:  # obstore has no name for them
        assert all(name[-1] == "/" for name in left)


@pytest.mark.parametrize("marked", [("s3", "obstore"), ("azure", "obstore")], ids=str, indirect=True)
def test_what_marks_cost(marked):
    store, kind, server, place = marked
    with proxied(server.endpoint) as (proxy, url):
        store = make(kind, "obstore", type(server)(url), place)
        store.exists_sync("zz")
        once = 1 + (kind != "azure")  # on S3 and Google the end of a listing is looked at
        assert proxy.count(lambda: len(list(store.list_sync()))) == (once + 5, 4)
        assert proxy.count(lambda: len(list(store.list_dir_sync("air")))) == (once, 2)
        assert proxy.count(lambda: store.is_empty_sync("zz")) == (once, True)
        assert proxy.count(lambda: store.exists_sync("air")) == (1, False)
