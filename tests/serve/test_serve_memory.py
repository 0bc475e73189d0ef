"""How much memory a server needs for a far larger value, read whole, by ranges and by slow clients."""

import http.client
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

MOST = 100 << 20


@pytest.mark.parametrize(
    "size", [256 << 20, pytest.param(2 << 30, marks=pytest.mark.slow)], ids=["256M", "2G"]
)
def test_a_shard_larger_than_the_server_s_memory(tmp_path, size):
    (tmp_path / "data").mkdir()
    with open(tmp_path / "data" / "shard", "wb") as file:
        file.truncate(size)  # takes no room on the disk
        file.seek(size - 16)
        file.write(b"the end of it...")
    process = subprocess.Popen(
        [sys.executable, "-m", "zarrstore", "serve", "data", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(re.search(r":(\d+)/$", process.stdout.readline())[1])
        waiting = [opened(port) for _ in range(4)]  # who asked for all of it, and don't read
        read_whole(port, size)
        assert part(port, "-16") == b"the end of it..."
        chance = random.Random(0)
        for _ in range(50):
            start = chance.randrange(size - (1 << 20))
            assert part(port, f"{start}-{start + 99_999}") == bytes(100_000)
        assert most_memory(process.pid) < MOST
        for connection, _ in waiting:
            connection.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)


def opened(port, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/shard", headers=headers)
    return connection, connection.getresponse()


def part(port, asked):
    connection, answer = opened(port, Range=f"bytes={asked}")
    assert answer.status == 206
    body = answer.read()
    connection.close()
    return body


def read_whole(port, size):
    connection, answer = opened(port)
    buffer, count = bytearray(1 << 20), 0
    while got := answer.readinto(buffer):
        count += got
    assert count == size
    connection.close()


def most_memory(pid):
    """The most that a process ever had in memory, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024
