"""Two writers of a zip archive, in any order of their steps: what was acknowledged stays, or one is told."""

import errno
import os
import signal
import subprocess
import sys
import zipfile

import pytest

from zarrstore.errors import ChangedError, KeyConflictError, LockedError
from zarrstore.storage import ZipStore
from zarrstore.storage._zip import archive as _archive
from zarrstore.storage._zip import file as _file
from zarrstore.storage._zip import rewriting as _rewriting


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


def contents(path):
    with ZipStore(path, verify=True) as store:
        return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


def child(code, *args):
    """Run a program that writes an archive, and is to be fed and killed."""
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from zarrstore.storage import ZipStore\n" + code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_whoever_begins_to_write_looks_again(path):
    """The other's value came into bytes that were in the file before, and its process was killed."""
    code = (
        "store = ZipStore(sys.argv[1], mode='a')\n"
        "for line in sys.stdin: store.set_sync(line.strip(), b'value'); print(flush=True)"
    )
    with child(code, path) as other:

        def write(key):
            other.stdin.write(key + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "\n"

        write("first")
        store = ZipStore(path, mode="a")
        assert store.get_sync("first").to_bytes() == b"value"
        size = path.stat().st_size
        write("second")
        assert path.stat().st_size == size
        os.kill(other.pid, signal.SIGKILL)
        other.stdin.close()
    store.set_sync("third", b"value")
    store.close()
    assert contents(path) == {"first": b"value", "second": b"value", "third": b"value"}


def before_locking(monkeypatch, act):
    """Let somebody act between another's opening of the file and its locking it."""
    real = _file.lock_file

    def lock_file(descriptor):
        for module in (_archive, _file):
            monkeypatch.setattr(module, "lock_file", real)
        act()
        real(descriptor)

    for module in (_archive, _file):
        monkeypatch.setattr(module, "lock_file", lock_file)


def other_writes(path):
    """Somebody else writes a new archive over this one, and stays its writer."""
    store = ZipStore(path, mode="w")
    store.set_sync("theirs", b"t")
    return store


CALLS = {
    "replace": lambda path: list(ZipStore(path, mode="w").list_sync()),
    "clear": lambda path: ZipStore(path, mode="a").clear_sync(),
    "write": lambda path: ZipStore(path, mode="a").set_sync("ours", b"o"),
    "repair": ZipStore.repair,
}


@pytest.mark.parametrize("call", CALLS)
def test_a_file_that_is_replaced_before_it_is_locked(path, monkeypatch, call):
    """Whoever locks the old file holds nothing: the new one has a writer."""
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"v")
    others = []
    before_locking(monkeypatch, lambda: others.append(other_writes(path)))
    with pytest.raises(LockedError):
        CALLS[call](path)
    others[0].set_sync("more", b"m")
    others[0].close()
    assert contents(path) == {"theirs": b"t", "more": b"m"}
    assert os.listdir(path.parent) == ["a.zip"]


@pytest.mark.parametrize("mode", ["w", "x", "a"])
def test_a_new_file_that_is_replaced_before_it_is_locked(path, monkeypatch, mode):
    others = []
    before_locking(monkeypatch, lambda: others.append(other_writes(path)))
    ours = ZipStore(path, mode=mode)
    with pytest.raises(KeyConflictError if mode == "x" else LockedError):
        ours.set_sync("ours", b"o")
    others[0].close()
    assert contents(path) == {"theirs": b"t"}


@pytest.mark.parametrize("mode", ["w", "a"])
def test_a_new_file_that_another_made_first(path, monkeypatch, mode):
    real = _archive.make_folder

    def make_folder(*args):
        monkeypatch.setattr(_archive, "make_folder", real)
        with ZipStore(path, mode="x") as other:
            other.set_sync("theirs", b"t")
        real(*args)

    monkeypatch.setattr(_archive, "make_folder", make_folder)
    with ZipStore(path, mode=mode) as store:
        store.set_sync("ours", b"o")
    wanted = {"ours": b"o"} if mode == "w" else {"ours": b"o", "theirs": b"t"}
    assert contents(path) == wanted


@pytest.mark.parametrize("how", ["replaced", "gone"])
def test_a_writer_whose_file_was_replaced_is_told(path, how):
    store = ZipStore(path, mode="w", deletes=True)
    store.set_sync("k", b"v")
    if how == "replaced":  # by somebody who asks for no lock
        with zipfile.ZipFile(path.with_name("other"), "w") as archive:
            archive.writestr("theirs", b"t")
        os.replace(path.with_name("other"), path)
    else:
        path.unlink()
    for call in (store.compact_sync, store.clear_sync, store.close):
        with pytest.raises(ChangedError, match="another file put in its place") as caught:
            call()
        assert caught.value.store.endswith("a.zip")
    store.close()
    if how == "replaced":
        assert contents(path) == {"theirs": b"t"}
        with ZipStore(path, mode="a") as store:
            store.set_sync("ours", b"o")
        assert contents(path) == {"theirs": b"t", "ours": b"o"}


def test_repair_puts_nothing_over_a_file_that_came_meanwhile(path, monkeypatch):
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"v")
    output = path.with_name("out.zip")
    real = _rewriting.write_end

    def write_end(*args, **options):
        output.write_bytes(b"theirs")
        return real(*args, **options)

    monkeypatch.setattr(_rewriting, "write_end", write_end)
    with pytest.raises(KeyConflictError):
        ZipStore.repair(path, output=output)
    assert output.read_bytes() == b"theirs"
    assert sorted(os.listdir(path.parent)) == ["a.zip", "out.zip"]


# -- descriptors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["close", "compact_sync"])
def test_a_folder_that_cannot_be_synced(path, monkeypatch, call):
    """The archive is written anew and in its place by then, and its descriptor may be another's."""
    store = ZipStore(path, mode="w", fsync="full")
    for _ in range(30):
        store.set_sync("k", bytes(10_000))
    victim = path.with_name("victim")
    opened = []

    def fail():
        # Another thread opens a file just now, and gets a number that has become free.
        while len(opened) < 20:
            opened.append(os.open(victim, os.O_RDWR | os.O_CREAT))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(store._archive, "_sync_rename", fail)
    try:
        with pytest.raises(OSError, match=r"a\.zip") as caught:
            getattr(store, call)()
        assert caught.value.errno == errno.EIO
        assert victim.stat().st_size == 0
    finally:
        for descriptor in opened:
            os.close(descriptor)
    monkeypatch.undo()
    store.close()
    assert contents(path) == {"k": bytes(10_000)}
