"""Copying between stores: what arrives, in which order, and what is refused."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

import zarrstore
from zarrstore import (
    LocalStore,
    MemoryStore,
    Store,
    StorePath,
    WrapperStore,
    copy_store,
    copy_store_sync,
    storage,
)
from zarrstore._async.nowait import NowaitVerbs
from zarrstore._copy import value
from zarrstore.abc.store import Capabilities, Entry, cut, gather_pieces
from zarrstore.errors import (
    ChangedError,
    CorruptError,
    KeyConflictError,
    KeyNotFoundError,
    NoSpaceError,
    ReadOnlyError,
    RefusedError,
    UnsupportedOperationError,
)

VALUES = {
    "zarr.json": b'{"root": true}',
    "a/zarr.json": b'{"array": true}',
    "a/c/0/0": b"chunk" * 100,
    "a/c/0/1": b"",
    "a/c/1/0": bytes(range(256)) * 20,
    "b/.zattrs": b"{}",
    "b/.zarray": b'{"v2": true}',
    "b/0.0": b"x",
    "snow/\N{SNOWMAN}": b"unicode",
}


class Awaiting(Store):
    """A store of coroutines, such as one behind a network."""

    def __init__(self, values=None, name="awaiting", *, read_only=False):
        super().__init__(read_only=read_only)
        self.values = {} if values is None else values
        self.name = name

    @property
    def _location(self):
        return f"{self.name}://{id(self.values)}"

    async def _read(self, key, request, allocate):
        await asyncio.sleep(0)
        return cut(self.values.get(key), request) if key in self.values else None

    async def _write(self, key, pieces, condition):
        value = await gather_pieces(pieces)
        self.values[key] = value

    async def _remove(self, key, condition):
        self.values.pop(key, None)

    async def _scan(self, prefix, deep, sizes):
        for key in list(self.values):
            if key.startswith(prefix):
                yield [Entry(key)]  # no sizes: a copy has to ask


class Noted(WrapperStore):
    """A wrapper that notes which keys are written, in order."""

    def __init__(self, store):
        super().__init__(store)
        self.written = []

    async def _write(self, below, key, pieces, condition):
        answer = await below.write(key, pieces, condition)
        self.written.append(key)
        return answer


def theirs():
    return pytest.importorskip("zarr").storage


KINDS = {
    "memory": lambda folder: MemoryStore(),
    "local": lambda folder: LocalStore(folder),
    "awaiting": lambda folder: Awaiting(),
    "wrapper": lambda folder: Noted(LocalStore(folder)),
    "zarr-local": lambda folder: theirs().LocalStore(folder),
    "zarr-memory": lambda folder: theirs().MemoryStore(),
}
if "ZipStore" in storage.__all__:
    KINDS["zip"] = lambda folder: storage.ZipStore(f"{folder}.zip", mode="w")
if "FsspecStore" in storage.__all__:
    KINDS["fsspec"] = lambda folder: storage.FsspecStore.from_url(f"memory://{folder}")


def in_sync(*args, **kwargs):
    return copy_store_sync(*args, **kwargs)


def on_a_loop(*args, **kwargs):
    return asyncio.run(copy_store(*args, **kwargs))


both_faces = pytest.mark.parametrize("copy", [in_sync, on_a_loop])


def filled(store=None, values=VALUES):
    store = MemoryStore() if store is None else store
    copy_store_sync(dict(values), store)
    return store


def content(store):
    store = zarrstore.make_store_sync(store)
    return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(value, "PIECE", 64)


@both_faces
@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_every_pair_of_stores(source, target, copy, tmp_path, small_pieces):
    origin = filled(KINDS[source](tmp_path / "source"))
    goal = KINDS[target](tmp_path / "target")
    report = copy(origin, goal, verify=True)
    assert content(goal) == content(origin) == VALUES
    assert (report.keys, report.bytes) == (len(VALUES), sum(map(len, VALUES.values())))
    assert (report.skipped, report.verified) == (0, len(VALUES))
    assert report.seconds > 0


@both_faces
def test_paths_are_opened_and_hold_the_same(copy, tmp_path):
    filled(LocalStore(tmp_path / "source"))
    copy(str(tmp_path / "source"), tmp_path / "target")
    assert content(LocalStore(tmp_path / "target")) == VALUES


@both_faces
def test_prefixes_are_taken_off_and_put_on(copy):
    target = MemoryStore()
    copy(filled(), target, prefix="a", target_prefix="deep/er")
    assert set(content(target)) == {
        "deep/er/zarr.json",
        "deep/er/c/0/0",
        "deep/er/c/0/1",
        "deep/er/c/1/0",
    }


def test_store_paths_name_directories():
    target = MemoryStore()
    copy_store_sync(StorePath(filled(), "a"), StorePath(target, "x"), prefix="c", target_prefix="y")
    assert set(content(target)) == {"x/y/0/0", "x/y/0/1", "x/y/1/0"}


def test_documents_come_after_chunks_and_the_roots_last():
    values = {**VALUES, ".zgroup": b"{}", ".zattrs": b"{}", ".zmetadata": b"{}"}
    target = Noted(MemoryStore())
    copy_store_sync(dict(values), target)
    order = target.written
    assert order[-4:] == [".zattrs", ".zmetadata", ".zgroup", "zarr.json"]
    assert set(order[-7:-4]) == {"a/zarr.json", "b/.zattrs", "b/.zarray"}
    assert order.index("b/.zattrs") < len(order) - 4


# -- keys that are there already ------------------------------------------------------------------


@both_faces
@pytest.mark.parametrize("kind", KINDS)
def test_conflicts_are_told_before_anything_is_written(kind, copy, tmp_path):
    target = KINDS[kind](tmp_path / "target")
    before = {"b/0.0": b"old", "a/c/0/0": b"old", "other": b"mine", "zarr.json": b"old", "a/zarr.json": b"o"}
    filled(target, before)
    with pytest.raises(KeyConflictError, match=r"4 of the 9 keys .*'a/c/0/0', .*\.\.\."):
        copy(filled(), target)
    assert content(target) == before


@both_faces
def test_skip_and_replace(copy):
    before = {"b/0.0": b"old", "other": b"mine"}
    target = filled(values=before)
    report = copy(filled(), target, if_exists="skip")
    assert (report.keys, report.skipped) == (len(VALUES) - 1, 1)
    assert content(target) == {**VALUES, **before}
    report = copy(filled(), target, if_exists="replace")
    assert (report.keys, report.skipped) == (len(VALUES), 0)
    assert content(target) == {**before, **VALUES}


def test_what_was_skipped_is_verified_too():
    target = filled(values={"b/0.0": b"y"})
    with pytest.raises(CorruptError, match="was there before") as caught:
        copy_store_sync(filled(), target, if_exists="skip", verify=True)
    assert caught.value.key == "b/0.0"
    assert "replace" in caught.value.hint
    report = copy_store_sync(filled(), filled(), if_exists="skip", verify=True)
    assert (report.keys, report.skipped, report.verified) == (0, len(VALUES), len(VALUES))


@both_faces
@pytest.mark.parametrize("kind", KINDS)
def test_skipped_values_of_another_size_are_told(kind, copy, tmp_path):
    there = {"b/0.0": b"longer", "a/c/0/1": b"1", "zarr.json": VALUES["zarr.json"]}
    target = filled(KINDS[kind](tmp_path / "target"), values=there)
    report = copy(filled(), target, if_exists="skip")
    assert (report.skipped, report.differing) == (3, ("a/c/0/1", "b/0.0"))
    assert copy(filled(), target, if_exists="replace").differing == ()
    assert copy(filled(), target, if_exists="skip").differing == ()


@both_faces
def test_a_dry_run_verifies_what_is_there(copy):
    target = filled(values={"a/c/0/0": VALUES["a/c/0/0"], "zarr.json": VALUES["zarr.json"]})
    report = copy(filled(), target, if_exists="skip", dry_run=True, verify=True)
    assert (report.keys, report.skipped, report.verified) == (len(VALUES) - 2, 2, 2)
    assert len(content(target)) == 2
    target.set_sync("a/c/0/0", VALUES["a/c/0/0"][::-1])
    with pytest.raises(CorruptError, match="was there before") as caught:
        copy(filled(), target, if_exists="skip", dry_run=True, verify=True)
    assert caught.value.key == "a/c/0/0"


def test_a_key_that_appears_meanwhile_is_not_overwritten():
    class Contested(WrapperStore):
        async def _write(self, below, key, pieces, condition):
            if key == "b/0.0":
                await below.write(key, (b"theirs",), zarrstore.abc.store.ANY)
            return await below.write(key, pieces, condition)

    with pytest.raises(KeyConflictError, match="another writer"):
        copy_store_sync(filled(), Contested(MemoryStore()))
    target = Contested(MemoryStore())
    report = copy_store_sync(filled(), target, if_exists="skip")
    assert (report.keys, report.skipped) == (len(VALUES) - 1, 1)
    assert content(target)["b/0.0"] == b"theirs"


def test_many_names_and_few_names_find_the_same_conflicts():
    many = {f"n{i}/c": b"1" for i in range(100)}
    with pytest.raises(KeyConflictError, match="100 of the 100"):
        copy_store_sync(dict(many), dict(many))
    with pytest.raises(KeyConflictError, match="1 of the 1 keys"):
        copy_store_sync(filled(values={"n5/c": b"2"}), filled(values=many))


def test_a_key_below_a_key_is_refused_where_folders_are_kept(tmp_path):
    target = LocalStore(tmp_path)
    with pytest.raises(KeyConflictError, match="nothing was written") as caught:
        copy_store_sync({"z": b"0", "k": b"1", "k/child/x": b"2"}, target)
    assert caught.value.key == "k"
    assert target.is_empty_sync()
    target.set_sync("k", b"value")
    with pytest.raises(KeyConflictError, match="nothing was written"):
        copy_store_sync({"z": b"0", "k/child": b"2"}, target)
    assert content(target) == {"k": b"value"}
    copy_store_sync({"k": b"1", "k/child": b"2"}, MemoryStore())


# -- dry runs and progress ------------------------------------------------------------------------


@both_faces
def test_a_dry_run_writes_nothing_and_tells_the_same(copy):
    target = filled(values={"b/0.0": b"old"})
    report = copy(filled(), target, if_exists="skip", dry_run=True)
    assert (report.keys, report.skipped, report.verified) == (len(VALUES) - 1, 1, 0)
    assert report.bytes == sum(map(len, VALUES.values())) - 1
    assert content(target) == {"b/0.0": b"old"}
    with pytest.raises(KeyConflictError):
        copy(filled(), target, dry_run=True)


@both_faces
@pytest.mark.parametrize("target", ["local", "awaiting"])
def test_progress_counts_up_to_the_totals(target, copy, tmp_path, small_pieces):
    seen = []
    copy(filled(), KINDS[target](tmp_path), verify=True, progress=seen.append)
    keys, size = len(VALUES), sum(map(len, VALUES.values()))
    assert {(state.keys_total, state.bytes_total) for state in seen} == {(keys, size)}
    assert (seen[0].keys_done, seen[0].bytes_done) == (0, 0)
    assert (seen[-1].keys_done, seen[-1].bytes_done) == (keys, size)
    assert seen == sorted(seen, key=lambda state: (state.bytes_done, state.keys_done))
    assert max(b.bytes_done - a.bytes_done for a, b in itertools.pairwise(seen)) <= 64


def test_progress_is_told_in_the_calling_thread(tmp_path):
    threads = set()
    copy_store_sync(filled(), LocalStore(tmp_path), progress=lambda _: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


@both_faces
@pytest.mark.parametrize("target", ["local", "awaiting"])
def test_a_failing_callback_ends_the_copy(target, copy, tmp_path):
    def fail(state):
        if state.keys_done >= 3:
            raise LookupError("enough")

    goal = KINDS[target](tmp_path)
    with pytest.raises(LookupError, match="enough"):
        copy(filled(), goal, progress=fail)
    assert "zarr.json" not in content(goal)


# -- a source that changes ------------------------------------------------------------------------


class Tampered(WrapperStore):
    """Calls a function before the n-th read of a key."""

    def __init__(self, store, key, act, nth=1):
        super().__init__(store)
        self.key, self.act, self.left = key, act, nth

    async def _read(self, below, key, request, allocate):
        if key == self.key:
            self.left -= 1
            if not self.left:
                self.act()
        return await below.read(key, request, allocate)


BIG = "a/c/1/0"


@both_faces
@pytest.mark.parametrize("nth", [1, 2, 80])
@pytest.mark.parametrize("change", ["cut", "grown", "removed", "replaced"])
def test_a_changed_source_is_an_error_and_no_half_value_stays(change, nth, copy, tmp_path, small_pieces):
    path = tmp_path / "source" / BIG

    def act():
        if change == "removed":
            path.unlink()
            return
        size = len(VALUES[BIG]) + {"cut": -100, "grown": 100, "replaced": 0}[change]
        path.with_name("new").write_bytes(b"n" * size)
        path.with_name("new").rename(path)

    source = Tampered(filled(LocalStore(tmp_path / "source")), BIG, act, nth)
    target = LocalStore(tmp_path / "target")
    with pytest.raises(ChangedError, match="while") as caught:
        copy(source, target, concurrency=1)
    assert caught.value.key == BIG
    assert str(tmp_path / "source") in caught.value.store
    assert "Try again" in caught.value.hint
    assert not target.exists_sync(BIG)
    assert not target.exists_sync("zarr.json")
    assert not [name for _, _, names in os.walk(tmp_path / "target") for name in names if "zarrstore" in name]


def test_a_small_value_that_changed_is_noticed(tmp_path):
    store = filled(LocalStore(tmp_path))
    source = Tampered(store, "b/0.0", lambda: store.set_sync("b/0.0", b"longer"))
    with pytest.raises(ChangedError, match="had 1 bytes and now has 6"):
        copy_store_sync(source, MemoryStore())


@both_faces
def test_pieces_of_two_values_are_not_verified(copy, small_pieces):
    """Of a source without versions the second half may be another value's: nothing but its bytes tells."""
    values = {"k": b"a" * 200}
    source = Tampered(Awaiting(values), "k", lambda: values.update(k=b"b" * 200), nth=3)
    target = MemoryStore()
    with pytest.raises(ChangedError, match="replaced") as caught:
        copy(source, target, verify=True)
    assert caught.value.key == "k"
    assert "Try again" in caught.value.hint
    assert copy(source, target, verify=True, if_exists="replace").verified == 1
    assert content(target) == {"k": b"b" * 200}


# -- verification ---------------------------------------------------------------------------------


class Flipping(WrapperStore):
    """A medium that changes one value while it stores it."""

    def __init__(self, store, key, spoil):
        super().__init__(store)
        self.key, self.spoil = key, spoil

    async def _write(self, below, key, pieces, condition):
        if key == self.key:
            value = (
                b"".join(map(bytes, pieces))
                if not hasattr(pieces, "__aiter__")
                else await gather_pieces(pieces)
            )
            pieces = (self.spoil(value),)
        return await below.write(key, pieces, condition)


@both_faces
@pytest.mark.parametrize("size", [64, 1 << 20])
@pytest.mark.parametrize("spoil", [lambda v: v[:-1] + b"?", lambda v: v[:-1], lambda v: v + b"?"])
def test_verification_finds_one_wrong_byte(spoil, size, copy, monkeypatch):
    monkeypatch.setattr(value, "PIECE", size)
    target = Flipping(MemoryStore(), BIG, spoil)
    with pytest.raises(CorruptError, match="read back") as caught:
        copy(filled(), target, verify=True)
    assert caught.value.key == BIG
    assert "zarr.json" not in content(target)
    copy(filled(), target, verify=False, if_exists="replace")


# -- failures, interruption, resumption -----------------------------------------------------------


class Full(WrapperStore):
    """A medium that is full after some writes."""

    def __init__(self, store, writes):
        super().__init__(store)
        self.left = writes

    async def _write(self, below, key, pieces, condition):
        self.left -= 1
        if self.left < 0:
            raise NoSpaceError("the disk is full.", store=self, key=key)
        return await below.write(key, pieces, condition)


@both_faces
@pytest.mark.parametrize("kind", ["local", "awaiting"])
def test_a_failed_copy_says_how_far_it_came_and_can_go_on(kind, copy, tmp_path):
    store = KINDS[kind](tmp_path)
    with pytest.raises(NoSpaceError, match="full") as caught:
        copy(filled(), Full(store, 4), concurrency=1)
    assert caught.value.__notes__ == [
        "4 of 9 values are in the target, whole; if_exists='resume' copies the rest."
    ]
    assert len(content(store)) == 4
    assert "zarr.json" not in content(store)
    report = copy(filled(), store, if_exists="skip", verify=True)
    assert (report.keys, report.skipped, report.verified) == (5, 4, 9)
    assert content(store) == VALUES


class Slow(WrapperStore):
    async def _read(self, below, key, request, allocate):
        await below.sleep(0.02)
        return await below.read(key, request, allocate)


@pytest.mark.parametrize("target", ["local", "awaiting"])
@pytest.mark.parametrize("source", ["local", "awaiting"])
def test_a_cancelled_copy_has_ended_when_it_returns(source, target, tmp_path, small_pieces):
    goal = KINDS[target](tmp_path / "target")
    origin = Slow(filled(KINDS[source](tmp_path / "source")))

    async def main():
        task = asyncio.create_task(copy_store(origin, goal))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        then = content(goal)
        await asyncio.sleep(0.3)
        assert content(goal) == then
        assert "zarr.json" not in then
        assert all(then[key] == VALUES[key] for key in then)

    asyncio.run(main())
    assert not [name for _, _, names in os.walk(tmp_path / "target") for name in names if "zarrstore" in name]
    assert not [thread for thread in threading.enumerate() if "copy" in thread.name]
    copy_store_sync(origin._below, goal, if_exists="skip", verify=True)
    assert content(goal) == VALUES


@pytest.mark.parametrize("target", ["local", "awaiting"])
def test_ctrl_c_leaves_no_half_value_and_tells_how_far_it_came(target, tmp_path, small_pieces):
    goal = KINDS[target](tmp_path / "target")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            copy_store_sync(Slow(filled()), goal)
    finally:
        signal.signal(signal.SIGALRM, before)
    there = content(goal)
    (note,) = caught.value.__notes__
    told = re.fullmatch(
        rf"(\d) of {len(VALUES)} values are in the target, whole; if_exists='resume' copies the rest.", note
    )
    assert 1 <= int(told[1]) <= len(there)
    assert all(there[key] == VALUES[key] for key in there)
    assert "zarr.json" not in there
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if "zarrstore" in name]


def test_a_killed_copy_leaves_no_half_value_and_can_go_on(tmp_path):
    values = {f"c/{index}": os.urandom(20_000) for index in range(2000)}
    values["zarr.json"] = b"{}"
    source = filled(LocalStore(tmp_path / "source"), values)
    code = "import sys, zarrstore; zarrstore.copy_store_sync(sys.argv[1], sys.argv[2])"
    goal = LocalStore(tmp_path / "goal")
    with subprocess.Popen([sys.executable, "-c", code, source.root, goal.root]) as process:
        while goal.is_empty_sync() and process.poll() is None:
            time.sleep(0.001)
        process.kill()
    there = content(goal)
    assert len(there) > 0
    assert all(there[key] == values[key] for key in there)
    if process.returncode:
        assert "zarr.json" not in there
    report = copy_store_sync(source, goal, if_exists="skip", verify=True)
    assert (report.skipped, report.verified) == (len(there), len(values))
    assert content(goal) == values


def test_the_loop_goes_on_meanwhile(tmp_path):
    async def main():
        turns = 0
        task = asyncio.create_task(
            copy_store(Slow(filled(LocalStore(tmp_path / "a"))), LocalStore(tmp_path / "b"))
        )
        while not task.done():
            turns += 1
            await asyncio.sleep(0.005)
        return turns

    assert asyncio.run(main()) > 3


@both_faces
@pytest.mark.parametrize("delay", [0, 0.03])
def test_a_slow_medium_is_asked_many_things_at_once(delay, copy):
    most = under_way = 0
    lock = threading.Lock()

    class Waiting(WrapperStore):
        async def _read(self, below, key, request, allocate):
            nonlocal most, under_way
            with lock:
                under_way += 1
                most = max(most, under_way)
            if delay:
                await below.sleep(delay)
            value = await below.read(key, request, allocate)
            with lock:
                under_way -= 1
            return value

    values = {f"c/{index}": b"1" for index in range(100)}

    class Blocking(MemoryStore):
        _loop_binding = NowaitVerbs

    copy(Waiting(filled(Blocking(), values)), MemoryStore())
    assert most == 8 if delay else most <= 8


def test_stores_that_override_public_methods_are_not_bypassed_and_do_not_deadlock(tmp_path):
    class Counting(LocalStore):
        count = 0

        async def get(self, *args, **kwargs):
            type(self).count += 1
            return await super().get(*args, **kwargs)

    source = Counting(tmp_path)
    values = {f"c/{i}": b"1" for i in range(200)}
    filled(LocalStore(tmp_path), values)
    copy_store_sync(source, MemoryStore(), concurrency=40)
    asyncio.run(copy_store(source, MemoryStore(), concurrency=40))
    assert Counting.count == 400


@both_faces
def test_a_wrapper_that_suspends_over_a_blocking_store_is_told_apart(copy):
    class Suspending(WrapperStore):
        async def _read(self, below, key, request, allocate):
            await asyncio.sleep(0)  # a wrapper's sleep is below.sleep
            return await below.read(key, request, allocate)

    with pytest.raises(RuntimeError, match=r"a blocking verb \(.*Suspending._read\) suspended"):
        copy(Suspending(filled()), MemoryStore())


# -- what is refused ------------------------------------------------------------------------------


def test_a_copy_onto_itself_is_refused(tmp_path):
    memory = filled()
    local = filled(LocalStore(tmp_path / "x"))
    (tmp_path / "link").symlink_to(tmp_path / "x")
    for source, target in [
        (memory, memory),
        (memory, memory.with_read_only(False)),
        (memory, Noted(memory)),
        (local, LocalStore(tmp_path / "link")),
        (StorePath(local, "a"), LocalStore(tmp_path / "x" / "a")),
    ]:
        with pytest.raises(RefusedError, match="onto the source"):
            copy_store_sync(source, target, if_exists="replace")
    assert content(local) == VALUES


def test_a_copy_onto_itself_by_zarr_python_is_refused(tmp_path):
    local = filled(LocalStore(tmp_path / "x"))
    (tmp_path / "link").symlink_to(tmp_path / "x")
    with pytest.raises(RefusedError, match="onto the source"):
        copy_store_sync(local, theirs().LocalStore(tmp_path / "link"), if_exists="replace")
    assert content(local) == VALUES


def test_a_copy_into_its_own_subtree_is_refused(tmp_path):
    local = filled(LocalStore(tmp_path))
    memory = filled()
    with pytest.raises(RefusedError, match="own subtree"):
        copy_store_sync(local, LocalStore(tmp_path / "sub"))
    with pytest.raises(RefusedError, match="own subtree"):
        copy_store_sync(memory, memory, target_prefix="backup")
    copy_store_sync(memory, memory, prefix="a", target_prefix="backup")
    copy_store_sync(memory, memory, prefix="a", target_prefix="ab")
    assert "backup/c/0/0" in content(memory)
    copy_store_sync(local, LocalStore(str(tmp_path) + "-beside"))


def test_a_copy_out_of_a_subtree_must_not_overwrite_its_source():
    store = filled(values={"a/x": b"1", "a/a/x": b"2"})
    with pytest.raises(RefusedError, match="overlap"):
        copy_store_sync(store, store, prefix="a", if_exists="replace")
    store = filled(values={"a/x": b"1", "a/y/x": b"2"})
    copy_store_sync(store, store, prefix="a")
    assert content(store) == {"a/x": b"1", "a/y/x": b"2", "x": b"1", "y/x": b"2"}


@pytest.mark.parametrize("make", [MemoryStore, lambda read_only: theirs().MemoryStore(read_only=read_only)])
def test_a_read_only_target_is_refused(make):
    with pytest.raises(ReadOnlyError):
        copy_store_sync(filled(), make(read_only=True))


def test_a_source_that_cannot_be_listed_is_refused():
    class Blind(MemoryStore):
        supports_listing = False

    with pytest.raises(UnsupportedOperationError, match="listed"):
        copy_store_sync(Blind(), MemoryStore())
    target = Blind()
    copy_store_sync(filled(), target)
    with pytest.raises(KeyConflictError, match="9 of the 9"):
        copy_store_sync(filled(), target)


@pytest.mark.parametrize("arguments", [{"if_exists": "overwrite"}, {"concurrency": 0}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        copy_store_sync(filled(), MemoryStore(), **arguments)


@both_faces
def test_an_empty_source_gives_an_empty_report(copy):
    report = copy(MemoryStore(), MemoryStore(), verify=True)
    assert (report.keys, report.bytes, report.skipped, report.verified) == (0, 0, 0, 0)


@both_faces
def test_a_mistyped_source_is_an_error(copy, tmp_path):
    for place in (tmp_path / "mistyped", str(tmp_path / "mistyped"), f"file://{tmp_path}/mistyped"):
        with pytest.raises(KeyNotFoundError, match="nothing to copy") as caught:
            copy(place, MemoryStore())
        assert "mistyped" in caught.value.store
    assert not (tmp_path / "mistyped").exists()


# -- memory ---------------------------------------------------------------------------------------


def test_memory_stays_flat_while_a_large_value_moves(tmp_path):
    import tracemalloc

    size = 200 << 20
    with open(tmp_path / "source", "wb") as file:
        file.truncate(size)
    (tmp_path / "in").mkdir()
    (tmp_path / "source").rename(tmp_path / "in" / "big")
    tracemalloc.start()
    try:
        copy_store_sync(tmp_path / "in", tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out" / "big").stat().st_size == size
    assert peak < 3.5 * value.PIECE  # three pieces, and what is used again


def test_capabilities_decide_how_a_key_is_made():
    conditions = set()

    class Asked(MemoryStore):
        def _write(self, key, pieces, condition):
            conditions.add(condition)
            return super()._write(key, pieces, condition)

    class Plain(Asked):
        _capabilities = Capabilities()

    copy_store_sync(filled(), Asked())
    assert conditions == {zarrstore.abc.store.ABSENT}
    conditions.clear()
    copy_store_sync(filled(), Plain())
    copy_store_sync(filled(), Asked(), if_exists="replace")
    assert conditions == {zarrstore.abc.store.ANY}
