"""LoggingStore: what it counts, what it logs, what it costs."""

import asyncio
import inspect
import logging
import pickle
import sys

import pytest

from zarrstore.abc.store import Store
from zarrstore.storage import LocalStore, LoggingStore, MemoryStore, WrapperStore


@pytest.fixture
def records():
    """A handler that keeps the texts of what it is given."""
    return Keeping()


class Keeping(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def test_attributes(records):
    inner = MemoryStore()
    store = LoggingStore(inner, log_level="INFO", log_handler=records)
    assert store._store is inner
    assert store.counter == {}
    assert store.log_level == "INFO"
    assert store.log_handler is records
    assert str(store) == f"logging-{inner}"
    assert repr(store) == f"LoggingStore(MemoryStore, '{inner}')"
    with pytest.raises(ValueError, match="level"):
        LoggingStore(inner, log_level="LOUD")


def test_a_call_is_two_records(tmp_path, records):
    store = LoggingStore(LocalStore(tmp_path), log_handler=records)
    asyncio.run(store.set("a/k", b"v"))
    assert records.texts[0] == "Calling LocalStore.set(a/k)"
    assert records.texts[1].startswith("Finished LocalStore.set(a/k) [")
    assert len(records.texts) == 2
    assert str(tmp_path) in store.logger.name


def test_failures_are_told(records):
    store = LoggingStore(MemoryStore(), log_handler=records)
    with pytest.raises(FileNotFoundError):
        store.getsize_sync("missing")
    assert records.texts[1].startswith("Failed MemoryStore.getsize_sync(missing)")
    assert records.texts[1].endswith("KeyNotFoundError")


def test_every_public_method_is_counted_once(records):
    store = LoggingStore(MemoryStore(), log_handler=records)

    async def call_all():
        await store.set("a/k", b"12345")
        await store.set_if_not_exists("a/k", b"x")
        await store.create("a/l", b"1")
        await store.set_partial_values(iter([("a/k", 0, b"0")]))
        await store.get("a/k")
        await store.get_partial_values(None, iter([("a/k", None)]))
        _ = [batch async for batch in store.get_ranges("a/k", [None])]
        _, version = await store.get_versioned("a/k")
        version = await store.set_if_unchanged("a/k", b"123", version)
        await store.exists("a/k")
        await store.getsize("a/k")
        await store.getsize_prefix("a")
        await store.is_empty()
        for listing in (store.list(), store.list_prefix("a"), store.list_dir("a")):
            _ = [name async for name in listing]
        await store.delete_if_unchanged("a/k", version)
        await store.delete("a/k")
        await store.delete_dir("a")
        await store.clear()

    asyncio.run(call_all())
    store.tree()
    names = {name for name in store.counter if not name.endswith("_sync")}
    assert names == set(store.counter)
    assert set(store.counter.values()) == {1}
    assert names == {name for name in _public() if not name.endswith("_sync")}
    assert len(records.texts) == 2 * len(names)


def test_blocking_methods_count_under_their_own_names(records):
    store = LoggingStore(MemoryStore(), log_handler=records)
    store.set_sync("k", b"v")
    assert store.get_sync("k").to_bytes() == b"v"
    assert list(store.list_sync()) == ["k"]
    assert store.counter == {"set_sync": 1, "get_sync": 1, "list_sync": 1}


def _public():
    """The methods of a store that work on keys."""
    aside = {"open", "close", "with_read_only", "mapping", "sub"}
    return {
        name
        for name, method in inspect.getmembers(Store, inspect.isfunction)
        if not name.startswith("_") and name not in aside
    }


def test_no_public_method_goes_unwatched():
    for name in _public():
        assert getattr(LoggingStore, name) is not getattr(WrapperStore, name), name
        watched, plain = getattr(LoggingStore, name), getattr(Store, name)
        assert inspect.signature(watched) == inspect.signature(plain)
        assert inspect.iscoroutinefunction(watched) == inspect.iscoroutinefunction(plain)


def test_wrappers_around_it_are_counted(records):
    store = LoggingStore(MemoryStore(), log_handler=records)
    outer = WrapperStore(store)
    outer.set_sync("k", b"v")
    assert outer.get_sync("k").to_bytes() == b"v"
    _, version = outer.get_versioned_sync("k")
    assert outer.set_if_unchanged_sync("k", b"w", version)
    assert list(outer.list_sync()) == list(outer.list_dir_sync("")) == ["k"]
    assert store.counter == {"set": 2, "get": 1, "get_versioned": 1, "list_prefix": 1, "list_dir": 1}


def test_override_in_a_subclass_is_not_bypassed(records):
    class Doubling(LoggingStore):
        async def get(self, key, prototype=None, byte_range=None):
            self.counter["mine"] += 1
            return await super().get(key, prototype, byte_range)

    store = Doubling(MemoryStore(), log_handler=records)
    store.set_sync("k", b"v")
    assert store.get_sync("k").to_bytes() == b"v"
    assert WrapperStore(store).get_sync("k").to_bytes() == b"v"
    assert store.counter["mine"] == 2


def test_log_takes_the_callers_name(records):
    store = LoggingStore(MemoryStore(), log_handler=records)
    with store.log("hint"):
        pass
    assert store.counter["test_log_takes_the_callers_name"] == 1
    assert records.texts[0] == "Calling MemoryStore.test_log_takes_the_callers_name(hint)"


def test_open_takes_the_wrappers_keywords_out(tmp_path, records):
    store = asyncio.run(LoggingStore.open(LocalStore, tmp_path, log_level="INFO", log_handler=records))
    assert isinstance(store._store, LocalStore)
    assert store._is_open
    assert (store.log_level, store.log_handler) == ("INFO", records)


def test_open_of_a_wrapper(tmp_path):
    store = asyncio.run(WrapperStore.open(LocalStore, tmp_path, read_only=True))
    assert isinstance(store._store, LocalStore)
    assert store._store.root == tmp_path
    assert store.read_only
    assert store._is_open


def test_level_above_info_is_silent(records):
    store = LoggingStore(MemoryStore(), log_level="WARNING", log_handler=records)
    store.set_sync("k", b"v")
    assert records.texts == []
    assert store.counter == {"set_sync": 1}


def test_logging_disable_is_heeded(records):
    store = LoggingStore(MemoryStore(), log_handler=records)
    store.set_sync("k", b"v")
    logging.disable(logging.CRITICAL)
    try:
        store.get_sync("k")
    finally:
        logging.disable(logging.NOTSET)
    store.get_sync("k")
    assert len(records.texts) == 4


def test_root_handlers_see_the_records(caplog):
    store = LoggingStore(MemoryStore())
    asyncio.run(store.set("k", b"v"))
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert all(str(store._store) in record.name for record in caplog.records)


def test_prints_where_nobody_listens(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    store = LoggingStore(MemoryStore())
    store.set_sync("k", b"v")
    assert "Calling MemoryStore.set_sync(k)" in capsys.readouterr().out


def test_pickle_and_read_only_twins(records):
    store = LoggingStore(MemoryStore(), log_handler=records)
    store.set_sync("k", b"v")
    twin = store.with_read_only(True)
    assert twin.get_sync("k").to_bytes() == b"v"
    assert twin.read_only
    assert store.counter["get_sync"] == 1
    assert twin.log_handler is records
    revived = pickle.loads(pickle.dumps(store))
    assert revived == store
    assert revived.counter == store.counter
    assert revived.log_handler is None


def test_cheap_where_the_level_is_off():
    inner = MemoryStore()
    inner.set_sync("k", b"v")
    store = LoggingStore(inner, log_level="WARNING")
    store.logger.makeRecord = None  # no record is made, not even to be thrown away

    def calls_of_a_get(reader):
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event == "call"

        async def get():
            await reader.get("k")  # what is made once is made now
            sys.setprofile(count)
            try:
                await reader.get("k")
            finally:
                sys.setprofile(None)

        asyncio.run(get())
        return calls

    # Counted, since a clock depends on what else the machine does.
    assert calls_of_a_get(store) <= calls_of_a_get(inner) + 20
