"""What can be opened as a store, and what the error says of what can't."""

import asyncio
import pathlib
import zipfile
from collections import OrderedDict, UserDict

import pytest

from zarrstore.errors import ReadOnlyError, StoreLikeError
from zarrstore.storage import LocalStore, MemoryStore, StorePath, make_store, make_store_path, make_store_sync


def test_stores_and_store_paths():
    store = MemoryStore()
    assert make_store_sync(store) is store
    assert make_store_sync(StorePath(store, "a")) is store
    assert asyncio.run(make_store(store)) is store


def test_nothing_and_mappings():
    assert isinstance(make_store_sync(None), MemoryStore)
    for mapping in ({"k": b"1"}, OrderedDict(k=b"1"), UserDict(k=b"1")):
        store = make_store_sync(mapping)
        assert bytes(store.get_sync("k")) == b"1"
        assert store == make_store_sync(mapping)
    with pytest.raises(StoreLikeError, match="keys of text"):
        make_store_sync({1: b"1"})


@pytest.mark.parametrize(
    "form", [str, pathlib.Path, "file://{}".format, "FILE://{}".format, "file://localhost{}".format]
)
def test_paths(tmp_path, form):
    assert make_store_sync(form(str(tmp_path / "a"))) == LocalStore(tmp_path / "a")


def test_file_urls_are_decoded(tmp_path):
    assert make_store_sync(f"file://{tmp_path}/a%20b%23c") == LocalStore(tmp_path / "a b#c")
    for bad in ("file://host/a", f"file://{tmp_path}/a?b", f"file://{tmp_path}/a#b"):
        with pytest.raises(StoreLikeError):
            make_store_sync(bad)


def test_relative_paths_and_windows_drives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make_store_sync("x.zarr") == LocalStore(tmp_path / "x.zarr")
    assert isinstance(make_store_sync("C:/data"), LocalStore)
    with pytest.raises(StoreLikeError, match="empty"):
        make_store_sync("")


def test_a_zip_archive_is_known_by_its_first_bytes(tmp_path):
    from zarrstore.storage import ZipStore

    with zipfile.ZipFile(tmp_path / "odd.name", "w") as archive:
        archive.writestr("a/k", b"1")
    for like in (str(tmp_path / "odd.name"), tmp_path / "odd.name", f"file://{tmp_path}/odd.name"):
        store = make_store_sync(like, mode="r")
        assert isinstance(store, ZipStore)
        assert store.read_only
        assert bytes(store.get_sync("a/k")) == b"1"
        store.close()
    (tmp_path / "text").write_bytes(b"hello")
    with pytest.raises(StoreLikeError, match="not a zip archive"):
        make_store_sync(tmp_path / "text")


def test_modes():
    store = MemoryStore()
    assert make_store_sync(store, mode="r").read_only
    assert make_store_sync(store, mode="a") is store
    with pytest.raises(ReadOnlyError):
        make_store_sync(store.with_read_only(True), mode="a")


@pytest.mark.parametrize("like", [MemoryStore(), {}, None, pathlib.Path("x"), "x", "file:///x"])
def test_options_are_never_silently_ignored(like):
    with pytest.raises(StoreLikeError, match="nothing would use them"):
        make_store_sync(like, storage_options={"anon": True})


@pytest.mark.parametrize("like", [3, 1.5, b"bytes", ["a"], object()])
def test_what_cannot_be_opened_gets_an_error_that_lists_what_can(like):
    with pytest.raises(StoreLikeError, match=r"pathlib\.Path") as caught:
        make_store_sync(like)
    assert isinstance(caught.value, TypeError)


def test_store_paths_from_anything(tmp_path):
    path = asyncio.run(make_store_path(tmp_path, path="a/b", mode="r"))
    assert path.path == "a/b"
    assert path.read_only
    LocalStore(tmp_path).set_sync("a/b/k", b"1")
    for mode in ("r", "r+", "a", "w", None):  # none of them removes anything
        path = asyncio.run(make_store_path(tmp_path, path="a/b", mode=mode))
        assert (path / "k").get_sync().to_bytes() == b"1"
    with pytest.raises(FileExistsError):
        asyncio.run(make_store_path(tmp_path, path="a/b", mode="w-"))
    inner = asyncio.run(make_store_path(StorePath(MemoryStore(), "x"), path="y"))
    assert inner.path == "x/y"


def test_zarr_pythons_stores_and_paths():
    zarr_storage = pytest.importorskip("zarr.storage", reason="zarr-python isn't installed")
    theirs = zarr_storage.MemoryStore()
    ours = make_store_sync(theirs)
    ours.set_sync("k", b"1")
    assert "k" in theirs._store_dict
    assert bytes(make_store_sync(zarr_storage.StorePath(theirs)).get_sync("k")) == b"1"
