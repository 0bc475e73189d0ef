"""The archive's comment, and documents that come first in its directory."""

import asyncio
import shutil
import subprocess
import zipfile

import pytest
from click.testing import CliRunner

from zarrstore import StorePath, copy_store, copy_store_sync
from zarrstore._cli import program as _program
from zarrstore.errors import ReadOnlyError
from zarrstore.storage import MemoryStore, ZipStore

COMMENT = b'{"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": true}}}}'
VALUES = {
    "b/c/0/0": b"chunk" * 100,
    "b/zarr.json": b'{"b": 1}',
    "a/deep/zarr.json": b'{"deep": 1}',
    "a/deep/c/1": b"",
    "a/zarr.json": b'{"a": 1}',
    "a/not-zarr.json": b"no document",
    "zarr.json": b'{"root": 1}',
}
FIRST = ["zarr.json", "a/zarr.json", "b/zarr.json", "a/deep/zarr.json"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


@pytest.fixture
def source(tmp_path):
    """An archive of another program, with a comment."""
    source = tmp_path / "source.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for key, value in VALUES.items():
            archive.writestr(key, value)
        archive.comment = COMMENT
    return source


def checked(path, values=VALUES, comment=COMMENT):
    """Check what zipfile and this library find, and the order of the directory."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {name: archive.read(name) for name in names} == values
        assert archive.comment == comment
    assert names[: len(FIRST)] == FIRST
    with ZipStore(path) as store:
        assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == values
        assert store.comment == comment
    if shutil.which("7z"):
        answer = subprocess.run(["7z", "t", path], capture_output=True, text=True)
        assert "Everything is Ok" in answer.stdout


def copied_sync(source, path):
    copy_store_sync(source, path)


def copied_awaited(source, path):
    asyncio.run(copy_store(source, path))


def copied_by_program(source, path):
    assert CliRunner().invoke(_program.program, ["copy", str(source), str(path)]).exit_code == 0


def copied_from_a_store(source, path):
    outer = MemoryStore({"x.zip": source.read_bytes()})
    with ZipStore(path, mode="w") as target:
        copy_store_sync(ZipStore(StorePath(outer, "x.zip")), target, verify=True)


@pytest.mark.parametrize("copy", [copied_sync, copied_awaited, copied_by_program, copied_from_a_store])
def test_a_copy_keeps_the_comment_and_has_documents_first(source, path, copy):
    copy(source, path)
    checked(path)


def test_documents_stay_first_whatever_is_done_to_the_archive(source, path):
    copy_store_sync(source, path)
    with ZipStore(path, mode="a", deletes=True) as store:
        store.set_sync("b/c/0/1", b"more")
        store.set_sync("a/zarr.json", b"changed")
        store.delete_sync("b/c/0/0")
    changed = {**VALUES, "b/c/0/1": b"more", "a/zarr.json": b"changed"}
    del changed["b/c/0/0"]
    checked(path, changed)
    with ZipStore(path, mode="a") as store:
        store.set_sync("b/c/0/1", b"again")
        store.compact_sync()
    checked(path, {**changed, "b/c/0/1": b"again"})
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"again")] + b"wrong" + whole[whole.index(b"again") + 5 :])
    assert [lost.name for lost in ZipStore.repair(path).lost] == ["b/c/0/1"]
    del changed["b/c/0/1"]
    checked(path, changed)


def test_of_other_archives_too(source):
    """One that another program wrote, in its own order, and that is added to."""
    with ZipStore(source, mode="a") as store:
        store.set_sync("b/c/0/1", b"more")
    checked(source, {**VALUES, "b/c/0/1": b"more"})


def test_a_comment_that_the_target_has_stays(source, path):
    with ZipStore(path, mode="w") as store:
        store.comment = b"mine"
    copy_store_sync(source, path)
    checked(path, comment=b"mine")


def test_parts_of_an_archive_bring_no_comment(source, path, tmp_path):
    copy_store_sync(f"{source}|zip:a", path)
    copy_store_sync(source, f"{tmp_path}/b.zip", prefix="a")
    with ZipStore(path) as store, ZipStore(tmp_path / "b.zip") as other:
        assert store.comment == other.comment == b""
    copy_store_sync(source, path, if_exists="skip", dry_run=True)
    with ZipStore(path) as store:
        assert store.comment == b""


def test_a_comment_is_written_by_close(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"1")
    before = path.stat().st_size
    with ZipStore(path, mode="a") as store:
        assert store.comment == b""
        store.comment = b""
    assert path.stat().st_size == before
    for comment in (b"one", b"another", b"x" * 65_535, b""):
        with ZipStore(path, mode="a") as store:
            store.comment = comment
            assert store.comment == comment
        with zipfile.ZipFile(path) as archive:
            assert (archive.comment, archive.read("k")) == (comment, b"1")
        with ZipStore(path) as store:
            assert (store.comment, bytes(store.get_sync("k"))) == (comment, b"1")
    with ZipStore(path, mode="a") as store:
        store.comment = b"kept"
        store.compact_sync()
        store.set_sync("l", b"2")
    assert zipfile.ZipFile(path).comment == b"kept"


def test_what_is_no_comment(path):
    with ZipStore(path, mode="w") as store:
        for wrong, error in (("text", TypeError), (bytes(65_536), ValueError)):
            with pytest.raises(error, match="comment"):
                store.comment = wrong
    with ZipStore(path) as store, pytest.raises(ReadOnlyError):
        store.comment = b"no"
