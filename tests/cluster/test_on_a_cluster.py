"""Copies, checks and digests by the workers of a Dask cluster: whole and right, whatever happens to one."""

import asyncio
import os
import pickle
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from cluster_stores import Deadly, Lossy, Noted, notes
from distributed import Client, LocalCluster

from zarrstore import (
    LocalStore,
    MemoryStore,
    StorePath,
    WrapperStore,
    ZipStore,
    check_store,
    check_store_sync,
    copy_store,
    copy_store_sync,
    diff_stores_sync,
    digest_store,
    digest_store_sync,
    sync_store_sync,
)
from zarrstore._cli.program import program
from zarrstore._copy import cluster as pieces
from zarrstore._copy.job import _copied
from zarrstore._copy.options import Options
from zarrstore._copy.places import Directory
from zarrstore._copy.plan import Act, Todo
from zarrstore._core.verbs import Entry
from zarrstore.errors import BackendError, ChangedError, KeyConflictError, RefusedError

CHUNKS = 120


@contextmanager
def workers(count):
    """Start processes, and a client of theirs."""
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with workers(2) as client:
        yield client


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "_KEYS", 16)


@pytest.fixture
def data(tmp_path):
    store = LocalStore(tmp_path / "data.zarr")
    array = zarr.open_group(str(store.root), mode="w").create_array(
        "temp", shape=(CHUNKS,), chunks=(1,), dtype="i4", compressors=None
    )
    array[:] = np.arange(CHUNKS) + 1
    return store


def out(tmp_path):
    return LocalStore(tmp_path / "out.zarr")


def test_a_copy_is_whole_and_counted_once(client, data, tmp_path):
    seen = []
    report = copy_store_sync(data, out(tmp_path), client=client, progress=seen.append, verify=True)
    keys = CHUNKS + 2
    size = sum(map(data.getsize_sync, data.list_sync()))
    assert (report.keys, report.bytes, report.skipped, report.verified) == (keys, size, 0, keys)
    assert (seen[-1].keys_done, seen[-1].bytes_done, seen[-1].listed) == (keys, size, True)
    assert len(seen) > CHUNKS // 16
    assert not diff_stores_sync(data, out(tmp_path), checksum=True)
    data.set_sync("temp/c/5", b"12345678")
    data.set_sync("temp/c/120", b"1234")
    report = sync_store_sync(data, out(tmp_path), client=client)
    assert (report.keys, report.replaced, report.skipped) == (2, 1, keys - 1)
    data.delete_sync("temp/c/120")
    assert sync_store_sync(data, out(tmp_path), client=client, delete=True).deleted == 1
    assert not diff_stores_sync(data, out(tmp_path), checksum=True)


def test_documents_come_last_and_all_workers_work(client, data, tmp_path):
    log = tmp_path / "log"
    target = Noted(out(tmp_path), log, pause=0.001)
    asyncio.run(copy_store(data, target, client=client))
    keys, processes = notes(log)
    assert len(keys) == CHUNKS + 2
    assert keys[-2:] == ["temp/zarr.json", "zarr.json"]
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_the_target_is_looked_at_first(client, data, tmp_path):
    out(tmp_path).set_sync("temp/c/3", b"kept")
    with pytest.raises(KeyConflictError, match="nothing was written"):
        copy_store_sync(data, out(tmp_path), client=client)
    report = copy_store_sync(data, out(tmp_path), client=client, if_exists="skip", dry_run=True)
    assert (report.keys, report.skipped) == (CHUNKS + 1, 1)
    assert list(out(tmp_path).list_sync()) == ["temp/c/3"]


def test_a_worker_s_error_is_the_store_s_own(client, data, tmp_path):
    source = Lossy(data, "temp/c/7")
    with pytest.raises(ChangedError, match="temp/c/7") as caught:
        copy_store_sync(source, out(tmp_path), client=client)
    assert any("if_exists='resume'" in note for note in caught.value.__notes__)
    assert not out(tmp_path).exists_sync("zarr.json")
    assert copy_store_sync(data, out(tmp_path), client=client, if_exists="resume").keys > 0
    assert not diff_stores_sync(data, out(tmp_path), checksum=True)


@pytest.mark.parametrize("size", [0, 5, 3000])
def test_a_piece_is_safe_to_do_twice(size, tmp_path, monkeypatch):
    monkeypatch.setattr("zarrstore._copy.value.PIECE", 1000)
    source, target = LocalStore(tmp_path / "a"), LocalStore(tmp_path / "b")
    source.set_sync("k", bytes(size))
    source.set_sync("other", b"1")
    todos = [Todo(Act.NEW, Entry(key, source.getsize_sync(key))) for key in ("k", "other")]
    work = Directory(source, ""), Directory(target, ""), Options(is_repeated=True)
    first, *_ = _copied(*work, todos)
    target.delete_sync("other")  # the first run was cut off before it
    again, *counts = _copied(*work, todos)
    assert (again.keys, again.bytes, again.skipped) == (first.keys, first.bytes, 0) == (2, size + 1, 0)
    assert counts == [2, size + 1]
    target.set_sync("k", b"another writer's")
    with pytest.raises(KeyConflictError):
        _copied(*work, todos)


def test_a_check_and_a_digest_find_the_same(client, data, tmp_path):
    manifest = tmp_path / "sums"
    digest = digest_store_sync(data, client=client, manifest=manifest)
    assert digest.digest == digest_store_sync(data).digest
    assert digest.values_read == digest.count == CHUNKS + 2
    assert check_store_sync(data, against=manifest).problems == ()
    data.set_sync("temp/c/7", b"four")
    data.set_sync("temp/c/8", b"too long")
    data.delete_sync("temp/c/9")
    alone = check_store_sync(data, against=manifest)
    seen = []
    for report in (
        check_store_sync(data, against=manifest, client=client, progress=seen.append),
        asyncio.run(check_store(data, against=manifest, client=client)),
    ):
        assert sorted(report.problems) == sorted(alone.problems)
        assert len(report.problems) == 4
        assert (report.values_read, report.chunks) == (alone.values_read, alone.chunks)
    assert seen[-1].keys_done == seen[-1].keys_total == CHUNKS + 1


def test_what_is_read_of_an_archive_is_opened_once_a_worker(client, data, tmp_path):
    copy_store_sync(data, tmp_path / "data.zip")
    assert digest_store_sync(tmp_path / "data.zip", client=client).digest == digest_store_sync(data).digest
    data.set_sync("temp/c/1", b"other")
    (tmp_path / "data.zip").unlink()
    copy_store_sync(data, tmp_path / "data.zip")
    assert digest_store_sync(tmp_path / "data.zip", client=client).digest == digest_store_sync(data).digest


class Local(WrapperStore):
    """A store that can't be pickled."""

    def __init__(self, store):
        super().__init__(store)
        self.lock = threading.Lock()


def test_stores_that_workers_can_not_open_are_refused(client, data, tmp_path):
    memory = MemoryStore()
    for place in (memory, WrapperStore(memory), StorePath(memory, "a")):
        with pytest.raises(RefusedError, match="memory of one process"):
            copy_store_sync(data, place, client=client)
        with pytest.raises(RefusedError, match="memory of one process"):
            digest_store_sync(place, client=client)
    with pytest.raises(RefusedError, match="one writer"):
        copy_store_sync(data, tmp_path / "new.zip", client=client)
    assert not (tmp_path / "new.zip").exists()
    with ZipStore(tmp_path / "open.zip", mode="w") as archive:
        archive.set_sync("k", b"1")
        with pytest.raises(RefusedError, match="mode='r'"):
            check_store_sync(WrapperStore(archive), client=client)
    with pytest.raises(RefusedError, match="can't be pickled"):
        check_store_sync(Local(data), client=client)
    assert not (tmp_path / "out.zarr").exists()


def test_a_client_that_is_awaited(data, tmp_path):
    async def both():
        async with (
            LocalCluster(
                n_workers=1, processes=False, dashboard_address=":0", asynchronous=True, silence_logs=50
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            report = await copy_store(data, out(tmp_path), client=client)
            digest = await digest_store(out(tmp_path), client=client)
            for call in (digest_store_sync, check_store_sync):
                with pytest.raises(RuntimeError, match="await the async form"):
                    call(data, client=client)
            with pytest.raises(RuntimeError, match="await the async form"):
                copy_store_sync(data, tmp_path / "more", client=client)
            return report, digest

    report, digest = asyncio.run(both())
    assert report.keys == digest.count == CHUNKS + 2


class Counting:
    """Counts the pieces of a real client that are under way."""

    def __init__(self, client):
        self.client, self.now, self.most, self.all = client, 0, 0, 0
        self.asynchronous = client.asynchronous

    def nthreads(self):
        return self.client.nthreads()

    def submit(self, *args, **options):
        future = self.client.submit(*args, **options)
        self.now, self.all = self.now + 1, self.all + 1
        self.most = max(self.most, self.now)
        return Counted(self, future)


class Counted:
    def __init__(self, counting, future):
        self.counting, self.future = counting, future
        self.add_done_callback, self.cancel = future.add_done_callback, future.cancel

    def result(self):
        self.counting.now -= 1
        return self.future.result()


def test_few_pieces_are_under_way_at_once(client, data, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_KEYS", 2)
    counting = Counting(client)
    copy_store_sync(data, out(tmp_path), client=counting)
    assert counting.all >= CHUNKS // 2
    assert counting.most == 4  # two for each of two threads
    assert counting.now == 0


def test_a_worker_has_one_connection_for_a_thousand_stores(client):
    from obstore.store import S3Store

    from zarrstore import ObjectStore

    data = pickle.dumps(ObjectStore(S3Store("b", region="x", access_key_id="k", secret_access_key="s")))

    def clients(data):
        stores = [pickle.loads(data) for _ in range(500)]
        return os.getpid(), {id(store._client) for store in stores}

    (worker, *_) = client.nthreads()
    found = [client.submit(clients, data, pure=False, workers=[worker]).result() for _ in range(2)]
    assert found[0] == found[1]
    assert len(found[0][1]) == 1


def test_the_program_uses_a_cluster(client, data, tmp_path):
    address = client.scheduler_info()["address"]

    def run(*args, code=0):
        result = CliRunner().invoke(program, [*args, "--dask", address])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    copied = run("copy", str(data.root), str(tmp_path / "out.zarr")).stdout
    assert copied.startswith(f"copied {CHUNKS + 2} values")
    assert "0 skipped" in copied
    assert "copied 0 values" in run("sync", str(data.root), str(tmp_path / "out.zarr")).stdout
    assert run("digest", str(data.root)).stdout == run("digest", str(tmp_path / "out.zarr")).stdout
    run("check", str(data.root))
    data.set_sync("temp/c/7", b"")
    assert run("check", str(data.root), code=1).stdout.startswith("size ")
    assert "one writer" in run("copy", str(data.root), str(tmp_path / "out.zip"), code=1).stderr


# -- the loss of a worker -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four():
    with workers(4) as client:
        yield client


def wait_for(log, count):
    """Wait until so many keys are noted."""
    while len(notes(log)[0]) < count:
        time.sleep(0.005)


def killed_in_the_middle(log, count):
    """Kill, in a thread, a worker that has just worked, once so many keys are noted."""

    def kill():
        wait_for(log, count)
        os.kill(int(log.read_text().splitlines()[-1].split()[0]), signal.SIGKILL)
        killed.append(True)

    killed = []
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread, killed


@pytest.mark.slow
def test_a_worker_is_killed_in_the_middle_of_a_copy(four, tmp_path):
    source, log = LocalStore(tmp_path / "data.zarr"), tmp_path / "log"
    for number in range(1000):
        source.set_sync(f"a/c/{number}", os.urandom(2000))
    for key in ("zarr.json", "a/zarr.json"):
        source.set_sync(key, b"{}")
    thread, killed = killed_in_the_middle(log, 300)
    report = copy_store_sync(source, Noted(out(tmp_path), log, pause=0.003), client=four)
    thread.join()
    keys, processes = notes(log)
    assert killed
    assert (report.keys, report.skipped, report.bytes) == (1002, 0, 2_000_004)
    assert 1002 <= len(keys) <= 1002 + 2 * 16  # what is done twice is in the pieces of the killed worker
    assert sorted(set(keys)) == sorted(source.list_sync())
    assert keys[-1] == "zarr.json"
    assert len(processes) >= 4
    assert digest_store_sync(source).digest == digest_store_sync(out(tmp_path)).digest


@pytest.mark.slow
def test_a_worker_is_killed_in_the_middle_of_a_check(four, data, tmp_path):
    log = tmp_path / "log"
    manifest = tmp_path / "sums"
    digest = digest_store_sync(data, manifest=manifest).digest
    for number in (7, 60, 119):
        data.set_sync(f"temp/c/{number}", b"other")
    for call in (
        lambda store: check_store_sync(store, against=manifest, client=four),
        lambda store: digest_store_sync(store, client=four),
    ):
        log.unlink(missing_ok=True)
        thread, killed = killed_in_the_middle(log, CHUNKS // 3)
        found = call(Noted(data, log, pause=0.01, reads=True))
        thread.join()
        assert killed
        if hasattr(found, "problems"):
            assert sorted(found.problems) == sorted(check_store_sync(data, against=manifest).problems)
            assert len(found.problems) == 6
        else:
            assert found.digest == digest_store_sync(data).digest != digest


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_value_that_kills_each_worker_ends_the_copy(four, data, tmp_path):
    with pytest.raises(BackendError, match=r"the cluster failed.*workers died") as caught:
        copy_store_sync(Deadly(data, "temp/c/7"), out(tmp_path), client=four)
    assert "if_exists='resume'" in caught.value.__notes__[0]
    assert not out(tmp_path).exists_sync("zarr.json")


def test_a_cluster_that_goes_away_ends_the_copy(data, tmp_path):
    log = tmp_path / "log"
    cluster = LocalCluster(n_workers=1, processes=False, dashboard_address=":0", silence_logs=50)
    with cluster, Client(cluster) as client:

        def close():
            wait_for(log, 1)
            cluster.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(BackendError, match="the cluster failed"):
            copy_store_sync(data, Noted(out(tmp_path), log, pause=0.01), client=client)
        closer.join()
    assert not out(tmp_path).exists_sync("zarr.json")


def test_a_cancelled_copy_begins_no_more_pieces(client, data, tmp_path):
    log = tmp_path / "log"

    async def cancelled():
        task = asyncio.create_task(copy_store(data, Noted(out(tmp_path), log, pause=0.01), client=client))
        await asyncio.to_thread(wait_for, log, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    time.sleep(0.3)  # in which the pieces that workers had begun come to their end
    assert len(notes(log)[0]) <= 5 * 16
    assert not out(tmp_path).exists_sync("zarr.json")
