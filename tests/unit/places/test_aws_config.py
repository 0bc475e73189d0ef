"""An endpoint in AWS's configuration file is where requests go, whichever backend serves."""

import itertools

import pytest
from scripted_server import on, s3_error, scripted_server

from zarrstore import FsspecStore, ObjectStore, make_store_sync

NOWHERE = "http://127.0.0.1:9"
IN_PROFILE = "[default]\nregion = eu-central-1\nendpoint_url = {}\n"
IN_SERVICES = (
    f"[default]\nservices = mine\nendpoint_url = {NOWHERE}\n"
    f"[services other]\ns3 =\n  endpoint_url = {NOWHERE}\n"
    "[services mine]\ndynamodb =\n  endpoint_url = http://127.0.0.1:9\ns3 =\n  addressing_style = path\n"
    "  endpoint_url = {}\n"
)
IN_NAMED = "[default]\nendpoint_url = http://127.0.0.1:9\n[profile lab]\nendpoint_url = {}\n"
# A configuration file and what the environment says beside it.
WAYS = {
    "profile": (IN_PROFILE, {}),
    "profile default": (IN_PROFILE.replace("[default]", "[profile default]"), {}),
    "services": (IN_SERVICES, {}),
    "named": (IN_NAMED, {"AWS_PROFILE": "lab"}),
    "environment first": (IN_PROFILE.replace("{}", NOWHERE), {"AWS_ENDPOINT_URL": "{}"}),
    "service's environment first": ("", {"AWS_ENDPOINT_URL": NOWHERE, "AWS_ENDPOINT_URL_S3": "{}"}),
}
_numbers = itertools.count()


def credentials():
    """Credentials that no test before used: fsspec would give the file system that it made then."""
    return {"key": f"k{next(_numbers)}", "secret": "s"}


@pytest.fixture
def told():
    with scripted_server() as server:
        server.table[:] = [(on("GET"), s3_error(404, "NoSuchKey"))]
        yield server


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Set up a configuration file and an environment."""
    for name in (
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
    ):
        monkeypatch.delenv(name, raising=False)

    def set_up(text, environment):
        (tmp_path / "config").write_text(text)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return set_up


@pytest.mark.parametrize("backend", [None, "obstore", "fsspec"])
@pytest.mark.parametrize("way", WAYS)
def test_endpoints(told, configured, way, backend):
    text, environment = WAYS[way]
    environment = {name: value.replace("{}", told.url) for name, value in environment.items()}
    configured(text.replace("{}", told.url), environment)
    store = make_store_sync("s3://b/p", storage_options=credentials(), backend=backend)
    assert isinstance(store, FsspecStore if backend == "fsspec" else ObjectStore)
    assert store.get_sync("k") is None
    assert [request.path for request in told.requests] == ["/b/p/k"]
    if text == IN_PROFILE:
        assert "/eu-central-1/s3/" in told.requests[0].headers["authorization"]


@pytest.mark.parametrize("backend", ["obstore", "fsspec"])
def test_an_endpoint_that_is_given_comes_first(told, configured, backend):
    configured(IN_PROFILE.format(NOWHERE), {})
    options = {**credentials(), "endpoint_url": told.url}
    assert make_store_sync("s3://b/p", storage_options=options, backend=backend).get_sync("k") is None
    assert len(told.requests) == 1


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        (IN_PROFILE.format(NOWHERE) + "ignore_configured_endpoint_urls = true\n", {}),
        (IN_PROFILE.format(NOWHERE), {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
        ("", {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE", "AWS_ENDPOINT_URL": NOWHERE, "AWS_REGION": "x"}),
        ("[default]\nregion = x\n", {}),
        (IN_NAMED.format(NOWHERE).replace("[default]\n", "[other]\n"), {"AWS_REGION": "x"}),
    ],
)
def test_where_no_endpoint_counts(configured, text, environment):
    configured(text, environment)
    store = make_store_sync("s3://b/p", storage_options=credentials())
    if isinstance(store, ObjectStore):
        assert "endpoint" not in store.store.config
    else:  # s3fs has its own way to find out
        assert "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS" in environment


def test_a_file_that_cant_be_read_is_left_to_s3fs(configured):
    configured("endpoint_url = lost\n", {"AWS_REGION": "x"})
    assert isinstance(make_store_sync("s3://b/p", storage_options=credentials()), FsspecStore)
