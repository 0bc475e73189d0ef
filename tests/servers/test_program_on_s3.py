"""The program on an S3 server: hierarchies and archives there, through either backend."""

import itertools

import pytest
from click.testing import CliRunner
from hierarchies import trees

from zarrstore import LocalStore, make_store_sync
from zarrstore._cli.program import program

_numbers = itertools.count()


@pytest.fixture(params=["obstore", "fsspec"])
def reach(request, s3_server):
    options = s3_server.fsspec_options()
    given = ["--endpoint-url", s3_server.endpoint, "--region", "us-east-1", "--backend", request.param]
    for name in ("key", "secret"):
        given += ["--storage-option", f"{name}={options[name]}"]
    return given


def run(*args, code=0):
    result = CliRunner().invoke(program, args)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_a_hierarchy_and_an_archive_there(reach, s3_place, tmp_path, s3_server):
    values = trees()["v3, nested, consolidated"]().values
    folder = LocalStore(tmp_path / "data.zarr")
    for key, value in values.items():
        folder.set_sync(key, value)
    bucket, prefix = s3_place
    place = f"s3://{bucket}/{prefix}/{next(_numbers)}"
    run("copy", str(folder.root), place, *reach, "--quiet")
    assert run("check", place, *reach).stderr.startswith("no problem")
    digest = run("digest", str(folder.root)).stdout
    assert run("digest", place, *reach).stdout == digest
    assert "array int32, 5 x 7" in run("tree", place, *reach).stdout
    run("copy", str(folder.root), str(tmp_path / "data.zip"), "--quiet")
    options = {**s3_server.fsspec_options()}
    archive = f"{place}/archives/data.zip"
    run("copy", str(tmp_path / "data.zip"), archive, "--as-file", "--verify", *reach)
    run("copy", archive, str(tmp_path / "back.zip"), "--as-file", *reach)
    assert (tmp_path / "back.zip").read_bytes() == (tmp_path / "data.zip").read_bytes()
    for name in (f"{archive}|zip:", archive):
        assert run("digest", name, *reach).stdout == digest
        assert run("check", name, *reach).stderr.startswith("no problem")
    assert "zarr.json" in run("ls", f"{archive}|zip:temp", *reach).stdout
    kind = {"obstore": "ObjectStore", "fsspec": "FsspecStore"}[reach[5]]
    opened = make_store_sync(f"{archive}|zip:", storage_options=options, backend=reach[5])
    assert type(opened._origin.store).__name__ == kind
