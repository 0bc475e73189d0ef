"""The commands that examine a hierarchy."""

import json

import pytest
from click.testing import CliRunner

from zarrstore import LocalStore
from zarrstore._cli.program import program

ARRAY = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4],
    "data_type": "uint8",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
    "chunk_key_encoding": {"name": "default"},
    "fill_value": 0,
    "codecs": [{"name": "bytes"}],
}
VALUES = {
    "zarr.json": json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"title": "x"}}).encode(),
    "a/zarr.json": json.dumps(ARRAY).encode(),
    "a/c/0": b"ab",
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = LocalStore("data.zarr")
    for key, value in VALUES.items():
        store.set_sync(key, value)
    return store


def run(*args, code=0):
    result = CliRunner().invoke(program, args)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_check(data):
    result = run("check", "data.zarr")
    assert result.stdout == ""
    assert result.stderr.startswith("no problem in 1 groups and 1 arrays with 1 chunks")
    data.set_sync("a/c/7", b"ab")
    data.set_sync("a/.DS_Store", b"")
    data.set_sync("a/c/1", b"abc")
    result = run("check", "data.zarr", code=1)
    lines = sorted(result.stdout.splitlines())
    assert [line.split()[0] for line in lines] == ["litter", "outside", "size"]
    assert lines[1].startswith("outside       a/c/7 (chunk 7): the array has 2 chunks")
    assert result.stderr.startswith("3 problems in ")
    assert len(run("check", "data.zarr", "--ignore", "litter", code=1).stdout.splitlines()) == 2
    assert len(run("check", "data.zarr", "a", "--quick", code=1).stdout.splitlines()) == 3
    assert run("check", "data.zarr", "--ignore", "rubbish", code=2).stdout == ""


def test_check_as_json(data):
    assert json.loads(run("check", "data.zarr", "--json").stdout)["problems"] == []
    data.set_sync("a/c/7", b"ab")
    (problem,) = json.loads(run("check", "data.zarr", "--json", code=1).stdout)["problems"]
    assert (problem["kind"], problem["array"], problem["key"], problem["chunk"]) == (
        "outside",
        "a",
        "a/c/7",
        [7],
    )
    told = json.loads(run("check", "data.zarr", "--json", "--complete", code=1).stdout)
    assert [problem["kind"] for problem in told["problems"]] == ["outside", "missing"]
    assert told["values_read"] == 1


def test_check_of_what_is_not_there(data):
    assert "no metadata document" in run("check", "nothing.zarr", code=1).stdout


def test_digest(data):
    digest = run("digest", "data.zarr", "--manifest", "sums").stdout.strip()
    assert digest.endswith(f"-3--{sum(map(len, VALUES.values()))}")
    assert json.loads(run("digest", "data.zarr", "--json", "--no-etags").stdout)["digest"] == digest
    run("check", "data.zarr", "--against", "sums")
    data.set_sync("a/c/0", b"cd")
    assert run("check", "data.zarr", "--against", "sums", code=1).stdout.startswith(
        "manifest      a/c/0: its MD5"
    )
    assert run("digest", "data.zarr", "a").stdout != run("digest", "data.zarr").stdout
