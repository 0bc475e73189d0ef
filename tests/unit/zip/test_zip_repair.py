"""Repairing zip archives that were cut off or damaged."""

import functools
import io
import os
import random
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from test_zip_reader import damaged_archives, streamed

from zarrstore._core.verbs import ANY
from zarrstore.errors import CorruptError, StoreError
from zarrstore.storage import ZipStore
from zarrstore.storage._zip import repair as _repair


def contents(path):
    with ZipStore(path, verify=True) as store:
        return {key: bytes(store.get_sync(key).to_bytes()) for key in store.list_sync()}


def by_zipfile(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def nested_archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("not/a/key", b"of the archive around it")
    return file.getvalue()


@functools.cache
def values():
    rng = random.Random(9)
    return {
        "zarr.json": b"{}",
        "c/0": rng.randbytes(400),
        "nested": nested_archive(),
        "c/1": b"a" * 300,
        "empty": b"",
        "nested too": nested_archive() + b"!",
    }


@pytest.mark.parametrize("step", [101, pytest.param(13, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("closed", [True, False])
def test_cut_off_anywhere(tmp_path, method, closed, step):
    path = tmp_path / "a.zip"
    store = ZipStore(path, mode="w", compression=method, deletes=True)
    ends = []
    store.set_sync("c/0", b"replaced later")
    store.set_sync("gone", b"removed later")
    store.delete_sync("gone")
    for key, value in values().items():
        store.set_sync(key, value)
        ends.append((store._archive._writer.stop, key))
    if closed:
        store.close()
    whole = path.read_bytes()
    cut = tmp_path / "cut.zip"
    for size in range(2100, len(whole), step):
        cut.write_bytes(whole[:size])
        report = ZipStore.repair(cut)
        wanted = {key: values()[key] for end, key in ends if end <= size}
        found = contents(cut)
        assert found == by_zipfile(cut)
        # What was replaced or removed counts again where that was cut off.
        assert {key: found[key] for key in wanted} == wanted
        assert set(found) - set(wanted) <= {"c/0", "gone", *values()}
        assert "not/a/key" not in found
        assert report.saved == len(found)
        if report.damaged is not None:
            assert report.damaged.read_bytes() == whole[:size]
            report.damaged.unlink()
    store.close()


@pytest.mark.parametrize("signature", [True, False])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_foreign_archives_cut_off_anywhere(tmp_path, method, signature):
    members = {"a": b"1" * 90, "b/c": os.urandom(150), "d": b""}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, value in members.items():
            archive.writestr(name, value)
    for whole in (file.getvalue(), streamed(members, method=method, signature=signature)):
        saved = []
        for size in range(40, len(whole), 9):
            path = tmp_path / "cut.zip"
            path.write_bytes(whole[:size])
            report = ZipStore.repair(path)
            found = contents(path)
            assert found == by_zipfile(path)
            if signature or method != zipfile.ZIP_STORED:
                assert found.items() <= members.items()
            saved.append(len(found))
            if report.damaged:
                report.damaged.unlink()
        if signature or whole == file.getvalue():
            assert saved == sorted(saved)
            assert saved[-1] == 3


def test_a_whole_archive_is_left_alone(tmp_path):
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"v")
    before = path.stat()
    report = ZipStore.repair(path)
    assert (report.saved, report.saved_bytes, report.lost, report.changed, report.damaged) == (
        1,
        1,
        [],
        False,
        None,
    )
    assert path.stat().st_ino == before.st_ino
    other = tmp_path / "other.zip"
    assert ZipStore.repair(path, output=other).changed
    assert by_zipfile(other) == {"k": b"v"}
    for output in (other, path):
        with pytest.raises(FileExistsError, match="another place"):
            ZipStore.repair(path, output=output)
    assert path.stat().st_ino == before.st_ino


def test_a_damaged_member_is_named_and_the_original_kept(tmp_path):
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        store.set_sync("good", b"g" * 3000)
        store.set_sync("bad", b"b" * 3000)
        store.set_sync("also good", b"a")
    data = path.read_bytes().replace(b"bbbb", b"bbxb", 1)
    path.write_bytes(data)
    report = ZipStore.repair(path)
    assert [item.name for item in report.lost] == ["bad"]
    assert "checksum" in report.lost[0].reason
    assert report.damaged.read_bytes() == data
    assert contents(path) == by_zipfile(path) == {"good": b"g" * 3000, "also good": b"a"}
    assert "lost: bad" in str(report)
    assert str(report.damaged) in str(report)


def test_headers_that_are_lost_cost_only_their_members(tmp_path):
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        for number in range(5):
            store.set_sync(f"k/{number}", bytes([number]) * 3000)
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\3\4", data.find(bytes([2]) * 100))  # the header of k/3
    data[at : at + 20] = bytes(20)
    path.write_bytes(data[: data.find(b"PK\1\2")])
    ZipStore.repair(path)
    assert sorted(contents(path)) == ["k/0", "k/1", "k/2", "k/4"]


def test_a_value_that_was_streamed_when_the_file_was_cut_hides_no_keys(tmp_path):
    path = tmp_path / "a.zip"
    store = ZipStore(path, mode="w")
    store.set_sync("k", b"v")
    left = []

    def pieces():
        yield nested_archive()
        left.append(path.read_bytes())
        yield b"more"

    store._write("nested", pieces(), ANY)
    store.close()
    for cut in range(60):
        path.write_bytes(left[0][: len(left[0]) - cut])
        report = ZipStore.repair(path)
        assert contents(path) == {"k": b"v"}
        if report.damaged:
            report.damaged.unlink()


def test_a_failure_leaves_the_original(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"v" * 100)
    path.write_bytes(data := path.read_bytes()[:-30])

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_repair.rewriting, "write_end", fail)
    with pytest.raises(OSError, match="No space"):
        ZipStore.repair(path)
    assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["a.zip"]


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(FileNotFoundError):
        ZipStore.repair(tmp_path / "none.zip")
    with pytest.raises(NotADirectoryError):
        ZipStore.repair(tmp_path)
    path = tmp_path / "text"
    path.write_bytes(b"just text" * 100)
    with pytest.raises(CorruptError, match="left as it is"):
        ZipStore.repair(path)
    assert path.read_bytes() == b"just text" * 100
    assert os.listdir(tmp_path) == ["text"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged_archives())
def test_damaged_archives_give_whole_ones(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        path.write_bytes(data)
        try:
            report = ZipStore.repair(path)
        except StoreError:
            assert path.read_bytes() == data
            return
        if report.changed:
            assert path.stat().st_size < len(data) * 2 + 200
        with ZipStore(path) as store:
            for key in store.list_sync():
                try:
                    store.get_sync(key)
                except NotImplementedError:
                    pass  # encrypted, or a method that nobody knows
        if report.lost:
            assert report.damaged is not None
            assert report.damaged.read_bytes() == data
