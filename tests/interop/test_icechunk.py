"""Copies into sessions of icechunk, which takes no chunk before its array's document, and out of them."""

import asyncio
import os

import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

from zarrstore import LocalStore, MemoryStore, copy_store, copy_store_sync, diff_stores_sync, sync_store_sync
from zarrstore.errors import RefusedError

icechunk = pytest.importorskip("icechunk", reason="icechunk 2 needs Python 3.12")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "ICECHUNK_LOG", "error")
    return icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "repository")))


@pytest.fixture
def source(tmp_path):
    store = LocalStore(tmp_path / "data.zarr")
    group = zarr.open_group(store, mode="w", attributes={"title": "test"})
    group.create_array("a/b/x", data=np.arange(400).reshape(20, 20), chunks=(3, 7))
    group.create_group("c/d")
    return store


@pytest.mark.parametrize("awaited", [False, True])
def test_a_session_gets_documents_first(repository, source, awaited):
    session = repository.writable_session("main")
    if awaited:
        report = asyncio.run(copy_store(source, session.store, verify=True))
    else:
        report = copy_store_sync(source, session.store, verify=True)
    assert report.verified == report.keys == len(list(source.list_sync()))
    session.commit("copied")
    there = repository.readonly_session("main").store
    assert (zarr.open_array(there, path="a/b/x", mode="r")[:] == np.arange(400).reshape(20, 20)).all()
    assert zarr.open_group(there, mode="r").attrs["title"] == "test"
    assert not diff_stores_sync(source, there, checksum=True, exclude=["zarr.json"])
    back = MemoryStore()
    copy_store_sync(there, back, verify=True)
    assert (zarr.open_array(back, path="a/b/x", mode="r")[:] == np.arange(400).reshape(20, 20)).all()


def test_a_session_is_brought_up_to_date(repository, source):
    session = repository.writable_session("main")
    copy_store_sync(source, session.store)
    zarr.open_array(source, path="a/b/x", mode="a")[0, 0] = 7
    report = sync_store_sync(source, session.store)
    assert "a/b/x/c/0/0" in list(source.list_sync())
    assert report.replaced >= 1
    assert zarr.open_array(session.store, path="a/b/x", mode="r")[0, 0] == 7


def test_a_cluster_reads_a_session_and_may_not_write_one(repository, source, tmp_path):
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        session = repository.writable_session("main")
        with pytest.raises(RefusedError, match="sessions of theirs"):
            copy_store_sync(source, session.store, client=client)
        copy_store_sync(source, session.store)
        session.commit("copied")
        there = repository.readonly_session("main").store
        copy_store_sync(there, tmp_path / "out.zarr", client=client)
    assert not diff_stores_sync(there, tmp_path / "out.zarr", checksum=True)
