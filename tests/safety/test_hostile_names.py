"""Keys and prefixes that mean harm: nothing outside the root is read, written, listed or removed."""

import os
from contextlib import suppress

import obstore.store
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from hostile import HIDDEN, NAMES, SECRET, asked_with, outside
from local_fs import OtherLocalFileSystem, through_fsspec
from power_loss import seen

from zarrstore import (
    StorePath,
    check_store_sync,
    copy_store_sync,
    digest_store_sync,
    move_store_sync,
    sync_store_sync,
)
from zarrstore.errors import StoreError
from zarrstore.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, ZipStore


def fsspec_memory(place):
    return FsspecStore.from_url(f"memory://{place}/root")


# What makes a store whose root is in a place.
FOLDERS = {
    "folder": lambda place: LocalStore(place / "root"),
    "links": lambda place: LocalStore(place / "root", follow_symlinks=False),
    "view": lambda place: LocalStore(place).sub("root"),
    "fsspec, folder": lambda place: through_fsspec(OtherLocalFileSystem(), f"{place}/root"),
    "fsspec, view": lambda place: through_fsspec(DirFileSystem(f"{place}/root", LocalFileSystem()), ""),
    "fsspec, other view": lambda place: through_fsspec(
        DirFileSystem(f"{place}/root", OtherLocalFileSystem()), ""
    ),
    "obstore, folder": lambda place: ObjectStore(obstore.store.LocalStore(place / "root", mkdir=True)),
}
STORES = {
    **FOLDERS,
    "archive": lambda place: ZipStore(place / "root.zip", mode="w", deletes=True),
    "fsspec, memory": fsspec_memory,
    "obstore, memory": lambda place: ObjectStore(obstore.store.MemoryStore()),
}


def calls(store, name):
    """What can be asked of a store with one name."""
    mine = MemoryStore({"k": b"mine"})
    yield lambda: store.get_sync(name)
    yield lambda: store.exists_sync(name)
    yield lambda: store.getsize_sync(name)
    yield lambda: list(store.list_prefix_sync(name))
    yield lambda: list(store.list_dir_sync(name))
    yield lambda: store.is_empty_sync(name)
    yield lambda: store.getsize_prefix_sync(name)
    yield lambda: StorePath(store, name).get_sync()
    yield lambda: (StorePath(store) / name).get_sync()
    yield lambda: digest_store_sync(store, prefix=name)
    yield lambda: check_store_sync(store, prefix=name)
    yield lambda: copy_store_sync(store, MemoryStore(), prefix=name)
    yield lambda: store.set_sync(name, b"mine")
    yield lambda: StorePath(store, name).set_sync(b"mine")
    yield lambda: store.create_sync(name, b"mine")
    yield lambda: store.set_partial_values_sync([(name, 0, b"mine")])
    yield lambda: store.sub(name).set_sync("k", b"mine")
    yield lambda: copy_store_sync(mine, store, target_prefix=name)
    yield lambda: sync_store_sync(mine, store, target_prefix=name, delete=True)
    yield lambda: move_store_sync(store, MemoryStore(), prefix=name)
    yield lambda: store.delete_sync(name)
    yield lambda: StorePath(store, name).delete_sync()
    yield lambda: store.delete_dir_sync(name)


def ask_all(place, kind, examples):
    """Ask everything with many names, and return how often."""
    before = outside(place)
    count = 0

    @asked_with(NAMES, examples)
    def ask(name):
        nonlocal count
        store = STORES[kind](place)
        store.set_sync("a/k", b"")
        if kind == "links" and not os.path.lexists(place / "root/out"):
            (place / "root/out").symlink_to(place / "victim")
        for call in calls(store, name):
            count += 1
            try:
                answer = call()
            except StoreError:
                continue
            told = answer.to_bytes() if hasattr(answer, "to_bytes") else repr(answer).encode()
            assert SECRET not in told
            assert HIDDEN.encode() not in told
        store.close()
        assert outside(place) == before

    ask()
    return count


@pytest.mark.parametrize("kind", STORES)
def test_nothing_outside_is_touched(place, kind, record_property):
    count = ask_all(place, kind, 8)
    record_property("cases", count)
    assert count > 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", STORES)
def test_nothing_outside_is_touched_by_many_names(place, kind, record_property):
    record_property("cases", ask_all(place, kind, 500))


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("name", ["", "b", "b/out", "b/empty", "b/value", "b/nothing"])
def test_what_a_link_leads_to_stays(tmp_path, kind, name):
    """A removal takes links away, and a new value takes their place."""
    (tmp_path / "victim/folder").mkdir(parents=True)
    (tmp_path / "victim" / HIDDEN).write_bytes(SECRET)
    before = seen(tmp_path / "victim")
    for change in ("delete_dir_sync", "delete_sync", "set_sync", "create_sync", "clear_sync"):
        store = FOLDERS[kind](tmp_path)
        store.set_sync("b/k", b"")
        for link, target in {"out": "", "empty": "folder", "value": HIDDEN, "nothing": "missing"}.items():
            path = tmp_path / "root/b" / link
            if not os.path.lexists(path):
                path.symlink_to(tmp_path / "victim" / target)
        arguments = {"set_sync": (name, b"mine"), "create_sync": (name, b"mine"), "clear_sync": ()}
        with suppress(StoreError):
            getattr(store, change)(*arguments.get(change, (name,)))
        assert seen(tmp_path / "victim") == before, change
    assert not any((tmp_path / "root").rglob("*"))
