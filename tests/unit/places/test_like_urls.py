"""What fsspec, universal paths and obstore say of where data is, turned into stores."""

import asyncio
import subprocess
import sys
import zipfile

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from zarrstore import storage
from zarrstore.errors import MissingDependencyError, ReadOnlyError, StoreLikeError, UnsupportedOperationError
from zarrstore.storage import (
    FsspecStore,
    LocalStore,
    ObjectStore,
    StorePath,
    make_store,
    make_store_path,
    make_store_sync,
)


@pytest.fixture
def place(tmp_path):
    """A URL into fsspec's memory that no other test uses."""
    return f"memory://{tmp_path}"


def test_memory_urls_are_fsspecs(place):
    store = asyncio.run(make_store(place))
    assert isinstance(store, FsspecStore)
    store.set_sync("a/k", b"v")
    assert fsspec.filesystem("memory").cat_file(f"{place}/a/k") == b"v"
    assert make_store_sync(place, mode="r").read_only
    path = asyncio.run(make_store_path(place, path="a"))
    assert isinstance(path, StorePath)
    assert (path / "k").get_sync().to_bytes() == b"v"


def test_file_urls_are_local_stores(tmp_path):
    assert make_store_sync(f"file://{tmp_path}/with%20space") == LocalStore(tmp_path / "with space")


def test_chains(tmp_path, place):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/k", b"v")
    store = make_store_sync(f"zip::file://{tmp_path}/x.zip")
    assert store.get_sync("a/k").to_bytes() == b"v"
    inner = make_store_sync(f"zip://a::file://{tmp_path}/x.zip")
    assert list(inner.list_sync()) == ["k"]
    make_store_sync(place).set_sync("a/k", b"w")
    cached = make_store_sync(f"simplecache::{place}", storage_options={"cache_storage": str(tmp_path / "c")})
    assert cached.get_sync("a/k").to_bytes() == b"w"


@pytest.fixture
def archive(tmp_path):
    """The bytes of an archive that holds an archive."""
    store = storage.ZipStore(tmp_path / "inner.zip", mode="w")
    store.set_sync("x/y", b"inner")
    store.close()
    with storage.ZipStore(tmp_path / "data.zip", mode="w") as store:
        store.set_sync("a/b/k", b"v")
        store.set_sync("in.zip", (tmp_path / "inner.zip").read_bytes())
    return (tmp_path / "data.zip").read_bytes()


@pytest.mark.parametrize(
    ("form", "inside"),
    [("{}|zip:", ""), ("{}|zip:/", ""), ("{}|zip:a", "a"), ("{}|zip:a/b/", "a/b"), ("zip::{}", ""),
     ("zip://::{}", ""), ("zip://a/b::{}", "a/b")],
)  # fmt: skip
def test_archives_anywhere(form, inside, tmp_path, place, archive, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fsspec.filesystem("memory").pipe_file(f"{place}/d/odd name", archive)
    (tmp_path / "odd name").write_bytes(archive)
    cached = f"simplecache::{place}/d/odd name"
    places = (
        "odd name",
        f"{tmp_path}/odd name",
        f"file://{tmp_path}/odd%20name",
        f"{place}/d/odd name",
        cached,
    )
    key = "a/b/k".removeprefix(inside).strip("/")
    for where in places:
        for mode in (None, "r"):
            store = make_store_sync(form.format(where), mode=mode)
            assert store.read_only
            assert store.get_sync(key).to_bytes() == b"v", where
            assert type(store if not inside else store._store) is storage.ZipStore
            assert [name for name in store.list_sync() if name != "in.zip"] == [key]
            store.close()


def test_archives_within_archives(place, archive):
    fsspec.filesystem("memory").pipe_file(f"{place}/data.zip", archive)
    store = make_store_sync(f"{place}/data.zip|zip:in.zip|zip:x")
    assert store.get_sync("y").to_bytes() == b"inner"


def test_archives_are_written_in_local_files_only(tmp_path, place, archive):
    for form in ("{}|zip:", "zip::{}"):
        where = tmp_path / f"new{len(form)}"
        store = make_store_sync(form.format(where), mode="w")
        store.set_sync("k", b"1")
        store.close()
        store = make_store_sync(form.format(where), mode="a")
        store.set_sync("l", b"2")
        store.close()
        with make_store_sync(form.format(where), mode="r+") as store:
            store.set_sync("m", b"3")
        with zipfile.ZipFile(where) as found:
            assert found.namelist() == ["k", "l", "m"]
        with pytest.raises(FileNotFoundError):
            make_store_sync(form.format(tmp_path / "missing"), mode="r+").set_sync("k", b"")
        with pytest.raises(FileExistsError):
            asyncio.run(make_store_path(form.format(where), mode="w-"))
        with pytest.raises(FileNotFoundError):
            make_store_sync(form.format(tmp_path / "missing"), mode="r").get_sync("k")
        assert make_store_sync(form.format(tmp_path / "missing")).get_sync("k") is None
        assert not (tmp_path / "missing").exists()
    fsspec.filesystem("memory").pipe_file(f"{place}/data.zip", archive)
    for text in (f"{place}/data.zip|zip:", f"zip::{place}/data.zip", f"{tmp_path}/data.zip|zip:in.zip|zip:"):
        for mode in ("a", "w", "r+"):
            with pytest.raises(UnsupportedOperationError, match="local file"):
                make_store_sync(text, mode=mode)


def test_options_go_to_the_archives_place(tmp_path, archive):
    for options in ({"headers": {"X": "y"}}, {"http": {"headers": {"X": "y"}}}):
        for text in ("http://host/d/x.zip|zip:", "zip::http://host/d/x.zip"):
            store = make_store_sync(text, storage_options=options)
            assert store._origin.store.fs.storage_options["headers"] == {"X": "y"}
            assert store._origin.path == "x.zip"
    for text in (f"{tmp_path}/data.zip|zip:", f"zip::file://{tmp_path}/data.zip"):
        with pytest.raises(StoreLikeError, match="nothing would use"):
            make_store_sync(text, storage_options={"anon": True})


@pytest.mark.parametrize("text", ["|zip:", "zip::", "zip://a::", "a.zip|zip:x|zarr3:", "memory://|zip:"])
def test_archives_without_a_place(text):
    with pytest.raises(StoreLikeError, match="names"):
        make_store_sync(text)


def test_mappers(place):
    mapper = fsspec.get_mapper(place)
    mapper["a/k"] = b"v"
    store = make_store_sync(mapper)
    assert isinstance(store, FsspecStore)
    assert store.get_sync("a/k").to_bytes() == b"v"
    assert make_store_sync(mapper, mode="r").read_only


def test_universal_paths(tmp_path, place):
    upath = pytest.importorskip("upath")
    for path in (upath.UPath(tmp_path), upath.UPath(f"file://{tmp_path}")):
        assert make_store_sync(path) == LocalStore(tmp_path)
    store = make_store_sync(upath.UPath(place) / "u")
    assert isinstance(store, FsspecStore)
    store.set_sync("k", b"v")
    assert fsspec.filesystem("memory").cat_file(f"{place}/u/k") == b"v"


def test_obstores_stores():
    theirs = pytest.importorskip("obstore").store.MemoryStore()
    store = make_store_sync(theirs)
    assert isinstance(store, ObjectStore)
    assert store.store is theirs


def test_a_file_system_alone_is_no_place():
    with pytest.raises(StoreLikeError, match=r"FsspecStore\(fs, path="):
        make_store_sync(MemoryFileSystem())


@pytest.mark.parametrize(
    ("url", "near"),
    [("s4://b/x", "'s3'"), ("memroy://x", "'memory'"), ("htps://host/x", "'https'"), ("gss://b", "'gs'"),
     ("simplecahce::memory://x", "'simplecache'"), ("zip::fiel:///x.zip", "'file'")],
)  # fmt: skip
def test_unknown_schemes_name_near_ones(url, near):
    with pytest.raises(StoreLikeError, match=near) as caught:
        make_store_sync(url)
    assert isinstance(caught.value, ValueError)


def test_unknown_schemes_tell_no_secrets():
    with pytest.raises(StoreLikeError) as caught:
        make_store_sync("qqqq://user:word@host/x?token=hush")
    assert "word" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "available_protocols" in str(caught.value)


def test_missing_packages_are_named(monkeypatch):
    def fail(*args, **kwargs):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(FsspecStore, "from_url", fail)
    with pytest.raises(MissingDependencyError, match="gcsfs"):
        make_store_sync("gs://b/x")


def test_options_are_never_ignored(tmp_path, place):
    for value, options in (
        (place, {"anon": True}),
        ("http://host/x", {"mode": "r"}),
        (str(tmp_path), {"anon": True}),
        (f"file://{tmp_path}", {"anon": True}),
        (fsspec.get_mapper(place), {"anon": True}),
        ({}, {"anon": True}),
    ):
        with pytest.raises(StoreLikeError, match="nothing would use"):
            make_store_sync(value, storage_options=options)
    store = make_store_sync("http://host/x", storage_options={"headers": {"X": "y"}})
    assert store.fs.storage_options["headers"] == {"X": "y"}


def test_modes(place):
    with pytest.raises(ReadOnlyError):
        make_store_sync(make_store_sync(place, mode="r"), mode="a")


def test_type_names():
    assert storage.ALLOWED_EXCEPTIONS
    assert storage.AccessModeLiteral
    assert storage.StoreLike


@pytest.mark.parametrize(
    "use",
    ["from zarrstore.storage import FsspecStore", "import zarrstore; zarrstore.make_store_sync('s3://b/x')"],
)
def test_without_fsspec_the_extra_is_named(use):
    code = f"import sys; sys.modules['fsspec'] = None\n{use}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MissingDependencyError" in done.stderr
    assert "pip install 'zarrstore[fsspec]'" in done.stderr


def test_all_else_works_without_fsspec():
    code = "import sys; sys.modules['fsspec'] = None\nfrom zarrstore.storage import *"
    names = "ALLOWED_EXCEPTIONS, LocalStore, LoggingStore, MemoryStore, StoreLike, make_store_sync"
    code = code.replace("*", names) + "; make_store_sync(None).sub('a').mapping()['k'] = b'v'"
    subprocess.run([sys.executable, "-c", code], check=True)


S3 = {"key": "me", "secret": "HUSH", "client_kwargs": {"region_name": "us-east-1"}}


@pytest.fixture
def bare_environment(monkeypatch):
    for name in ("PROFILE", "REGION", "DEFAULT_REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("ACCOUNT_NAME", "ACCOUNT_KEY", "SAS_TOKEN", "CONNECTION_STRING"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (S3, ObjectStore),
        ({"anon": True, "endpoint_url": "http://127.0.0.1:9"}, ObjectStore),
        ({"anon": True}, FsspecStore),  # in which region?
        ({"endpoint_url": "http://127.0.0.1:9"}, FsspecStore),  # with whose credentials?
        ({**S3, "requester_pays": True}, FsspecStore),
        ({**S3, "client_kwargs": {"verify": False}}, FsspecStore),
        ({}, FsspecStore),
    ],
)
def test_obstore_is_preferred_where_it_does_the_job(bare_environment, options, kind):
    store = make_store_sync("s3://bucket/a", storage_options=options)
    assert type(store) is kind
    assert "HUSH" not in repr(store)
    assert type(make_store_sync("s3://bucket/a", storage_options=options, backend="fsspec")) is FsspecStore


AZURE = {"account_name": "acc", "account_key": "SFVTSA=="}
TOLD = (
    "DefaultEndpointsProtocol=http;AccountName=acc;AccountKey=SFVTSA==;BlobEndpoint=http://127.0.0.1:9/acc;"
)


@pytest.mark.parametrize(
    ("url", "options", "kind"),
    [
        ("az://c/a", AZURE, ObjectStore),
        ("abfs://c/a", {"connection_string": TOLD}, ObjectStore),
        ("az://c/a", {"connection_string": TOLD, "use_listings_cache": False}, ObjectStore),
        ("az://c/a", {"account_name": "acc", "sas_token": "sv=1&sig=HUSH"}, ObjectStore),
        ("az://c/a", {"account_name": "acc", "anon": True}, ObjectStore),
        ("az://c/a", {**AZURE, "account_host": "acc.blob.core.example.org"}, ObjectStore),
        ("abfss://c@acc.dfs.core.windows.net/a", AZURE, FsspecStore),
        ("az://c/a", {**AZURE, "version_aware": True}, FsspecStore),
        ("gs://b/a", {"token": "anon"}, ObjectStore),
        ("gs://b/a", {"token": "anon", "endpoint_url": "http://127.0.0.1:9"}, FsspecStore),
    ],
)
def test_obstore_serves_azure_and_public_google(bare_environment, url, options, kind):
    store = make_store_sync(url, storage_options=options)
    assert type(store) is kind
    assert "HUSH" not in repr(store)
    assert "SFVTSA" not in repr(store)


def test_azures_credentials_may_be_in_the_environment(bare_environment, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acc")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "SFVTSA==")
    assert type(make_store_sync("az://c/a")) is ObjectStore


def test_the_backend_can_be_chosen(bare_environment, place):
    store = make_store_sync("s3://bucket/a", storage_options={"region": "x", "skip_signature": True},
                            backend="obstore")  # fmt: skip
    assert isinstance(store, ObjectStore)
    assert isinstance(make_store_sync("https://example.org/a", backend="obstore"), ObjectStore)
    with pytest.raises(StoreLikeError, match="no backend 'boto'"):
        make_store_sync(place, backend="boto")
    with pytest.raises(StoreLikeError, match="obstore can't open"):
        make_store_sync("s3://bucket/a", storage_options={"nonsense": 1}, backend="obstore")
