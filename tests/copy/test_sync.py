"""Bringing a store up to date, mirroring, selecting, moving and comparing."""

import asyncio
import itertools
import os
import time

import pytest

from zarrstore import (
    CopyReport,
    LocalStore,
    MemoryStore,
    Store,
    WrapperStore,
    ZipStore,
    copy_store,
    copy_store_sync,
    diff_stores,
    diff_stores_sync,
    move_store,
    move_store_sync,
    sync_store,
    sync_store_sync,
)
from zarrstore._copy import value
from zarrstore._copy.selection import selection
from zarrstore.abc.store import ANY, Capabilities, Entry, cut, gather_pieces
from zarrstore.errors import (
    BackendError,
    ChangedError,
    CorruptError,
    KeyConflictError,
    KeyNotFoundError,
    ReadOnlyError,
    UnsupportedOperationError,
)

VALUES = {
    "zarr.json": b"{}",
    "a/zarr.json": b'{"array": true}',
    "a/c/0/0": b"chunk" * 100,
    "a/c/0/1": b"",
    "a/c/1/0": bytes(range(256)) * 20,
}


class Awaiting(Store):
    """A store of coroutines; it lists in the order of writing, without times."""

    supports_deletes = True

    def __init__(self, values=None, *, read_only=False):
        super().__init__(read_only=read_only)
        self.values = {} if values is None else values
        self.reads = []

    @property
    def _location(self):
        return f"awaiting://{id(self.values)}"

    async def _read(self, key, request, allocate):
        await asyncio.sleep(0)
        self.reads.append(key)
        return cut(self.values.get(key), request) if key in self.values else None

    async def _write(self, key, pieces, condition):
        self.values[key] = await gather_pieces(pieces)

    async def _remove(self, key, condition):
        self.values.pop(key, None)

    async def _scan(self, prefix, deep, sizes):
        yield [Entry(key, len(self.values[key])) for key in self.values if key.startswith(prefix)]


KINDS = {
    "memory": lambda folder: MemoryStore(),
    "local": lambda folder: LocalStore(folder),
    "zip": lambda folder: ZipStore(f"{folder}.zip", mode="a", deletes=True),
    "awaiting": lambda folder: Awaiting(),
    "sub": lambda folder: LocalStore(folder).sub("below"),
}
FACES = {
    "blocking": (copy_store_sync, sync_store_sync, move_store_sync, diff_stores_sync),
    "awaited": tuple(
        lambda *args, _call=call, **kwargs: asyncio.run(_call(*args, **kwargs))
        for call in (copy_store, sync_store, move_store, diff_stores)
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=FACES)
def face(request):
    return FACES[request.param]


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(value, "PIECE", 64)


def filled(store, values=VALUES):
    for key, content in values.items():
        store.set_sync(key, content)
    return store


def content(store):
    return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


# -- up to date -----------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("source_kind", KINDS)
def test_what_is_new_or_differs_is_written(source_kind, kind, face, tmp_path, small_pieces):
    _, sync, _, _ = face
    source = filled(KINDS[source_kind](tmp_path / "source"))
    target = KINDS[kind](tmp_path / "target")
    assert sync(source, target).keys == len(VALUES)
    report = sync(source, target)
    assert (report.keys, report.skipped, report.replaced) == (0, len(VALUES), 0)
    time.sleep(0.02)  # a file system may count time in steps of 10 ms
    source.set_sync("a/c/0/0", b"CHUNK" * 100)
    source.set_sync("a/c/1/0", bytes(range(255, -1, -1)) * 20)
    source.set_sync("a/c/0/1", b"longer")
    source.set_sync("a/c/9/9", b"new")
    report = sync(source, target, verify=True)
    assert (report.keys, report.replaced, report.skipped) == (4, 3, len(VALUES) - 3)
    assert report.verified == len(VALUES) + 1
    assert content(target) == content(source)


def test_times_tell_and_bytes_tell_more(face, tmp_path):
    copy, sync, _, _ = face
    source, target = filled(LocalStore(tmp_path / "source")), LocalStore(tmp_path / "target")
    copy(source, target)
    path = tmp_path / "target/a/c/0/0"
    path.write_bytes(b"other" * 100)  # younger, and as long
    assert sync(source, target).keys == 0
    assert sync(source, target, checksum=True, dry_run=True).replaced == 1
    assert content(target)["a/c/0/0"] == b"other" * 100
    report = sync(source, target, checksum=True)
    assert (report.keys, report.replaced) == (1, 1)
    assert content(target) == VALUES
    os.utime(path, (1, 1))  # older than the source's
    assert sync(source, target).replaced == 1


def test_equal_times_and_sizes_need_no_read(tmp_path):
    class Counted(WrapperStore):
        reads = 0

        async def _read(self, below, key, request, allocate):
            Counted.reads += 1
            return await below.read(key, request, allocate)

    source, target = filled(LocalStore(tmp_path / "a")), LocalStore(tmp_path / "b")
    sync_store_sync(source, target)
    sync_store_sync(Counted(source), Counted(target))
    assert Counted.reads == 0


@kinds
def test_resume_goes_by_size(kind, face, tmp_path):
    copy, _, _, _ = face
    target = filled(KINDS[kind](tmp_path), {"a/c/0/0": b"OTHER" * 100, "a/c/1/0": b"half", "mine": b"1"})
    report = copy(filled(MemoryStore()), target, if_exists="resume")
    assert (report.keys, report.replaced, report.skipped) == (len(VALUES) - 1, 1, 1)
    assert content(target) == {**VALUES, "a/c/0/0": b"OTHER" * 100, "mine": b"1"}


def test_skip_and_update_tell_apart(face):
    copy, _, _, _ = face
    before = {"a/c/0/0": b"x", "zarr.json": b"{}"}
    assert copy(filled(MemoryStore()), filled(MemoryStore(), before), if_exists="skip").differing == (
        "a/c/0/0",
    )
    report = copy(filled(MemoryStore()), filled(MemoryStore(), before), if_exists="update")
    assert (report.replaced, report.skipped, report.differing) == (1, 1, ())


# -- mirroring ------------------------------------------------------------------------------------


@kinds
def test_a_mirror_removes_what_only_the_target_has(kind, face, tmp_path):
    _, sync, _, _ = face
    target = filled(KINDS[kind](tmp_path), {"x/zarr.json": b"", "x/c/0": b"1", "zz": b"2", **VALUES})
    source = filled(MemoryStore(), {key: VALUES[key] for key in VALUES if key != "a/c/0/1"})
    assert sync(source, target, delete=True, dry_run=True).deleted == 4
    assert len(content(target)) == 8
    assert sync(source, target).deleted == 0
    assert sync(source, target, delete=True).deleted == 4
    assert content(target) == content(source)


def test_a_mirror_stays_below_its_directory(face, tmp_path):
    _, sync, _, _ = face
    beside = {"b-x/c": b"2", "ba/c": b"4", "a/b/c": b"5", "z": b"6"}
    target = filled(LocalStore(tmp_path), {**beside, "b/old": b"1", "b/a/old": b"3"})
    assert sync(filled(MemoryStore()), target, target_prefix="b", delete=True).deleted == 2
    assert content(target) == {**beside, **{f"b/{key}": VALUES[key] for key in VALUES}}


def test_an_empty_source_is_not_mirrored(face, tmp_path):
    copy, sync, _, _ = face
    target = filled(LocalStore(tmp_path))
    for source in (MemoryStore(), LocalStore(tmp_path / "none"), str(tmp_path / "mistyped")):
        with pytest.raises(KeyNotFoundError, match="delete all of the target"):
            sync(source, target, delete=True)
    with pytest.raises(KeyNotFoundError, match="delete all"):
        copy(filled(MemoryStore()), target, if_exists="replace", delete=True, include=["nothing"])
    assert content(target) == VALUES


def test_nothing_is_removed_after_a_failure(face):
    _, sync, _, _ = face

    class Failing(WrapperStore):
        async def _write(self, below, key, pieces, condition):
            raise BackendError("broken.", store=self, key=key)

    target = filled(MemoryStore(), {"old": b"1"})
    with pytest.raises(BackendError, match="broken"):
        sync(filled(MemoryStore()), Failing(target), delete=True)
    assert content(target) == {"old": b"1"}


def test_documents_are_removed_before_chunks(face):
    _, sync, _, _ = face
    removed = []

    class Noted(WrapperStore):
        async def _remove(self, below, key, condition):
            removed.append(key)
            return await below.remove(key, condition)

    sync(filled(MemoryStore(), {"k": b""}), Noted(filled(MemoryStore(), {"k": b"", **VALUES})), delete=True)
    assert set(removed[:2]) == {"zarr.json", "a/zarr.json"}
    assert removed[1] == "zarr.json"
    assert len(removed) == 5


# -- which keys take part -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("zarr.json", {"zarr.json", "a/zarr.json"}),
        ("/zarr.json", {"zarr.json"}),
        ("a", {"a/zarr.json", "a/c/0", "a/c/10"}),
        ("a/", {"a/zarr.json", "a/c/0", "a/c/10"}),
        ("*/c", {"a/c/0", "a/c/10"}),
        ("*/c/?", {"a/c/0"}),
        ("a/*", {"a/zarr.json", "a/c/0", "a/c/10"}),
        ("**/c/*", {"a/c/0", "a/c/10", "b/d/c/[x]"}),
        ("a/**/10", {"a/c/10"}),
        ("[!a-b]*", {"zarr.json", "a/zarr.json", "a/c/0", "a/c/10", "b/d/c/[x]"}),
        ("[[]x]", {"b/d/c/[x]"}),
        ("*.json", {"zarr.json", "a/zarr.json"}),
        ("nothing", set()),
    ],
)
def test_globs(glob, names):
    keys = {"zarr.json", "a/zarr.json", "a/c/0", "a/c/10", "b/d/c/[x]"}
    assert set(filter(selection([glob], [], exclude_litter=False), keys)) == names
    assert set(filter(selection([], [glob], exclude_litter=False), keys)) == keys - names


def test_what_is_no_glob():
    assert selection([], [], exclude_litter=False) is None
    with pytest.raises(TypeError, match="list"):
        selection("a", [], exclude_litter=False)
    with pytest.raises(ValueError, match="needs a name"):
        selection(["/"], [], exclude_litter=False)


@kinds
def test_litter_stays_behind(kind, face, tmp_path):
    copy, _, _, _ = face
    litter = {
        ".DS_Store": b"",
        "a/._zarr.json": b"",
        "a/c/.nfs0001": b"",
        "a/Thumbs.db": b"",
        "__MACOSX/a/x": b"",
    }
    source = filled(KINDS[kind](tmp_path), {**VALUES, **litter})
    assert copy(source, target := MemoryStore(), exclude_litter=True).keys == len(VALUES)
    assert content(target) == VALUES


def test_what_is_left_out_is_not_mirrored_away(face):
    _, sync, _, _ = face
    target = filled(MemoryStore(), {"keep/1": b"", "a/c/7": b""})
    report = sync(filled(MemoryStore()), target, delete=True, exclude=["keep"], include=["keep", "a/c/**"])
    assert (report.keys, report.deleted) == (3, 1)
    assert set(content(target)) == {"keep/1", "a/c/0/0", "a/c/0/1", "a/c/1/0"}


# -- moving ---------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("source_kind", KINDS)
def test_a_move_leaves_nothing_behind(source_kind, kind, face, tmp_path, small_pieces):
    _, _, move, _ = face
    source = filled(KINDS[source_kind](tmp_path / "source"), {**VALUES, "stays/x": b"1"})
    target = KINDS[kind](tmp_path / "target")
    report = move(source, target, prefix="a", target_prefix="b", verify=True)
    assert isinstance(report, CopyReport)
    assert (report.keys, report.deleted, report.verified) == (4, 4, 4)
    assert content(source) == {"zarr.json": b"{}", "stays/x": b"1"}
    assert content(target) == {"b" + key[1:]: VALUES[key] for key in VALUES if key[0] == "a"}


def test_paths_are_moved(face, tmp_path):
    _, _, move, _ = face
    filled(LocalStore(tmp_path / "a"))
    assert move(tmp_path / "a", str(tmp_path / "b")).deleted == len(VALUES)
    assert content(LocalStore(tmp_path / "a")) == {}
    assert content(LocalStore(tmp_path / "b")) == VALUES


def test_what_was_skipped_or_changed_is_not_removed(face):
    _, _, move, _ = face
    source = filled(MemoryStore())
    target = filled(MemoryStore(), {"a/c/0/0": b"other"})
    with pytest.raises(KeyConflictError):
        move(source, target)
    move(source, target, dry_run=True, if_exists="skip")
    assert content(source) == VALUES
    report = move(source, target, if_exists="skip")
    assert (report.keys, report.skipped, report.deleted) == (len(VALUES) - 1, 1, len(VALUES) - 1)
    assert content(source) == {"a/c/0/0": VALUES["a/c/0/0"]}
    assert move(source, target, if_exists="update").deleted == 1
    assert content(source) == {}
    assert content(target) == VALUES


def test_an_interrupted_move_goes_on(face):
    _, _, move, _ = face
    source = filled(MemoryStore())
    target = filled(MemoryStore(), {key: VALUES[key] for key in list(VALUES)[2:]})
    assert move(source, target, if_exists="resume").deleted == len(VALUES)
    assert (content(source), content(target)) == ({}, VALUES)


def test_a_value_that_is_written_after_it_was_copied_stays(face, tmp_path):
    _, _, move, _ = face
    source = filled(LocalStore(tmp_path))

    class Meanwhile(WrapperStore):
        async def _write(self, below, key, pieces, condition):
            if key == "zarr.json":  # which comes last
                source.set_sync("a/c/0/0", b"written meanwhile")
            return await below.write(key, pieces, condition)

    with pytest.raises(ChangedError, match="after it had been copied") as caught:
        move(source, Meanwhile(MemoryStore()))
    assert caught.value.key == "a/c/0/0"
    assert content(source)["a/c/0/0"] == b"written meanwhile"


def test_a_failed_move_removes_nothing(face):
    _, _, move, _ = face

    class Spoiling(WrapperStore):
        async def _write(self, below, key, pieces, condition):
            return await below.write(key, (b"spoilt",), condition)

    source = filled(MemoryStore())
    with pytest.raises(CorruptError):
        move(source, Spoiling(MemoryStore()), verify=True)
    assert content(source) == VALUES


def test_nothing_is_moved_out_of_what_cannot_remove(face, tmp_path):
    _, _, move, _ = face
    with pytest.raises(ReadOnlyError):
        move(filled(MemoryStore()).with_read_only(True), MemoryStore())
    archive = filled(ZipStore(tmp_path / "a.zip", mode="w"))
    with pytest.raises(UnsupportedOperationError, match="can't remove"):
        move(archive, target := MemoryStore())
    assert content(target) == {}


# -- comparing ------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("source_kind", KINDS)
def test_every_kind_of_difference_is_told(source_kind, kind, face, tmp_path, small_pieces):
    _, _, _, diff = face
    source = filled(KINDS[source_kind](tmp_path / "source"), {**VALUES, "only": b"1"})
    changed = {**VALUES, "a/c/0/0": b"x", "a/c/1/0": VALUES["a/c/1/0"][::-1], "other": b"2"}
    target = filled(KINDS[kind](tmp_path / "target"), {f"in/{key}": changed[key] for key in changed})
    found = []
    report = diff(source, target, target_prefix="in", checksum=True, found=found.append)
    assert report.differences == (("*", "a/c/0/0"), ("*", "a/c/1/0"), ("+", "only"), ("-", "other"))
    assert report.equal == 3
    assert bool(report)
    assert sorted(found) == sorted(
        [*report.differences, *(("=", k) for k in ("a/c/0/1", "a/zarr.json", "zarr.json"))]
    )
    same = diff(source, source, checksum=True)
    assert (same.equal, same.differences, bool(same)) == (len(VALUES) + 1, (), False)
    assert diff(source, target, target_prefix="in", checksum=True, include=["a/zarr.json"]).differences == ()


def test_a_value_that_cannot_be_read_is_told(face):
    _, _, _, diff = face

    class Broken(WrapperStore):
        async def _read(self, below, key, request, allocate):
            if key == "a/c/0/0":
                raise BackendError("broken.", store=self, key=key)
            return await below.read(key, request, allocate)

    report = diff(filled(MemoryStore()), Broken(filled(MemoryStore())))
    assert report.differences == (("!", "a/c/0/0"),)
    assert report.equal == len(VALUES) - 1


def test_names_of_any_script_are_in_one_order(face):
    _, sync, _, diff = face
    names = ["\N{SNOWMAN}", "a", "a-b", "a/b", "a0", "\U0001f600", "\ue000", "Z", "é"]
    source = filled(Awaiting(), {f"{name}/{n}": b"1" for n in range(3) for name in names})
    target = MemoryStore()
    sync(source, target)
    assert not diff(source, target)
    assert sync(source, target, delete=True).deleted == 0


def test_a_listing_that_claims_an_order_and_has_none_is_an_error(face):
    _, sync, _, _ = face

    class Lying(Awaiting):
        _lists_in_order = True

    target = filled(Lying(), {"b": b"1", "a": b"2"})
    with pytest.raises(BackendError, match="isn't in order"):
        sync(filled(MemoryStore()), target, delete=True)
    assert len(target.values) == 2


# -- many keys ------------------------------------------------------------------------------------


def test_long_listings_go_through_a_file(face, monkeypatch):
    from zarrstore._copy import spool

    monkeypatch.setattr(spool, "_RUN", 500)
    _, sync, _, diff = face
    values = {f"c/{number * 7919 % 3000}": b"%d" % number for number in range(3000)}
    source, target = filled(Awaiting(), values), filled(Awaiting(), {"c/extra": b"", "c/1": b"old"})
    report = sync(source, target, delete=True)
    assert (report.keys, report.replaced, report.deleted) == (3000, 1, 1)
    assert target.values == values
    assert not diff(source, target, checksum=True)


def test_a_copy_moves_values_while_it_lists(face):
    copy, _, _, _ = face
    target = MemoryStore()

    class Endless(Awaiting):
        async def _scan(self, prefix, deep, sizes):
            for page in range(30):
                if page > 20:
                    assert target.exists_sync("c/0/0")
                yield [Entry(f"c/{page}/{number}", 1) for number in range(100)]

        async def _read(self, key, request, allocate):
            return b"1"

    seen = []
    assert copy(Endless(), target, progress=seen.append).keys == 3000
    assert not seen[0].listed
    assert seen[-1].listed
    assert seen[-1].keys_done == seen[-1].keys_total == 3000
    assert all(a.keys_total <= b.keys_total for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize("size", [1, 200])  # the larger values are read in pieces while they are written
@pytest.mark.usefixtures("small_pieces")
def test_reads_and_writes_are_limited_apart(face, size):
    copy, _, _, _ = face
    under_way, most = {"read": 0, "write": 0}, {"read": 0, "write": 0}

    class Counting(Awaiting):
        async def _counted(self, what, call):
            under_way[what] += 1
            most[what] = max(most[what], under_way[what])
            await asyncio.sleep(0.002)
            answer = await call
            under_way[what] -= 1
            return answer

        async def _read(self, key, request, allocate):
            return await self._counted("read", super()._read(key, request, allocate))

        async def _write(self, key, pieces, condition):
            return await self._counted("write", super()._write(key, pieces, condition))

    source = Counting({f"c/{number}": bytes(size) for number in range(40)})
    copy(source, Counting(), concurrency=(12, 3))
    assert most["write"] == 3
    assert 3 < most["read"] <= 12 if size == 1 else most["read"] == 3


# -- stores that are committed as a whole ---------------------------------------------------------


def test_documents_come_first_where_chunks_need_them(face):
    copy, _, _, _ = face
    written = []

    class Session(Awaiting):
        _capabilities = Capabilities(transactional=True)

        async def _write(self, key, pieces, condition):
            written.append(key)
            await super()._write(key, pieces, condition)

    copy(filled(MemoryStore()), Session())
    assert written[:2] == ["zarr.json", "a/zarr.json"]
    assert set(written[2:]) == {"a/c/0/0", "a/c/0/1", "a/c/1/0"}


def test_the_whole_of_it_by_urls(tmp_path):
    filled(LocalStore(tmp_path / "a"))
    assert sync_store_sync(str(tmp_path / "a"), f"{tmp_path}/a.zip").keys == len(VALUES)
    assert not diff_stores_sync(tmp_path / "a", f"{tmp_path}/a.zip")


def test_within_one_second_bytes_tell(face):
    _, sync, _, _ = face

    class Timed(Awaiting):
        def __init__(self, values, when):
            super().__init__(values)
            self.when = when

        async def _scan(self, prefix, deep, sizes):
            yield [Entry(key, len(self.values[key]), None, self.when) for key in self.values]

    for when, there, reads, writes in [
        (99.9, b"x", 0, 0),
        (100.0, b"x", 0, 0),
        (100.7, b"x", 1, 1),  # the target's time may have been 100.9
        (100.7, b"1", 1, 0),
        (101.2, b"1", 1, 1),
    ]:
        source, target = Timed({"k": b"1"}, when), Timed({"k": there}, 100.0)
        assert sync(source, target).keys == writes
        assert len(source.reads) == reads


@pytest.mark.parametrize("count", [5, 3000])
def test_what_is_beside_the_copy_is_not_listed(count, face):
    _, sync, _, _ = face
    listed = []

    class Noted(WrapperStore):
        async def _scan(self, below, prefix, deep, sizes):
            if deep and sizes:
                listed.append(prefix)
            async for page in below.scan(prefix, deep, sizes):
                yield page

    values = {f"a/c/{number}": b"1" for number in range(count)} | {"a-b/x": b"2", "a": b"3", "ab": b"4"}
    target = filled(MemoryStore(), {"beside/1": b"", "a/c/1": b"old", "a-b/x": b"2"})
    report = sync(filled(MemoryStore(), values), Noted(target))
    assert (report.keys, report.replaced, report.skipped) == (count + 2, 1, 1)
    assert set(listed) == {"a/", "a-b/", "ab/"}
    assert content(target) == {**values, "beside/1": b""}


def test_what_another_writer_made_meanwhile_is_verified(face, small_pieces):
    copy, _, _, _ = face

    class Contested(WrapperStore):
        theirs = VALUES

        async def _write(self, below, key, pieces, condition):
            await below.write(key, (self.theirs[key],), ANY)
            return await below.write(key, pieces, condition)

    report = copy(filled(MemoryStore()), Contested(MemoryStore()), if_exists="skip", verify=True)
    assert (report.keys, report.skipped, report.verified) == (0, len(VALUES), len(VALUES))
    for key in ("a/c/0/0", "zarr.json"):
        target = Contested(MemoryStore())
        target.theirs = {**VALUES, key: VALUES[key][::-1]}
        with pytest.raises(CorruptError, match="was there before") as caught:
            copy(filled(MemoryStore(), {**VALUES, key: VALUES[key]}), target, if_exists="skip", verify=True)
        assert caught.value.key == key
