"""Store paths: text forms, modes, and what they refuse."""

import asyncio
import re

import pytest

from zarrstore import RangeByteRequest
from zarrstore.abc.store import ByteSetter, SupportsSyncStore, SyncByteSetter, set_or_delete
from zarrstore.errors import InvalidKeyError, KeyConflictError, ReadOnlyError, UnsupportedOperationError
from zarrstore.storage import LocalStore, MemoryStore, StorePath


def run(coroutine):
    return asyncio.run(coroutine)


@pytest.fixture
def store():
    store = MemoryStore()
    for key in ("a/b/x", "a/b/y", "a/bc", "z"):
        store.set_sync(key, key.encode())
    return store


def test_text_forms_and_joining(tmp_path):
    path = StorePath(LocalStore(tmp_path), "/a//b/")
    assert path.path == "a/b"
    assert str(path) == f"file://{tmp_path}/a/b"
    assert str(StorePath(LocalStore(tmp_path))) == f"file://{tmp_path}"
    assert repr(path) == f"StorePath(LocalStore, 'file://{tmp_path}/a/b')"
    assert (path / "c/d").path == "a/b/c/d"
    assert (StorePath(path.store) / "a" / "b") == path
    assert hash(StorePath(path.store, "a/b")) == hash(path)
    assert path != StorePath(path.store, "a")
    assert path != "text"
    for bad in ("a/../b", ".", "a\0"):
        with pytest.raises(InvalidKeyError):
            StorePath(path.store, bad)


def test_everyday_use(store):
    path = StorePath(store, "a/b/x")
    assert bytes(run(path.get())) == b"a/b/x"
    run(path.set(b"new"))
    assert bytes(path.get_sync()) == b"new"
    run(path.set_if_not_exists(b"newer"))
    assert bytes(path.get_sync()) == b"new"
    assert run(path.exists())
    run(path.delete())
    assert not run(path.exists())
    assert run(path.get()) is None
    path.set_sync(b"again")
    path.delete_sync()
    assert path.get_sync() is None
    assert not run(StorePath(store, "a").exists())
    assert not run(StorePath(store, "").exists())
    assert not run(StorePath(store, "a/b").is_empty())
    run(StorePath(store, "a/b").delete_dir())
    assert run(StorePath(store, "a/b").is_empty())
    assert sorted(store.list_sync()) == ["a/bc", "z"]


def test_a_range_is_not_written(store):
    path = StorePath(store, "z")
    with pytest.raises(NotImplementedError, match="set_partial_values"):
        run(path.set(b"1", byte_range=(0, 1)))
    assert bytes(path.get_sync()) == b"z"


def test_delete_where_the_store_cannot(store):
    class Keeping(MemoryStore):
        supports_deletes = False

    path = StorePath(Keeping(), "z")
    run(path.delete())  # there is nothing to be deleted
    path.delete_sync()
    path.set_sync(b"1")
    for delete in (lambda: run(path.delete()), path.delete_sync):
        with pytest.raises(UnsupportedOperationError, match="can't delete"):
            delete()
    assert path.get_sync().to_bytes() == b"1"


@pytest.mark.parametrize("mode", ["a", "r+", None])
def test_these_modes_do_nothing(store, mode):
    path = run(StorePath.open(store, "a/b", mode))
    assert path.store is store
    assert len(list(store.list_sync())) == 4


def test_mode_r_is_read_only(store):
    path = run(StorePath.open(store, "a/b", "r"))
    assert path.read_only
    assert not store.read_only
    assert path.store._is_open
    with pytest.raises(ReadOnlyError):
        run((path / "x").set(b"1"))
    reader = store.with_read_only(True)
    assert run(StorePath.open(reader, "a", "r")).store is reader


def test_mode_w_removes_what_lies_below_and_nothing_else(store):
    run(StorePath.open(store, "a/b", "w"))
    assert sorted(store.list_sync()) == ["a/bc", "z"]


def test_mode_w_minus_only_creates(store):
    with pytest.raises(FileExistsError, match="only creates"):
        run(StorePath.open(store, "a/b", "w-"))
    with pytest.raises(KeyConflictError):
        run(StorePath.open(store, "", "w-"))
    assert run(StorePath.open(store, "a/new", "w-")).path == "a/new"
    assert len(list(store.list_sync())) == 4


@pytest.mark.parametrize("mode", ["w", "w-", "a", "r+"])
def test_modes_that_write_need_a_store_that_may(store, mode):
    with pytest.raises(ReadOnlyError, match=re.escape(f"mode {mode!r}")):
        run(StorePath.open(store.with_read_only(True), "a", mode))
    assert len(list(store.list_sync())) == 4


def test_other_modes_are_refused(store):
    with pytest.raises(ValueError, match="mode is one of"):
        run(StorePath.open(store, "a", "x"))


def test_json_documents(store):
    path = StorePath(store, "a/zarr.json")
    assert run(path.get_json()) is path.get_json_sync() is None
    path.set_sync(b'{"node_type": "group", "attributes": {"a": [1, 2.5, null]}}')
    found = {"node_type": "group", "attributes": {"a": [1, 2.5, None]}}
    assert run(path.get_json()) == path.get_json_sync() == found
    assert path.get_json_sync(byte_range=RangeByteRequest(14, 21)) == "group"
    with pytest.raises(ValueError, match="Expecting value"):
        run(StorePath(store, "z").get_json())


def test_a_value_is_set_or_deleted(store):
    path = StorePath(store, "z")
    assert isinstance(path, ByteSetter)
    assert isinstance(path, SyncByteSetter)
    assert isinstance(store, SupportsSyncStore)
    run(set_or_delete(path, b"1"))
    assert path.get_sync().to_bytes() == b"1"
    run(set_or_delete(path, None))
    run(set_or_delete(path, None))
    assert path.get_sync() is None
