"""Archives whose writers were killed: opened for writing and closed, they are whole for other programs."""

import gc
import os
import subprocess
import sys
import zipfile

import pytest
from click.testing import CliRunner

from zarrstore._cli import program as _program
from zarrstore.storage import ZipStore

VALUES = {f"k/{number}": b"%d" % number * 50 for number in range(20)}


@pytest.fixture(params=["new", "added to"])
def path(request, tmp_path):
    """An archive as its writer leaves it when it is killed."""
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        if request.param == "added to":
            store.set_sync("k/0", VALUES["k/0"])
            store.close()
        for key, value in VALUES.items():
            store.set_sync(key, value)
        killed = path.read_bytes()
    path.write_bytes(killed)
    assert by_zipfile(path) != VALUES
    return path


def by_zipfile(path):
    try:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile:
        return None


def test_one_that_was_only_read(path):
    store = ZipStore(path, mode="a")
    assert bytes(store.get_sync("k/3")) == VALUES["k/3"]
    store.close()
    assert by_zipfile(path) == VALUES


def test_one_that_was_not_even_read(path):
    with ZipStore(path, mode="a"):
        pass
    assert by_zipfile(path) == VALUES


def test_at_the_end_of_the_interpreter(path):
    code = (
        "import sys; from zarrstore import ZipStore; s = ZipStore(sys.argv[1], mode='a'); s.get_sync('k/1')"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert by_zipfile(path) == VALUES


def test_by_a_collected_store(path):
    ZipStore(path, mode="a").get_sync("k/1")
    gc.collect()
    assert by_zipfile(path) == VALUES


def test_a_store_that_never_writes_changes_nothing(path):
    before = path.read_bytes()
    for store in (ZipStore(path), ZipStore(path, mode="a", read_only=True)):
        assert sorted(store.list_sync()) == sorted(VALUES)
        assert store.unclosed
        store.close()
    assert path.read_bytes() == before


def test_one_that_is_being_written_is_left_alone(tmp_path):
    path = tmp_path / "a.zip"
    writer = ZipStore(path, mode="w")
    writer.set_sync("k", b"1")
    with ZipStore(path, mode="a") as other:
        assert bytes(other.get_sync("k")) == b"1"
        assert other.unclosed
    assert by_zipfile(path) is None
    writer.set_sync("l", b"2")
    assert not writer.unclosed  # closing it is still to come
    writer.close()
    assert by_zipfile(path) == {"k": b"1", "l": b"2"}


def test_one_that_its_writer_closed_meanwhile(tmp_path):
    path = tmp_path / "a.zip"
    writer = ZipStore(path, mode="w")
    writer.set_sync("k", b"1")
    with ZipStore(path, mode="a") as other:
        other.get_sync("k")
        writer.set_sync("l", b"2")
        writer.close()
        whole = path.read_bytes()
    assert path.read_bytes() == whole


def test_one_that_may_not_be_written(path, monkeypatch):
    real = os.open

    def refusing(name, flags, *args, **kwargs):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise PermissionError(13, "Permission denied")
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refusing)
    before = path.read_bytes()
    with ZipStore(path, mode="a") as store:
        assert bytes(store.get_sync("k/3")) == VALUES["k/3"]
    assert path.read_bytes() == before


def test_a_file_without_a_byte_becomes_an_empty_archive(tmp_path):
    path = tmp_path / "a.zip"
    path.touch()
    with ZipStore(path, mode="a") as store:
        assert list(store.list_sync()) == []
    assert by_zipfile(path) == {}
    with ZipStore(tmp_path / "none.zip", mode="a") as store:
        assert list(store.list_sync()) == []
    assert not (tmp_path / "none.zip").exists()


@pytest.mark.parametrize("inside", ["", "k"])
def test_info_tells_that_one_was_never_closed(path, inside):
    url = f"{path}|zip:{inside}"

    def told():
        result = CliRunner().invoke(_program.program, ["info", url])
        assert result.exit_code == 0
        return result.stdout

    assert "never closed" in told()
    assert "mode='a'" in told()
    with ZipStore(path, mode="a"):
        pass
    assert "never closed" not in told()
