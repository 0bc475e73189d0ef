"""The command ``zarrstore serve``: what it prints, how it ends, and what several processes serve."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

from zarrstore import LocalStore, MemoryStore, ZipStore, copy_store_sync
from zarrstore._cli.program import program
from zarrstore.errors import UnsupportedOperationError
from zarrstore.serve._running import Service, listening, serve_until_interrupted

VALUE = bytes(range(256)) * 300


@pytest.fixture
def folder(tmp_path):
    LocalStore(tmp_path / "data.zarr").set_sync("a/k", VALUE)
    return tmp_path


class Program:
    """The program, from the line that it prints on."""

    def __init__(self, folder, *arguments, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zarrstore", "serve", "--port", "0", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.line = self.process.stdout.readline()
        found = re.search(r"http://\S+", self.line)
        self.url = found[0] if found else None

    def get(self, path, **headers):
        request = urllib.request.Request(self.url.partition("#")[0] + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def end(self, number=signal.SIGINT, *, group=True):
        """Send a signal, as a terminal does to all processes of a program; returns its code and errors."""
        (os.killpg if group else os.kill)(self.process.pid, number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors.lstrip("\n")  # click ends the line that shows ^C

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


def test_it_serves_until_it_is_interrupted(folder):
    with Program(folder, "data.zarr") as running:
        assert re.fullmatch(r"serving file://\S+data.zarr at http://127.0.0.1:\d+/\n", running.line)
        assert running.get("a/k") == VALUE
        assert running.end() == (130, "zarrstore: interrupted.\n")


def test_an_interruption_does_not_wait_for_a_client_that_reads_slowly(folder):
    LocalStore(folder / "data.zarr").set_sync("large", bytes(64 << 20))
    with Program(folder, "data.zarr") as running:
        answer = urllib.request.urlopen(running.url + "large", timeout=30)
        assert answer.read(10) == bytes(10)
        began = time.monotonic()
        assert running.end()[0] == 130
        assert time.monotonic() - began < 10
        answer.close()


@pytest.mark.parametrize(
    "group", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["of one process", "of a terminal"]
)
def test_workers_serve_and_end_together(folder, group):
    with Program(folder, "data.zarr", "--workers", "2") as running:
        assert all(running.get("a/k") == VALUE for _ in range(20))
        assert running.end(group=group) == (130, "zarrstore: interrupted.\n")
        with pytest.raises(urllib.error.URLError):
            running.get("a/k")


def test_an_archive_and_a_line_for_each_request(folder):
    with ZipStore(folder / "data.zip", mode="w") as archive:
        copy_store_sync(folder / "data.zarr", archive)
    with Program(folder, "data.zip|zip:a", "--log") as running:
        assert running.get("k", Range="bytes=0-9") == VALUE[:10]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            running.get("nothing?secret=1")
        code, errors = running.end()
    assert code == 130
    first, second, *_ = errors.splitlines()
    assert re.search(r"GET /k 206, 10 bytes, [\d.]+ ms$", first)
    assert "GET /nothing 404" in second
    assert "secret" not in errors


def test_another_address_is_warned_of_unless_a_token_is_asked_for(folder):
    with Program(folder, "data.zarr", "--host", "0.0.0.0") as running:
        assert "warning: whoever reaches this machine can read it" in running.end()[1]
    with Program(folder, "data.zarr", "--host", "0.0.0.0", "--token", "-", "--log") as running:
        token = re.fullmatch(r".*/#token=(\S{24})\n", running.line)[1]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            running.get("a/k")
        assert running.get("a/k", Authorization=f"Bearer {token}") == VALUE
        errors = running.end()[1]
        assert "GET /a/k 200" in errors
        assert token not in errors
        assert "warning" not in errors


def test_what_cant_be_served(folder):
    with listening("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        for arguments, words in (
            ([str(folder / "missing.zarr")], "no key is here"),
            ([str(folder / "data.zarr"), "--port", port], "could not listen at 127.0.0.1"),
            ([str(folder / "data.zarr"), "--host", "no.such.host.invalid"], "could not listen at no.such"),
        ):
            answer = CliRunner().invoke(program, ["serve", *arguments])
            assert answer.exit_code == 1
            assert words in answer.stderr
            assert answer.stderr.count("\n") == 1


def test_a_store_of_one_process_is_served_by_one(folder):
    store = MemoryStore()
    with listening("127.0.0.1", 0) as listener, pytest.raises(UnsupportedOperationError, match="--workers"):
        serve_until_interrupted(Service(store), listener, workers=2)
