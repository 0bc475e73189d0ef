"""A look at a folder's first names, without reading it whole."""

import os

import pytest

from zarrstore._os import files
from zarrstore.storage import LocalStore

NAMES = ["c", "a file", "\udcff\udcfe", "é" * 127, "x" * 255, ".zattrs"]


def listed(folder):
    with os.scandir(folder) as found:
        return {
            (item.name, item.is_file(follow_symlinks=False), item.is_dir(follow_symlinks=False))
            for item in found
        }


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_what_a_listing_tells(tmp_path, name):
    for kind in ("file", "folder", "link"):
        place = tmp_path / kind / name
        place.parent.mkdir()
        if kind == "file":
            place.write_bytes(b"")
        elif kind == "folder":
            place.mkdir()
        else:
            place.symlink_to("nothing")
        assert set(files.first_names(str(place.parent))) == listed(place.parent)
    assert set(files.first_names(str(tmp_path))) == listed(tmp_path)


def test_it_tells_some_of_many(tmp_path):
    for number in range(500):
        (tmp_path / str(number)).touch()
    found = files.first_names(str(tmp_path))
    assert 0 < len(found) < 50
    assert set(found) < listed(tmp_path)


@pytest.mark.parametrize("place", ["missing", "file"])
def test_what_is_no_folder_raises(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        files.first_names(str(tmp_path / place))


def test_a_folder_of_links_alone_is_not_empty(tmp_path):
    (tmp_path / "values").mkdir()
    (tmp_path / "s/c").mkdir(parents=True)
    store = LocalStore(tmp_path / "s")
    for number in range(30):
        (tmp_path / f"values/{number}").write_bytes(b"v")
        (tmp_path / f"s/c/{number}").symlink_to(tmp_path / f"values/{number}")
    assert not store.is_empty_sync()
    assert list(store.list_dir_sync("")) == ["c"]


def test_where_the_system_has_no_such_call(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_read_folder", None)
    store = LocalStore(tmp_path)
    assert store.is_empty_sync()
    store.set_sync("a/b", b"v")
    assert not store.is_empty_sync()
    assert not store.is_empty_sync("a")
