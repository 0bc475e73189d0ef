"""What becomes an archive: one rule for each ending, mode and backend, in `make_store` and in copies."""

import os

import fsspec
import pytest
from click.testing import CliRunner
from upath import UPath

from zarrstore import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    ObjectStore,
    ZipStore,
    copy_store_sync,
    make_store_sync,
)
from zarrstore._cli.program import program
from zarrstore.errors import ReadOnlyError, StoreLikeError, UnsupportedOperationError

ENDINGS = [".zip", ".ZIP", ".ozx", ".Ozx"]
MODES = [None, "r", "r+", "a", "w", "w-"]
OBSTORE = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:9"}


def written(store):
    """Whether a store takes a value, and gives it back."""
    with store:
        store.set_sync("a/k", b"v")
        return store.get_sync("a/k").to_bytes() == b"v"


@pytest.fixture(params=[str, lambda path: path, lambda path: f"file://{path}"], ids=["text", "path", "url"])
def spelt(request):
    return request.param


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_where_nothing_is(mode, ending, spelt, tmp_path):
    path = tmp_path / f"x{ending}"
    store = make_store_sync(spelt(path), mode=mode)
    assert isinstance(store, ZipStore)
    assert not path.exists()
    if mode in ("r", "r+"):
        with pytest.raises(FileNotFoundError, match="no archive"):
            store.get_sync("a/k")
        with pytest.raises((ReadOnlyError, FileNotFoundError)):
            store.set_sync("a/k", b"v")
        assert not path.exists()
    else:
        assert written(store)
        assert path.is_file()


@pytest.mark.parametrize("ending", [*ENDINGS, ".zarr", ""])
@pytest.mark.parametrize("mode", MODES)
def test_where_an_archive_is(mode, ending, spelt, tmp_path):
    path = tmp_path / f"x{ending}"
    with ZipStore(path, mode="w") as store:
        store.set_sync("old", b"v")
    store = make_store_sync(spelt(path), mode=mode)
    assert isinstance(store, ZipStore)
    with store:  # no mode removes what is there
        assert store.get_sync("old").to_bytes() == b"v"
    assert store.read_only == (mode in (None, "r"))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_where_a_folder_is(mode, ending, spelt, tmp_path):
    path = tmp_path / f"x{ending}"
    path.mkdir()
    store = make_store_sync(spelt(path), mode=mode)
    assert isinstance(store, LocalStore)
    assert path.is_dir()


def test_a_slash_at_the_end_asks_for_a_folder(tmp_path):
    store = make_store_sync(f"{tmp_path}/x.zip/", mode="w")
    assert isinstance(store, LocalStore)
    assert written(store)
    assert (tmp_path / "x.zip").is_dir()


def test_a_file_that_is_no_archive(tmp_path, spelt):
    (tmp_path / "x.zip").write_text("text")
    for mode in MODES:
        with pytest.raises(StoreLikeError, match="not a zip archive"):
            make_store_sync(spelt(tmp_path / "x.zip"), mode=mode)
    assert (tmp_path / "x.zip").read_text() == "text"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("place", "options", "backend"),
    [
        ("memory://d/x", None, None),
        ("s3://bucket/d/x", OBSTORE, "fsspec"),
        ("s3://bucket/d/x", OBSTORE, None),
        ("https://example.org/d/x", None, None),
    ],
)
def test_urls_of_archives_are_read(place, options, backend, ending):
    for mode in (None, "r"):
        from zarrstore.storage._places.like import open_place  # which asks for no hint, so makes no request

        store = open_place(place + ending, mode=mode, storage_options=options, backend=backend)
        assert isinstance(store, ZipStore)
        assert store.read_only
    for mode in ("r+", "a", "w", "w-"):
        with pytest.raises(UnsupportedOperationError, match="local file") as caught:
            make_store_sync(place + ending, mode=mode, storage_options=options, backend=backend)
        assert "slash" in caught.value.hint
    directory = make_store_sync(f"{place}{ending}/", storage_options=options, backend=backend)
    assert isinstance(directory, (FsspecStore, ObjectStore))


def test_a_universal_path(tmp_path):
    with ZipStore(tmp_path / "x.zip", mode="w") as store:
        store.set_sync("a", b"v")
    fsspec.filesystem("memory").pipe_file(f"{tmp_path}/x.zip", (tmp_path / "x.zip").read_bytes())
    place = UPath(f"memory:/{tmp_path}/x.zip")
    assert make_store_sync(place).get_sync("a").to_bytes() == b"v"
    with pytest.raises(UnsupportedOperationError):
        make_store_sync(place, mode="a")


def test_a_copy_to_the_url_of_an_archive_unpacks_nothing(tmp_path):
    place = f"memory:/{tmp_path}/x.zip"
    with pytest.raises(UnsupportedOperationError, match="local file"):
        copy_store_sync({"a": b"v"}, place)
    copy_store_sync({"a": b"v"}, tmp_path / "data.zarr")
    refused = CliRunner().invoke(program, ["copy", str(tmp_path / "data.zarr"), place])
    assert refused.exit_code == 1
    assert "local file" in refused.stderr
    assert fsspec.filesystem("memory").find(str(tmp_path)) == []
    copy_store_sync({"a": b"v"}, f"{place}/")
    assert len(fsspec.filesystem("memory").find(str(tmp_path))) == 1


def test_a_copy_to_a_name_of_an_archive_makes_one(tmp_path):
    for ending in ENDINGS:
        copy_store_sync({"a": b"v"}, tmp_path / f"x{ending}")
        assert (tmp_path / f"x{ending}").is_file()
    assert len(os.listdir(tmp_path)) == len(ENDINGS)


@pytest.mark.parametrize("place", [None, {}, "data.zarr", "x.zip", "memory://x", MemoryStore()])
def test_a_mode_that_there_is_not(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="mode is one of"):
        make_store_sync(place, mode="banana")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "text", ["a\0b", "a\ud800b", "file:///a%00b", "file:///a\ud800b", "memory://a\0b", "zip://"]
)
def test_text_that_names_nothing(text):
    with pytest.raises(StoreLikeError):
        make_store_sync(text)
