"""What a check of a hierarchy tells: each kind of damage by its name, and nothing of what is whole."""

import asyncio
import gzip
import json
import os
import random
import struct
import sys
import warnings
import zipfile
from itertools import product

import google_crc32c
import numpy as np
import pytest
from hierarchies import ARCHIVES, AROUND, FOLDERS, trees

from zarrstore import FsspecStore, LocalStore, MemoryStore, ZipStore, check_store, check_store_sync
from zarrstore.errors import BackendError, TransientError
from zarrstore.storage import LoggingStore, WrapperStore

GRID = np.arange(35, dtype="<i4").reshape(5, 7)
TREES = trees()


def document(**fields):
    return json.dumps(fields).encode()


def v3(shape, chunks, codecs, dtype="int32", separator="/", name="default", **more):
    return document(
        zarr_format=3,
        node_type="array",
        shape=shape,
        data_type=dtype,
        chunk_grid={"name": "regular", "configuration": {"chunk_shape": chunks}},
        chunk_key_encoding={"name": name, "configuration": {"separator": separator}},
        fill_value=0,
        codecs=codecs,
        **more,
    )


def v2(shape, chunks, compressor=None, dtype="<i4", filters=None, **more):
    return document(
        zarr_format=2,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        compressor=compressor,
        fill_value=0,
        order="C",
        filters=filters,
        **more,
    )


RAW = [{"name": "bytes", "configuration": {"endian": "little"}}]
CRC = {"name": "crc32c"}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
GROUP = document(zarr_format=3, node_type="group")


def shard(chunks, at_start=False):
    """A shard of four chunks, each bytes or None; and where its index starts."""
    start, places = 68 if at_start else 0, b""
    for chunk in chunks:
        places += struct.pack("<2Q", start, len(chunk)) if chunk is not None else b"\xff" * 16
        start += len(chunk or b"")
    index = places + struct.pack("<I", google_crc32c.value(places))
    data = b"".join(chunk or b"" for chunk in chunks)
    return index + data if at_start else data + index


def sharded(location="end", inner=RAW):
    options = {
        "chunk_shape": [1, 1],
        "codecs": inner,
        "index_codecs": [*RAW, CRC],
        "index_location": location,
    }
    return v3([4, 4], [2, 2], [{"name": "sharding_indexed", "configuration": options}])


def with_crc(value):
    return value + struct.pack("<I", google_crc32c.value(value))


INNER = [struct.pack("<i", number) for number in range(4)]
HEALTHY = {
    "zarr.json": GROUP,
    "raw/zarr.json": v3([4, 4], [2, 2], RAW),
    "raw/c/0/0": bytes(16),
    "raw/c/1/1": bytes(16),
    "gzip/zarr.json": v3([4, 4], [2, 2], [*RAW, GZIP]),
    "gzip/c/0/1": gzip.compress(bytes(16)),
    "crc/zarr.json": v3([4], [2], [*RAW, CRC], separator=".", name="v2"),
    "crc/0": with_crc(bytes(8)),
    "end/zarr.json": sharded(),
    "end/c/0/0": shard(INNER),
    "end/c/1/1": shard([None, INNER[1], None, INNER[0]]),
    "start/zarr.json": sharded("start", [*RAW, GZIP]),
    "start/c/0/0": shard([gzip.compress(chunk) for chunk in INNER], at_start=True),
    "scalar/zarr.json": v3([], [], RAW, "float64"),
    "scalar/c": bytes(8),
    "old/.zgroup": document(zarr_format=2),
    "old/a/.zarray": v2([4, 4], [2, 2], {"id": "zlib", "level": 1}),
    "old/a/.zattrs": document(units="m"),
    "old/b/.zarray": v2([3], [2], dtype=[["x", "<i4"], ["y", "<f8", [2]]]),
    "old/b/0": bytes(40),
}
OLD = {".zgroup": HEALTHY["old/.zgroup"], "a/.zarray": HEALTHY["old/a/.zarray"]}


def consolidated(**changes):
    inner = {"zarr_format": 3, "node_type": "group", "attributes": {}, **changes}
    metadata = {"kind": "inline", "must_understand": False, "metadata": {"sub": inner}}
    return document(zarr_format=3, node_type="group", consolidated_metadata=metadata)


# What is written over the healthy hierarchy, with the problem that it is: kind, key, chunk and words of it.
DAMAGE = {
    "an empty document": ({"raw/zarr.json": b""}, "document", "raw/zarr.json", None, "empty"),
    "a document that was cut": ({"raw/zarr.json": b'{"zarr_fo'}, "document", "raw/zarr.json", None, "JSON"),
    "a document of no object": ({"old/a/.zattrs": b"[]"}, "document", "old/a/.zattrs", None, "list"),
    "a document without shape": (
        {"raw/zarr.json": document(zarr_format=3, node_type="array")},
        "document", "raw/zarr.json", None, "lacks shape",
    ),
    "a grid of other dimensions": (
        {"raw/zarr.json": v3([4, 4], [2], RAW)}, "document", "raw/zarr.json", None, "dimensions",
    ),
    "names of other dimensions": (
        {"raw/zarr.json": v3([4, 4], [2, 2], RAW, dimension_names=["x"])},
        "document", "raw/zarr.json", None, "dimension_names",
    ),
    "a field to be understood": (
        {"raw/zarr.json": v3([4, 4], [2, 2], RAW, news=1)}, "document", "raw/zarr.json", None, "news",
    ),
    "shards that aren't multiples": (
        {"end/zarr.json": sharded().replace(b"[1, 1]", b"[3, 1]")},
        "document", "end/zarr.json", None, "multiples",
    ),
    "a field of a type without a name": (
        {"old/a/.zarray": v2([4, 4], [2, 2], dtype=[[4, "<i4"]])}, "document", "old/a/.zarray", None, "field",
    ),
    "an old document of no type": (
        {"old/a/.zarray": v2([4, 4], [2, 2], dtype="?!")}, "document", "old/a/.zarray", None, "dtype",
    ),
    "a chunk outside the grid": ({"raw/c/2/0": bytes(16)}, "outside", "raw/c/2/0", (2, 0), "2 x 2"),
    "an old chunk outside the grid": ({"old/b/2": bytes(40)}, "outside", "old/b/2", (2,), "2 chunks"),
    "another separator": ({"raw/c.0.1": bytes(16)}, "misspelt", "raw/c.0.1", None, "c/0/0"),
    "another encoding": ({"raw/0/1": bytes(16)}, "misspelt", "raw/0/1", None, "c/0/0"),
    "an old key with slashes": ({"old/a/0/0": bytes(16)}, "misspelt", "old/a/0/0", None, "0.0"),
    "leading zeros": ({"raw/c/00/1": bytes(16)}, "misspelt", "raw/c/00/1", None, "c/0/0"),
    "something else in an array": ({"raw/notes.txt": b"x"}, "stray", "raw/notes.txt", None, "no chunk"),
    "a chunk of no array": ({"lost/c/0/0": bytes(16)}, "orphan", "lost/c/0/0", None, "no array"),
    "a chunk that was cut": ({"raw/c/0/0": bytes(15)}, "size", "raw/c/0/0", (0, 0), "16"),
    "an empty chunk": ({"gzip/c/0/1": b""}, "size", "gzip/c/0/1", (0, 1), "empty"),
    "a structure that was cut": ({"old/b/0": bytes(39)}, "size", "old/b/0", (0,), "40"),
    "gzip that was cut": (
        {"gzip/c/0/1": HEALTHY["gzip/c/0/1"][:-9]}, "value", "gzip/c/0/1", (0, 1), "gzip",
    ),
    "gzip of something else": (
        {"gzip/c/0/1": gzip.compress(bytes(17))}, "value", "gzip/c/0/1", (0, 1), "17 bytes",
    ),
    "zlib that is none": ({"old/a/0.0": b"\x78\x9c123"}, "value", "old/a/0.0", (0, 0), "zlib"),
    "a wrong checksum": ({"crc/0": bytes(8) + b"abcd"}, "value", "crc/0", (0,), "checksum"),
    "a shard without its index": ({"end/c/0/0": bytes(10)}, "size", "end/c/0/0", (0, 0), "index"),
    "a corrupt index": (
        {"end/c/0/0": shard(INNER)[:-5] + b"x" + shard(INNER)[-4:]},
        "shard", "end/c/0/0", (0, 0), "checksum",
    ),
    "an index beyond the shard": (
        {"end/c/0/0": shard(INNER)[4:]}, "shard", "end/c/0/0", (1, 1), "aren't in the shard's",
    ),
    "chunks that overlap": (
        {"end/c/1/1": b"" + bytes(8) + with_crc(struct.pack("<8Q", 0, 4, 2, 4, *[2**64 - 1] * 4))},
        "shard", "end/c/1/1", (2, 3), "another chunk's",
    ),
    "a chunk inside that is broken": (
        {"start/c/0/0": HEALTHY["start/c/0/0"].replace(gzip.compress(INNER[2]), bytes(24))},
        "value", "start/c/0/0", (1, 0), "gzip",
    ),
    "a chunk inside that was cut": (
        {"end/c/0/0": shard([INNER[0], b"123", None, None])}, "value", "end/c/0/0", (0, 1), "3 bytes",
    ),
    "consolidated in version 2": (
        {"old/.zmetadata": document(zarr_consolidated_format=1, metadata={".zgroup": {"zarr_format": 2}})},
        "consolidated", "old/.zmetadata", None, "lacks old/a/.zarray",
    ),
    "consolidated, and gone": (
        {"c3/zarr.json": consolidated()}, "consolidated", "c3/zarr.json", None, "c3/sub/zarr.json",
    ),
    "consolidated, and changed": (
        {"c3/zarr.json": consolidated(attributes={"a": 1}), "c3/sub/zarr.json": GROUP},
        "consolidated", "c3/zarr.json", None, "another c3/sub/zarr.json",
    ),
    "litter of macOS": ({"raw/._zarr.json": b"\0\5"}, "litter", "raw/._zarr.json", None, "left"),
    "litter of a group": ({".DS_Store": b""}, "litter", ".DS_Store", None, "left"),
    "a write of zarr-python's": (
        {f"raw/c/0/0.{'a' * 32}.partial": b""}, "temporary", f"raw/c/0/0.{'a' * 32}.partial", None, "write",
    ),
}  # fmt: skip


def kinds(report):
    return [problem.kind for problem in report.problems]


def test_the_healthy_hierarchy_has_no_problem():
    report = check_store_sync(MemoryStore(HEALTHY))
    assert report.problems == ()
    assert not report
    assert (report.groups, report.arrays, report.chunks, report.values_read) == (2, 8, 9, 9)
    assert report.bytes == sum(map(len, HEALTHY.values()))
    assert report.unchecked == {}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(case):
    changes, kind, key, chunk, words = DAMAGE[case]
    found = []
    store = MemoryStore({**HEALTHY, **changes})
    report = check_store_sync(store, found=found.append)
    assert found == list(report.problems)
    problem = next(problem for problem in report.problems if problem.kind == kind)
    assert (problem.key, problem.chunk) == (key, chunk)
    assert words in problem.text
    assert {problem.key for problem in report.problems} <= {key, *changes}
    if chunk is not None:
        assert key.startswith(f"{problem.array}/")
    assert bool(report)
    assert check_store_sync(store, ignore=[kind]).problems == tuple(
        p for p in report.problems if p.kind != kind
    )


@pytest.mark.parametrize("case", DAMAGE)
def test_quick_reads_no_chunk_and_tells_the_rest(case):
    changes, kind, *_ = DAMAGE[case]
    report = check_store_sync(MemoryStore({**HEALTHY, **changes}), quick=True)
    assert report.values_read == 0
    assert (kind in kinds(report)) == (kind not in ("value", "shard"))


@pytest.mark.parametrize(
    "case", ["a chunk outside the grid", "gzip that was cut", "a corrupt index", "a wrong checksum"]
)
def test_every_store_and_both_faces_tell_the_same(case, tmp_path):
    values = {**HEALTHY, **DAMAGE[case][0]}
    memory = MemoryStore(values)
    wanted = sorted(check_store_sync(memory).problems)
    folder, archive = LocalStore(tmp_path / "folder"), ZipStore(tmp_path / "made.zip", mode="w")
    for store, (key, value) in product((folder, archive), values.items()):
        store.set_sync(key, value)
    archive.close()
    stores = [
        memory,
        folder,
        str(tmp_path / "folder"),
        ZipStore(tmp_path / "made.zip"),
        FsspecStore.from_url(f"file://{tmp_path}/folder"),
        LoggingStore(WrapperStore(folder), "ERROR"),
        LocalStore(tmp_path).sub("folder"),
    ]
    for store in stores:
        assert sorted(check_store_sync(store).problems) == wanted, store
        assert sorted(asyncio.run(check_store(store)).problems) == wanted, store
    assert sorted(check_store_sync(tmp_path, prefix="folder").problems) == wanted


@pytest.mark.parametrize("name", TREES)
def test_whole_hierarchies_of_other_tools_raise_no_alarm(name):
    values = TREES[name]().values
    report = check_store_sync(MemoryStore(dict(values)))
    assert report.problems == ()
    assert report.unchecked == {}
    assert report.chunks == report.values_read > 0


@pytest.mark.parametrize("vessel", FOLDERS)
def test_folders_of_other_tools_have_no_problem_but_litter(vessel, tmp_path):
    FOLDERS[vessel](TREES["v3, nested, consolidated"](), tmp_path / "made")
    report = check_store_sync(tmp_path / "made")
    assert set(kinds(report)) == ({"litter"} if "litter" in vessel else set())


@pytest.mark.parametrize("vessel", ARCHIVES)
def test_archives_of_other_tools_have_no_problem_but_litter(vessel, tmp_path):
    ARCHIVES[vessel](TREES["v3, nested, consolidated"](), tmp_path / "made.zip")
    report = check_store_sync(tmp_path / "made.zip", prefix=AROUND if vessel == "folder around" else "")
    assert set(kinds(report)) == ({"litter"} if vessel == "macOS" else set())
    assert report.values_read == 34


@pytest.mark.parametrize("name", ["ZstdCodec", "BloscCodec", "GzipCodec", "Crc32cCodec"])
def test_each_compressor_of_zarr_python_is_decoded(name):
    zarr = pytest.importorskip("zarr")
    store = zarr.storage.MemoryStore()
    zarr.create_array(store, data=GRID, chunks=(2, 3), compressors=[getattr(zarr.codecs, name)()])
    values = {key: value.to_bytes() for key, value in store._store_dict.items()}
    report = check_store_sync(MemoryStore(dict(values)))
    assert (report.problems, report.unchecked, report.values_read) == ((), {}, 9)
    values["c/0/0"] = values["c/0/0"][:-3]
    values["c/0/1"] = os.urandom(len(values["c/0/1"]))
    report = check_store_sync(MemoryStore(values))
    assert sorted(problem.chunk for problem in report.problems) == [(0, 0), (0, 1)]


def test_shards_of_zarr_python_nested_wrapped_and_transposed():
    zarr = pytest.importorskip("zarr")
    inner = zarr.codecs.ShardingCodec(
        chunk_shape=(1, 2), codecs=[zarr.codecs.BytesCodec(), zarr.codecs.GzipCodec()]
    )
    chains = [
        [zarr.codecs.ShardingCodec(chunk_shape=(2, 2), codecs=[inner])],
        [zarr.codecs.TransposeCodec(order=(1, 0)), zarr.codecs.ShardingCodec(chunk_shape=(2, 4))],
    ]
    for chain in chains:
        store = zarr.storage.MemoryStore()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # combining codecs with shards is slow, it says
            array = zarr.create(shape=(8, 8), chunks=(4, 4), dtype="i4", store=store, codecs=chain)
            array[:] = np.arange(64).reshape(8, 8)
        values = {key: value.to_bytes() for key, value in store._store_dict.items()}
        report = check_store_sync(MemoryStore(dict(values)))
        assert (report.problems, report.unchecked) == ((), {})
        key = next(key for key in values if key != "zarr.json")
        spoilt = bytearray(values[key])
        spoilt[-2] ^= 1
        report = check_store_sync(MemoryStore({**values, key: bytes(spoilt)}))
        assert kinds(report) == ["shard"]


def test_a_codec_that_nothing_here_knows_is_told_and_no_problem():
    values = {
        "zarr.json": v3([4], [2], [*RAW, {"name": "squash"}]),
        "c/0": b"x",
        "c/1": b"y",
    }
    report = check_store_sync(MemoryStore(values))
    assert report.problems == ()
    assert report.unchecked == {"squash": 2}


def test_without_numcodecs_its_chunks_are_told_unchecked(monkeypatch):
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    values = {".zarray": v2([8], [4], {"id": "blosc"}), "0": bytes(12) + b"\x10\0\0\0", "1": bytes(16)}
    report = check_store_sync(MemoryStore(values))
    assert [problem.key for problem in report.problems] == ["1"]  # whose header has no size
    assert report.unchecked == {"blosc": 1}


def test_large_shards_are_read_chunk_by_chunk(monkeypatch):
    monkeypatch.setattr("zarrstore._check.job.BYTES", 50)
    for case in (
        "a corrupt index",
        "an index beyond the shard",
        "chunks that overlap",
        "a chunk inside that is broken",
    ):
        changes, kind, key, chunk, words = DAMAGE[case]
        (problem, *_) = check_store_sync(MemoryStore({**HEALTHY, **changes})).problems
        assert (problem.kind, problem.key, problem.chunk) == (kind, key, chunk)
        assert words in problem.text


def test_chunks_that_are_not_stored_are_told_when_asked():
    report = check_store_sync(MemoryStore(HEALTHY), complete=True)
    told = {(problem.array, problem.key): problem.text for problem in report.problems}
    assert set(kinds(report)) == {"missing"}
    assert told["raw", "raw/c/0/1"] == "2 of 4 chunks aren't stored"
    assert told["end", "end/c/1/1"] == "2 of the 4 chunks inside aren't stored"
    assert told["crc", "crc/1"] == "1 of 2 chunks aren't stored"
    assert ("scalar", "scalar/c") not in told


def test_a_place_without_a_hierarchy_is_told(tmp_path):
    for values in ({}, {"a/b": b"x"}):
        assert kinds(check_store_sync(MemoryStore(values))) == ["document"]
    assert kinds(check_store_sync(tmp_path / "nowhere")) == ["document"]


def test_a_broken_document_is_one_problem_not_one_for_each_chunk():
    report = check_store_sync(MemoryStore({**HEALTHY, "raw/zarr.json": b""}))
    assert kinds(report) == ["document"]


def test_links_to_nothing_and_unfinished_writes_in_a_folder(tmp_path):
    store = LocalStore(tmp_path / "root")
    for key, value in HEALTHY.items():
        store.set_sync(key, value)
    (store.root / "raw/c/1/0").symlink_to("nowhere")
    (store.root / "raw/c/0/.zarrstore-0123456789abcdef.tmp").write_bytes(b"half")
    (store.root / "crc/0").unlink()
    (store.root / "crc/0").symlink_to("gone")
    wanted = [
        ("link", "crc/0"),
        ("link", "raw/c/1/0"),
        ("temporary", "raw/c/0/.zarrstore-0123456789abcdef.tmp"),
    ]
    for face in (check_store_sync, lambda place: asyncio.run(check_store(place))):
        report = face(store)
        assert sorted((problem.kind, problem.key) for problem in report.problems) == wanted
        assert report.values_read == 8
    assert sorted(kinds(check_store_sync(store.sub("raw")))) == ["link", "temporary"]


def test_links_that_go_round_end(tmp_path):
    store = LocalStore(tmp_path / "root")
    store.set_sync("zarr.json", GROUP)
    (store.root / "again").symlink_to(store.root, target_is_directory=True)
    assert set(kinds(check_store_sync(store, quick=True))) <= {"link", "unreadable"}


@pytest.mark.parametrize("call", ["stat", "readlink"])
def test_what_is_removed_from_a_folder_meanwhile_is_no_problem(tmp_path, monkeypatch, call):
    LocalStore(tmp_path).set_sync("zarr.json", GROUP)
    (tmp_path / "left").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    bare = getattr(os, call)

    def removed_first(path, *args, **options):
        if path == str(tmp_path / "left"):
            (tmp_path / "left").rmdir()
        elif call == "readlink":
            (tmp_path / "link").unlink()
        return bare(path, *args, **options)

    monkeypatch.setattr(f"zarrstore._check.surroundings.os.{call}", removed_first)
    report = check_store_sync(tmp_path)
    assert [problem.kind for problem in report.problems] == ([] if call == "readlink" else ["link"])


def test_an_archive_tells_of_checksums_and_of_its_end(tmp_path):
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in HEALTHY.items():
            archive.writestr(key, value)
    assert check_store_sync(path).problems == ()
    content = path.read_bytes()
    at = content.index(b"raw/c/0/0") + len("raw/c/0/0")
    path.write_bytes(content[:at] + b"\1" + content[at + 1 :])
    (problem,) = check_store_sync(path).problems
    assert problem.key == "raw/c/0/0"
    assert "checksum" in problem.text
    open_one = ZipStore(tmp_path / "open.zip", mode="w")
    open_one.set_sync("zarr.json", GROUP)
    assert kinds(check_store_sync(ZipStore(tmp_path / "open.zip"))) == ["archive"]
    open_one.close()
    assert check_store_sync(tmp_path / "open.zip").problems == ()


class Failing(WrapperStore):
    """Fails to read one key."""

    error = BackendError("the disk is broken.")

    async def _read(self, below, key, request, allocate):
        if key == "raw/c/0/0":
            raise self.error
        return await below.read(key, request, allocate)


def test_a_value_that_cannot_be_read_is_a_problem_and_a_failure_that_may_pass_is_an_error():
    store = Failing(MemoryStore(HEALTHY))
    (problem,) = check_store_sync(store).problems
    assert problem[:3] == ("unreadable", "raw/c/0/0", "the disk is broken")
    store.error = TransientError("slow down.")
    with pytest.raises(TransientError):
        check_store_sync(store)


class Changing(WrapperStore):
    """Changes a value as soon as one part of it, or all of it, is asked for."""

    change = None

    async def _read(self, below, key, request, allocate):
        data = await below.read(key, request, allocate)
        if key == self.key and self.change is not None:
            change, self.change = self.change, None
            change(key)
            data = data if request else await below.read(key, request, allocate)
        return data


def test_a_value_that_is_removed_meanwhile_is_told_as_that():
    store = Changing(MemoryStore(HEALTHY))
    store.key, store.change = "raw/c/0/0", store.delete_sync
    (problem,) = check_store_sync(store).problems
    assert problem[:2] == ("unreadable", "raw/c/0/0")
    assert "removed while it was read" in problem.text


def test_a_large_shard_that_is_replaced_between_two_parts_raises_no_alarm(monkeypatch):
    monkeypatch.setattr("zarrstore._check.job.BYTES", 50)
    old, new = (shard([gzip.compress(chunk, level) for chunk in INNER]) for level in (9, 0))
    store = Changing(MemoryStore({"zarr.json": sharded(inner=[*RAW, GZIP]), "c/0/0": old}))
    store.key, store.change = "c/0/0", lambda key: store.set_sync(key, new)
    assert check_store_sync(store).problems == ()
    assert store.change is None


def test_what_is_asked_wrongly_is_an_error():
    with pytest.raises(ValueError, match="no kind of problem is named 'rubbish'"):
        check_store_sync(MemoryStore(), ignore=["rubbish"])


def test_both_formats_side_by_side_share_their_chunks():
    values = {
        "zarr.json": v3([4], [2], RAW, name="v2", separator="."),
        ".zarray": v2([4], [2]),
        ".zattrs": b"{}",
        "0": bytes(8),
    }
    report = check_store_sync(MemoryStore(values))
    assert report.problems == ()
    assert report.chunks == 1


EXTENSIONS = {
    "consolidated metadata that is null": {
        "zarr.json": document(zarr_format=3, node_type="group", consolidated_metadata=None),
        "a/zarr.json": HEALTHY["raw/zarr.json"],
        "a/c/0/0": bytes(16),
    },
    "a structure in a structure": {
        ".zarray": v2([2], [2], dtype=[["x", "<i4"], ["y", [["z", "<f4"], ["w", "|b1"]]]]),
        "0": bytes(18),
    },
    "a dimension without a name": {
        "zarr.json": v3([4, 4], [2, 2], RAW, dimension_names=["x", None]),
        "c/0/0": bytes(16),
    },
    "a field that need not be understood": {
        "zarr.json": v3([4], [2], RAW, news={"must_understand": False}),
        "c/0": bytes(8),
    },
    "an encoding of chunk keys that isn't known": {
        "zarr.json": v3([4], [2], RAW, name="fanout"),
        "x/0": bytes(8),
    },
    "a grid that isn't regular": {
        "zarr.json": v3([4], [2], RAW).replace(b'"regular"', b'"rectilinear"'),
        "c/0": bytes(4),
        "c/9": bytes(12),
    },
    "a filter before the bytes": {
        "zarr.json": v3([4], [2], [{"name": "numcodecs.astype"}, *RAW]),
        "c/0": bytes(16),
    },
    "what netCDF's library keeps": {
        ".zgroup": b'{"zarr_format": 2}',
        ".nczgroup": b"{}",
        "a/.zarray": v2([4], [2], dimension_separator=None),
        "a/.nczarray": b"{}",
        "a/0": bytes(8),
    },
    "names and attributes of OME": {
        ".zgroup": b'{"zarr_format": 2}',
        "OME/METADATA.ome.xml": b"<OME/>",
        "0/.zarray": v2([4, 4], [2, 2], dimension_separator="/"),
        "0/0/0": bytes(16),
        "labels/.zgroup": b'{"zarr_format": 2}',
        "labels/0/.zgroup": b'{"zarr_format": 2}',
    },
    "groups without documents": {"a/b/zarr.json": v3([2], [2], RAW), "a/b/c/0": bytes(8)},
}


@pytest.mark.parametrize("case", EXTENSIONS)
def test_what_formats_allow_raises_no_alarm(case):
    report = check_store_sync(MemoryStore(EXTENSIONS[case]))
    assert report.problems == ()
    assert report.arrays
    check_store_sync(MemoryStore(EXTENSIONS[case]), complete=True)


SHARDING = {"chunk_shape": [1, 1], "codecs": RAW, "index_codecs": [GZIP]}
ODD = [
    None, True, 0, -1, 2**70, 1.5, "x", "", [], [1], [0, 0], ["a"], [[1]], {}, {"name": "bytes"}, {"id": 3},
    {"name": "sharding_indexed", "configuration": SHARDING}, [2**40, 2**40], [4, 4, 4],
    [
        {"name": "transpose", "configuration": {"order": [5, 6]}},
        {"name": "sharding_indexed", "configuration": SHARDING},
    ],
]  # fmt: skip


def places_in(part, above=()):
    if isinstance(part, (dict, list)):
        for name, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield (*above, name)
            yield from places_in(inner, (*above, name))


def test_no_document_or_value_makes_a_check_fail():
    """Whatever stands where in a document, and whichever bytes of a value are others."""
    healthy = {**HEALTHY, "c3/zarr.json": consolidated(), "c3/sub/zarr.json": GROUP}
    names = [key for key in healthy if key.rpartition("/")[2] in ("zarr.json", ".zarray", ".zattrs")]
    cases = [
        (key, place, odd) for key in names for place in places_in(json.loads(healthy[key])) for odd in ODD
    ]
    dice = random.Random(0)
    shards = [case for case in cases if isinstance(case[2], list) and len(case[2]) == 2]
    for key, place, odd in dice.sample(cases, 800) + dice.sample(shards, 100):
        changed = part = json.loads(healthy[key])
        for name in place[:-1]:
            part = part[name]
        part[place[-1]] = odd
        check_store_sync(MemoryStore({**healthy, key: document(**changed)}), complete=True)
    for key in set(healthy) - set(names):
        for _ in range(40):
            value = bytearray(healthy[key])
            value[dice.randrange(len(value))] ^= 1 << dice.randrange(8)
            check_store_sync(MemoryStore({**healthy, key: value[: dice.randrange(1, 2 * len(value))]}))


def test_crc32c_of_every_length():
    from zarrstore._hierarchy.crc32c import crc32c

    for size in (0, 1, 9, 511, 512, 513, 1024, 70_001):
        data = os.urandom(size)
        assert crc32c(data) == google_crc32c.value(data)
