"""Links to nothing, of git-annex or to unmounted disks: keys that can't be read, never missing ones."""

import asyncio
import errno
import os

import pytest

from zarrstore import RangeByteRequest, copy_store_sync
from zarrstore.errors import BackendError
from zarrstore.storage import LocalStore, MemoryStore

# Links by name, with what they lead to; "v" is a value, "d" a folder.
BROKEN = {
    "gone": "nowhere",
    "annexed": ".git/annex/objects/x/1",
    "again": "gone",
    "below-a-value": "v/x",
    "itself": "itself",
    "there": "back",
    "back": "there",
    "a/inner": "../nowhere",
}
# Keys that would be behind such links.
BEHIND = ["gone/c/0", "again/0", "itself/0", "there/x/y"]


@pytest.fixture(params=[{}, {"follow_symlinks": False}, {"mmap": True}], ids=str)
def store(request, tmp_path):
    store = LocalStore(tmp_path / "root", **request.param)
    for key in ("v", "a/v", "d/v"):
        store.set_sync(key, b"value")
    for name, target in BROKEN.items():
        (store.root / name).symlink_to(target)
    return store


async def _listed(listing):
    return [item async for item in listing]


def reads(store, key):
    part = RangeByteRequest(0, 1)
    return {
        "get": lambda: store.get_sync(key),
        "get, awaited": lambda: asyncio.run(store.get(key)),
        "part": lambda: store.get_sync(key, byte_range=part),
        "part, awaited": lambda: asyncio.run(store.get(key, byte_range=part)),
        "many": lambda: store.get_partial_values_sync(None, [(key, None), (key, part)]),
        "many, awaited": lambda: asyncio.run(store.get_partial_values(None, [(key, None), (key, part)])),
        "size": lambda: store.getsize_sync(key),
        "size, awaited": lambda: asyncio.run(store.getsize(key)),
        "exists": lambda: store.exists_sync(key),
        "exists, awaited": lambda: asyncio.run(store.exists(key)),
        "patch": lambda: store.set_partial_values_sync([(key, 0, b"x")]),
    }


@pytest.mark.parametrize("key", [*BROKEN, *BEHIND])
def test_every_read_of_a_broken_link_names_link_and_target(store, key):
    link = key if key in BROKEN else key.partition("/")[0]
    for name, read in reads(store, key).items():
        with pytest.raises(BackendError) as caught:
            read()
        assert repr(link) in str(caught.value), name
        assert repr(BROKEN[link]) in str(caught.value), name
        assert caught.value.key == key
        assert caught.value.hint
        assert not isinstance(caught.value, FileNotFoundError)


def test_ranges_of_a_broken_link(store):
    async def ranges():
        return [batch async for batch in store.get_ranges("gone", [RangeByteRequest(0, 1)])]

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(ranges())
    assert isinstance(caught.value.exceptions[0], BackendError)


def test_broken_links_are_listed(store):
    keys = sorted(["v", "a/v", "d/v", *BROKEN])
    assert sorted(store.list_sync()) == keys
    assert sorted(asyncio.run(_listed(store.list()))) == keys
    top = sorted({key.partition("/")[0] for key in keys})
    assert sorted(store.list_dir_sync("")) == top
    assert sorted(asyncio.run(_listed(store.list_dir("")))) == top
    assert sorted(store.list_prefix_sync("a")) == ["a/inner", "a/v"]
    store.delete_sync("a/v")
    assert not store.is_empty_sync("a")
    assert "a" in list(store.list_dir_sync(""))


def test_sizes_and_copies_of_what_holds_broken_links_fail(store):
    for call in (
        lambda: store.getsize_prefix_sync("a"),
        lambda: asyncio.run(store.getsize_prefix("a")),
        lambda: copy_store_sync(store, MemoryStore(), prefix="a"),
        lambda: copy_store_sync(store, MemoryStore(), prefix="a", dry_run=True),
    ):
        with pytest.raises(BackendError, match=r"a/inner.*nowhere"):
            call()
    assert store.getsize_prefix_sync("d") == 5


def test_a_broken_link_can_be_replaced_and_removed(store):
    assert not store.create_sync("gone", b"new")
    store.set_sync("gone", b"new")
    assert bytes(store.get_sync("gone")) == b"new"
    assert not (store.root / "nowhere").exists()
    store.delete_sync("itself")
    store.delete_dir_sync("there")
    assert not (store.root / "itself").is_symlink()
    store.clear_sync()
    assert list(store.list_sync()) == []
    assert list(store.root.iterdir()) == []


def test_what_was_never_there_is_missing_beside_broken_links(store):
    for key in ("nothing", "a/nothing", "d/deep/er/nothing", "v/below", "d"):
        assert store.get_sync(key) is None
        assert asyncio.run(store.get(key)) is None
        assert not store.exists_sync(key)
        assert not asyncio.run(store.exists(key))


def test_a_link_to_nothing_that_is_mended_is_read(store):
    store.set_sync("nowhere", b"back")
    assert bytes(store.get_sync("gone")) == bytes(store.get_sync("again")) == b"back"


def test_a_value_that_comes_while_a_link_is_looked_at_is_read(tmp_path, monkeypatch):
    """A writer replaces the link right after it couldn't be opened: that is no absence."""
    store = LocalStore(tmp_path / "root")
    store.set_sync("v", b"")
    (store.root / "k").symlink_to("nowhere")
    real = os.open
    waiting = [True]

    def opened(path, *args, **kwargs):
        try:
            return real(path, *args, **kwargs)
        except FileNotFoundError as error:
            if waiting and str(path).endswith("/k") and error.errno == errno.ENOENT:
                waiting.clear()
                store.set_sync("k", b"new")
            raise

    monkeypatch.setattr(os, "open", opened)
    assert bytes(store.get_sync("k")) == b"new"
    assert not waiting
