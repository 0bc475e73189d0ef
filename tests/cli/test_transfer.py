"""The commands that sync, move and compare: what they ask, what they print, and their exit codes."""

import os

import pytest
from click.testing import CliRunner

from zarrstore import LocalStore, copy_store_sync
from zarrstore._cli.program import program

VALUES = {"zarr.json": b"{}", "a/zarr.json": b"{}", "a/c/0": b"1234", "a/c/1": b""}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy_store_sync(VALUES, "data.zarr")
    return LocalStore("data.zarr")


def run(*args, code=0, **kwargs):
    result = CliRunner().invoke(program, args, **kwargs)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def content(path):
    store = LocalStore(path)
    return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


def test_sync(data):
    assert run("sync", "data.zarr", "out.zarr").stdout.startswith("copied 4 values (8 B) in ")
    assert run("sync", "data.zarr", "out.zarr").stdout.endswith("4 skipped, 0 verified\n")
    data.set_sync("a/c/1", b"new")
    assert run("sync", "data.zarr", "out.zarr", "--verify").stdout.endswith(
        "3 skipped, 4 verified, 1 replaced\n"
    )
    assert content("out.zarr") == content("data.zarr")


def test_times_are_trusted_unless_bytes_are_asked_for(data):
    run("sync", "data.zarr", "out.zarr")
    with open("out.zarr/a/c/0", "wb") as file:
        file.write(b"4321")
    assert "4 skipped" in run("sync", "data.zarr", "out.zarr").stdout
    assert run("diff", "data.zarr", "out.zarr").stderr == "no difference in 4 values\n"
    assert run("diff", "data.zarr", "out.zarr", "--checksum", code=1).stdout == "* a/c/0\n"
    assert "1 replaced" in run("sync", "data.zarr", "out.zarr", "--checksum").stdout
    assert content("out.zarr") == VALUES


@pytest.mark.parametrize("command", [("sync",), ("copy", "--if-exists", "replace")])
def test_a_mirror_asks(command, data):
    name, *more = command
    copy_store_sync({**VALUES, "old": b"1", "older": b"2"}, "out.zarr")
    arguments = (name, "data.zarr", "out.zarr", "--delete", *more)
    asked = run(*arguments, input="n\n", code=1)
    assert "Remove 2 values that the source doesn't have from file://" in asked.stderr
    assert "nothing was changed" in asked.stderr
    assert "--yes" in run(*arguments, input="", code=1).stderr
    assert len(content("out.zarr")) == 6
    assert "2 removed" in run(*arguments, "--dry-run").stdout
    assert len(content("out.zarr")) == 6
    assert run(*arguments, input="y\n").stdout.endswith("2 removed\n")
    assert content("out.zarr") == VALUES
    assert "Remove" not in run(*arguments).stderr  # there is nothing to remove
    copy_store_sync({"old": b"1"}, "out.zarr")
    assert "1 removed" in run(*arguments, "--yes").stdout


def test_nothing_is_mirrored_from_nowhere(data):
    assert "delete all of the target" in run("sync", "dat.zarr", "data.zarr", "--delete", "-y", code=1).stderr
    assert content("data.zarr") == VALUES


@pytest.mark.parametrize("name", ["move", "mv"])
def test_move(name, data):
    assert run(name, "data.zarr", "out.zarr", "--dry-run").stdout.startswith("would move 4 values (8 B)")
    assert content("data.zarr") == VALUES
    done = run(name, "data.zarr", "out.zarr", "--prefix", "a", "--target-prefix", "b").stdout
    assert done.startswith("moved 3 values (6 B) in ")
    assert done.endswith("3 removed\n")
    assert content("data.zarr") == {"zarr.json": b"{}"}
    assert set(content("out.zarr")) == {"b/zarr.json", "b/c/0", "b/c/1"}
    assert "onto the source" in run(name, "out.zarr", "out.zarr", code=1).stderr


def test_resume(data):
    copy_store_sync({"a/c/0": b"12", "a/c/1": b""}, "out.zarr")
    done = run("cp", "data.zarr", "out.zarr", "--resume").stdout
    assert done.endswith("1 skipped, 0 verified, 1 replaced\n")
    assert content("out.zarr") == VALUES


def test_selection(data):
    data.set_sync(".DS_Store", b"")
    run(
        "copy",
        "data.zarr",
        "out.zarr",
        "--include",
        "a",
        "--exclude",
        "c/1",
        "--exclude",
        "**/1",
        "--exclude-litter",
    )
    assert set(content("out.zarr")) == {"a/zarr.json", "a/c/0"}
    assert "+ .DS_Store" in run("diff", "data.zarr", "out.zarr", code=1).stdout
    assert ".DS_Store" not in run("diff", "data.zarr", "out.zarr", "--exclude-litter", code=1).stdout


def test_diff(data):
    copy_store_sync({"zarr.json": b"{}", "a/c/0": b"123", "other": b""}, "out.zarr")
    found = run("diff", "data.zarr", "out.zarr", code=1)
    assert found.stdout.splitlines() == ["* a/c/0", "+ a/c/1", "+ a/zarr.json", "- other"]
    assert found.stderr == "4 differ, 1 value equal\n"
    assert "= zarr.json" in run("diff", "-a", "data.zarr", "out.zarr", code=1).stdout.splitlines()


@pytest.mark.parametrize("text", ["64", "64,8", "1"])
def test_concurrency(text, data):
    assert run("copy", "data.zarr", "out.zarr", "--concurrency", text).stdout.startswith("copied 4")


@pytest.mark.parametrize("text", ["0", "many", "1,2,3", "4,0", ""])
def test_what_is_no_concurrency(text, data):
    assert "two of them" in run("copy", "data.zarr", "out.zarr", "--concurrency", text, code=2).stderr
    assert not os.path.exists("out.zarr")


def test_one_value_under_another_name(data):
    files = LocalStore(".")
    run("copy", "data.zarr", "data.zip", "--quiet")
    size = files.getsize_sync("data.zip")
    assert run("copy", "data.zip", "kept/", "--as-file", "--dry-run").stdout.startswith("would copy 1 value")
    assert not os.path.exists("kept")
    done = run("copy", "data.zip", "kept/", "--as-file", "--verify").stdout
    assert done.startswith("copied 1 value (")
    assert done.endswith("0 skipped, 1 verified\n")
    assert files.getsize_sync("kept/data.zip") == size
    run("copy", "kept/data.zip", "back.zip", "--as-file")
    assert content("data.zarr") == VALUES
    run("diff", "back.zip", "data.zarr")
    assert "has this value already" in run("copy", "data.zip", "back.zip", "--as-file", code=1).stderr
    assert "1 skipped" in run("copy", "data.zip", "back.zip", "--as-file", "--if-exists", "update").stdout
    files.set_sync("back.zip", b"cut off")
    assert "another size" in run("cp", "data.zip", "back.zip", "--as-file", "--if-exists=skip", code=1).stderr
    assert "1 replaced" in run("copy", "data.zip", "back.zip", "--as-file", "--resume").stdout
    run("diff", "back.zip", "data.zarr")
    assert "no such value" in run("copy", "nothing.zip", "x.zip", "--as-file", code=1).stderr
    assert "onto the source" in run("copy", "data.zip", "./data.zip", "--as-file", code=1).stderr
    assert "one value" in run("copy", "data.zip", "x/", "--as-file", "--include", "x", code=2).stderr
