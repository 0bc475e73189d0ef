"""What large values take of memory: a read the value itself, a write or a copy only pieces of it."""

import json
import subprocess
import sys

import numpy as np
import obstore
import pytest
from object_servers import answers, free_ports, running
from obstore.store import S3Store
from peak_memory import measured
from s3fs import S3FileSystem

from zarrstore import FsspecStore, LocalStore, ObjectStore, OffsetByteRequest, copy_store_sync
from zarrstore.errors import ChangedError

MIB = 1 << 20
# In megabytes, as the kernel counts the most that a process ever had.
MOST = 300

COPY = """
import json, sys
from zarrstore import FsspecStore, LocalStore, ObjectStore, copy_store_sync

kind, options, place, folder = json.loads(sys.argv[1])
if kind == "fsspec":
    from s3fs import S3FileSystem
    source = FsspecStore(S3FileSystem(asynchronous=True, **options), path="/".join(place))
else:
    from obstore.store import S3Store
    source = ObjectStore(S3Store(place[0], prefix=place[1], **options))
report = copy_store_sync(source, LocalStore(folder))
with open("/proc/self/status") as status:
    most = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps([report.keys, report.bytes, most * 1024 / 1e6]))
"""


# Runs the program, and tells the same behind what it prints.
PROGRAM = """
import sys
from zarrstore._cli.program import program

program(standalone_mode=False)
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6)
"""


def value_of(number, size):
    return np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8).tobytes()


def check_reads(store, value, requests):
    """Read the value under the key "k": that takes little more memory than the value itself."""
    for request in requests:
        found, most = measured(lambda request=request: store.get_sync("k", None, request))
        wanted = memoryview(value)[0 if request is None else request.offset :]
        assert memoryview(found.as_numpy_array()) == wanted
        assert most < 1.3 * len(value), request
        del found


@pytest.mark.parametrize("kind", ["fsspec", pytest.param("obstore", marks=pytest.mark.slow)])
def test_a_value_is_set_and_read_without_a_second_copy(s3_server, s3_place, kind):
    bucket, prefix = s3_place
    if kind == "obstore":
        store = ObjectStore(S3Store(bucket, prefix=prefix, **s3_server.obstore_options()))
    else:
        store = FsspecStore.from_url(f"s3://{bucket}/{prefix}", storage_options=s3_server.fsspec_options())
    store.set_sync("small", b"1")  # loads what is loaded once
    value = value_of(1, 256 * MIB)
    _, most = measured(lambda: store.set_sync("k", value))
    assert most < 0.6 * len(value)
    check_reads(store, value, [None, OffsetByteRequest(5)])


def test_a_value_is_read_from_a_web_server_without_a_second_copy(tmp_path):
    value = value_of(2, 256 * MIB)
    (tmp_path / "k").write_bytes(value)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with running(command, lambda: answers(url), tmp_path):
        check_reads(FsspecStore.from_url(url), value, [None])


@pytest.mark.parametrize(
    "sizes",
    [
        [256] + [32] * 4,
        pytest.param([512] + [64] * 16 + [1] * 512, marks=pytest.mark.slow),  # 2 GiB
    ],
)
def test_copying_takes_little_memory(s3_server, s3_place, tmp_path, sizes):
    bucket, prefix = s3_place
    source = ObjectStore(S3Store(bucket, prefix=prefix, **s3_server.obstore_options()))
    for number, size in enumerate(sizes):
        source.set_sync(f"c/{number}", value_of(number, size * MIB))
    for kind in ("fsspec", "obstore"):
        options = s3_server.fsspec_options() if kind == "fsspec" else s3_server.obstore_options()
        wanted = json.dumps([kind, options, [bucket, prefix], str(tmp_path / kind)])
        child = subprocess.run(
            [sys.executable, "-c", COPY, wanted], capture_output=True, text=True, timeout=280, check=False
        )
        assert child.returncode == 0, child.stderr
        keys, copied, most = json.loads(child.stdout)
        assert (keys, copied) == (len(sizes), sum(sizes) * MIB)
        assert most < MOST, kind
        target = LocalStore(tmp_path / kind)
        for number in (0, 1, len(sizes) - 1):
            assert target.get_sync(f"c/{number}").to_bytes() == value_of(number, sizes[number] * MIB)
        target.clear_sync()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["obstore", "fsspec"])
def test_an_archive_as_one_object_takes_little_memory(s3_server, s3_place, tmp_path, backend):
    size = 1 << 30
    with open(tmp_path / "data.zip", "wb") as file:
        for number in range(size // (16 * MIB)):
            file.write(value_of(number, 16 * MIB))
    options = s3_server.fsspec_options()
    place = f"s3://{'/'.join(s3_place)}/data.zip"
    reach = ["--endpoint-url", s3_server.endpoint, "--region", "us-east-1", "--backend", backend]
    for name in ("key", "secret"):
        reach += ["--storage-option", f"{name}={options[name]}"]
    for source, target in (("data.zip", place), (place, "back.zip")):
        child = subprocess.run(
            [sys.executable, "-c", PROGRAM, "copy", source, target, "--as-file", *reach],
            capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert child.returncode == 0, child.stderr
        told, most = child.stdout.splitlines()
        assert told.startswith("copied 1 value (1.0 GiB)")
        assert float(most) < MOST, (target, most)
    subprocess.run(["cmp", "data.zip", "back.zip"], cwd=tmp_path, check=True)


# Changed there and back: that is seen where each piece comes with its version.
@pytest.mark.parametrize(("kind", "back"), [("fsspec", False), ("obstore", False), ("obstore", True)])
def test_pieces_of_two_versions_are_never_joined(s3_server, s3_place, tmp_path, kind, back):
    bucket, prefix = s3_place
    theirs = S3Store(bucket, prefix=prefix, **s3_server.obstore_options())
    if kind == "fsspec":
        fs = S3FileSystem(asynchronous=True, **s3_server.fsspec_options())
        source = FsspecStore(fs, path=f"{bucket}/{prefix}")
    else:
        source = ObjectStore(theirs)
    versions = [value_of(number, 40 * MIB) for number in (1, 2)]
    obstore.put(theirs, "k", versions[0])
    changes = iter([versions[1], versions[0]] if back else [versions[1]])

    def replace(progress):
        if 0 < progress.bytes_done < progress.bytes_total and (change := next(changes, None)):
            obstore.put(theirs, "k", change)

    with pytest.raises(ChangedError) as caught:
        copy_store_sync(source, LocalStore(tmp_path), progress=replace)
    assert caught.value.key == "k"
    assert list(LocalStore(tmp_path).list_sync()) == []
