"""Archives that aren't files at a path: open files that forks share, values of stores that are replaced."""

import asyncio
import gzip
import io
import os
import tempfile
import threading
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

from zarrstore import RangeByteRequest
from zarrstore._core.verbs import ANY
from zarrstore.errors import ChangedError, ForkError
from zarrstore.storage import LocalStore, MemoryStore, StorePath, WrapperStore, ZipStore

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
VALUES = {f"k/{number}": bytes([number]) * (1000 + number) for number in range(50)}
PART = RangeByteRequest(10, 20)


def packed(values):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for key, value in values.items():
            archive.writestr(key, value)
    return memory.getvalue()


# -- open files -----------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(packed(VALUES))
    return path


@contextmanager
def temporary(path):
    with tempfile.NamedTemporaryFile() as file:
        file.write(path.read_bytes())
        yield file


FILES = {
    "buffered": lambda path: path.open("rb"),
    "unbuffered": lambda path: path.open("rb", buffering=0),
    "for writing": lambda path: path.open("r+b"),
    "temporary": temporary,
    "memory": lambda path: io.BytesIO(path.read_bytes()),
}


def in_child(call):
    """Make a call in a forked child; whether it ended well."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    return child


def ended_well(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def check(store, times=1):
    for _ in range(times):
        for key, value in VALUES.items():
            assert store.get_sync(key).to_bytes() == value
            assert store.get_sync(key, byte_range=PART).to_bytes() == value[10:20]


@needs_fork
@pytest.mark.parametrize("how", FILES)
@pytest.mark.parametrize("opened", [True, False])
def test_forked_children_share_an_open_file(path, how, opened):
    """Each read has its own position: at once, in two children and their parent."""
    with FILES[how](path) as file:
        store = ZipStore(file)
        if opened:
            check(store)
        children = [in_child(lambda: check(store, 20)) for _ in range(2)]
        check(store, 20)
        assert all(map(ended_well, children))


@needs_fork
@pytest.mark.parametrize("how", ["buffered", "unbuffered"])
def test_a_fork_while_another_thread_reads(path, how):
    with FILES[how](path) as file:
        store = ZipStore(file)
        check(store)
        stop = threading.Event()

        def read():
            while not stop.is_set():
                store.get_sync("k/1")

        thread = threading.Thread(target=read)
        thread.start()
        try:
            for _ in range(7):
                assert ended_well(in_child(lambda: check(store)))
        finally:
            stop.set()
            thread.join()


@needs_fork
def test_a_file_without_a_descriptor_of_its_bytes_is_refused_in_a_child(path, tmp_path):
    """What `fileno` of a gzip file reads isn't what the file reads."""
    with gzip.open(tmp_path / "a.zip.gz", "wb") as file:
        file.write(path.read_bytes())

    def refused():
        with pytest.raises(ForkError, match=r"path") as caught:
            store.get_sync("k/1")
        assert "GzipFile" in str(caught.value)

    with gzip.open(tmp_path / "a.zip.gz") as file:
        store = ZipStore(file)
        check(store)
        assert ended_well(in_child(refused))
        check(store)
        new = ZipStore(file)
        assert ended_well(in_child(lambda: check(new)))  # nobody else reads it by then


def test_the_callers_file_keeps_its_position(path):
    with open(path, "rb") as file:
        file.seek(7)
        check(ZipStore(file))
        assert file.tell() == 7
        asyncio.run(ZipStore(file).get("k/1"))


# -- values of stores that are replaced -----------------------------------------------------------


class Passing(WrapperStore):
    async def _read(self, below, key, request, allocate):
        return await below.read(key, request, allocate)


def obstore_memory(tmp_path):
    obstore = pytest.importorskip("obstore.store")
    from zarrstore.storage import ObjectStore

    return ObjectStore(obstore.MemoryStore())


OUTER = {
    "memory": lambda tmp_path: MemoryStore(),
    "local": LocalStore,
    "wrapper": lambda tmp_path: Passing(LocalStore(tmp_path)),
    "obstore": obstore_memory,
}
FIRST = {"a": b"a" * 400_000, "b": b"b" * 400_000, "c": b"c" * 100}
# Of the same size, and so at the same places.
SWAPPED = {"b": b"B" * 400_000, "a": b"A" * 400_000, "c": b"C" * 100}
LONGER = {"new": b"n" * 1000, **SWAPPED}


@pytest.mark.parametrize("kind", OUTER)
@pytest.mark.parametrize("second", [SWAPPED, LONGER])
@pytest.mark.parametrize("known", [True, False])
def test_an_archive_that_is_replaced_is_opened_anew(tmp_path, kind, second, known):
    reads = {
        "whole": lambda store, key: [store.get_sync(key)],
        "part": lambda store, key: [store.get_sync(key, byte_range=PART)],
        "awaited": lambda store, key: [asyncio.run(store.get(key, byte_range=PART))],
        "many": lambda store, key: store.get_partial_values_sync(
            None, [(key, PART), (key, None), ("c", None)]
        ),
    }
    wanted = {
        "whole": lambda key: [second[key]],
        "part": lambda key: [second[key][10:20]],
        "awaited": lambda key: [second[key][10:20]],
        "many": lambda key: [second[key][10:20], second[key], second["c"]],
    }
    for name, read in reads.items():
        outer = OUTER[kind](tmp_path / name)
        outer.set_sync("x.zip", packed(FIRST))
        store = ZipStore(StorePath(outer, "x.zip"))
        assert store.exists_sync("a")
        if known:
            assert [store.get_sync(key).to_bytes() for key in FIRST] == list(FIRST.values())
        outer.set_sync("x.zip", packed(second))
        for key in ("a", "b"):
            assert [value.to_bytes() for value in read(store, key)] == wanted[name](key), name
        assert sorted(store.list_sync()) == sorted(second)


def test_a_key_that_the_new_archive_lacks_is_missing():
    outer = MemoryStore({"x.zip": packed(FIRST)})
    store = ZipStore(StorePath(outer, "x.zip"))
    assert store.exists_sync("a")
    outer.set_sync("x.zip", packed({"b": b"B" * 400_000, "d": b"d" * 400_000}))
    assert store.get_sync("a", byte_range=PART) is None


class Restless(WrapperStore):
    """Replaces the archive after each read."""

    async def _read(self, below, key, request, allocate):
        value = await below.read(key, request, allocate)
        await below.write(key, [packed(FIRST)], ANY)
        return value


def test_one_that_is_replaced_again_and_again_is_an_error(tmp_path):
    outer = LocalStore(tmp_path)
    outer.set_sync("x.zip", packed(FIRST))
    with pytest.raises(ChangedError, match=r"replaced.*x\.zip"):
        ZipStore(StorePath(Restless(outer), "x.zip")).get_sync("a", byte_range=PART)


def test_one_that_is_gone_says_so():
    outer = MemoryStore({"x.zip": np.frombuffer(packed(FIRST), np.uint8).tobytes()})
    store = ZipStore(StorePath(outer, "x.zip"))
    assert store.exists_sync("a")
    outer.delete_sync("x.zip")
    with pytest.raises(FileNotFoundError, match=r"x\.zip"):
        store.get_sync("a")
