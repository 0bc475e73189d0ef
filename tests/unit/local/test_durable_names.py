"""With fsync="full", what a folder or an archive acknowledged is there after a loss of power.

The disk is a model: a name that was given or taken away in a folder is on the medium once that folder is
synced. What has no path of durable names from the top is lost; a name that wasn't durably removed is back.
"""

import asyncio
import errno
import os
import shutil
import threading

import pytest
from injected import Medium

from zarrstore._os import fsync as _fsync
from zarrstore.errors import BackendError
from zarrstore.storage import LocalStore, ZipStore


@pytest.fixture
def medium(tmp_path, monkeypatch):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs Linux, to say which folder is synced")
    medium = Medium(tmp_path)
    monkeypatch.setattr(os, "fsync", medium.sync)
    return medium


@pytest.fixture(params=[{}, {"follow_symlinks": False}, {"atomic": False}], ids=str)
def store(request, tmp_path):
    return LocalStore(tmp_path / "new/root", fsync="full", **request.param)


def test_a_value_in_new_folders(store, medium):
    store.set_sync("a/b/k", b"v")
    assert medium.keeps(store.root / "a/b/k")
    medium.synced.clear()
    store.set_sync("a/b/other", b"v")
    assert medium.synced == ["new/root/a/b"], "what is known to be on the medium isn't synced again"
    medium.synced.clear()
    store.set_sync("a/c/k", b"v")
    assert medium.synced == ["new/root/a/c", "new/root/a"]


def test_folders_that_another_writer_made_meanwhile(store, medium):
    """The folder is there, its maker hasn't synced it yet: with or without ``fsync``, as another process."""
    (store.root / "a/b").mkdir(parents=True)
    LocalStore(store.root).set_sync("c/d/k", b"v")
    medium.names[os.stat(medium.top).st_ino]["new"] = os.stat(medium.top / "new").st_ino
    store.set_sync("a/b/k", b"v")
    store.set_sync("c/d/other", b"v")
    assert medium.keeps(store.root / "a/b/k")
    assert medium.keeps(store.root / "c/d/other")


def make_way(store):
    """Write a value where there is a folder that another process has emptied."""
    os.unlink(store.root / "a/b/k")
    store.set_sync("a/b", b"v")
    os.unlink(store.root / "a/b")


@pytest.mark.parametrize(
    "remove",
    [
        make_way,
        lambda store: store.delete_sync("a/b/k"),
        lambda store: store.delete_dir_sync("a/b"),
        lambda store: store.clear_sync(),
    ],
    ids=["value", "delete", "delete_dir", "clear"],
)
def test_a_folder_that_was_removed_and_that_another_process_made_again(store, medium, remove):
    store.set_sync("a/b/k", b"v")
    store.set_sync("a/other", b"v")
    remove(store)
    (store.root / "a/b").mkdir(parents=True, exist_ok=True)
    store.set_sync("a/b/k", b"v")
    assert medium.keeps(store.root / "a/b/k")


def test_folders_that_a_failed_attempt_made(store, medium, monkeypatch):
    """Another process removes the folder that the value is written into, but not those above."""
    real, done = os.open, []

    def removed_once(path, flags, *args, **kwargs):
        descriptor = real(path, flags, *args, **kwargs)
        if flags & os.O_CREAT and not done:
            done.append(path)
            shutil.rmtree(store.root / "a/b")
        return descriptor

    monkeypatch.setattr(os, "open", removed_once)
    store.set_sync("a/b/k", b"v")
    if not store.atomic:  # the value went with its folder, and nothing tells
        store.set_sync("a/b/k", b"v")
    assert done
    assert medium.keeps(store.root / "a/b/k")


def test_a_folder_that_is_made_again(store, medium):
    store.set_sync("a/b/k", b"v")
    for remove in (lambda: store.delete_sync("a/b/k"), lambda: store.delete_dir_sync("a"), store.clear_sync):
        remove()
        store.set_sync("a/b/k", b"v")
        assert medium.keeps(store.root / "a/b/k")


def test_what_is_removed_stays_removed(store, medium):
    def fill():
        for key in ("a/b/k", "a/c/d/k", "e/k", "k"):
            store.set_sync(key, b"v")

    fill()
    store.delete_sync("a/c/d/k")
    assert medium.keeps(store.root / "a/c/d/k")
    store.delete_sync("e/k")
    assert medium.keeps(store.root / "e/k")
    store.delete_dir_sync("a")
    assert medium.keeps(store.root / "a/b/k")
    fill()
    store.clear_sync()
    for key in ("a/b/k", "a/c/d/k", "e/k", "k"):
        assert medium.keeps(store.root / key), key


def test_what_others_removed_stays_removed(store, medium):
    """They haven't synced it: with or without ``fsync``, as another process."""

    def fill():
        for key in ("a/b/k", "k"):
            store.set_sync(key, b"v")

    fill()
    (store.root / "a/b/k").unlink()
    store.delete_sync("a/b/k")
    assert medium.keeps(store.root / "a/b/k")
    for remove in (lambda: store.delete_sync("a/b/k"), lambda: store.delete_dir_sync("a/b")):
        fill()
        shutil.rmtree(store.root / "a")
        remove()
        assert medium.keeps(store.root / "a/b/k")
    fill()
    shutil.rmtree(store.root)
    store.clear_sync()
    assert medium.keeps(store.root / "k")


def other_file_system(source, target):
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.mark.parametrize("copied", [False, True])
def test_a_store_that_moves(store, medium, monkeypatch, copied):
    """To another file system it is copied, and the old one stays until the copy is synced."""
    values = {key: key.encode() for key in ("a/b/k", "k")}
    for key, value in values.items():
        store.set_sync(key, value)
    old, new = store.root, medium.top / "some/where/else"
    real, seen = shutil.rmtree, []

    def rmtree(path):
        seen.append(all(medium.keeps(new / key) and medium.has(new / key) for key in values))
        real(path)

    with monkeypatch.context() as patch:
        if copied:
            patch.setattr(os, "rename", other_file_system)
            patch.setattr(shutil, "rmtree", rmtree)
        asyncio.run(store.move(new))
    assert seen == [True] * copied
    for key, value in values.items():
        assert medium.keeps(new / key)
        assert medium.keeps(old / key)
        assert store.get_sync(key).to_bytes() == value
    store.set_sync("a/b/k", b"after")
    assert medium.keeps(new / "a/b/k")


def test_a_removal_beside_another_deleter(store, medium, monkeypatch):
    """The folder of the removed name goes while it is to be synced."""
    store.set_sync("a/b/k", b"v")
    store.set_sync("a/b/other", b"v")
    real = _fsync.sync_folder

    def sync(folder):
        monkeypatch.setattr(_fsync, "sync_folder", real)
        shutil.rmtree(store.root / "a")
        if folder.endswith("b"):
            (store.root / "a").write_bytes(b"a value in its place")
        real(folder)

    monkeypatch.setattr(_fsync, "sync_folder", sync)
    store.delete_sync("a/b/k")
    assert medium.keeps(store.root / "a/b/k") or medium.keeps(store.root / "a")


def test_deleters_beside_each_other(store, medium):
    errors = []

    def delete(keys):
        try:
            for key in keys:
                store.delete_sync(key)
        except BaseException as error:
            errors.append(error)

    for _ in range(20):
        keys = [f"a/{i}/{j}" for i in range(3) for j in range(4)]
        for key in keys:
            store.set_sync(key, b"v")
        threads = [threading.Thread(target=delete, args=(keys[first::3],)) for first in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not errors
        assert medium.keeps(store.root / "a")


def test_a_removal_that_can_not_be_synced_says_so(store, medium, monkeypatch):
    store.set_sync("a/k", b"v")

    def refused(folder):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(_fsync, "sync_folder", refused)
    with pytest.raises(BackendError, match="fsync='data'") as caught:
        store.delete_sync("a/k")
    assert "It is deleted" in str(caught.value)
    with pytest.raises(BackendError, match="fsync='data'"):
        store.clear_sync()


def test_an_archive_in_new_folders(tmp_path, medium):
    with ZipStore(tmp_path / "new/folders/a.zip", mode="w", fsync="full") as store:
        store.set_sync("k", b"v")
        assert medium.keeps(tmp_path / "new/folders/a.zip")


@pytest.mark.parametrize("copied", [False, True])
def test_an_archive_that_moves(tmp_path, medium, monkeypatch, copied):
    with ZipStore(tmp_path / "a.zip", mode="w", fsync="full") as store:
        store.set_sync("k", b"v")
        if copied:
            monkeypatch.setattr(os, "rename", other_file_system)
        asyncio.run(store.move(tmp_path / "new/folders/b.zip"))
        assert medium.keeps(tmp_path / "new/folders/b.zip")
        assert medium.keeps(tmp_path / "a.zip")
        assert not (tmp_path / "a.zip").exists()
        assert store.get_sync("k").to_bytes() == b"v"


def test_an_archive_in_a_folder_that_another_writer_made_meanwhile(tmp_path, medium):
    (tmp_path / "new").mkdir()
    with ZipStore(tmp_path / "new/a.zip", mode="a", fsync="full") as store:
        store.set_sync("k", b"v")
        assert medium.keeps(tmp_path / "new/a.zip")
