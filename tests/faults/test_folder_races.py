"""Removing folders beside writers, and removals refused half-way: nothing acknowledged is lost or hidden."""

import errno
import os
import shutil

import pytest

from zarrstore.errors import BackendError
from zarrstore.storage import LocalStore
from zarrstore.storage._local import rmtree as _removal


@pytest.fixture(params=[{}, {"follow_symlinks": False}, {"atomic": False}], ids=str)
def store(request, tmp_path):
    store = LocalStore(tmp_path / "root", **request.param)
    for key in ("a/k", "a/b/k", "other"):
        store.set_sync(key, b"value")
    return store


@pytest.mark.parametrize("call", ["delete_dir_sync", "delete_sync", "clear_sync"])
def test_a_value_that_takes_the_folders_name_meanwhile_stays(store, monkeypatch, call):
    """Another writer empties the folder and sets a value of its name before it is removed."""
    real = _removal.remove_folder
    done = []

    def remove(path, **options):
        if not done:
            done.append(path)
            shutil.rmtree(path)
            store.set_sync("a", b"acknowledged")
        real(path, **options)

    monkeypatch.setattr(_removal, "remove_folder", remove)
    getattr(store, call)(*([] if call == "clear_sync" else ["a"]))
    assert done
    assert store.get_sync("a").to_bytes() == b"acknowledged"
    assert sorted(store.list_sync()) == (["a"] if call == "clear_sync" else ["a", "other"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EPERM])
def test_a_removal_that_is_refused_hides_nothing(store, monkeypatch, number):
    def refused(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refused)
        for call in (lambda: store.delete_dir_sync("a"), lambda: store.delete_sync("a"), store.clear_sync):
            with pytest.raises(BackendError):
                call()
    assert {"a/k", "a/b/k"} <= set(store.list_sync())
    assert store.get_sync("a/b/k").to_bytes() == b"value"
    store.delete_dir_sync("a")
    assert not any(key.startswith("a/") for key in store.list_sync())
