"""Views of a store: a directory of it, a read-only twin; and how wrappers compare."""

import asyncio
import pickle

import pytest

from zarrstore._core.verbs import NAMES
from zarrstore.errors import InvalidKeyError, ReadOnlyError
from zarrstore.storage import (
    FsspecStore,
    LocalStore,
    LoggingStore,
    MemoryStore,
    SubStore,
    WrapperStore,
)


@pytest.fixture
def store():
    store = MemoryStore()
    for key in ("a/b/k", "a/b/c/l", "a/bb", "k", "a/k"):
        store.set_sync(key, key.encode())
    return store


def test_keys_are_relative(store):
    view = store.sub("a/b")
    assert isinstance(view, SubStore)
    assert sorted(view.list_sync()) == ["c/l", "k"]
    assert sorted(view.list_dir_sync("")) == ["c", "k"]
    assert view.get_sync("k").to_bytes() == b"a/b/k"
    assert view.getsize_prefix_sync("") == len("a/b/k") + len("a/b/c/l")
    view.set_sync("new", b"n")
    assert store.get_sync("a/b/new").to_bytes() == b"n"
    assert [v.to_bytes() for v in view.get_partial_values_sync(None, [("new", None)])] == [b"n"]


def test_nothing_outside_is_reached(store):
    view = store.sub("a/b")
    for key in ("../k", "/k", "..", ""):
        with pytest.raises(InvalidKeyError):
            view.get_sync(key)
    view.clear_sync()
    assert sorted(store.list_sync()) == ["a/bb", "a/k", "k"]
    assert view.is_empty_sync()


def test_no_verb_passes_by():
    """Each verb of the view is its own, so that none reaches the store below with a bare key."""
    for name in NAMES:
        assert f"_{name}" in vars(SubStore), name


def test_views_of_views_collapse(store):
    view = store.sub("a").sub("b/").sub("c")
    assert view._store is store
    assert view.path == "a/b/c"
    assert view == store.sub("a/b/c")
    assert view != store.sub("a/b")
    assert hash(view) == hash(store.sub("a/b/c"))
    assert list(view.list_sync()) == ["l"]
    assert sorted(store.sub("").list_sync()) == sorted(store.list_sync())


def test_paths_are_checked(store):
    for path in ("..", "a/../b", "/a", "a//b", 3):
        with pytest.raises(InvalidKeyError):
            store.sub(path)


def test_text_and_pickle(store, tmp_path):
    view = LocalStore(tmp_path).sub("a/b")
    assert str(view) == f"file://{tmp_path}/a/b"
    view.set_sync("k", b"v")
    revived = pickle.loads(pickle.dumps(view))
    assert revived == view
    assert revived.get_sync("k").to_bytes() == b"v"


def test_read_only_views(store):
    for view in (store.with_read_only(True).sub("a"), store.sub("a").with_read_only(True)):
        assert view.read_only
        assert view.get_sync("k").to_bytes() == b"a/k"
        for call in (view.clear_sync, lambda view=view: view.set_sync("k", b"x")):
            with pytest.raises(ReadOnlyError):
                call()
    assert store.get_sync("a/k").to_bytes() == b"a/k"


def test_read_only_twin_inside_a_wrapper_stays_read_only(store):
    outer = WrapperStore(store.with_read_only(True))
    with pytest.raises(ReadOnlyError):
        outer.set_sync("k", b"x")
    with pytest.raises(ReadOnlyError):
        asyncio.run(outer._own_async_verbs.write("k", (b"x",), None))


def test_views_of_a_logging_store_are_counted(store):
    logging_store = LoggingStore(store, log_level="WARNING")
    view = logging_store.sub("a")
    assert view.get_sync("k").to_bytes() == b"a/k"
    assert logging_store.counter == {"get": 1}


def test_views_of_stores_that_await(tmp_path):
    view = FsspecStore.from_url(f"memory://{tmp_path}").sub("a")
    view.set_sync("k", b"v")
    assert list(view.list_sync()) == ["k"]
    assert asyncio.run(view.get("k")).to_bytes() == b"v"


def test_versions_pass_through(store):
    view = store.sub("a")
    value, version = view.get_versioned_sync("k")
    assert value.to_bytes() == b"a/k"
    assert view.set_if_unchanged_sync("k", b"new", version)
    assert view.set_if_unchanged_sync("k", b"newer", version) is None


def test_wrappers_compare_what_they_wrap():
    """Two servers may have buckets of one name: their stores differ, so wrappers around them must too."""
    from bucket_fs import BucketFileSystem

    def make(secret):
        return FsspecStore(BucketFileSystem(asynchronous=True, secret=secret), path="b")

    for wrap in (WrapperStore, lambda store: store.sub("a")):
        assert wrap(make("1")) == wrap(make("1"))
        assert wrap(make("1")) != wrap(make("2"))
        assert wrap(make("1")).__dask_tokenize__() != wrap(make("2")).__dask_tokenize__()
