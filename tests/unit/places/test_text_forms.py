"""The text form of a store is something that `make_store` takes back, and finds the same values by."""

import gc
import io

import numpy_cupy
import obstore.store
import pytest

from zarrstore import LoggingStore, RetryStore, StorePath, make_store_sync
from zarrstore.errors import StoreLikeError
from zarrstore.storage import (
    FsspecStore,
    GpuMemoryStore,
    LocalStore,
    ManagedMemoryStore,
    MemoryStore,
    ObjectStore,
    WrapperStore,
    ZipStore,
)

STORES = {
    "folder": lambda folder: LocalStore(folder / "a"),
    "folder-that-ends-like-an-archive": lambda folder: LocalStore(folder / "a.zip"),
    "folder-with-odd-name": lambda folder: LocalStore(folder / "a b%20c#d?e"),
    "memory": lambda folder: MemoryStore(),
    "mapping": lambda folder: MemoryStore({}),
    "named": lambda folder: ManagedMemoryStore("text forms", path="a"),
    "archive": lambda folder: ZipStore(folder / "a.zip", mode="w"),
    "archive-without-ending": lambda folder: ZipStore(folder / "a b%20.data", mode="w"),
    "archive-in-a-file": lambda folder: ZipStore(io.BytesIO(), mode="w"),
    "fsspec": lambda folder: FsspecStore.from_url(f"memory://{folder}"),
    "fsspec-file": lambda folder: FsspecStore.from_url(f"file://{folder}/a"),
    "obstore-folder": lambda folder: ObjectStore(obstore.store.LocalStore(folder / "a", mkdir=True)),
    "obstore-memory": lambda folder: ObjectStore(obstore.store.MemoryStore()),
    "view": lambda folder: LocalStore(folder / "a").sub("b"),
    "view-of-memory": lambda folder: MemoryStore().sub("b"),
    "wrapper": lambda folder: WrapperStore(LocalStore(folder / "a")),
    "logging": lambda folder: LoggingStore(RetryStore(MemoryStore()), "ERROR"),
    "wrapped-archive": lambda folder: WrapperStore(ZipStore(folder / "a.zip", mode="w")),
    "view-of-an-archive": lambda folder: ZipStore(folder / "a.zip", mode="w").sub("b"),
    "theirs": lambda folder: WrapperStore(pytest.importorskip("zarr").storage.LocalStore(folder / "a")),
}


@pytest.mark.parametrize("kind", STORES)
def test_make_store_takes_it_back(kind, tmp_path):
    with STORES[kind](tmp_path) as store:
        store.set_sync("x/k", kind.encode())
        opened = make_store_sync(str(store))
        assert opened.get_sync("x/k").to_bytes() == kind.encode()
        assert str(opened) == str(store)
        place = make_store_sync(str(StorePath(store, "x")))
        assert place.get_sync("k").to_bytes() == kind.encode()


def test_a_gpus_memory(monkeypatch):
    numpy_cupy.install(monkeypatch)
    store = GpuMemoryStore()
    store.set_sync("k", b"1")
    opened = make_store_sync(str(store))
    assert isinstance(opened, GpuMemoryStore)
    assert opened.get_sync("k").to_bytes() == b"1"


def test_buckets_are_opened_by_what_their_text_tells(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    for upstream, text, options in (
        (obstore.store.S3Store("b", prefix="p/q", region="eu-west-1"), "s3://b/p/q", {"anon": True}),
        (obstore.store.GCSStore("b", skip_signature=True), "gs://b", {"token": "anon"}),
        (obstore.store.HTTPStore("http://127.0.0.1:1/x"), "http://127.0.0.1:1/x", None),
    ):
        opened = make_store_sync(str(ObjectStore(upstream)), storage_options=options)
        assert opened._place("") == ObjectStore(upstream)._place("")
        assert opened._place("") == make_store_sync(text, storage_options=options)._place("")


@pytest.mark.parametrize("make", [MemoryStore, lambda: ObjectStore(obstore.store.MemoryStore())])
def test_what_is_gone_is_not_found(make):
    text = str(make())
    gc.collect()
    if text.startswith("memory://"):  # which is a place of fsspec's then, without values
        assert make_store_sync(text).is_empty_sync()
    else:
        with pytest.raises(StoreLikeError, match="no longer in this process"):
            make_store_sync(text)
    with pytest.raises(StoreLikeError, match="no longer in this process"):
        make_store_sync("gpumemory://nothing")


@pytest.mark.parametrize(
    "text",
    [
        "object_store://HTTPStore",
        "object_store://S3Store/x",
        'object_store://GCSStore(prefix="x")',
        "file:///\ud800",
    ],
)
def test_what_tells_no_place(text):
    with pytest.raises(StoreLikeError):
        make_store_sync(text)


def test_folders_of_such_names_are_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("logging-data", "wrapping-data", "zip"):
        assert type(make_store_sync(name)) is LocalStore
