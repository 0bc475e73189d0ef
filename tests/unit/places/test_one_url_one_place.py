"""One URL means one place, whichever backend opens it, or is refused before any request."""

import os
import sys
from pathlib import Path

import pytest
from scripted_server import on, s3_error, scripted_server

from zarrstore import FsspecStore, LocalStore, ObjectStore, ZipStore, make_store_sync
from zarrstore.errors import StoreLikeError

ALL = ("s3", "gs", "az")
# What stands behind the scheme, the path in the bucket that it means, and the schemes where it is refused.
TABLE = {
    "b": ("", ()),
    "b/": ("", ()),
    "b/x": ("x", ()),
    "b/x/": ("x", ()),
    "b/x/y.zarr": ("x/y.zarr", ()),
    # The text means itself: nothing is decoded or dropped.
    "b/a b": ("a b", ()),
    "b/a%20b": ("a%20b", ()),
    "b/a%2Fb": ("a%2Fb", ()),
    "b/a%": ("a%", ()),
    "b/a+b": ("a+b", ()),
    "b/é*[x]": ("é*[x]", ()),
    "b/a:b": ("a:b", ()),
    "b/w?q.zarr": ("w?q.zarr", ()),
    "b/w#f.zarr": ("w#f.zarr", ()),
    # Azure takes the first for a slash, and drops the second.
    r"b/a\b": (r"a\b", ("az",)),
    "b/x./y": ("x./y", ("az",)),
    # fsspec takes these for versions of x.
    "b/x?versionId=1": ("x?versionId=1", ("s3",)),
    "b/x#123": ("x#123", ("gs",)),
    # No key has such a directory.
    "": (None, ALL),
    "/x": (None, ALL),
    "b//x": (None, ALL),
    "b/a//b": (None, ALL),
    "b/x//": (None, ALL),
    "b/./x": (None, ALL),
    "b/a/../x": (None, ALL),
    "b/a\nb": (None, ALL),
    # No place for secrets, which would be shown as a name.
    "me:HUSH@b/x": (None, ALL),
}
OPTIONS = {
    "s3": lambda told: told.s3.fsspec_options(),
    "az": lambda told: told.azure.fsspec_options(),
    "gs": lambda told: {"token": "anon"},
}


@pytest.fixture(scope="module")
def told():
    with scripted_server() as server:
        server.table[:] = [(on(method), s3_error(404, "NoSuchKey")) for method in ("GET", "HEAD")]
        yield server


def where(store, told):
    """Return the bucket and path of a store: where its requests go, or what its client holds."""
    if "gs://" in str(store) or "GCS" in str(store):  # whose anonymous URLs lead to Google alone
        if isinstance(store, FsspecStore):
            return store.path.rstrip("/")
        return f"{store.store.config['bucket']}/{store.store.prefix or ''}".rstrip("/")
    told.requests.clear()
    store.get_sync("k")
    path = told.requests[0].path.removeprefix("/testaccount").removeprefix("/")
    return path.removesuffix("/k")


@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize("rest", TABLE, ids=ascii)
def test_buckets(told, rest, scheme):
    path, refused = TABLE[rest]
    url = f"{scheme}://{rest}"
    told.requests.clear()
    for backend in (None, "obstore", "fsspec"):
        for text in (url, url.replace(scheme, scheme.upper(), 1)):
            if scheme in refused:
                with pytest.raises(StoreLikeError) as caught:
                    make_store_sync(text, storage_options=OPTIONS[scheme](told), backend=backend)
                assert "HUSH" not in str(caught.value)
                assert caught.value.hint
                assert told.requests == []
            else:
                store = make_store_sync(text, storage_options=OPTIONS[scheme](told), backend=backend)
                assert isinstance(store, FsspecStore if backend == "fsspec" else ObjectStore)
                assert where(store, told) == f"b/{path}".rstrip("/")


@pytest.mark.parametrize("scheme", ["s3a", "gcs", "abfs", "abfss"])
def test_other_names_of_a_scheme(told, scheme):
    kind = {"s": "s3", "g": "gs", "a": "az"}[scheme[0]]
    for backend in ("obstore", "fsspec"):
        store = make_store_sync(f"{scheme}://b/w?q%20", storage_options=OPTIONS[kind](told), backend=backend)
        assert where(store, told) == "b/w?q%20"


def test_accounts_in_azures_urls():
    options = {"account_name": "a", "account_key": "aGFsbG8="}
    for name in ("x?q", "x#f", "x%20y"):
        url = f"abfss://b@a.dfs.core.windows.net/{name}"
        assert make_store_sync(url, storage_options=options).path == f"b/{name}"
        with pytest.raises(StoreLikeError):
            make_store_sync(url, storage_options=options, backend="obstore")


@pytest.mark.parametrize("url", ["s3://b/a//b", "gs://b/x#123", r"az://b/a\b", "s3://b/x?versionId=1"])
def test_fsspecs_own_constructors(told, url):
    options = OPTIONS[url[:2]](told)
    with pytest.raises(StoreLikeError):
        FsspecStore.from_url(url, storage_options=options)


def test_archives_at_urls_with_odd_names(told):
    for backend in ("obstore", "fsspec"):
        url = "s3://b/a?%20/x#.zip|zip:"
        store = make_store_sync(url, storage_options=OPTIONS["s3"](told), backend=backend)
        assert where(store._origin.store, told) == "b/a?%20"
        assert store._origin.path == "x#.zip"


SINGLE = ["s3:/b/x", "S3:/b", "gs:/b/x", "http:/host/x", "file:/x", "memory:/x"]


@pytest.mark.parametrize("text", [*SINGLE, "s3://b/x", "file:///x", "weird+scheme://x"])
def test_urls_are_no_folders(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = [
        LocalStore,
        ZipStore,
        lambda text: make_store_sync(Path(text)),
        lambda text: LocalStore(Path(text)),
    ]
    for make in [*places, make_store_sync] if text in SINGLE else places:
        with pytest.raises(StoreLikeError, match=r"no (folder|file)") as caught:
            make(text)
        assert caught.value.hint
    assert os.listdir(tmp_path) == []
    # A folder of that name has another spelling.
    assert LocalStore(tmp_path / text.replace("//", "/")).is_empty_sync("")


def test_folders_with_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b", "2024-01-01T00:00/x", "C:/x", "x:"):
        LocalStore(name).set_sync("k", b"")
        assert make_store_sync(name) == LocalStore(tmp_path / name)


FILES = {
    "file:///{}/a%20b": "a b",
    "FILE:///{}/a b": "a b",
    "file://localhost/{}/a%23b": "a#b",
    "file:///{}/é": "é",
    "file:///{}/a%25": "a%",
}


@pytest.mark.parametrize("form", FILES)
def test_files(form, tmp_path):
    url = form.format(str(tmp_path).removeprefix("/"))
    place = LocalStore(tmp_path / FILES[form])
    assert make_store_sync(url) == place
    assert make_store_sync(url, backend="fsspec") == place
    assert FsspecStore.from_url(url)._local == place


REFUSED_FILES = [
    "file://host/x",
    "file://rel/x",
    "file://rel",
    "file://./x",
    "file:///x?q",
    "file:///x#f",
    "file://",
]


@pytest.mark.parametrize("url", REFUSED_FILES)
def test_files_that_are_refused(url):
    for make in (make_store_sync, FsspecStore.from_url, lambda url: make_store_sync(f"{url}|zip:")):
        with pytest.raises(StoreLikeError) as caught:
            make(url)
        assert caught.value.hint


def test_backends_that_are_not_installed_change_no_place(told, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    store = make_store_sync("s3://b/w?q", storage_options=OPTIONS["s3"](told))
    assert isinstance(store, FsspecStore)
    assert where(store, told) == "b/w?q"
