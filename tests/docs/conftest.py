"""The services that examples reach: real servers on this machine, by the names that the pages use."""

import json
import tempfile
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import file_server
import pytest
from object_servers import KEY, SECRET, azurite, create_bucket, fake_gcs, seaweed_s3


@contextmanager
def s3(names):
    """Amazon's variables lead to a server that has the pages' bucket."""
    with seaweed_s3() as server, pytest.MonkeyPatch.context() as patch:
        create_bucket(server, "my-bucket")
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield


@contextmanager
def azure(names):
    """Azure's variable leads to a server that has the pages' container."""
    from azure.storage.blob import BlobServiceClient

    with azurite() as server, pytest.MonkeyPatch.context() as patch:
        with BlobServiceClient.from_connection_string(server.connection_string) as client:
            client.create_container("my-container")
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", server.connection_string)
        yield


@contextmanager
def google(names):
    """The pages' ``gcs_options`` lead to a server that has their bucket."""
    with fake_gcs() as server:
        create = urllib.request.Request(
            f"{server.endpoint}/storage/v1/b?project=tests",
            json.dumps({"name": "my-bucket"}).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(create, timeout=10).close()
        names["gcs_options"] = server.fsspec_options()
        yield


@contextmanager
def web(names):
    """The pages' ``web_server`` serves a folder with ``data.zarr`` in it."""
    with tempfile.TemporaryDirectory() as folder:
        value = Path(folder) / "data.zarr" / "a" / "b"
        value.parent.mkdir(parents=True)
        value.write_bytes(b"from the web")
        with file_server.serve(folder) as (url, _):
            names["web_server"] = url
            yield


SERVICES = {"s3://": s3, "az://": azure, "gs://": google, "web_server": web}


@pytest.fixture
def services():
    """Start the services that a page's examples name; gives a function of their text and their variables."""
    with ExitStack() as stack:

        def start(text, names):
            for sign, service in SERVICES.items():
                if sign in text:
                    stack.enter_context(service(names))

        yield start
