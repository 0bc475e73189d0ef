"""The services that examples reach: real servers on this machine, by the names that the pages use."""

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import file_server
import pytest
from object_servers import (
    KEY,
    SECRET,
    azurite,
    create_bucket,
    create_container,
    create_gcs_bucket,
    fake_gcs,
    seaweed_s3,
)


@contextmanager
def s3():
    """An S3 server that has the pages' bucket."""
    with seaweed_s3() as server:
        create_bucket(server, "my-bucket")
        yield server


@contextmanager
def azure():
    """An Azure server that has the pages' container."""
    with azurite() as server:
        create_container(server, "my-container")
        yield server


@contextmanager
def google():
    """A Google server that has the pages' bucket."""
    with fake_gcs() as server:
        create_gcs_bucket(server, "my-bucket")
        yield server


@contextmanager
def web():
    """A web server of a folder with ``data.zarr`` in it; gives its URL."""
    with tempfile.TemporaryDirectory() as folder:
        value = Path(folder) / "data.zarr" / "a" / "b"
        value.parent.mkdir(parents=True)
        value.write_bytes(b"from the web")
        with file_server.serve(folder) as (url, _):
            yield url


SERVICES = {"s3://": s3, "az://": azure, "gs://": google, "web_server": web}


@pytest.fixture(scope="session")
def servers():
    """Give a server, which is started when it is first asked for."""
    with ExitStack() as stack:
        started = {}

        def server(sign):
            if sign not in started:
                started[sign] = stack.enter_context(SERVICES[sign]())
            return started[sign]

        yield server


@pytest.fixture
def services(servers, monkeypatch):
    """Put at hand what a page's examples name: Amazon's and Azure's variables, and variables of the page."""

    def prepare(text, names):
        if "s3://" in text:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            monkeypatch.setenv("AWS_REGION", "us-east-1")
            monkeypatch.setenv("AWS_ENDPOINT_URL", servers("s3://").endpoint)
            from zarrstore import make_store_sync

            make_store_sync("s3://my-bucket").clear_sync()  # other pages use it too
        if "az://" in text:
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", servers("az://").connection_string)
        if "gs://" in text:
            names["gcs_options"] = servers("gs://").fsspec_options()
        if "web_server" in text:
            names["web_server"] = servers("web_server")

    return prepare
