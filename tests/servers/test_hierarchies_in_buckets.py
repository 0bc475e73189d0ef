"""Hierarchies that other tools put into buckets: by each backend nothing is lost and nothing invented."""

import itertools

import pytest
from adlfs import AzureBlobFileSystem
from foreign_objects import put_raw
from found import assert_arrays, assert_found
from gcsfs import GCSFileSystem
from hierarchies import OBJECTS, ODD_NAMES, trees
from obstore.store import AzureStore, GCSStore, S3Store
from s3fs import S3FileSystem

from zarrstore import FsspecStore, LocalStore, MemoryStore, ObjectStore, ZipStore, copy_store_sync

SERVERS = {"s3": "s3_server", "azure": "azure_server", "gcs": "gcs_server"}
FILE_SYSTEMS = {"s3": S3FileSystem, "azure": AzureBlobFileSystem, "gcs": GCSFileSystem}
OBSTORES = {"s3": S3Store, "azure": AzureStore, "gcs": GCSStore}


def over_obstore(kind, server, bucket, prefix):
    return ObjectStore(OBSTORES[kind](bucket, prefix=prefix, **server.obstore_options()))


def over_fsspec(kind, server, bucket, prefix):
    fs = FILE_SYSTEMS[kind](asynchronous=True, skip_instance_cache=True, **server.fsspec_options())
    return FsspecStore(fs, path=f"{bucket}/{prefix}")


# s3fs takes such a name for a version; adlfs and Azure alter others: those are refused.
CAN_HOLD = {
    "s3": lambda name: "versionId" not in name,
    "azure": lambda name: not set("#?").intersection(name) and name[-1] != ".",
    "gcs": lambda name: True,
}
TREES = {kind: trees(tuple(filter(can_hold, ODD_NAMES))) for kind, can_hold in CAN_HOLD.items()}
OPENED = {
    "obstore": over_obstore,
    "fsspec": over_fsspec,
    "view by obstore": lambda kind, server, bucket, prefix: over_obstore(kind, server, bucket, "").sub(
        prefix
    ),
    "view by fsspec": lambda *where: over_fsspec(*where[:3], "").sub(where[3]),
}
ELSEWHERE = {
    "memory": lambda folder: MemoryStore(),
    "folder": lambda folder: LocalStore(folder / "copy"),
    "archive": lambda folder: ZipStore(folder / "copy.zip", mode="w"),
}


SHORT = {("s3", 15, 1), ("s3", 18, 2)}


def cases():
    """A few on S3 in the short tier, and on each server a third of all trees in all forms otherwise."""
    return [
        pytest.param(kind, tree, form, row + column, id=f"{tree} in {form} on {kind}", marks=marks)
        for kind in SERVERS
        for (row, tree), (column, form) in itertools.product(enumerate(TREES[kind]), enumerate(OBJECTS))
        for marks in [() if (kind, row, column) in SHORT else pytest.mark.slow]
        if not marks or (row + column) % 3 == 0
    ]


@pytest.mark.parametrize(("kind", "tree", "form", "number"), cases())
def test_objects(kind, tree, form, number, request, place, tmp_path):
    server = request.getfixturevalue(SERVERS[kind])
    made = TREES[kind][tree]()
    objects, values = OBJECTS[form](made)
    bucket, prefix = place
    put_raw(server, {f"{prefix}/{name}": value for name, value in objects.items()})
    backends = list(OPENED.values())
    # obstore writes by an interface of Google's that this server lacks.
    writers = [over_fsspec] if kind == "gcs" else [over_fsspec, over_obstore]
    for turn in (number, number + 1):  # by both backends
        store = backends[turn % len(backends)](kind, server, bucket, prefix)
        make_target = list(ELSEWHERE.values())[turn % len(ELSEWHERE)]
        (tmp_path / f"{turn}").mkdir()
        assert_found(store, values)
        assert_arrays(store, made.arrays)
        with make_target(tmp_path / f"{turn}") as copied:
            copy_store_sync(store, copied, verify=True)
            assert_found(copied, values)
            back = writers[turn % len(writers)](kind, server, bucket, f"{prefix}-copy-{turn}")
            copy_store_sync(copied, back, verify=True)
        assert_found(back, values)
        assert_arrays(back, made.arrays)
