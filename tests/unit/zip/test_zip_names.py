"""Names as other programs write them: './' in front, backslashes, a folder around; and bytes in front."""

import struct
import subprocess
import sys
import warnings
import zipfile
import zlib

import pytest
from click.testing import CliRunner

from zarrstore import copy_store_sync, make_store, make_store_sync
from zarrstore._cli import program as _program
from zarrstore.errors import CorruptError, StoreLikeError
from zarrstore.storage import LocalStore, ZipStore

VALUES = {"zarr.json": b"{}", "x/zarr.json": b'{"x": 1}', "x/c/0": b"chunk", "x/c/ä": b"other"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


def pack(path, names, method=zipfile.ZIP_STORED, system=3):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, value in names.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.compress_type = system, method
            archive.writestr(info, value)


STYLES = {
    "dot": lambda key: "./" + key,
    "dots": lambda key: "././" + key,
    "backslashes": lambda key: key.replace("/", "\\"),
    "dot and backslashes": lambda key: ".\\" + key.replace("/", "\\"),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("system", [0, 3, 10])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_names_of_other_programs_are_read_as_keys(path, style, system, method):
    if system == 3 and "backslashes" in style:
        values = {key: value for key, value in VALUES.items() if key.isascii()}
    else:
        values = VALUES
    pack(path, {STYLES[style](key): value for key, value in values.items()}, method, system)
    for _ in range(2):
        with ZipStore(path) as store:
            assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == values
            assert sorted(store.list_dir_sync("x")) == ["c", "zarr.json"]
            assert store.getsize_prefix_sync("x/c") == sum(len(values[k]) for k in values if "c/" in k)
            assert store.get_sync(STYLES["backslashes"]("x/c/0")) is None
        with ZipStore(path, mode="a"):
            pass
    with ZipStore(path, mode="a", deletes=True) as store:
        store.set_sync("x/c/0", b"new")
        store.delete_sync("x/zarr.json")
        store.compact_sync()
    changed = {**values, "x/c/0": b"new"}
    del changed["x/zarr.json"]
    with ZipStore(path) as store:
        assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == changed


@pytest.mark.parametrize("names", [("./x", "x"), ("a\\b", "a/b"), (".\\x", "./x"), ("./a\\b", "a/b")])
def test_names_that_mean_the_same_key_are_refused(path, names):
    pack(path, {"first": b"", **{name: b"%d" % number for number, name in enumerate(names)}})
    with pytest.raises(CorruptError) as caught:
        ZipStore(path).get_sync("first")
    for name in names:
        assert repr(name) in str(caught.value)
    assert caught.value.hint


def test_folders_of_two_spellings_collide_with_nothing(path):
    pack(path, {"./": b"", "./x/": b"", "x/": b"", "x\\": b"", "./x/k": b"1"})
    with ZipStore(path) as store:
        assert list(store.list_sync()) == ["x/k"]


def test_keys_with_backslashes_are_ours(path):
    """What this library writes is read as it was written, however often it is closed."""
    values = {"a\\b": b"1", "a/b": b"2", "a\\ä": b"3", "c\\d/e": b"4"}
    with ZipStore(path, mode="w") as store:
        for key, value in values.items():
            store.set_sync(key, value)
        assert sorted(ZipStore(path).list_sync()) == sorted(values)
    for _ in range(2):
        with ZipStore(path, mode="a") as store:
            assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == values
            store.set_sync("more", b"")
            store.compact_sync()
        values["more"] = b""
    ZipStore.repair(path)
    with ZipStore(path) as store:
        assert sorted(store.list_sync()) == sorted(values)


def without_marks(path):
    """Take the mark of UTF-8 from all names: so zip 3.0 and macOS write them."""
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + flags] &= ~8
    path.write_bytes(data)


@pytest.mark.parametrize("system", [0, 3, 19])
def test_unmarked_names_in_utf_8_are_read_as_such(path, system):
    values = {"größe/c/0": b"1", "日本語": b"2", "e\u0301/é": b"3", "plain": b"4"}
    pack(path, values, system=system)
    without_marks(path)
    with ZipStore(path) as store:
        assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == values
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"PK\1\2")])
    ZipStore.repair(path)
    with ZipStore(path) as store:
        assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == values


def test_a_local_header_of_another_name_is_noticed(path):
    pack(path, {"./x/k": b"value"})
    data = bytearray(path.read_bytes())
    at = data.index(b"./x/k")
    data[at + 4 : at + 5] = b"l"
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="another name"):
        ZipStore(path).get_sync("x/k")


def test_repair_finds_such_names_without_a_directory(path):
    pack(path, {"./x/k": b"value" * 20, "y\\l": b"other"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"PK\1\2")])
    assert ZipStore.repair(path).saved == 2
    with ZipStore(path) as store:
        assert sorted(store.list_sync()) == ["x/k", "y/l"]


# -- a folder around the root ---------------------------------------------------------------------


def wrapped(path, folder="data.zarr"):
    pack(path, {f"{folder}/": b"", **{f"{folder}/{key}": value for key, value in VALUES.items()}})


@pytest.mark.parametrize("mode", [None, "r", "r+"])
def test_make_store_tells_of_a_folder_around_the_root(path, mode):
    wrapped(path)
    with pytest.warns(UserWarning, match="a folder of its own") as caught:
        store = make_store_sync(str(path), mode=mode)
    (warning,) = caught
    assert f"{path}|zip:data.zarr" in str(warning.message)
    assert warning.filename == __file__
    store.close()
    inside = make_store_sync(f"{path}|zip:data.zarr", mode=mode)
    assert sorted(inside.list_sync()) == sorted(VALUES)
    inside.close()


def test_awaited_too(path):
    import asyncio

    wrapped(path)
    with pytest.warns(UserWarning, match=r"a\.zip\|zip:data\.zarr"):
        asyncio.run(make_store(path)).close()


@pytest.mark.parametrize(
    "names",
    [
        ["zarr.json", "a/zarr.json"],
        [".zgroup", "a/.zgroup"],
        ["a/zarr.json", "b/zarr.json"],
        ["a/c/0"],
        [],
    ],
)
def test_nothing_is_told_of_other_archives(path, names):
    pack(path, dict.fromkeys(names, b"{}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_store_sync(path).close()
        make_store_sync(f"{path}|zip:").close()


@pytest.mark.parametrize("document", ["zarr.json", ".zgroup", ".zarray"])
@pytest.mark.parametrize("command", ["ls", "tree", "du", "info", "cat"])
def test_the_program_tells_of_a_folder_around_the_root(path, command, document):
    pack(path, {f"data.zarr/{document}": b"{}", "data.zarr/c/0": b"1"})
    arguments = [command, str(path), *(["zarr.json"] if command == "cat" else [])]
    result = CliRunner().invoke(_program.program, arguments)
    assert result.exit_code == (1 if command == "cat" else 0)
    assert f"{path}|zip:data.zarr" in result.stderr
    assert "Warning" not in result.stderr
    assert ".py" not in result.stderr
    inside = CliRunner().invoke(_program.program, [command, f"{path}|zip:data.zarr", *arguments[2:]][:2])
    assert "|zip:data.zarr'" not in inside.stderr


def test_of_an_archive_that_zip_made(tmp_path):
    copy_store_sync(VALUES, LocalStore(tmp_path / "data.zarr"))
    pack_up = "import shutil; shutil.make_archive('x', 'zip', '.', 'data.zarr')"
    subprocess.run([sys.executable, "-c", pack_up], cwd=tmp_path, check=True)
    with pytest.warns(UserWarning, match=r"x\.zip\|zip:data\.zarr"):
        make_store_sync(tmp_path / "x.zip").close()


# -- bytes in front -------------------------------------------------------------------------------


@pytest.mark.parametrize("front", [b"#!/bin/sh\nexit 0\n", b"MZ" + bytes(3000), b"\0"])
def test_an_archive_with_bytes_in_front_is_opened_everywhere(path, front):
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in VALUES.items():
            archive.writestr(key, value)
    path.write_bytes(front + path.read_bytes())
    for like in (path, str(path), f"file://{path}"):
        with make_store_sync(like) as store:
            assert isinstance(store, ZipStore)
            assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == VALUES
    result = CliRunner().invoke(_program.program, ["cat", str(path), "x/c/0"])
    assert (result.exit_code, result.stdout) == (0, "chunk")


@pytest.mark.parametrize("data", [b"", b"text", b"x" * 100_000, b"PK\5\6" + bytes(30)])
def test_other_files_are_no_archives(path, data):
    path.write_bytes(b"-" + data)
    with pytest.raises(StoreLikeError, match="not a zip archive"):
        make_store_sync(path)


def test_a_name_in_a_unicode_path_field(path):
    """Such a field has the same separators as the name."""
    raw, name = b"x\\c\\\x84", "x\\c\\ä".encode()
    pack(path, {"x\\c\\0": b"1"}, system=0)
    info = zipfile.ZipInfo("k" * len(raw))
    info.create_system = 0
    info.extra = struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, b"2")
    path.write_bytes(path.read_bytes().replace(b"k" * len(raw), raw))
    with ZipStore(path) as store:
        assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == {
            "x/c/0": b"1",
            "x/c/ä": b"2",
        }
