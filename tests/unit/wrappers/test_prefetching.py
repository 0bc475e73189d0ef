"""Documents that are read ahead: how many rounds of requests that takes, and how old an answer may be."""

import asyncio
import json
import pickle
import threading

import pytest

from zarrstore import MemoryStore, PrefetchStore, RangeByteRequest, WrapperStore
from zarrstore.abc.store import Store
from zarrstore.storage._wrappers import prefetching

GROUP = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}).encode()


class Rounds(Store):
    """Answers requests in rounds, all that are waiting at once: as a distant server does, by time."""

    supports_writes = supports_deletes = False

    def __init__(self, values):
        super().__init__(read_only=True)
        self.inner = MemoryStore(values)
        self.rounds = self.requests = self.most = 0
        self._waiting = []

    @property
    def _location(self):
        return "rounds://"

    async def _answered(self):
        self.requests += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if len(self._waiting) == 1:
            self._answering = asyncio.ensure_future(self._answer())
        await future

    async def _answer(self):
        count = 0
        while count < len(self._waiting):  # until nothing more is asked before the first answer
            count = len(self._waiting)
            for _ in range(20):
                await asyncio.sleep(0)
        waiting, self._waiting = self._waiting, []
        self.rounds += 1
        self.most = max(self.most, len(waiting))
        for future in waiting:
            future.set_result(None)

    async def _read(self, key, request, allocate):
        await self._answered()
        return self.inner._read(key, request, allocate)

    async def _write(self, key, pieces, condition):
        raise NotImplementedError

    async def _remove(self, key, condition):
        raise NotImplementedError

    async def _scan(self, prefix, deep, sizes):
        await self._answered()
        for page in self.inner._scan(prefix, deep, sizes):
            yield page


def thousand(zarr, version):
    store = zarr.storage.MemoryStore()
    root = zarr.create_group(store, zarr_format=version)
    for group in range(10):
        inside = root.create_group(f"g{group}")
        for number in range(99):
            inside.create_array(f"a{number}", shape=(4,), chunks=(2,), dtype="i4")
    root["g0/a0"][...] = 1
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


@pytest.mark.parametrize(("version", "rounds", "requests"), [(3, 6, 1100), (2, 7, 3100)])
def test_a_thousand_nodes_in_a_few_rounds(version, rounds, requests):
    zarr = pytest.importorskip("zarr")
    store = Rounds(thousand(zarr, version))

    async def opened():
        ahead = PrefetchStore(store)
        root = await zarr.api.asynchronous.open_group(ahead, mode="r", zarr_format=version)
        after = store.rounds, store.requests
        keys = [key for key in store.inner.list_sync() if key.rpartition("/")[2] in prefetching.NAMES]
        await asyncio.gather(*(ahead.get(key) for key in keys))
        for name in ("g3", "g3/a1", "g9/a98"):
            await root.getitem(name)
        assert (store.rounds, store.requests) == after
        return after

    found = asyncio.run(opened())
    assert found[0] <= rounds
    assert found[1] <= requests


class Counting(WrapperStore):
    """Counts what is read."""

    def __init__(self, store):
        super().__init__(store)
        self.read = []
        self.meanwhile = None

    async def _read(self, below, key, request, allocate):
        self.read.append(key)
        found = await below.read(key, request, allocate)
        if self.meanwhile is not None and key == "a/zarr.json":
            call, self.meanwhile = self.meanwhile, None
            call()
        return found


@pytest.fixture
def counting():
    values = {"zarr.json": GROUP, "a/zarr.json": GROUP, "a/b/zarr.json": GROUP, "a/b/c/0": b"x"}
    return Counting(MemoryStore(values))


def test_documents_and_their_absence_are_answered_from_memory(counting):
    ahead = PrefetchStore(counting)
    assert ahead.get_sync("zarr.json").to_bytes() == GROUP
    counting.read.clear()
    for key in ("a/zarr.json", "a/b/zarr.json"):
        assert ahead.get_sync(key).to_bytes() == GROUP
        assert ahead.get_sync(key, byte_range=RangeByteRequest(2, 6)).to_bytes() == GROUP[2:6]
    assert ahead.get_sync(".zgroup") is None
    assert asyncio.run(ahead.get("a/zarr.json")).to_bytes() == GROUP
    found = ahead.get_partial_values_sync(None, [("a/zarr.json", None), (".zarray", None)])
    assert [found[0].to_bytes(), found[1]] == [GROUP, None]
    assert counting.read == []
    assert ahead.get_sync("a/b/c/0").to_bytes() == b"x"
    assert [value.to_bytes() for value in ahead.get_partial_values_sync(None, [("a/b/c/0", None)])] == [b"x"]
    assert counting.read == ["a/b/c/0"] * 2


def test_what_is_older_is_read_anew(counting, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(prefetching.time, "monotonic", lambda: now[0])
    ahead = PrefetchStore(counting, max_age=10)
    assert ahead.get_sync("a/zarr.json").to_bytes() == GROUP
    counting._store.set_sync("a/zarr.json", b"{}")
    counting._store.set_sync("a/.zgroup", b"{}")
    now[0] += 9.9
    assert ahead.get_sync("a/zarr.json").to_bytes() == GROUP
    now[0] += 0.1
    assert ahead.get_sync("a/zarr.json").to_bytes() == b"{}"
    counting._store.set_sync("a/zarr.json", b"[]")
    ahead.refresh()
    assert ahead.get_sync("a/zarr.json").to_bytes() == b"[]"
    always = PrefetchStore(counting, max_age=0)
    assert always.get_sync("a/zarr.json").to_bytes() == b"[]"
    counting._store.delete_sync("a/zarr.json")
    assert always.get_sync("a/zarr.json") is None


CHANGES = {
    "set": lambda store: store.set_sync("a/zarr.json", b"new"),
    "patch": lambda store: store.set_partial_values_sync([("a/zarr.json", 0, b"new")]),
    "create": lambda store: store.create_sync("a/.zattrs", b"new"),
    "delete": lambda store: store.delete_sync("a/zarr.json"),
    "delete_dir": lambda store: store.delete_dir_sync("a"),
    "clear": lambda store: store.clear_sync(),
    "through a view": lambda store: store.sub("a").set_sync("zarr.json", b"new"),
    "through a twin": lambda store: store.with_read_only(False).set_sync("a/zarr.json", b"new"),
}


@pytest.mark.parametrize("is_midway", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_own_changes_are_seen_at_once_even_amid_a_sweep(change, is_midway, counting):
    ahead = PrefetchStore(counting)
    keys = ("a/zarr.json", "a/.zattrs", "a/b/zarr.json", "zarr.json")
    if is_midway:
        counting.meanwhile = lambda: CHANGES[change](ahead)
        ahead.get_sync("zarr.json")
    else:
        ahead.get_sync("zarr.json")
        CHANGES[change](ahead)
    for key in keys:
        wanted, found = counting._store.get_sync(key), ahead.get_sync(key)
        assert (found and found.to_bytes()) == (wanted and wanted.to_bytes()), key


def test_versions_are_never_answered_from_memory(counting):
    ahead = PrefetchStore(counting)
    ahead.get_sync("a/zarr.json")
    counting._store.set_sync("a/zarr.json", b"{}")
    value, version = ahead.get_versioned_sync("a/zarr.json")
    assert value.to_bytes() == b"{}"
    assert ahead.set_if_unchanged_sync("a/zarr.json", b"mine", version)
    assert ahead.get_sync("a/zarr.json").to_bytes() == b"mine"


def test_a_part_of_a_store_only(counting):
    ahead = PrefetchStore(counting, "a/b")
    assert ahead.path == "a/b"
    ahead.get_sync("zarr.json")
    assert counting.read == ["zarr.json"]
    ahead.get_sync("a/b/zarr.json")
    counting.read.clear()
    ahead.get_sync("a/b/zarr.json")
    assert counting.read == []


def test_a_failed_sweep_is_no_answer_and_the_next_read_tries_again(counting):
    ahead = PrefetchStore(counting)

    def fail():
        raise OSError("gone")

    counting.meanwhile = fail
    with pytest.raises(OSError, match="gone"):
        ahead.get_sync("zarr.json")
    assert ahead.get_sync("zarr.json").to_bytes() == GROUP
    assert ahead.get_sync("a/zarr.json").to_bytes() == GROUP


def test_threads_read_below_while_one_sweeps(counting):
    ahead = PrefetchStore(counting)
    found = []
    counting.meanwhile = lambda: found.append(ahead.get_sync("a/b/zarr.json").to_bytes())
    threads = [threading.Thread(target=lambda: found.append(ahead.get_sync("zarr.json").to_bytes()))]
    for thread in threads:
        thread.start()
        thread.join()
    assert found == [GROUP, GROUP]


def test_pickles_hold_no_documents():
    ahead = PrefetchStore(MemoryStore({"zarr.json": GROUP}), max_age=7)
    ahead.get_sync("zarr.json")
    other = pickle.loads(pickle.dumps(ahead))
    assert other.max_age == 7
    assert other._kept._documents == {}
