"""A copy that is brought up to date where nothing has changed: it lists, in flat memory, and does no more."""

import json
import os
import subprocess
import sys
from math import ceil

import pytest
from object_servers import S3Server
from obstore.store import S3Store
from proxy import proxied
from s3fs import S3FileSystem
from scripted_server import on, s3_error, s3_listing, scripted_server

from zarrstore import FsspecStore, LocalStore, ObjectStore, copy_store_sync, sync_store_sync

PAGE = 1000
# Beside pages, what doesn't grow with the number of keys: the first look at each side, a look behind the end
# of a listing, and up to three lookups of each name at the top of the source.
BESIDE = 12


def planted(folder, count):
    store = LocalStore(folder)
    for number in range(count - 1):
        key = f"a/c/{number // 100}/{number % 100}"
        store.set_sync(key, b"%d" % number)
        os.utime(store.root / key, (1, 1))  # in the second in which it is copied, times don't tell
    store.set_sync("zarr.json", b"{}")
    os.utime(store.root / "zarr.json", (1, 1))
    return store


def opened(library, server, place, side):
    bucket, prefix = place
    if library == "fsspec":
        fs = S3FileSystem(asynchronous=True, skip_instance_cache=True, **server.fsspec_options())
        return FsspecStore(fs, path=f"{bucket}/{prefix}/{side}")
    return ObjectStore(S3Store(bucket, prefix=f"{prefix}/{side}", **server.obstore_options()))


def check_requests(requests, sides, count):
    listings = [request for request in requests if "list-type=2" in request[1]]
    others = [target.rpartition("/")[2] for _, target in requests if "list-type=2" not in target]
    assert len(others) <= 6
    assert not [name for name in others if name.isdecimal()]  # no chunk
    assert sides * ceil(count / PAGE) <= len(listings) <= sides * ceil(count / PAGE) + BESIDE


@pytest.mark.parametrize(
    ("library", "count"),
    [
        ("obstore", 1050),
        pytest.param("obstore", 50_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param("fsspec", 20_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_only_listings_are_asked_for(library, count, s3_server, s3_place, tmp_path):
    folder = planted(tmp_path / "data", count)
    with proxied(s3_server.endpoint) as (proxy, url):
        for side in "ab":
            copy_store_sync(folder, opened("obstore", s3_server, s3_place, side))
        here, there = (opened(library, S3Server(url), s3_place, side) for side in "ab")
        for source, sides in ((folder, 1), (here, 2)):
            before = len(proxy.requests)
            report = sync_store_sync(source, there)
            assert (report.keys, report.skipped) == (0, count)
            check_requests(proxy.requests[before:], sides, count)


# Brings one side of the scripted server up to date with the other, and tells what memory it took.
CHILD = """
import json, sys
from obstore.store import S3Store
from zarrstore import ObjectStore, sync_store_sync

options = json.loads(sys.argv[1])
here, there = (ObjectStore(S3Store("b", prefix=side, **options)) for side in ("here", "there"))
report = sync_store_sync(here, there)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
print(json.dumps([report.keys, report.skipped, peak]))
"""


def listing_of(count):
    """Answer for a bucket with so many keys below each directory that is asked for."""

    def answer(request):
        side = request.query["prefix"].partition("/")[0]
        after = request.query.get("start-after")
        if after and not after[-1].isdecimal():
            return s3_listing([])  # behind the only directory at the top
        if request.query.get("delimiter"):
            return 200, (
                "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>"
                f"<CommonPrefixes><Prefix>{side}/a/</Prefix></CommonPrefixes></ListBucketResult>"
            )
        first = (
            int(after.rpartition("/")[2]) + 1 if after else int(request.query.get("continuation-token", 0))
        )
        end = min(first + PAGE, count)
        keys = [f"{side}/a/c/{number:07d}" for number in range(first, end)]
        return s3_listing(keys, truncated=end < count, token=end if end < count else None)

    return answer


@pytest.mark.parametrize(
    "count", [20_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_memory_is_flat_and_so_is_the_number_of_requests_a_page(count):
    with scripted_server() as told:
        told.table = [
            (on("GET", "list-type=2"), listing_of(count)),
            (on("HEAD"), s3_error(404, "NoSuchKey")),
        ]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(told.s3.obstore_options())],
            capture_output=True, text=True, timeout=800, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        copied, skipped, peak = json.loads(done.stdout)
        assert (copied, skipped) == (0, count)
        assert peak < 200
        assert told.unforeseen == []
        requests = [(one.method, "list-type=2" if one.query else one.path) for one in told.requests]
        check_requests(requests, 2, count)
        print(f"{count} keys: {len(requests)} requests, {peak} MiB")
