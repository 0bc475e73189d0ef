"""What wrappers keep: concurrency, sizes, pickling, read-only views; and what is said of mistakes in them."""

import asyncio
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zarrstore import MemoryStore, RangeByteRequest, RetryStore, WrapperStore, ZipStore, copy_store_sync
from zarrstore.abc.store import Entry, Store, cut, gather_pieces, join_pieces
from zarrstore.storage import LocalStore
from zarrstore.testing import StoreContract

EXAMPLES = Path(__file__).parents[3] / "examples"


class Reading(WrapperStore):
    """Overrides one verb only."""

    async def _read(self, below, key, request, allocate):
        return await below.read(key, request, allocate)


class Counting(Store):
    """An awaiting store that counts how many reads are under way at once."""

    def __init__(self, wanted):
        super().__init__()
        self.wanted = wanted
        self.under_way = self.most = 0
        self.all_there = asyncio.Event()

    _location = "counting://"

    async def _read(self, key, request, allocate):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way == self.wanted:
            self.all_there.set()
        await self.all_there.wait()
        self.under_way -= 1
        return cut(key.encode(), request)

    async def _write(self, key, pieces, condition):
        await gather_pieces(pieces)

    async def _remove(self, key, condition):
        pass

    async def _scan(self, prefix, deep, sizes):
        yield [Entry("k")]


@pytest.mark.parametrize(
    "wrap",
    [
        Reading,
        lambda store: Reading(Reading(store)),
        lambda store: RetryStore(Reading(store)),
        lambda store: Reading(RetryStore(store)),
        lambda store: Reading(store).sub("a"),
        lambda store: Reading(store.sub("a")),
    ],
    ids=["one", "two", "retry-outside", "retry-inside", "sub-outside", "sub-inside"],
)
def test_a_batch_through_a_wrapper_is_read_at_once(wrap):
    async def main():
        store = Counting(100)
        asked = [(f"k/{number}", None) for number in range(100)]
        found = await asyncio.wait_for(wrap(store).get_partial_values(None, asked), 20)
        assert store.most == 100
        assert [value.to_bytes().decode().removeprefix("a/") for value in found] == [key for key, _ in asked]

    asyncio.run(main())


# -- wrappers that change lengths and names --------------------------------------------------------


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import compressing_wrapper

    return compressing_wrapper


class TestCompressing(StoreContract):
    @pytest.fixture
    def store(self, recipe):
        return recipe.Compressing(MemoryStore())


class TestEncodingNames(StoreContract):
    @pytest.fixture
    def store(self, recipe):
        return recipe.EncodingNames(MemoryStore())


class TestBothOverFolders(StoreContract):
    # Names of 255 bytes are twice as long in hexadecimal, which no folder holds: they are refused, as the
    # contract lets a store do.
    @pytest.fixture
    def store(self, recipe, tmp_path):
        return recipe.Compressing(recipe.EncodingNames(LocalStore(tmp_path)))


def test_sizes_listings_ranges_and_copies_agree_with_get(recipe, tmp_path):
    inner = MemoryStore()
    store = recipe.Compressing(recipe.EncodingNames(inner))
    values = {"a/b": b"0" * 10_000, "a/c": b"", "d": bytes(range(256)) * 9}
    for key, value in values.items():
        store.set_sync(key, value)
    assert inner.getsize_prefix_sync("") < 2_000
    assert {key: store.getsize_sync(key) for key in store.list_sync()} == {
        k: len(v) for k, v in values.items()
    }
    assert store.getsize_prefix_sync("a") == 10_000
    part = RangeByteRequest(5, 300)
    found = store.get_partial_values_sync(None, [("d", part), ("a/b", part), ("no", part)])
    assert [v and v.to_bytes() for v in found] == [values["d"][5:300], values["a/b"][5:300], None]
    target = LocalStore(tmp_path)
    assert copy_store_sync(store, target, verify=True).bytes == sum(map(len, values.values()))
    assert {key: target.get_sync(key).to_bytes() for key in target.list_sync()} == values
    assert copy_store_sync(target, recipe.Compressing(MemoryStore()), verify=True).verified == 3


def test_the_example_runs():
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "compressing_wrapper.py"], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith("10000 bytes are kept as ")


# -- copies and pickles ----------------------------------------------------------------------------


class Locked(MemoryStore):
    """Has a lock, which pickles leave out."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.lock = threading.Lock()

    def __getstate__(self):
        state = super().__getstate__()
        del state["lock"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.lock = threading.Lock()

    def _read(self, key, request, allocate):
        with self.lock:
            return super()._read(key, request, allocate)


class LockedWrapper(WrapperStore):
    def __init__(self, store):
        super().__init__(store)
        self.lock = threading.Lock()

    def __getstate__(self):
        state = super().__getstate__()
        del state["lock"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.lock = threading.Lock()

    async def _read(self, below, key, request, allocate):
        with self.lock:
            return await below.read(key, request, allocate)


class LockedFolder(LocalStore):
    """The same over folders."""

    def __init__(self, root):
        super().__init__(root)
        self.lock = threading.Lock()

    def __getstate__(self):
        state = super().__getstate__()
        del state["lock"]
        return state

    __setstate__ = Locked.__setstate__


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: LockedFolder(folder),
        lambda folder: LockedWrapper(LocalStore(folder)),
        lambda folder: LockedWrapper(LockedFolder(folder)),
        lambda folder: WrapperStore(LockedFolder(folder)),
        lambda folder: LockedFolder(folder).sub("a"),
        lambda folder: LockedWrapper(LockedFolder(folder).sub("a")),
    ],
)
def test_views_are_made_as_pickles_are(make, tmp_path):
    store = make(tmp_path)
    store.set_sync("k/x", b"1")
    reader = store.with_read_only(True)
    for view in (
        reader,
        reader.with_read_only(False),
        reader.sub("k").with_read_only(True).sub(""),
        WrapperStore(reader).with_read_only(True),
        pickle.loads(pickle.dumps(reader)),
        pickle.loads(pickle.dumps(reader.sub("k"))),
    ):
        (key,) = view.list_sync()
        assert view.get_sync(key).to_bytes() == b"1"
        assert asyncio.run(view.get(key)).to_bytes() == b"1"
    locks = [lock for lock in (vars(store).get("lock"), vars(reader).get("lock")) if lock is not None]
    assert len(set(map(id, locks))) == len(locks)


def test_a_memory_store_with_a_lock_shares_its_data_with_its_views():
    store = Locked({"k": b"1"})
    reader = store.with_read_only(True)
    store.set_sync("k", b"2")
    assert reader.get_sync("k").to_bytes() == LockedWrapper(reader).get_sync("k").to_bytes() == b"2"


SCRIPT = """
import subprocess, sys
import cloudpickle
from zarrstore import LocalStore, LoggingStore, MemoryStore, RetryStore, WrapperStore

class Upper(WrapperStore):
    async def _read(self, below, key, request, allocate):
        value = await below.read(key, request, allocate)
        return None if value is None else bytes(value).upper()

def make():
    class Folder(LocalStore):
        def _read(self, key, request, allocate):
            return super()._read(key, request, allocate)
    return Folder

folder = sys.argv[1]
LocalStore(folder).set_sync("a/k", b"value")
stores = [
    LocalStore(folder), make()(folder), Upper(LocalStore(folder)), Upper(make()(folder)),
    RetryStore(LocalStore(folder)), LoggingStore(Upper(LocalStore(folder)), "WARNING"),
    Upper(LocalStore(folder)).sub("a").with_read_only(True),
]
for store in stores:  # bound before they are pickled
    list(store.list_sync())
work = '''
import sys, cloudpickle
stores = cloudpickle.loads(sys.stdin.buffer.read())
for store in stores:
    (key,) = store.list_sync()
    print(store.get_sync(key).to_bytes().decode())
sys.stdout.flush()
sys.stderr.buffer.write(cloudpickle.dumps(stores))
'''
done = subprocess.run([sys.executable, "-c", work], input=cloudpickle.dumps(stores), capture_output=True)
assert done.returncode == 0, done.stderr
print(done.stdout.decode().split())
assert cloudpickle.loads(done.stderr) == stores
"""


def test_classes_made_at_run_time_pickle_to_another_process_and_back(tmp_path):
    pytest.importorskip("cloudpickle")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, tmp_path / "data"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(["value", "value", "VALUE", "VALUE", "value", "VALUE", "VALUE"])


def test_a_read_only_view_of_an_archive_that_is_to_be_replaced_empties_nothing(tmp_path):
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"value")
    before = path.read_bytes()
    view = ZipStore(path, mode="w").with_read_only(True)
    assert path.read_bytes() == before
    for reader in (
        view,
        view.sub(""),
        WrapperStore(view),
        ZipStore(path, mode="w").sub("").with_read_only(True),
    ):
        assert reader.get_sync("k").to_bytes() == b"value"
        assert asyncio.run(reader.get("k")).to_bytes() == b"value"
        assert list(reader.list_sync()) == ["k"]
        reader.close()
        assert path.read_bytes() == before


# -- mistakes in classes ---------------------------------------------------------------------------


def store_class(**changes):
    """Make a class of stores, with attributes changed, or left out if they are None."""

    def _read(self, key, request, allocate):
        return None

    def _write(self, key, pieces, condition):
        join_pieces(pieces)

    def _remove(self, key, condition):
        pass

    def _scan(self, prefix, deep, sizes):
        yield []

    parts = {"_read": _read, "_write": _write, "_remove": _remove, "_scan": _scan, "_location": "mine://"}
    parts |= changes
    return type("Mine", (Store,), {name: part for name, part in parts.items() if part is not None})


async def _awaiting_read(self, key, request, allocate):
    return None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_scan": None}, "Mine lacks _scan: a store defines _read, _write, _remove and _scan"),
        ({"_read": None, "_write": None}, "Mine lacks _read, _write: .*abstract=True"),
        ({"_read": _awaiting_read}, "Mine mixes blocking and awaiting verbs .*_read.* define all with 'def'"),
        (
            {"_write": lambda self, key, value: None},
            r"Mine\._write can't be called as a verb; define it as '_write\(self, key, pieces, condition\)'",
        ),
        ({"_stat": lambda self: None}, r"define it as '_stat\(self, key\)'"),
        ({"_location": None}, "Mine lacks the property _location"),
    ],
)
def test_a_mistake_in_a_store_is_an_error_when_the_class_is_made(changes, words):
    with pytest.raises(TypeError, match=words):
        store_class(**changes)


def test_a_base_of_stores_may_lack_verbs():
    class Base(Store, abstract=True):
        def _read(self, key, request, allocate):
            return None

    with pytest.raises(TypeError, match="Derived lacks _write, _remove, _scan"):

        class Derived(Base):
            pass


def test_a_wrapper_with_a_plain_def_is_an_error_when_the_class_is_made():
    words = "'async def _read(self, below, key, request, allocate)'"
    with pytest.raises(TypeError, match=r"Plain\._read is a plain 'def'; .*" + re.escape(words)):

        class Plain(WrapperStore):
            def _read(self, below, key, request, allocate):
                return below.read(key, request, allocate)


def test_a_wrapper_without_below_is_an_error_when_the_class_is_made():
    words = "_read(self, below, key, request, allocate)"
    with pytest.raises(TypeError, match=re.escape(words)):

        class Short(WrapperStore):
            async def _read(self, key, request, allocate):
                return None


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(0), lambda: asyncio.to_thread(int)])
def test_a_wrapper_that_awaits_anything_but_below_says_so(wait):
    class Waiting(WrapperStore):
        async def _read(self, below, key, request, allocate):
            await wait()
            return await below.read(key, request, allocate)

    with pytest.raises(RuntimeError) as caught:
        WrapperStore(Waiting(MemoryStore())).get_sync("k")
    assert re.search(r"Waiting\._read\) (suspended|asked for an event loop)", str(caught.value))
    assert "nothing but what 'below' gives" in str(caught.value)
