"""A server that isn't there: the error says so and why, and a terminal shows that it is tried again."""

import logging
import os
import pty
import socket
import subprocess
import sys

import pytest
from obstore.store import AzureStore, HTTPStore, S3Store
from s3fs import S3FileSystem
from scripted_server import on, scripted_server

from zarrstore import FsspecStore, ObjectStore, RetryPolicy, errors

QUICK = RetryPolicy(attempts=3, base=0.001)
S3 = {"access_key_id": "k", "secret_access_key": "s", "region": "r"}


@pytest.fixture
def nowhere():
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def by_obstore(kind, *args, **options):
    return ObjectStore(kind(*args, client_options={"allow_http": True}, **options), retry=QUICK)


STORES = {
    "s3 by obstore": lambda address: by_obstore(S3Store, "b", endpoint=address, **S3),
    "azure by obstore": lambda address: by_obstore(
        AzureStore, "c", account_name="a", account_key="AAAA", endpoint=f"{address}/a"
    ),
    "http by obstore": lambda address: by_obstore(HTTPStore, f"{address}/x"),
    "s3 by fsspec": lambda address: FsspecStore(
        S3FileSystem(asynchronous=True, key="k", secret="s", endpoint_url=address), path="b/x", retry=QUICK
    ),
    "http by fsspec": lambda address: FsspecStore.from_url(f"{address}/x", retry=QUICK),
}  # fmt: skip


@pytest.mark.parametrize("which", STORES)
def test_the_error_says_so_and_why(which, nowhere, caplog):
    store = STORES[which](nowhere)
    with caplog.at_level(logging.INFO, "zarrstore.retry"), pytest.raises(errors.TransientError) as caught:
        store.get_sync("k")
    assert "Nothing answers there" in caught.value.hint
    assert "onnect call failed" in str(caught.value) or "Connection refused" in str(caught.value)
    assert caught.value.key == "k"
    told = [record.getMessage() for record in caplog.records if record.name == "zarrstore.retry"]
    assert [text.partition(",")[0] for text in told] == ["attempt 1 of 3 failed", "attempt 2 of 3 failed"]
    assert all("Nothing answers there" in text for text in told)


def test_a_terminal_shows_what_is_tried_again(tmp_path):
    busy = [(503, "busy"), (503, "busy"), (200, "value")]
    with scripted_server() as server:
        server.table.append((on("GET", path="/k"), lambda request: busy.pop(0)))
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "zarrstore", "cat", f"{server.url}/x", "k", "--range", "0:5"]
        with subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE) as process:
            os.close(theirs)
            shown = b""
            try:
                while piece := os.read(ours, 4096):
                    shown += piece
            except OSError:  # how a terminal ends whose last writer has gone
                pass
            assert process.stdout.read() == b"value", shown
        os.close(ours)
        assert shown.count(b"zarrstore: attempt ") == 2
        assert b"attempt 1 of 8 failed, the next is in" in shown
        busy[:] = [(503, "busy"), (200, "value")]
        quiet = subprocess.run(command, capture_output=True, check=True, timeout=60)
        assert (quiet.stdout, quiet.stderr) == (b"value", b"")
