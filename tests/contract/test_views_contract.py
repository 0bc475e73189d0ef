"""Zip stores, and views of every kind of store, answer the questions of the contract.

Views are asked through one face where the store below was asked through both, and of questions that come
in dozens (each wrong key in each method) every eighth: those are answered before a store is reached.
"""

import logging
from collections import Counter

import numpy_cupy
import pytest
from bucket_fs import BUCKETS, BucketFileSystem

from zarrstore import RangeByteRequest, make_store_sync
from zarrstore.errors import ReadOnlyError
from zarrstore.storage import (
    FsspecStore,
    GpuMemoryStore,
    LocalStore,
    LoggingStore,
    ManagedMemoryStore,
    MemoryStore,
    StorePath,
    WrapperStore,
    ZipStore,
)
from zarrstore.testing import QUESTIONS, StoreContract

_KINDS = Counter(question.name.partition("[")[0] for question in QUESTIONS)
FEWER = tuple(
    question
    for number, question in enumerate(QUESTIONS)
    if number % 8 == 0 or _KINDS[question.name.partition("[")[0]] <= 12
)


class TestZip(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with ZipStore(tmp_path / "a.zip", mode="w", deletes=True) as store:
            yield store


class TestManagedMemory(StoreContract):
    faces = ("await",)
    questions = FEWER

    @pytest.fixture
    def store(self):
        return ManagedMemoryStore(path="a")


class _Views(StoreContract):
    """A view of a directory, beside which lies a value that must stay."""

    faces = ("await",)
    questions = FEWER

    @pytest.fixture
    def outer(self):
        raise NotImplementedError

    @pytest.fixture
    def store(self, outer):
        outer.set_sync("a/bb", b"beside")
        yield outer.sub("a/b")
        assert outer.get_sync("a/bb").to_bytes() == b"beside"
        outer.close()


class TestSubOfLocal(_Views):
    @pytest.fixture
    def outer(self, tmp_path):
        return LocalStore(tmp_path / "root")


class TestSubOfZip(_Views):
    faces = ("await", "block")

    @pytest.fixture
    def outer(self, tmp_path):
        return ZipStore(tmp_path / "a.zip", mode="w", deletes=True)


class TestSubOfFsspecLocal(_Views):
    @pytest.fixture
    def outer(self, tmp_path):
        return FsspecStore.from_url(f"file://{tmp_path}/root")


class TestSubOfFsspecMemory(_Views):
    @pytest.fixture
    def outer(self, tmp_path):
        return FsspecStore.from_url(f"memory://{tmp_path}/root")


class TestLoggingLocal(StoreContract):
    """With its records made, not only counted."""

    faces = ("await",)
    questions = FEWER

    @pytest.fixture
    def store(self, tmp_path):
        return LoggingStore(LocalStore(tmp_path / "root"), "DEBUG", logging.NullHandler())


class TestLoggingZip(StoreContract):
    faces = ("block",)
    questions = FEWER

    @pytest.fixture
    def store(self, tmp_path):
        with LoggingStore(ZipStore(tmp_path / "a.zip", mode="w", deletes=True), "WARNING") as store:
            yield store


# -- read-only views ------------------------------------------------------------------------------

KINDS = {
    "fsspec-buckets": lambda place: FsspecStore(BucketFileSystem(asynchronous=True), path="b/root"),
    "fsspec-local": lambda place: FsspecStore.from_url(f"file://{place}/root"),
    "fsspec-memory": lambda place: FsspecStore.from_url(f"memory://{place}/root"),
    "gpu": lambda place: GpuMemoryStore(),
    "local": lambda place: LocalStore(place / "root"),
    "logging": lambda place: LoggingStore(MemoryStore(), log_handler=logging.NullHandler()),
    "memory": lambda place: MemoryStore(),
    "memory-dict": lambda place: MemoryStore({}),
    "sub": lambda place: MemoryStore().sub("a"),
    "wrapper": lambda place: WrapperStore(LocalStore(place / "root")),
    "zip": lambda place: ZipStore(place / "a.zip", mode="w", deletes=True),
}
VALUES = {"a/b": b"0123456789", "a/c/d": b"", "e": b"1" * 5000}

MUTATIONS = {
    "clear": lambda store: store.clear_sync(),
    "create": lambda store: store.create_sync("new", b"1"),
    "create of what is there": lambda store: store.create_sync("a/b", b"1"),
    "delete": lambda store: store.delete_sync("a/b"),
    "delete of nothing": lambda store: store.delete_sync("nothing"),
    "delete_dir": lambda store: store.delete_dir_sync("a"),
    "delete_if_unchanged": lambda store: store.delete_if_unchanged_sync("a/b", "1"),
    "set": lambda store: store.set_sync("new", b"1"),
    "set_if_not_exists": lambda store: store.set_if_not_exists_sync("new", b"1"),
    "set_if_unchanged": lambda store: store.set_if_unchanged_sync("a/b", b"1", "1"),
    "set_partial_values": lambda store: store.set_partial_values_sync([("a/b", 0, b"x")]),
    "path.set": lambda store: StorePath(store, "a/b").set_sync(b"x"),
    "mapping": lambda store: store.mapping().update({"new": b"1"}),
    "sub": lambda store: store.sub("a").set_sync("b", b"1"),
    "sub of sub": lambda store: store.sub("a").sub("c").delete_sync("d"),
    "wrapper": lambda store: WrapperStore(store).set_sync("a/b", b"1"),
    "logging": lambda store: LoggingStore(store, "WARNING").delete_dir_sync(""),
}


def answers(store):
    """All that a reader can ask, as plain values."""
    part = RangeByteRequest(2, 5)
    return {
        "list": sorted(store.list_sync()),
        "prefix": sorted(store.list_prefix_sync("a")),
        "dir": sorted(store.list_dir_sync("")),
        "values": {key: bytes(store.get_sync(key).to_bytes()) for key in VALUES},
        "missing": store.get_sync("nothing"),
        "part": bytes(store.get_sync("a/b", byte_range=part).to_bytes()),
        "parts": [
            bytes(value.to_bytes()) for value in store.get_partial_values_sync(None, [("a/b", part)] * 3)
        ],
        "exists": [store.exists_sync(key) for key in ("a/b", "a", "nothing")],
        "sizes": [store.getsize_sync("e"), store.getsize_prefix_sync("a"), store.getsize_prefix_sync("")],
        "empty": [store.is_empty_sync(prefix) for prefix in ("", "a/c", "b")],
        "capabilities": store.capabilities,
        "mapping": dict(store.mapping()),
        "sub": sorted(store.sub("a").list_sync()),
        "said": (store.supports_listing, store.supports_partial_writes, str(store)),
    }


@pytest.fixture(params=KINDS)
def filled(request, tmp_path, monkeypatch):
    if request.param == "gpu":
        numpy_cupy.install(monkeypatch)
    BUCKETS["b"] = {}
    with KINDS[request.param](tmp_path) as store:
        for key, value in VALUES.items():
            store.set_sync(key, value)
        yield store
    BUCKETS.clear()


def test_read_only_view_answers_as_the_original(filled):
    view = filled.with_read_only(True)
    assert view.read_only
    assert not filled.read_only
    assert answers(view) == answers(filled)
    assert view == filled.with_read_only(True)
    assert view != filled
    assert answers(view.with_read_only(False)) == answers(filled)


def test_read_only_view_sees_what_is_written_later(filled):
    view = filled.with_read_only(True)
    filled.set_sync("a/b", b"changed")
    filled.set_sync("later", b"")
    assert view.get_sync("a/b").to_bytes() == b"changed"
    assert view.exists_sync("later")


async def test_read_only_view_refuses_every_mutation(filled):
    before = answers(filled)
    # One that was opened as a path in mode "r" is such a view too.
    opened = (await StorePath.open(filled, "", "r")).store
    for view in (filled.with_read_only(True), opened, make_store_sync(filled, mode="r")):
        for name, mutate in MUTATIONS.items():
            try:
                mutate(view)
            except ReadOnlyError:
                continue
            except NotImplementedError:  # the store has no versions, or no partial writes
                assert name.endswith(("_if_unchanged", "_partial_values")), name
                continue
            pytest.fail(f"{name} was allowed")
    assert answers(filled) == before


async def test_read_only_view_refuses_every_mutation_awaited(filled):
    view = filled.with_read_only(True)
    for call in (
        view.clear(),
        view.create("new", b"1"),
        view.delete("a/b"),
        view.delete_dir("a"),
        view.set("new", b"1"),
        view.set_if_not_exists("new", b"1"),
        view.set_partial_values([("a/b", 0, b"x")]),
        view.sub("a").set("b", b"1"),
    ):
        with pytest.raises(ReadOnlyError):
            await call
    assert sorted(filled.list_sync()) == sorted(VALUES)
