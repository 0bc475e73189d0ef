"""OME's single file: the rules of RFC-9, kept by writing, appending, compacting, copying and repairing.

docs/stores/zip.md has the table of rules, and names these tests.
"""

import io
import json
import shutil
import struct
import subprocess
import zipfile

import numpy as np
import pytest

from zarrstore import LocalStore, copy_store_sync, make_store_sync
from zarrstore.storage import ZipStore
from zarrstore.storage._zip import writer as _writer

zarr = pytest.importorskip("zarr")

JSON_FIRST = {"zipFile": {"centralDirectory": {"jsonFirst": True}}}
ORDER = ["zarr.json", "0/zarr.json", "labels/zarr.json", "labels/cells/zarr.json"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image.ozx"


def fill(store, version="0.5"):
    """Write an image with labels, chunks and documents in turns."""
    root = zarr.create_group(store, attributes={"ome": {"version": version}} if version else {})
    for name in ("0", "labels/cells"):
        array = root.create_array(name, shape=(8, 8), chunks=(4, 4), dtype="u2")
        array[:] = np.arange(64).reshape(8, 8)
    root.attrs["more"] = "x" * 100  # the root's document is written anew


def in_file(path):
    """Names of members as their headers follow each other in the file, dead ones included."""
    data, names = path.read_bytes(), []
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            assert data[info.header_offset :][:4] == b"PK\3\4"
            names.append(info.filename)
    return names


def checked(path, *, version="0.5", in_front=True):
    """Check every rule of the recommended form; returns the names of the directory."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert json.loads(archive.comment) == {"ome": {"version": version, **JSON_FIRST}}
    assert names[: len(ORDER)] == ORDER
    assert not any(name.endswith("zarr.json") for name in names[len(ORDER) :])
    if in_front:
        assert in_file(path)[: len(ORDER)] == ORDER
        assert path.read_bytes()[:4] == b"PK\3\4"
    end = path.read_bytes().rindex(b"PK\5\6")
    assert path.read_bytes()[end - 20 :][:4] == b"PK\6\7"  # Zip64's locator
    assert struct.unpack_from("<2HIIH", path.read_bytes(), end + 8)[:4] == (
        0xFFFF,
        0xFFFF,
        2**32 - 1,
        2**32 - 1,
    )
    for tool in (["7z", "t"], ["unzip", "-tq"]):
        if shutil.which(tool[0]):
            assert subprocess.run([*tool, path], capture_output=True).returncode == 0
    with make_store_sync(path, mode="r") as store:
        assert zarr.open_array(store, path="labels/cells", mode="r")[7, 7] == 63
    return names


def test_the_ending_makes_it_one(path):
    with ZipStore(path, mode="w") as store:
        fill(store)
    checked(path)


@pytest.mark.parametrize("mode", ["a", "w", "w-"])
def test_make_store_makes_one(path, mode):
    with make_store_sync(path, mode=mode) as store:
        fill(store)
    checked(path)


def test_an_option_makes_it_one_under_any_name(tmp_path):
    with ZipStore(tmp_path / "image.zip", mode="w", ozx=True) as store:
        fill(store)
    checked(tmp_path / "image.zip")
    file = io.BytesIO()
    with ZipStore(file, mode="w", ozx=True) as store:
        fill(store)
    (tmp_path / "written.ozx").write_bytes(file.getvalue())
    checked(tmp_path / "written.ozx")
    with ZipStore(tmp_path / "plain.ozx", mode="w", ozx=False) as store:
        fill(store)
        assert store.comment == b""


@pytest.mark.parametrize("gap", [1 << 15, 1 << 11])
def test_documents_are_in_front_whether_they_fit_into_the_gap_or_not(path, gap, monkeypatch):
    monkeypatch.setattr(_writer, "OZX_GAP", gap)
    with ZipStore(path, mode="w") as store:
        fill(store)
        size = path.stat().st_size
    checked(path)
    assert path.stat().st_size < size + 8000


@pytest.mark.parametrize("spare", range(6))
def test_a_gap_that_is_filled_to_the_last_bytes(path, spare, monkeypatch):
    monkeypatch.setattr(_writer, "OZX_GAP", 4096)
    with ZipStore(path, mode="w") as store:
        fill(store)
        index = store._view().index
        used = sum(
            _writer.local_size(key.encode(), zip64=False) + index.find(key).packed
            for key in _writer.documents(index.rows)
        )
        document = json.loads(store.get_sync("labels/zarr.json").to_bytes())
        document["attributes"]["fill"] = ""
        length = len(json.dumps(document)) - store.getsize_sync("labels/zarr.json")
        document["attributes"]["fill"] = "x" * (4096 - used - spare - length)
        store.set_sync("labels/zarr.json", json.dumps(document).encode())
    checked(path)


def test_compression_contradicts_it(path):
    with pytest.raises(ValueError, match="no compression"):
        ZipStore(path, mode="w", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="Zip64"):
        ZipStore(path, mode="w", allowZip64=False)
    ZipStore(path, compression=zipfile.ZIP_DEFLATED)  # to read
    assert not path.exists()


def test_the_comment_tells_the_version_of_the_root(path):
    with ZipStore(path, mode="w") as store:
        fill(store, "0.6")
    checked(path, version="0.6")
    with ZipStore(path, mode="w") as store:
        fill(store, None)
    checked(path)


def test_without_a_root_document_it_is_no_ome_file_and_does_not_say_so(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("a/zarr.json", b"{}")
        store.set_sync("b", b"1")
    assert zipfile.ZipFile(path).comment == b""
    with ZipStore(path, mode="a") as store:
        store.set_sync("zarr.json", b"no JSON")
    assert json.loads(zipfile.ZipFile(path).comment)["ome"]["version"] == "0.5"


# -- what is done to it ----------------------------------------------------------------------------


def test_appending_keeps_the_rules(path):
    with ZipStore(path, mode="w") as store:
        fill(store)
    with ZipStore(path, mode="a") as store:
        root = zarr.open_group(store)
        root["0"][:4] = 7
        root.attrs["again"] = "y"
    checked(path, in_front=False)  # a document that was written anew is at the end of the file
    with ZipStore(path, mode="a") as store:
        store.compact_sync()
    checked(path)


def test_a_comment_of_ones_own_stays(path):
    mine = json.dumps({"ome": {"version": "0.5", **JSON_FIRST}, "mine": 1}).encode()
    with ZipStore(path, mode="w") as store:
        fill(store)
        store.comment = mine
    with ZipStore(path, mode="a", deletes=True) as store:
        store.set_sync("0/c/0/0", b"new")
        store.delete_sync("0/c/0/1")
    with ZipStore(path, mode="a") as store:
        store.compact_sync()
        assert store.comment == mine
    assert zipfile.ZipFile(path).comment == mine


@pytest.mark.parametrize("lost", ["end", "directory", "chunk"])
def test_repair_keeps_the_rules(path, lost):
    with ZipStore(path, mode="w") as store:
        fill(store)
    whole = path.read_bytes()
    if lost == "chunk":
        with zipfile.ZipFile(path) as archive:
            place = archive.getinfo("0/c/1/1").header_offset
        path.write_bytes(whole[: place + 60] + b"\0\0" + whole[place + 62 :])
    else:
        path.write_bytes(whole[: -5 if lost == "end" else whole.index(b"PK\1\2") + 10])
    report = ZipStore.repair(path)
    assert [item.name for item in report.lost] == (["0/c/1/1"] if lost == "chunk" else [])
    checked(path)


def test_an_archive_of_another_program_becomes_one_by_a_copy(path, tmp_path):
    """With compressed members, without a comment, and its documents anywhere."""
    fill(LocalStore(tmp_path / "folder"))
    with zipfile.ZipFile(tmp_path / "other.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "folder").rglob("*"), reverse=True):
            if file.is_file():
                archive.write(file, file.relative_to(tmp_path / "folder"))
    with ZipStore(path, mode="w") as store:
        copy_store_sync(tmp_path / "other.zip", store, verify=True)
    checked(path)


def test_one_that_another_program_made_is_read_and_added_to(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("zarr.json", b'{"node_type": "group", "zarr_format": 3}')
        archive.comment = (made := json.dumps({"ome": {"version": "0.5"}}).encode())
    with ZipStore(path, mode="a") as store:
        store.set_sync("a/zarr.json", b'{"node_type": "group", "zarr_format": 3}')
        assert store.comment == made
    with ZipStore(path) as store:
        assert sorted(zarr.open_group(store, mode="r").group_keys()) == ["a"]
        assert store.comment == made


def test_a_crash_before_the_end_loses_nothing(path):
    store = ZipStore(path, mode="w")
    fill(store)
    data = path.read_bytes()  # as a killed process leaves it
    store.close()
    path.write_bytes(data)
    with ZipStore(path, mode="a") as store:
        assert zarr.open_array(store, path="0", mode="r")[7, 7] == 63
    checked(path)
