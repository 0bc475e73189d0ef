"""Digests of hierarchies: the ones that DANDI's zarr_checksum computes; and manifests."""

import asyncio
import hashlib
import itertools
import random
import shutil
import subprocess
from collections import Counter

import pytest
from hierarchies import trees
from zarr_checksum import compute_zarr_checksum
from zarr_checksum.generators import yield_files_local

from zarrstore import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    ZipStore,
    check_store,
    check_store_sync,
    digest_store,
    digest_store_sync,
)
from zarrstore._core.verbs import Entry
from zarrstore.errors import CorruptError
from zarrstore.storage import WrapperStore

TREES = trees()
SOME = ("v2, flat", "v2, nested, odd names", "v3, nested, consolidated", "by hand, raw, flat, C")
# From the published format, computed by hand: MD5s of JSON texts.
EMPTY = "481a2f77ab786a0f45aafd5db0971caa-0--0"
VALUES = {"zarr.json": b"{}", "a/b/c": b"1", "a.x": b"22", "a/z": b"", "a/b.c": b"4444", "a0/k": b"5"}


def theirs(folder):
    return str(compute_zarr_checksum(yield_files_local(folder)))


def folder_of(values, path):
    store = LocalStore(path)
    for key, value in values.items():
        store.set_sync(key, value)
    return store


def test_the_published_format():
    assert str(digest_store_sync(MemoryStore())) == EMPTY
    text = (
        f'{{"directories":[],"files":[{{"digest":"{hashlib.md5(b"1").hexdigest()}","name":"x","size":1}}]}}'
    )
    inner = f"{hashlib.md5(text.encode()).hexdigest()}-1--1"
    text = f'{{"directories":[{{"digest":"{inner}","name":"d","size":1}}],"files":[]}}'
    found = digest_store_sync(MemoryStore({"d/x": b"1"}))
    assert found.digest == f"{hashlib.md5(text.encode()).hexdigest()}-1--1"
    assert (found.count, found.bytes, found.values_read) == (1, 1, 1)


@pytest.mark.parametrize("tree", SOME)
def test_it_is_the_one_of_dandi(tree, tmp_path):
    store = folder_of(TREES[tree]().values, tmp_path / "made")
    assert str(digest_store_sync(store)) == theirs(tmp_path / "made")


def test_every_store_both_faces_and_every_order_give_the_same(tmp_path):
    folder = folder_of(VALUES, tmp_path / "made")
    wanted = theirs(tmp_path / "made")
    archive = ZipStore(tmp_path / "made.zip", mode="w")
    for key in reversed(VALUES):
        archive.set_sync(key, VALUES[key])
    archive.close()
    stores = [
        folder,
        archive,
        tmp_path / "made",
        FsspecStore.from_url(f"file://{tmp_path}/made"),
        WrapperStore(folder),
        LocalStore(tmp_path).sub("made"),
    ]
    orders = itertools.islice(itertools.permutations(VALUES), 0, 720, 60)
    stores += [MemoryStore({key: VALUES[key] for key in order}) for order in orders]
    for store in stores:
        assert str(digest_store_sync(store)) == wanted
        assert str(asyncio.run(digest_store(store))) == wanted
    assert str(digest_store_sync(tmp_path, prefix="made")) == wanted


def test_a_directory_and_what_is_below_it(tmp_path):
    store = folder_of(VALUES, tmp_path / "made")
    assert str(digest_store_sync(store, prefix="a")) == theirs(tmp_path / "made" / "a")


class Tagged(WrapperStore):
    """Lists as S3 does: an ETag with each key, which is an MD5 or looks like one."""

    is_md5 = True

    async def _scan(self, below, prefix, deep, sizes):
        async for page in below.scan(prefix, deep, sizes):
            yield [await self._stat(below, entry.key) for entry in page]

    async def _read_versioned(self, below, key, request, allocate):
        return await below.read(key, request, allocate), (await self._stat(below, key)).version

    async def _stat(self, below, key):
        data = bytes(await below.read(key, None, bytearray))
        tag = hashlib.md5(data if self.is_md5 else data + b"key").hexdigest()
        return Entry(key, len(data), f'"{tag}-2"' if key == "a0/k" else f'"{tag}"')


def test_md5s_of_a_listing_spare_reading_unless_they_are_none():
    wanted = str(digest_store_sync(MemoryStore(VALUES)))
    store = Tagged(MemoryStore(VALUES))
    found = digest_store_sync(store)
    assert (str(found), found.values_read) == (wanted, 2)  # one to see what ETags are, one of two parts
    found = digest_store_sync(store, etags=False)
    assert (str(found), found.values_read) == (wanted, 6)
    store.is_md5 = False
    found = digest_store_sync(store)
    assert (str(found), found.values_read) == (wanted, 7)


def test_large_values_are_read_in_pieces(monkeypatch):
    monkeypatch.setattr("zarrstore._copy.value.PIECE", 1000)
    value = random.Random(0).randbytes(12_345)
    text = hashlib.md5(value).hexdigest()
    manifest = []
    from zarrstore._check.digest import Digest
    from zarrstore._check.place import Place

    Digest(Place(MemoryStore({"k": value}), ""), etags=True, write=manifest.extend).run_here()
    assert manifest == [f"{text}  k\n"]


def test_a_manifest_is_what_md5sum_writes_and_checks(tmp_path):
    values = {**VALUES, "back\\slash": b"x", "line\nbreak": b"y"}
    store = folder_of(values, tmp_path / "made")
    manifest = tmp_path / "manifest"
    digest_store_sync(store, manifest=manifest)
    subprocess.run(["md5sum", "--check", "--strict", "--quiet", manifest], cwd=store.root, check=True)
    assert check_store_sync(store, against=manifest, ignore=["document"]).problems == ()
    written = subprocess.run(
        ["sh", "-c", "find . -type f -exec md5sum {} +"], cwd=store.root, check=True, capture_output=True
    )
    manifest.write_bytes(written.stdout)
    assert check_store_sync(store, against=manifest, ignore=["document"]).problems == ()


def test_a_check_against_a_manifest(tmp_path):
    values = TREES["v3, nested"]().values
    store = folder_of(values, tmp_path / "made")
    manifest = tmp_path / "manifest"
    digest_store_sync(store, manifest=manifest)
    shutil.copytree(store.root, tmp_path / "copy")
    copy = LocalStore(tmp_path / "copy")
    assert check_store_sync(copy, against=manifest).problems == ()
    changed = bytearray(values["zarr.json"].ljust(len(values["zarr.json"]) + 1))
    copy.set_sync("zarr.json", bytes(changed))
    copy.delete_sync("temp/c/0/0")
    copy.set_sync("more", b"x")
    for report in (
        check_store_sync(copy, against=manifest),
        asyncio.run(check_store(copy, against=manifest)),
    ):
        told = {problem.key: problem.text for problem in report.problems if problem.kind == "manifest"}
        assert len(told) == len(report.problems) == 3
        assert "isn't stored" in told["temp/c/0/0"]
        assert "doesn't have it" in told["more"]
        assert "MD5" in told["zarr.json"]
    report = check_store_sync(copy, against=manifest, quick=True)
    assert sorted(problem.key for problem in report.problems) == ["more", "temp/c/0/0"]
    (copy.root / "zarr.json").unlink()
    (copy.root / "zarr.json").symlink_to("nowhere")
    report = check_store_sync(copy, against=manifest, ignore=["document"])
    assert sorted(problem.kind for problem in report.problems) == ["link", "manifest", "manifest"]
    manifest.write_text("nonsense\n")
    with pytest.raises(CorruptError, match="line 1"):
        check_store_sync(copy, against=manifest)


class Counted(WrapperStore):
    """Counts how often each key is read."""

    def __init__(self, store):
        super().__init__(store)
        self.reads = Counter()

    async def _read(self, below, key, request, allocate):
        self.reads[key] += 1
        return await below.read(key, request, allocate)


def test_a_check_against_a_manifest_reads_each_chunk_once(tmp_path):
    folder = folder_of(TREES["v3, nested"]().values, tmp_path / "made")
    digest_store_sync(folder, manifest=tmp_path / "manifest")
    chunks = {key for key in folder.list_sync() if "/c/" in key}
    for look in (
        lambda store: check_store_sync(store, against=tmp_path / "manifest"),
        lambda store: asyncio.run(check_store(store, against=tmp_path / "manifest")),
    ):
        store = Counted(folder)
        assert look(store).problems == ()
        assert {key: store.reads[key] for key in chunks} == dict.fromkeys(chunks, 1)


def test_large_values_are_held_against_a_manifest_in_pieces(tmp_path, monkeypatch):
    store = folder_of({**TREES["v3, nested"]().values, "more": bytes(5000)}, tmp_path / "made")
    digest_store_sync(store, manifest=tmp_path / "manifest")
    monkeypatch.setattr("zarrstore._check.job.BYTES", 20)
    assert check_store_sync(store, against=tmp_path / "manifest").problems == ()
    store.set_sync("more", bytes(4999) + b"x")
    (problem,) = check_store_sync(store, against=tmp_path / "manifest").problems
    assert (problem.kind, problem.key) == ("manifest", "more")


@pytest.mark.parametrize("call", [(check_store_sync, check_store), (digest_store_sync, digest_store)])
def test_progress_is_told(call, tmp_path, capsys):
    blocking, awaited = call
    store = folder_of(TREES["v3, nested"]().values, tmp_path / "made")
    keys = list(store.list_sync())
    for run in (
        lambda seen: blocking(store, progress=seen.append),
        lambda seen: asyncio.run(awaited(store, progress=seen.append)),
        lambda seen: blocking(FsspecStore.from_url(store.root.as_uri()), progress=seen.append),
    ):
        seen = []
        run(seen)
        last = seen[-1]
        assert (last.keys_done, last.keys_total) == (len(keys), len(keys))
        assert last.bytes_done == last.bytes_total == sum(map(store.getsize_sync, keys))
        assert last.listed
        assert [state.keys_done for state in seen] == sorted(state.keys_done for state in seen)
    blocking(store, progress=True)
    assert capsys.readouterr().err == ""  # it was done before there was anything to draw


def test_what_progress_raises_ends_a_check(tmp_path):
    store = folder_of(TREES["v3, nested"]().values, tmp_path / "made")

    def stop(state):
        raise ZeroDivisionError

    for run in (check_store_sync, digest_store_sync):
        with pytest.raises(ZeroDivisionError):
            run(store, progress=stop)
