"""Copies that are killed again and again, and resumed: nothing is lost, nor done again that is whole."""

import itertools
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from obstore.store import AzureStore, S3Store

from zarrstore import LocalStore, ObjectStore, ZipStore, copy_store_sync, diff_stores_sync, digest_store_sync

# Copies between two places, and notes each write that is begun.
CHILD = """
import json, os, sys
from obstore.store import AzureStore, S3Store
from zarrstore import LocalStore, ObjectStore, WrapperStore, ZipStore, copy_store_sync

def opened(kind, where):
    if kind == "folder":
        return LocalStore(where)
    if kind == "archive":
        return ZipStore(where, mode="a")
    return ObjectStore({"s3": S3Store, "azure": AzureStore}[kind](**where))

class Noted(WrapperStore):
    async def _write(self, below, key, pieces, condition):
        os.write(log, key.encode() + b"\\n")
        return await below.write(key, pieces, condition)

source, target, path = json.loads(sys.argv[1])
log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
with Noted(opened(*target)) as goal:
    copy_store_sync(opened(*source), goal, if_exists="resume")
"""
KILLS = 5
# Of 40 KiB each. The proof in full is 100,000, which takes about 20 GB of disk and memory, and half an hour.
ALL_THE_WAY = int(os.environ.get("ZARRSTORE_TEST_VALUES", "6000"))


def opened(kind, where):
    if kind == "folder":
        return LocalStore(where)
    if kind == "archive":
        return ZipStore(where)
    return ObjectStore({"s3": S3Store, "azure": AzureStore}[kind](**where))


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def copied_with_kills(source, target, log, count):
    """Copy, and kill the copy five times on the way; returns how many writes were begun."""
    command = [sys.executable, "-c", CHILD, json.dumps([source, target, str(log)])]
    for kill in range(1, KILLS + 1):
        with subprocess.Popen(command, stderr=subprocess.PIPE) as child:
            while lines(log) < count * kill // (KILLS + 1) and child.poll() is None:
                time.sleep(0.001)
            child.kill()
            complaint = child.stderr.read().decode()
        assert child.returncode < 0, complaint
    subprocess.run(command, check=True, timeout=200 + count // 50)
    return lines(log)


def planted(folder, count, size):
    store = LocalStore(folder)
    dice = np.random.default_rng(5)
    for number in range(count):
        store.set_sync(f"a/c/{number // 100}/{number % 100}", dice.bytes(size))
    for key in ("zarr.json", "a/zarr.json"):
        store.set_sync(key, b"{}")
    return ["folder", str(folder)], count + 2


def check(source, target, begun, count):
    assert not diff_stores_sync(opened(*source), opened(*target), checksum=True)
    # At each kill some writes were under way: as many as are made at once, on any machine.
    assert begun - count <= max(count // 100, KILLS * 64)
    assert copy_store_sync(opened(*source), opened(*target), if_exists="resume", dry_run=True).keys == 0


def test_from_a_folder_into_an_archive_and_out_of_it(tmp_path):
    source, count = planted(tmp_path / "data.zarr", 2000, 2000)
    archive, back = ["archive", str(tmp_path / "data.zip")], ["folder", str(tmp_path / "back.zarr")]
    begun = copied_with_kills(source, archive, tmp_path / "log", count)
    with ZipStore(archive[1], mode="a"):
        pass
    assert not diff_stores_sync(opened(*source), opened(*archive), checksum=True)
    assert begun - count <= KILLS * 64
    check(archive, back, copied_with_kills(archive, back, tmp_path / "log2", count), count)


@pytest.mark.slow
@pytest.mark.timeout(1500 + ALL_THE_WAY // 10)
def test_all_the_way_round(tmp_path, s3_server, azure_server, place):
    source, count = planted(tmp_path / "data.zarr", ALL_THE_WAY, 40 << 10)
    s3 = ["s3", {"bucket": place[0], "prefix": place[1], **s3_server.obstore_options()}]
    azure = ["azure", {"container_name": place[0], "prefix": place[1], **azure_server.obstore_options()}]
    archive, back = ["archive", str(tmp_path / "data.zip")], ["folder", str(tmp_path / "back.zarr")]
    way = [source, archive, s3, azure, back]
    digest = digest_store_sync(opened(*source)).digest
    for number, (here, there) in enumerate(itertools.pairwise(way)):
        began = time.monotonic()
        begun = copied_with_kills(here, there, tmp_path / f"log{number}", count)
        print(f"to {there[0]}: {begun - count} of {count} done twice, {time.monotonic() - began:.0f} s")
        check(here, there, begun, count)
        assert digest_store_sync(opened(*there)).digest == digest
