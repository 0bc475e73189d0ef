"""A value of 6 GiB, whose size doesn't fit 32 bits: set, read and copied, with little memory beside it."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import obstore
import pytest
from object_servers import BUCKET, azurite, seaweed_s3
from obstore.store import S3Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GIB = 1 << 30
# Each eight bytes are the number of those before, so that no two places look alike.
WORDS = 6 * GIB // 8 + 1
# What a call may take beside the value, in bytes.
LITTLE = 300_000_000

COMMON = """
import asyncio, json, sys
import numpy as np
from peak_memory import measured
from zarrstore import FsspecStore, LocalStore, MemoryStore, ObjectStore, ZipStore, copy_store, copy_store_sync
from zarrstore import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

def opened(place, mode):
    if place == "memory":
        return MemoryStore()
    if isinstance(place, list):
        backend, url, options = place
        if backend == "s3fs":
            return FsspecStore.from_url(url, storage_options=options)
        from obstore.store import from_url
        return ObjectStore(from_url(url, **options))
    return ZipStore(place, mode=mode) if place.endswith(".zip") else LocalStore(place)
"""

SET_AND_GET = (
    COMMON
    + """
place, words = json.loads(sys.argv[1])
size = 8 * words
store = opened(place, "w")
value = np.arange(words, dtype="<u8").view("u1")
_, at_set = measured(lambda: store.set_sync("k", value))
del value
store.close()

spans = [(start, start + 13) for start in (0, (2 << 30) - 6, (4 << 30) - 6, size - 13)]
requests = [RangeByteRequest(*span) for span in spans]
requests += [OffsetByteRequest(size - 5), SuffixByteRequest(5)]
spans += [(size - 5, size)] * 2
wanted = [np.arange(a // 8, b // 8 + 1, dtype="<u8").view("u1")[a % 8 : a % 8 + b - a] for a, b in spans]

def parts():
    asked = [("k", request) for request in requests]
    answers = asyncio.run(store.get_partial_values(None, asked))
    return [*answers, *(store.get_sync("k", None, request) for request in requests)]

found, at_parts = measured(parts)
assert [part.to_bytes() for part in found] == [part.tobytes() for part in wanted] * 2
assert store.getsize_sync("k") == size
for get in (lambda: store.get_sync("k"), lambda: asyncio.run(store.get("k"))):
    whole, at_get = measured(get)
    array = whole.as_numpy_array().view("<u8")
    assert len(array) == words
    for start in range(0, words, 1 << 24):
        assert (array[start : start + (1 << 24)] == np.arange(start, min(words, start + (1 << 24)))).all()
    del whole, array
print(json.dumps([at_set, at_parts, at_get]))
"""
)

COPY = (
    COMMON
    + """
source, target, awaits = json.loads(sys.argv[1])
ends = opened(source, "r"), opened(target, "w")
copy = (lambda *ends, **how: asyncio.run(copy_store(*ends, **how))) if awaits else copy_store_sync
report, most = measured(lambda: copy(*ends, verify=True))
ends[1].close()
print(json.dumps([report.keys, report.bytes, most]))
"""
)


def run(code, *arguments):
    child = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


@pytest.fixture
def folder(tmp_path):
    """A folder that is removed at once, not after some more runs of the tests."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def roomy_s3():
    """An S3 server with room for 100 GiB."""
    with seaweed_s3(volume_mb=1024) as server:
        yield server


def need(gibibytes, free, what):
    if free >> 30 < gibibytes:
        pytest.skip(f"needs {gibibytes} GiB of {what}, and {free >> 30} are free")


def free_memory():
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) << 10


@pytest.mark.parametrize("place", ["data", "data.zip", "memory"])
def test_it_is_set_and_read(folder, place):
    need(14 if place == "memory" else 8, free_memory(), "memory")
    need(8, shutil.disk_usage(folder).free, "disk")
    at_set, at_parts, at_get = run(SET_AND_GET, "memory" if place == "memory" else str(folder / place), WORDS)
    copied = 8 * WORDS  # memory keeps a copy at `set`, and gives out what it keeps
    assert at_set < LITTLE + copied * (place == "memory")
    assert at_parts < LITTLE
    assert at_get < LITTLE + copied * (place != "memory")


def test_it_is_copied_into_an_archive_and_out(folder):
    need(20, shutil.disk_usage(folder).free, "disk")
    (folder / "a").mkdir()
    with open(folder / "a" / "k", "wb") as file:
        for start in range(0, WORDS, 1 << 24):
            file.write(np.arange(start, min(WORDS, start + (1 << 24)), dtype="<u8"))
    for source, target, awaits in (("a", "b.zip", False), ("b.zip", "c", True)):
        keys, size, most = run(COPY, str(folder / source), str(folder / target), awaits)
        assert (keys, size) == (1, 8 * WORDS)
        assert most < LITTLE, (source, target)
    subprocess.run(["cmp", folder / "a" / "k", folder / "c" / "k"], check=True)


def check_set_read_and_copied(folder, there, back):
    """A value set at one place is read there, and copied to a folder and to another place.

    Parameters
    ----------
    there, back : list
        Backend, URL and options of the two places.
    """
    need(14, free_memory(), "memory")
    need(24, shutil.disk_usage(folder).free, "disk")
    at_set, at_parts, at_get = run(SET_AND_GET, there, WORDS)
    assert at_set < LITTLE
    assert at_parts < LITTLE
    assert at_get < LITTLE + 8 * WORDS
    local = str(folder / "data")
    for source, target, awaits in ((there, local, False), (local, back, True)):
        keys, size, most = run(COPY, source, target, awaits)
        assert (keys, size) == (1, 8 * WORDS)
        assert most < LITTLE, (source, target)
    for start in range(0, WORDS, 1 << 24):
        found = np.fromfile(folder / "data" / "k", "<u8", 1 << 24, offset=8 * start)
        assert (found == np.arange(start, min(WORDS, start + (1 << 24)))).all()


# An object of more than 5 GiB can only be sent in parts.
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backend", ["obstore", "s3fs"])
def test_on_s3_it_is_set_and_read_and_copied(roomy_s3, folder, backend):
    options = roomy_s3.obstore_options() if backend == "obstore" else roomy_s3.fsspec_options()
    check_set_read_and_copied(folder, *([backend, f"s3://{BUCKET}/{name}", options] for name in "ab"))
    for name in ("a/k", "b/k"):
        version = obstore.head(S3Store(BUCKET, **roomy_s3.obstore_options()), name)["e_tag"]
        assert 1 < int(re.search(r'-(\d+)"$', version)[1]) <= 10_000


@pytest.mark.timeout(3600)
def test_on_azure_it_is_set_and_read_and_copied(folder):
    """Through obstore: adlfs takes several times a value's size in memory."""
    with azurite(on_disk=True) as server:
        options = server.obstore_options()
        check_set_read_and_copied(folder, *(["obstore", f"az://{BUCKET}/{name}", options] for name in "ab"))
