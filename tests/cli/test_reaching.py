"""Options that say how URLs are reached: what a server is asked then."""

import json
import sys

import pytest
from click.testing import CliRunner
from scripted_server import on, s3_error, scripted_server

from zarrstore import make_store_sync
from zarrstore._cli.program import program
from zarrstore.errors import MissingDependencyError

CREDENTIALS = ("--storage-option", "key=me", "--storage-option", "secret=s")


def run(*args, code=1):
    result = CliRunner().invoke(program, args)
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def told(monkeypatch, tmp_path):
    for name in ("PROFILE", "REGION", "DEFAULT_REGION", "ENDPOINT_URL", "NO_SIGN_REQUEST"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with scripted_server() as server:
        server.table[:] = [
            (on("HEAD"), (404, "")),
            (on("GET", "list-type"), s3_error(404, "NoSuchBucket")),
            (on("GET"), s3_error(404, "NoSuchKey")),
        ]
        yield server


def authorization(told):
    assert told.requests
    return {request.headers.get("authorization", "") for request in told.requests}


@pytest.mark.parametrize("backend", ["obstore", "fsspec"])
def test_server_region_and_credentials(told, backend):
    run(
        "cat", "s3://b/p", "k", "--range", "0:2", "--endpoint-url", told.url, "--region", "eu-north-1",
        *CREDENTIALS, "--backend", backend,
    )  # fmt: skip
    assert {request.path for request in told.requests} == {"/b/p/k"}
    (signed,) = authorization(told)
    assert "/eu-north-1/s3/" in signed
    assert "Credential=me/" in signed


@pytest.mark.parametrize("backend", [None, "obstore", "fsspec"])
@pytest.mark.parametrize("way", ["--anon", "AWS_NO_SIGN_REQUEST", "AWS_SKIP_SIGNATURE"])
def test_requests_without_a_signature(told, backend, way, monkeypatch):
    more = ("--backend", backend) if backend else ()
    if way == "--anon":
        more += (way,)
    else:
        monkeypatch.setenv(way, "true")
    run("cat", "s3://b/p", "k", "--range", "0:2", "--endpoint-url", told.url, "--region", "x", *more)
    assert authorization(told) == {""}


def test_the_environment_in_python_and_who_asks_comes_first(told, monkeypatch):
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    given = {"endpoint_url": told.url, "client_kwargs": {"region_name": "x"}}
    for backend in ("obstore", "fsspec"):
        options = given if backend == "fsspec" else {**given, "anon": True}
        assert make_store_sync("s3://b/p", storage_options=options, backend=backend).get_sync("k") is None
        assert authorization(told) == {""}
        told.requests.clear()
        options = {**given, "key": "me", "secret": "s"}
        assert make_store_sync("s3://b/p", storage_options=options, backend=backend).get_sync("k") is None
        assert all("Credential=me/" in text for text in authorization(told))
        told.requests.clear()


def test_a_profile_is_asked_of_aws(told, tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = mine\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    (tmp_path / "none").write_text("[profile lab]\nregion = eu-north-1\n")
    run("cat", "s3://b/p", "k", "--range", "0:2", "--endpoint-url", told.url, "--profile", "lab")
    (signed,) = authorization(told)
    assert "Credential=mine/" in signed


def test_both_places_of_a_copy_are_reached_so_and_paths_are_left_alone(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("copy", "s3://b/p", "target.zarr", "--endpoint-url", told.url, "--anon", "--region", "x")
    assert authorization(told) == {""}


def test_options_that_nothing_would_use_are_errors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no URL is given" in run("ls", "data.zarr", "--anon", code=2).stderr
    for option in (
        ("--profile", "x"),
        ("--region", "x"),
        ("--anon",),
        ("--endpoint-url", "http://127.0.0.1:9"),
    ):
        assert "mean nothing to memory:// URLs" in run("ls", "memory://x", *option).stderr
    assert "isn't NAME=VALUE" in run("ls", "s3://b", "--storage-option", "x", code=2).stderr
    assert "no URL" not in run("check", "data.zarr").stdout


def test_values_of_options_are_json_where_they_can_be():
    from zarrstore._cli.reach import _parsed

    texts = ("a=1", "b=true", 'c={"d": "e"}', "f=text", "g=1=2", "h=")
    wanted = {"a": 1, "b": True, "c": {"d": "e"}, "f": "text", "g": "1=2", "h": ""}
    assert _parsed(None, None, texts) == wanted
    assert json.dumps(wanted)


@pytest.mark.parametrize(
    ("scheme", "package", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure")]
)
def test_what_is_not_installed_is_named_with_its_extra(scheme, package, extra, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)
    options = {"account_name": "a"} if scheme == "az" else None
    with pytest.raises(MissingDependencyError, match=rf"pip install 'zarrstore\[{extra}\]'"):
        make_store_sync(f"{scheme}://b/p", backend="fsspec", storage_options=options)
