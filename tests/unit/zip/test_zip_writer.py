"""Writing zip archives: what other programs make of them, who may write, and what is left after failures."""

import errno
import gc
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
import zipfile

import pytest

from zarrstore._core.verbs import ANY
from zarrstore._os import files as _files
from zarrstore._os import fsync as _fsync
from zarrstore.errors import LockedError, NoSpaceError, UnsupportedOperationError
from zarrstore.storage import ZipStore
from zarrstore.storage._zip import archive as _archive
from zarrstore.storage._zip import format as _format
from zarrstore.storage._zip import rewriting as _rewriting
from zarrstore.storage._zip import writer as _writer


def needs(program, package):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs Debian's package {package}")


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


def contents(path):
    with ZipStore(path) as store:
        return {key: bytes(store.get_sync(key).to_bytes()) for key in store.list_sync()}


def by_zipfile(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        return {name: archive.read(name) for name in names}


def fill(store):
    """Write, overwrite, delete, close and go on; returns what should be there."""
    rng = random.Random(2)
    wanted = {}
    for turn in range(3):
        for number in range(20):
            key = f"größe/{number}" if number % 5 == 0 else f"c/{number}"
            wanted[key] = rng.randbytes(rng.randrange(2000)) + b"a" * rng.randrange(2000)
            store.set_sync(key, wanted[key])
        store.delete_sync("c/1")
        del wanted["c/1"]
        if turn == 1:
            store.close()
    store.set_sync("empty", b"")
    return {**wanted, "empty": b""}


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
# Debian's unzip knows no LZMA.
UNZIPPED = METHODS[:3]


@pytest.mark.parametrize("method", METHODS)
def test_python_reads_ours(path, method):
    with ZipStore(path, mode="w", compression=method, deletes=True) as store:
        wanted = fill(store)
        assert {key: store.get_sync(key).to_bytes() for key in store.list_sync()} == wanted
    assert contents(path) == by_zipfile(path) == wanted


@needs("unzip", "unzip")
@pytest.mark.parametrize("method", UNZIPPED)
def test_unzip_reads_ours(path, tmp_path, method):
    with ZipStore(path, mode="w", compression=method, deletes=True) as store:
        wanted = fill(store)
    answer = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=True)
    assert "No errors" in answer.stdout
    assert "warning" not in answer.stdout + answer.stderr
    subprocess.run(["unzip", "-q", path, "-d", tmp_path / "out"], check=True, env={"LC_ALL": "C.UTF-8"})
    assert {key: (tmp_path / "out" / key).read_bytes() for key in wanted} == wanted


def by_7z(path, folder):
    """What 7-Zip finds, which believes the local headers if the first one isn't in the directory."""
    answer = subprocess.run(["7z", "t", path], capture_output=True, text=True, check=True)
    assert "Everything is Ok" in answer.stdout
    assert "arning" not in answer.stdout
    assert "after the end" not in answer.stdout
    subprocess.run(["7z", "x", "-bd", f"-o{folder}", path], capture_output=True, check=True)
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@needs("7z", "p7zip-full")
@pytest.mark.parametrize("method", METHODS)
def test_7z_reads_ours(path, tmp_path, method):
    with ZipStore(path, mode="w", compression=method, deletes=True) as store:
        wanted = fill(store)
    assert by_7z(path, tmp_path / "out") == wanted


@needs("7z", "p7zip-full")
@pytest.mark.parametrize("deeper", [True, False])
def test_7z_sees_what_was_written_last_though_the_first_member_is_dead(path, tmp_path, deeper):
    with ZipStore(path, mode="w") as store:
        wanted = {}
        for turn in range(4):
            wanted["zarr.json"] = b'{"turn": %d}' % turn
            wanted["large"] = os.urandom(5000)
            if deeper:
                wanted["a/zarr.json"] = b"{}"
                wanted[f"a/c/{turn}"] = os.urandom(40_000)
            for key, value in wanted.items():
                store.set_sync(key, value)
            store.close()
            assert by_zipfile(path) == by_7z(path, tmp_path / f"out{turn}") == wanted
            assert path.read_bytes()[:4] == b"PK\3\4"


@needs("7z", "p7zip-full")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dead", [0, 1, 3])
def test_an_archive_of_large_values_alone_is_not_written_anew_at_close(path, tmp_path, method, dead):
    """The first value that counts leads the archive, by a header that reaches over what doesn't."""
    store = ZipStore(path, mode="w", compression=method)
    wanted = {}
    for key in [*(f"c/{i}" for i in range(5)), *(f"c/{i}" for i in range(dead))]:
        wanted[key] = os.urandom(9000)
        store.set_sync(key, wanted[key])
    before = os.stat(path).st_ino
    store.close()
    assert os.stat(path).st_ino == before
    assert path.read_bytes()[:4] == b"PK\3\4"
    assert contents(path) == by_zipfile(path) == by_7z(path, tmp_path / "out") == wanted
    with ZipStore(path, mode="a") as store:
        store.set_sync("more", b"more")
    assert os.stat(path).st_ino == before
    wanted["more"] = b"more"
    assert contents(path) == by_zipfile(path) == by_7z(path, tmp_path / "again") == wanted
    ZipStore.repair(path, output=tmp_path / "repaired.zip")
    assert contents(tmp_path / "repaired.zip") == wanted


@needs("7z", "p7zip-full")
def test_what_no_header_reaches_is_copied(path, tmp_path):
    with ZipStore(path, mode="w") as store:
        for value in (os.urandom(70_000), os.urandom(70_000)):
            store.set_sync("c/0", value)
    assert contents(path) == by_zipfile(path) == by_7z(path, tmp_path / "out") == {"c/0": value}


@needs("jar", "default-jdk-headless")
@pytest.mark.parametrize("method", METHODS[:2])
def test_jar_reads_ours(path, tmp_path, method):
    with ZipStore(path, mode="w", compression=method, deletes=True) as store:
        wanted = fill(store)
    (tmp_path / "out").mkdir()
    subprocess.run(
        ["jar", "xf", path], cwd=tmp_path / "out", check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    assert {key: (tmp_path / "out" / key).read_bytes() for key in wanted} == wanted


@needs("zip", "zip")
def test_zip_checks_ours(path):
    with ZipStore(path, mode="w", deletes=True) as store:
        fill(store)
    subprocess.run(["zip", "-qT", path], check=True)


def test_python_adds_to_ours_and_we_to_that(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("a", b"1")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b", b"2")
    with ZipStore(path, mode="a") as store:
        store.set_sync("c", b"3")
    assert contents(path) == by_zipfile(path) == {"a": b"1", "b": b"2", "c": b"3"}


def test_what_other_programs_recorded_stays(path):
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("script", (1999, 1, 2, 3, 4, 6))
        info.external_attr = 0o755 << 16
        info.comment = b"about it"
        archive.writestr(info, b"#!")
        archive.writestr("other", b"o" * 100_000)
        archive.mkdir("folder")
        archive.comment = b"of the archive"
    for act in ("append", "compact"):
        with ZipStore(path, mode="a", deletes=True) as store:
            store.set_sync(act, b"x")
            store.delete_sync("other")
            if act == "compact":
                store.compact_sync()
        with zipfile.ZipFile(path) as archive:
            assert archive.comment == b"of the archive"
            info = archive.getinfo("script")
            assert (info.date_time, info.comment) == ((1999, 1, 2, 3, 4, 6), b"about it")
            assert info.external_attr >> 16 == 0o755
            assert "folder/" in archive.namelist()
            assert "other" not in archive.namelist()
            assert archive.testzip() is None


# -- Zip64 ----------------------------------------------------------------------------------------


@pytest.fixture
def small_limits(monkeypatch):
    for module in (_format, _writer):
        monkeypatch.setattr(module, "ZIP64_LIMIT", 6000)
        monkeypatch.setattr(module, "ZIP64_COUNT", 10)
    monkeypatch.setattr(_rewriting, "ZIP64_LIMIT", 6000)


@pytest.mark.parametrize("method", METHODS[:2])
def test_zip64_records(path, method, small_limits):
    with ZipStore(path, mode="w", compression=method, deletes=True) as store:
        wanted = fill(store)
        store.set_sync("large", wanted.setdefault("large", os.urandom(20_000)))
        store._write("streamed", iter([b"1" * 3000, b"2" * 4000]), ANY)
        wanted["streamed"] = b"1" * 3000 + b"2" * 4000
    assert contents(path) == by_zipfile(path) == wanted
    for program in (["unzip", "-tq", path], ["7z", "t", path]):
        if shutil.which(program[0]):
            subprocess.run(program, check=True, capture_output=True)
    with ZipStore(path, mode="a") as store:
        store.set_sync("more", b"m")
        store.compact_sync()
    assert contents(path) == by_zipfile(path) == {**wanted, "more": b"m"}


def test_without_zip64_nothing_is_written_that_needs_it(path, small_limits):
    with ZipStore(path, mode="w", allowZip64=False) as store:
        store.set_sync("a", bytes(3000))
        size = path.stat().st_size
        for value in (bytes(3000), bytes(9000)):
            with pytest.raises(UnsupportedOperationError, match="allowZip64=True"):
                store.set_sync("b", value)
        with pytest.raises(UnsupportedOperationError, match="Zip64"):
            store._write("b", iter([bytes(1000)] * 5), ANY)
        assert path.stat().st_size <= size
        for number in range(9):
            store.set_sync(f"c/{number}", b"")
        with pytest.raises(UnsupportedOperationError, match="Zip64"):
            store.set_sync("one too many", b"")
        store.set_sync("c/0", b"again")
    assert len(by_zipfile(path)) == 10


# -- large values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS[:2])
def test_large_values_are_not_copied(path, method):
    value = bytes(48 << 20)
    with ZipStore(path, mode="w", compression=method) as store:
        store.set_sync("warm", b"up")
        tracemalloc.start()
        try:
            store.set_sync("large", value)
            store._write("streamed", (value[:100_000] for _ in range(100)), ANY)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4 << 20
        assert store.getsize_sync("large") == len(value)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_small_values_take_two_writes_each(path, monkeypatch):
    sizes = []

    class Counting:
        def __getattr__(self, name):
            return getattr(os, name)

        def pwrite(self, descriptor, data, position):
            sizes.append(len(data))
            return os.pwrite(descriptor, data, position)

    with ZipStore(path, mode="w") as store:
        store.set_sync("first", b"")
        for module in (_writer, _archive, _files, _fsync):
            monkeypatch.setattr(module, "os", Counting())
        for number in range(100):
            store.set_sync(f"k/{number}", bytes(100))
        for module in (_writer, _archive, _files, _fsync):
            monkeypatch.setattr(module, "os", os)
    assert 200 <= len(sizes) <= 205
    assert contents(path) == by_zipfile(path)


# -- failures -------------------------------------------------------------------------------------


def test_pieces_that_fail_leave_nothing(path):
    def broken():
        yield bytes(1_000_000)
        raise RuntimeError("the source broke")

    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"old")
        size = path.stat().st_size
        with pytest.raises(RuntimeError, match="the source broke"):
            store._write("k", broken(), ANY)
        assert path.stat().st_size <= size
        assert store.get_sync("k").to_bytes() == b"old"
        store.set_sync("l", b"new")
    assert contents(path) == by_zipfile(path) == {"k": b"old", "l": b"new"}
    # In an archive that was closed, too.
    closed = path.read_bytes()
    with ZipStore(path, mode="a") as store, pytest.raises(RuntimeError):
        store._write("k", broken(), ANY)
    assert path.read_bytes() == closed


@pytest.mark.parametrize("number", range(1, 6))
def test_a_full_disk(path, monkeypatch, number):
    class Full:
        left = number

        def __getattr__(self, name):
            return getattr(os, name)

        def pwrite(self, descriptor, data, position):
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return os.pwrite(descriptor, data, position)

    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"old")
        for module in (_writer, _archive, _files, _fsync):
            monkeypatch.setattr(module, "os", Full())
        for key, value in (("k", b"new"), ("l", b"x")):
            wanted = contents(path)
            try:
                store.set_sync(key, value)
                wanted[key] = value
            except NoSpaceError as error:
                failed = error.key
            else:
                failed = key
            assert failed == key
            assert contents(path) == wanted
        for module in (_writer, _archive, _files, _fsync):
            monkeypatch.setattr(module, "os", os)
        store.set_sync("l", b"at last")
        wanted = {key: store.get_sync(key).to_bytes() for key in store.list_sync()}
    assert by_zipfile(path) == wanted


def test_a_full_disk_on_closing_loses_nothing(path, monkeypatch):
    store = ZipStore(path, mode="w")
    store.set_sync("k", b"v")

    def fail(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_writer, "write_end", fail)
    with pytest.raises(NoSpaceError):
        store.close()
    monkeypatch.undo()
    assert contents(path) == {"k": b"v"}
    store.set_sync("l", b"w")
    store.close()
    assert by_zipfile(path) == {"k": b"v", "l": b"w"}


# -- who may write --------------------------------------------------------------------------------


def test_a_second_writer_is_refused(path):
    store = ZipStore(path, mode="w")
    store.set_sync("k", b"v")
    second = ZipStore(path, mode="a")
    with pytest.raises(LockedError, match="another writer") as caught:
        second.set_sync("l", b"w")
    assert isinstance(caught.value, BlockingIOError)
    assert caught.value.store.endswith("a.zip")
    for call in (second.clear_sync, second.compact_sync, ZipStore(path, mode="w").list_sync):
        with pytest.raises(LockedError):
            list(call() or ())
    with pytest.raises(LockedError):
        ZipStore.repair(path)
    # Reading is free, and sees what was there when it began.
    assert second.get_sync("k").to_bytes() == b"v"
    store.close()
    second.set_sync("l", b"w")
    second.close()
    assert contents(path) == {"k": b"v", "l": b"w"}


def test_a_second_writer_in_another_process_is_refused(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"v")
        code = (
            "import sys; from zarrstore.errors import LockedError; from zarrstore.storage import ZipStore\n"
            "store = ZipStore(sys.argv[1], mode='a')\n"
            "assert store.get_sync('k').to_bytes() == b'v'\n"
            "try: store.set_sync('l', b'w')\n"
            "except LockedError: print('refused')"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code, path],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert answer.stdout == "refused\n"


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_reads_and_may_not_write(path):
    store = ZipStore(path, mode="w", deletes=True)
    store.set_sync("k", b"v")
    pid = os.fork()
    if not pid:
        status = 1
        try:
            assert store.get_sync("k").to_bytes() == b"v"
            refused = 0
            for call in (
                lambda: store.set_sync("l", b"w"),
                lambda: store.delete_sync("k"),
                store.clear_sync,
                store.compact_sync,
            ):
                try:
                    call()
                except LockedError:
                    refused += 1
            store.close()
            status = 0 if refused == 4 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store.set_sync("m", b"x")
    store.close()
    assert contents(path) == by_zipfile(path) == {"k": b"v", "m": b"x"}


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_that_outlives_its_parents_writing_keeps_no_lock(path):
    store = ZipStore(path, mode="w")
    store.set_sync("k", b"v")
    pid = os.fork()
    if not pid:
        signal.pause()
        os._exit(0)
    try:
        store.close()
        with ZipStore(path, mode="a") as other:
            other.set_sync("l", b"w")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert contents(path) == {"k": b"v", "l": b"w"}


def test_readers_beside_a_writer(path):
    """Whenever a reader opens the archive it sees all that was acknowledged before, and nothing torn."""
    acknowledged = [-1]
    stop = threading.Event()
    errors = []

    def read():
        while not stop.is_set():
            before = acknowledged[0]
            try:
                with ZipStore(path, verify=True) as store:
                    keys = set(store.list_sync())
                    last = f"k/{before}"
                    if before >= 0 and store.get_sync(last).to_bytes() != b"%d" % before * 50:
                        errors.append(last)
                    if not {f"k/{n}" for n in range(before + 1)} <= keys:
                        errors.append(keys)
            except Exception as error:
                errors.append(error)
                raise

    with ZipStore(path, mode="w") as writer:
        writer.set_sync("first", b"")
        thread = threading.Thread(target=read)
        thread.start()
        try:
            for number in range(400):
                writer.set_sync(f"k/{number}", b"%d" % number * 50)
                acknowledged[0] = number
                if number % 50 == 49:
                    writer.close()
        finally:
            stop.set()
            thread.join()
    assert not errors


def test_a_reader_keeps_its_view(path):
    with ZipStore(path, mode="w", deletes=True) as writer:
        writer.set_sync("k", b"old")
        reader = ZipStore(path)
        assert reader.get_sync("k").to_bytes() == b"old"
        writer.set_sync("k", b"new")
        writer.compact_sync()
        writer.clear_sync()
        assert reader.get_sync("k").to_bytes() == b"old"
        reader.close()
        assert reader.get_sync("k") is None


def test_many_tasks_and_threads_write(path):
    import asyncio

    async def main(store):
        await asyncio.gather(*(store.set(f"k/{n}", b"%d" % n) for n in range(300)))
        created = await asyncio.gather(*(store.create("once", b"%d" % n) for n in range(50)))
        assert sum(created) == 1

    with ZipStore(path, mode="w") as store:
        asyncio.run(main(store))
    found = by_zipfile(path)
    found.pop("once")
    assert found == {f"k/{n}": b"%d" % n for n in range(300)}


# -- dead bytes -----------------------------------------------------------------------------------


def test_dead_bytes_are_counted_and_reclaimed(path):
    with ZipStore(path, mode="w", deletes=True) as store:
        store.set_sync("keep", b"k" * 1000)
        assert store.dead_bytes < 100
        for _ in range(5):
            store.set_sync("k", bytes(5000))
        store.delete_sync("k")
        assert 25_000 < store.dead_bytes < 27_000
        assert store.compact_sync() > 25_000
        assert store.dead_bytes < 200
        assert store.get_sync("keep").to_bytes() == b"k" * 1000
    assert by_zipfile(path) == {"keep": b"k" * 1000}


def test_closing_rewrites_an_archive_that_is_mostly_dead(path):
    with ZipStore(path, mode="w") as store:
        for number in range(30):
            store.set_sync("k", bytes(10_000) + b"%d" % number)
    assert path.stat().st_size < 11_000
    assert by_zipfile(path)["k"].endswith(b"29")


def test_closing_goes_on_where_rewriting_fails(path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_rewriting, "_copy_members", fail)
    with ZipStore(path, mode="w") as store:
        for _ in range(30):
            store.set_sync("k", bytes(10_000))
    assert by_zipfile(path) == {"k": bytes(10_000)}
    assert os.listdir(path.parent) == ["a.zip"]


def test_the_file_keeps_its_mode(path):
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"v")
        path.chmod(0o640)
        store.compact_sync()
        assert path.stat().st_mode & 0o777 == 0o640
        store.clear_sync()
        assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("fsync", ["none", "data", "full"])
def test_fsync(path, monkeypatch, fsync):
    synced = []

    class Watching:
        def __getattr__(self, name):
            return getattr(os, name)

        def fdatasync(self, descriptor):
            synced.append("file")
            os.fdatasync(descriptor)

        def fsync(self, descriptor):
            synced.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
            os.fsync(descriptor)

    for module in (_writer, _archive, _files, _fsync):
        monkeypatch.setattr(module, "os", Watching())
    with ZipStore(path, mode="w", fsync=fsync) as store:
        store.set_sync("k", b"v")
        # The guard of the new archive, that behind the value, the value, its header; then the last two.
        assert synced.count("file") == (0 if fsync == "none" else 4)
        store.set_sync("k2", b"v")
        assert synced.count("file") == (0 if fsync == "none" else 6)
        # Its folder, and the one above, since another process may have made the first a moment ago.
        assert synced.count("folder") == (2 if fsync == "full" else 0)


def test_a_forgotten_store_is_closed(path):
    store = ZipStore(path, mode="w")
    store.set_sync("k", b"v")
    del store
    gc.collect()
    assert by_zipfile(path) == {"k": b"v"}


def test_an_interpreter_that_exits_closes_its_stores(path):
    code = (
        "import sys; from zarrstore.storage import ZipStore\n"
        "store = ZipStore(sys.argv[1], mode='w'); store.set_sync('k', b'v')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, path], check=True, env=environment)
    assert by_zipfile(path) == {"k": b"v"}


def test_a_pickled_writer_is_itself_in_its_own_process(path):
    with ZipStore(path, mode="w") as store:
        copy = pickle.loads(pickle.dumps(store))
        copy.set_sync("k", b"v")
        assert store.get_sync("k").to_bytes() == b"v"
    assert by_zipfile(path) == {"k": b"v"}
