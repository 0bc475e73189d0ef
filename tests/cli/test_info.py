"""What info tells of arrays and groups, and JSON of all commands that look."""

import json
import warnings

import pytest
from click.testing import CliRunner

from zarrstore import LocalStore
from zarrstore._cli.program import program

zarr = pytest.importorskip("zarr")


def run(*args, code=0):
    result = CliRunner().invoke(program, args)
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = zarr.create_group(LocalStore("data.zarr"), attributes={"title": "größe"})
    array = root.create_array(
        "temp", shape=(10, 6), chunks=(2, 3), dtype="f4", fill_value=1, attributes={"units": "K"}
    )
    array[:4] = 0
    sharded = root.create_array("sharded", shape=(8,), chunks=(2,), shards=(4,), dtype="i2")
    sharded[:4] = 1
    old = zarr.create_group(LocalStore("old.zarr"), zarr_format=2)
    old.create_array("a", shape=(4,), chunks=(2,), dtype="i4", compressors=None)[...] = 1
    old.attrs["title"] = "x"
    with warnings.catch_warnings(action="ignore"):
        zarr.consolidate_metadata(LocalStore("old.zarr"))
    return LocalStore("data.zarr")


def lines(text):
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in text.splitlines()}


def test_info_of_an_array(data):
    told = lines(run("info", "data.zarr", "temp").stdout)
    assert told["format"] == "Zarr 3, array float32, 10 x 6"
    assert told["shape"] == "10 x 6"
    assert told["chunks"] == "2 x 3"
    assert told["type"] == "float32, filled with 1.0"
    assert told["codecs"].startswith('bytes(endian="little"), zstd(')
    assert told["stored"].startswith("4 of 10 chunks, ")
    assert " of 240 B, 1 : " in told["stored"]
    assert told["attribute"] == 'units = "K"'
    assert "shards" not in told
    assert "Zarr 3, array" in run("info", "data.zarr/temp").stdout


def test_info_of_shards(data):
    told = lines(run("info", "data.zarr", "sharded").stdout)
    assert (told["chunks"], told["shards"]) == ("2", "4")
    assert told["codecs"].startswith("sharding_indexed(bytes")
    assert told["stored"].startswith("1 of 2 shards")


def test_info_of_a_group(data):
    told = lines(run("info", "data.zarr").stdout)
    assert told["attribute"] == 'title = "größe"'
    assert "consolidated" not in told
    assert lines(run("info", "old.zarr").stdout)["consolidated"] == "yes"
    assert lines(run("info", "old.zarr").stdout)["attribute"] == 'title = "x"'
    assert lines(run("info", "old.zarr", "a").stdout)["stored"] == "2 of 2 chunks, 16 B of 16 B, 1 : 1.0"


def test_info_as_json(data):
    told = json.loads(run("info", "data.zarr", "temp", "--json").stdout)
    assert (told["shape"], told["chunks"], told["shards"]) == ([10, 6], [2, 3], None)
    assert (told["chunks_stored"], told["chunks_in_all"], told["bytes_in_all"]) == (4, 10, 240)
    assert told["attributes"] == {"units": "K"}
    assert json.loads(run("info", "old.zarr", "--json").stdout)["consolidated"] is True


def test_ls_du_and_tree_as_json(data):
    found = [json.loads(line) for line in run("ls", "-l", "--json", "data.zarr").stdout.splitlines()]
    assert [entry["key"] for entry in found] == ["sharded/", "temp/", "zarr.json"]
    assert found[2]["size"] == data.getsize_sync("zarr.json")
    assert json.loads(run("ls", "--json", "data.zarr", "temp").stdout.splitlines()[0]) == {"key": "temp/c/"}
    told = json.loads(run("du", "--json", "data.zarr").stdout)
    assert told["bytes"] == data.getsize_prefix_sync("")
    assert told["below"]["temp/"]["values"] == 5
    assert "below" not in json.loads(run("du", "-s", "--json", "data.zarr").stdout)
    tree = json.loads(run("tree", "--json", "data.zarr").stdout)
    assert [child["name"] for child in tree["children"]] == ["sharded", "temp"]
    assert tree["children"][1]["kind"] == "array float32, 10 x 6"
    assert tree["children"][1]["children"] == []


def test_sizes_for_people(data):
    data.set_sync("large", bytes(3 << 20))
    assert "   3.0 MiB  large" in run("ls", "-lh", "data.zarr").stdout.splitlines()


def test_rm_dry_run_removes_nothing(data):
    result = run("rm", "data.zarr", "temp", "-r", "--dry-run")
    assert "temp/zarr.json" in result.stdout.splitlines()
    assert result.stderr.startswith("would remove 5 values")
    assert run("rm", "data.zarr", "zarr.json", "--dry-run").stdout == "zarr.json\n"
    assert data.exists_sync("temp/zarr.json")
    assert data.exists_sync("zarr.json")
