"""Stores of one place say so, whichever library reaches it; stores of different places don't."""

import adlfs
import fsspec
import gcsfs
import pytest
import s3fs
from fsspec.implementations.dirfs import DirFileSystem
from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store
from obstore.store import LocalStore as TheirLocalStore
from obstore.store import MemoryStore as TheirMemoryStore

from zarrstore import FsspecStore, LocalStore, LoggingStore, MemoryStore, ObjectStore, RetryStore, ZipStore
from zarrstore.storage import StorePath

KEYS = {"access_key_id": "k", "secret_access_key": "s", "region": "eu-west-1"}
AZURE = {"account_name": "account", "account_key": "AAAA"}
EMULATOR = "http://127.0.0.1:10000/account"


def by_s3fs(path, **options):
    return FsspecStore(s3fs.S3FileSystem(asynchronous=True, anon=True, **options), path=path)


def by_adlfs(path, **options):
    return FsspecStore(adlfs.AzureBlobFileSystem(asynchronous=True, **options), path=path)


def on_s3(bucket="b", prefix="x/y", **options):
    return ObjectStore(S3Store(bucket, prefix=prefix, **KEYS, **options))


def in_connection(endpoint):
    return f"AccountName=account;AccountKey=AAAA;BlobEndpoint={endpoint};"


SAME = {
    "S3": lambda: [
        on_s3(), on_s3(prefix="x").sub("y"), by_s3fs("b/x/y"), RetryStore(by_s3fs("b")).sub("x/y"),
    ],
    "S3 in a region": lambda: [
        on_s3(endpoint="https://s3.eu-west-1.amazonaws.com"),
        on_s3(endpoint="https://b.s3.eu-west-1.amazonaws.com", virtual_hosted_style_request=True),
        by_s3fs("b/x/y", endpoint_url="https://s3.us-east-1.amazonaws.com"),
    ],
    "an S3 server": lambda: [
        on_s3(endpoint="http://localhost:9000/"),
        by_s3fs("b/x/y", endpoint_url="http://127.0.0.1:9000"),
        by_s3fs("b/x/y", client_kwargs={"endpoint_url": "http://LOCALHOST:9000"}),
    ],
    "GCS": lambda: [
        ObjectStore(GCSStore("b", prefix="x/y", skip_signature=True)),
        FsspecStore(gcsfs.GCSFileSystem(token="anon", asynchronous=True), path="b/x/y"),
    ],
    "Azure": lambda: [
        ObjectStore(AzureStore("c", prefix="x", **AZURE)),
        by_adlfs("c/x", **AZURE),
        ObjectStore(AzureStore("c", prefix="x", endpoint="https://account.dfs.core.windows.net", **AZURE)),
    ],
    "an Azure server": lambda: [
        ObjectStore(AzureStore("c", prefix="x", endpoint=EMULATOR, **AZURE)),
        by_adlfs("c/x", connection_string=in_connection(EMULATOR)),
    ],
    "HTTP": lambda: [
        ObjectStore(HTTPStore.from_url("https://example.org/x")),
        FsspecStore.from_url("https://example.org/x"),
        FsspecStore.from_url("https://me:secret@EXAMPLE.org/x/"),
    ],
    "fsspec's memory": lambda: [
        FsspecStore.from_url("memory://x/y"),
        FsspecStore.from_url("memory://x").sub("y"),
        FsspecStore.from_mapper(DirFileSystem("/x", fsspec.filesystem("memory")).get_mapper("y")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("stores", SAME.values(), ids=SAME)
def test_one_place(stores):
    first, *others = stores()
    for other in others:
        assert other._place("a/") == first._place("a/")
        assert other._place("").startswith(first._place(""))
        assert other.sub("a")._place("") == first._place("a/")


def test_one_folder(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "x")
    local = fsspec.filesystem("file")
    stores = [
        LocalStore(tmp_path / "x"),
        LocalStore(tmp_path / "link"),
        LoggingStore(LocalStore(tmp_path / "x")),
        ObjectStore(TheirLocalStore(tmp_path / "x")),
        ObjectStore(TheirLocalStore(tmp_path / "link")),
        FsspecStore.from_url(f"file://{tmp_path}/link"),
        FsspecStore.from_mapper(DirFileSystem(str(tmp_path), local).get_mapper("x")),
    ]
    assert {store._place("") for store in stores} == {f"file://{tmp_path}/x/"}


def test_archives_lie_in_what_holds_them(tmp_path):
    for archive in (ZipStore(tmp_path / "a.zip"), ZipStore(StorePath(LocalStore(tmp_path), "a.zip"))):
        assert archive._place("x/") == f"file://{tmp_path}/a.zip/x/"
    assert ZipStore(StorePath(on_s3(), "a.zip"))._place("") == by_s3fs("b/x/y/a.zip")._place("")


DIFFERENT = {
    "endpoint": lambda: [on_s3(), on_s3(endpoint="http://one:9000"), on_s3(endpoint="http://two:9000")],
    "endpoint by both": lambda: [
        on_s3(endpoint="http://one:9000"), by_s3fs("b/x/y", endpoint_url="http://two:9000"),
    ],
    "account": lambda: [
        by_adlfs("c/x", **AZURE),
        ObjectStore(AzureStore("c", prefix="x", account_name="b", skip_signature=True)),
    ],
    "service": lambda: [on_s3(), ObjectStore(GCSStore("b", prefix="x/y", skip_signature=True))],
    "bucket": lambda: [on_s3("b"), on_s3("bb")],
    "directory": lambda: [on_s3(prefix="x"), on_s3(prefix="xx")],
    "memory": lambda: [
        MemoryStore(), MemoryStore(), FsspecStore.from_url("memory://"),
        ObjectStore(TheirMemoryStore()), ObjectStore(TheirMemoryStore()),
    ],
}  # fmt: skip


@pytest.mark.parametrize("stores", DIFFERENT.values(), ids=DIFFERENT)
def test_different_places(stores):
    kept = stores()  # or one's identity could be the next one's
    places = [store._place("") for store in kept]
    for place in places:
        assert [other for other in places if other.startswith(place)] == [place]


def test_the_environments_server(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert on_s3()._place("") == by_s3fs("b/x/y")._place("")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    explicit = on_s3(endpoint="http://127.0.0.1:9000")
    assert on_s3()._place("") != explicit._place("")


def test_the_configuration_files_server(tmp_path, monkeypatch):
    """As s3fs goes there, a store of obstore's with that endpoint is in the same place."""
    config = tmp_path / "config"
    config.write_text("[default]\nendpoint_url = http://127.0.0.1:9000\n")
    explicit = on_s3(endpoint="http://127.0.0.1:9000")
    assert by_s3fs("b/x/y")._place("") != explicit._place("")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert by_s3fs("b/x/y")._place("") == explicit._place("")
