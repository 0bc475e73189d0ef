"""A cluster's workers copy into a bucket, within it and out of it, by either backend."""

import asyncio

import pytest
from distributed import Client, LocalCluster
from obstore.store import S3Store
from s3fs import S3FileSystem

from zarrstore import (
    FsspecStore,
    LocalStore,
    ObjectStore,
    copy_store,
    copy_store_sync,
    digest_store_sync,
    sync_store_sync,
)
from zarrstore._copy import cluster as pieces


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("library", ["obstore", pytest.param("fsspec", marks=pytest.mark.slow)])
def test_there_and_back(library, client, s3_server, s3_place, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_KEYS", 20)
    bucket, prefix = s3_place

    def opened(side):
        if library == "fsspec":
            fs = S3FileSystem(asynchronous=True, **s3_server.fsspec_options())
            return FsspecStore(fs, path=f"{bucket}/{prefix}/{side}")
        return ObjectStore(S3Store(bucket, prefix=f"{prefix}/{side}", **s3_server.obstore_options()))

    folder = LocalStore(tmp_path / "data")
    for number in range(100):
        folder.set_sync(f"a/c/{number}", b"%d" % number)
    folder.set_sync("a/c/large", bytes(20 << 20))
    folder.set_sync("zarr.json", b"{}")
    assert copy_store_sync(folder, opened("a"), client=client).keys == 102
    assert asyncio.run(copy_store(opened("a"), opened("b"), client=client)).keys == 102
    assert sync_store_sync(opened("a"), opened("b"), client=client, checksum=True).skipped == 102
    assert copy_store_sync(opened("b"), LocalStore(tmp_path / "back"), client=client, verify=True).keys == 102
    wanted = digest_store_sync(folder).digest
    for place in (opened("a"), opened("b"), LocalStore(tmp_path / "back")):
        assert digest_store_sync(place, client=client).digest == wanted
