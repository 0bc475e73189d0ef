"""The program on zip archives and on fsspec's file systems, and what it says of their failures."""

import json

import pytest

pytest.importorskip("fsspec")

import fsspec
from click.testing import CliRunner

from zarrstore import copy_store_sync, make_store_sync
from zarrstore._cli import program as _program
from zarrstore.storage import ZipStore

VALUES = {
    "zarr.json": json.dumps({"zarr_format": 3, "node_type": "group"}).encode(),
    "temp/zarr.json": json.dumps(
        {"zarr_format": 3, "node_type": "array", "shape": [4, 6], "data_type": "float32"}
    ).encode(),
    "temp/c/0/0": b"x" * 2048,
    "temp/c/0/1": b"y" * 10,
}


@pytest.fixture(params=["zip", "memory", "file"])
def url(request, tmp_path, monkeypatch):
    """A place that holds the values."""
    monkeypatch.chdir(tmp_path)
    if request.param == "zip":
        with ZipStore("data.zip", mode="w") as store:
            copy_store_sync(VALUES, store)
        yield "data.zip"
        return
    place = f"memory://{tmp_path}/data" if request.param == "memory" else f"file://{tmp_path}/data"
    copy_store_sync(VALUES, place)
    yield place
    fsspec.filesystem("memory").store.clear()


def run(*args, code=0, **kwargs):
    result = CliRunner().invoke(_program.program, args, **kwargs)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def content(place):
    store = make_store_sync(place)
    try:
        return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}
    finally:
        store.close()


def test_looking(url):
    assert run("ls", url).stdout.split() == ["temp/", "zarr.json"]
    assert run("ls", "-l", url, "temp/c/0").stdout.split() == ["2048", "0", "10", "1"]
    assert set(run("ls", "-r", url).stdout.split()) == set(VALUES)
    total = sum(map(len, VALUES.values()))
    assert run("du", "-s", "-b", url).stdout.split() == [str(total), "4", "values", "total"]
    tree = run("tree", url).stdout.splitlines()
    assert "[group]" in tree[0]
    assert "temp [array float32, 4 x 6, 2" in tree[1]
    assert run("cat", url, "temp/c/0/1").stdout == "y" * 10
    assert run("cat", url, "temp/c/0/0", "--range", "-3:").stdout == "xxx"
    info = run("info", url).stdout
    assert "4 values" in info
    assert "Zarr 3, group" in info
    assert ("ZipStore" if url.endswith(".zip") else "Store") in info


def test_copy_there_and_back(url, tmp_path):
    run("copy", url, "folder", "--verify")
    assert content("folder") == VALUES
    run("copy", "folder", "again.zip", "--verify")
    assert content("again.zip") == VALUES
    run("copy", "again.zip", f"file://{tmp_path}/again", "--verify")
    assert content(f"file://{tmp_path}/again") == VALUES
    refused = run("copy", "folder", f"memory://{tmp_path}/again", code=1)
    assert "nothing would be left" in refused.stderr
    assert content(f"memory://{tmp_path}/again") == {}
    refused = run("copy", "folder", url, code=1)
    assert ("nothing would be left" if url.startswith("memory") else "nothing was written") in refused.stderr
    assert content(url) == VALUES


def test_rm(url):
    if url.endswith(".zip"):
        refused = run("rm", url, "temp/c/0/1", "--yes", code=1)
        assert refused.stderr.startswith("zarrstore: ")
        assert refused.stderr.count("\n") == 1
        assert content(url) == VALUES
        return
    assert run("rm", url, "temp/c/0/1", "--yes").stdout == "removed 1 value (10 B)\n"
    assert set(content(url)) == set(VALUES) - {"temp/c/0/1"}
    run("rm", "-r", url, "temp", "--yes")
    assert list(content(url)) == ["zarr.json"]
    assert run("rm", url, "zarr.json", input="n\n", code=1)
    assert list(content(url)) == ["zarr.json"]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("memroy://data", "memory"),
        ("memory://nothing-lies-here", "no key is here"),
        ("nothing.zip", "nothing.zip"),
        ("broken.zip", "broken.zip"),
        ("text.txt", "text.txt"),
    ],
)
@pytest.mark.parametrize("command", ["ls", "du", "tree", "info"])
def test_failures_are_one_line(command, place, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "text.txt").write_text("text")
    failed = run(command, place, code=1)
    assert failed.stdout == ""
    assert failed.stderr.startswith("zarrstore: ")
    assert failed.stderr.count("\n") == 1
    assert text in failed.stderr


def test_what_lies_there_is_told(tmp_path):
    place = f"memory:/{tmp_path}"
    with ZipStore(tmp_path / "data.zip", mode="w") as store:
        copy_store_sync(VALUES, store)
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"{tmp_path}/data.bin", (tmp_path / "data.zip").read_bytes())
    memory.pipe_file(f"{tmp_path}/a/value", b"v")
    for command in ("ls", "du", "tree", "info"):
        error = run(command, f"{place}/data.bin", code=1).stderr
        assert f"A zip archive is there: open {place}/data.bin|zip:" in error
        assert f"zarrstore cat {place}/a value" in run(command, f"{place}/a/value", code=1).stderr
        assert "spelt right" in run(command, f"{place}/none", code=1).stderr
    assert f"zarrstore cat {place} a/value" in run("ls", place, "a/value", code=1).stderr
    assert run("ls", f"{place}/data.bin|zip:").stdout.split() == ["temp/", "zarr.json"]


def test_a_missing_package_and_missing_credentials(monkeypatch):
    """s3fs may not be installed where obstore is, which wants credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    def lacks(*args, **kwargs):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("zarrstore.storage.FsspecStore.from_url", lacks)
    error = run("ls", "s3://bucket/x", code=1).stderr
    assert "Install s3fs" in error
    assert "credentials" in error
