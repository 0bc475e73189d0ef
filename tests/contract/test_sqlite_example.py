"""The example of a store in SQLite: the contract, threads, processes, pickling and read-only views."""

import asyncio
import multiprocessing
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlite_store
import zarr
from hypothesis import settings
from sqlite_store import SQLiteStore, main

from zarrstore import errors
from zarrstore.testing import StoreContract, run_machine


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for the disk: no test here cuts the power."""
    connect = SQLiteStore._connect

    def connected(self: SQLiteStore) -> sqlite3.Connection:
        connection = connect(self)
        with suppress(sqlite3.DatabaseError):  # no database: the call that follows says so, with the hint
            connection.execute("PRAGMA synchronous=OFF")
        return connection

    monkeypatch.setattr(SQLiteStore, "_connect", connected)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(tmp_path / "chunks.sqlite") as opened:
        yield opened


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> SQLiteStore:
        return SQLiteStore(tmp_path / "chunks.sqlite")


def test_any_sequence_of_changes(tmp_path: Path) -> None:
    numbers = iter(range(10**6))
    run_machine(
        lambda: SQLiteStore(tmp_path / f"{next(numbers)}.sqlite"),
        settings=settings(max_examples=10, deadline=None, derandomize=True, database=None),
    )


def test_threads_write_and_read(store: SQLiteStore) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            store.set_sync(f"t{number}/{turn}", bytes([number]) * 5000)
            value = store.get_sync(f"t{number}/{turn}")
            assert value is not None
            assert value.to_bytes() == bytes([number]) * 5000

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(list(store.list_sync())) == 80


def test_one_of_many_threads_creates(store: SQLiteStore) -> None:
    start = threading.Barrier(8)

    def create(number: int) -> bool:
        start.wait()
        return store.create_sync("k", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1


def test_awaited_calls_at_once(store: SQLiteStore) -> None:
    async def work() -> None:
        await asyncio.gather(*(store.set(f"a/{number}", b"value") for number in range(50)))
        assert len([key async for key in store.list_prefix("a")]) == 50

    asyncio.run(work())


def test_counting_by_versions_loses_nothing(store: SQLiteStore) -> None:
    store.set_sync("counter", b"0")

    def count(turns: int) -> None:
        while turns:
            read = store.get_versioned_sync("counter")
            assert read is not None
            more = b"%d" % (int(read[0].to_bytes()) + 1)
            if store.set_if_unchanged_sync("counter", more, read[1]) is not None:
                turns -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, [5] * 4))
    counted = store.get_sync("counter")
    assert counted is not None
    assert counted.to_bytes() == b"20"


def test_a_version_is_never_used_again(store: SQLiteStore) -> None:
    store.set_sync("k", b"old")
    read = store.get_versioned_sync("k")
    assert read is not None
    store.clear_sync()
    store.set_sync("k", b"new")
    assert store.set_if_unchanged_sync("k", b"late", read[1]) is None
    assert store.delete_if_unchanged_sync("k", read[1]) is False
    assert store.exists_sync("k")


def test_pickle_into_a_subprocess(store: SQLiteStore) -> None:
    store.set_sync("k", b"from the parent")
    code = (
        "import pickle, sys; store = pickle.load(sys.stdin.buffer)\n"
        "assert store.get_sync('k').to_bytes() == b'from the parent'\n"
        "store.set_sync('child', b'from the child')"
    )
    examples = Path(sqlite_store.__file__).parent
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(store), check=True, cwd=examples)
    value = store.get_sync("child")
    assert value is not None
    assert value.to_bytes() == b"from the child"


def create(store: SQLiteStore, number: int, start: Any, answers: Any) -> None:
    start.wait()
    answers.put([store.create_sync(f"k/{turn}", b"%d" % number) for turn in range(20)])


# Python warns of a fork beside threads, which is what this is about.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_two_processes_create_one_key(store: SQLiteStore, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    if method == "fork":
        store.set_sync("open", b"a connection")
    start, answers = context.Barrier(2), context.Queue()
    workers = [context.Process(target=create, args=(store, number, start, answers)) for number in range(2)]
    for worker in workers:
        worker.start()
    first, second = answers.get(timeout=60), answers.get(timeout=60)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_read_only(store: SQLiteStore) -> None:
    reader = store.with_read_only(True)
    assert list(reader.list_sync()) == []
    assert not store.path.exists()
    store.set_sync("k", b"value")
    value = reader.get_sync("k")
    assert value is not None
    assert value.to_bytes() == b"value"
    with pytest.raises(errors.ReadOnlyError):
        reader.set_sync("k", b"")
    with pytest.raises(errors.ReadOnlyError):
        reader.delete_sync("k")
    with pytest.raises(errors.ReadOnlyError):
        reader.clear_sync()
    reader.close()
    SQLiteStore(store.path, read_only=True).close()


def test_view_of_a_directory(store: SQLiteStore) -> None:
    store.set_sync("a/b/c", b"1")
    store.set_sync("a0", b"beside")
    store.set_sync("a-", b"beside")
    view = store.sub("a")
    assert list(view.list_sync()) == ["b/c"]
    assert list(view.list_dir_sync("")) == ["b"]
    view.clear_sync()
    assert view.is_empty_sync()
    assert sorted(store.list_sync()) == ["a-", "a0"]


def test_after_close(store: SQLiteStore) -> None:
    store.set_sync("k", b"value")
    store.close()
    store.close()
    value = store.get_sync("k")
    assert value is not None
    assert value.to_bytes() == b"value"


def test_large_listings(store: SQLiteStore) -> None:
    keys = {f"d{number % 3}/{number}" for number in range(2500)} | {"d0-x", "d00", "d1", "top"}
    for key in keys:
        store.set_sync(key, b"")
    assert sorted(store.list_sync()) == sorted(keys)
    assert sorted(store.list_dir_sync("")) == sorted({"d0", "d1", "d2", "d0-x", "d00", "top"})
    assert len(list(store.list_dir_sync("d1"))) == 833


def busy(store: SQLiteStore, number: int, start: Any, answers: Any) -> None:
    start.wait()
    for turn in range(60):
        store.set_sync("shared", bytes([number]) * 20_000)
        value = store.get_sync("shared")
        assert value is None or (len(set(value.to_bytes())) == 1 and len(value) == 20_000)
        store.set_sync(f"own/{number}/{turn}", b"")
        assert sum(1 for key in store.list_prefix_sync(f"own/{number}")) == turn + 1
        if turn % 7 == number:
            store.delete_sync("shared")
    answers.put(number)


def test_four_busy_processes(store: SQLiteStore) -> None:
    context: Any = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(4), context.Queue()
    workers = [context.Process(target=busy, args=(store, number, start, answers)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(list(store.list_prefix_sync("own"))) == 240


def test_an_array_of_zarr(store: SQLiteStore) -> None:
    zarr.create_array(store, name="a", shape=(20,), chunks=(5,), dtype="i4")[:] = range(20)
    assert zarr.open_array(store.with_read_only(True), path="a", mode="r")[7] == 7


def test_no_database(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no database at all" * 100)
    for wrong in (tmp_path / "text", tmp_path):
        with pytest.raises(errors.BackendError) as caught:
            SQLiteStore(wrong).get_sync("k")
        assert "Is it an SQLite database" in str(caught.value)


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert capsys.readouterr().out.endswith("all is well\n")
