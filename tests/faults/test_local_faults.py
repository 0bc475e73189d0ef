"""Failures put into single system calls, real kills, a real full disk, real permissions."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from injected import Failing, Refusing, failing, litter

from zarrstore._os import files as _files
from zarrstore._os import temporary as _temporary
from zarrstore.errors import AccessDeniedError, BackendError, InvalidKeyError, NoSpaceError, StoreError
from zarrstore.storage import LocalStore, ZipStore

OLD, NEW = b"old" * 1000, b"new value" * 2000


@pytest.fixture
def store(tmp_path, monkeypatch):
    # As on a network file system, where even a close may fail.
    monkeypatch.setattr(_files, "file_system", lambda path: "nfs4")
    store = LocalStore(tmp_path / "root")
    store.set_sync("a/k", OLD)
    return store


_WRITE_CALLS = ["open", "write", "replace", "close"]


@pytest.mark.parametrize("call", _WRITE_CALLS)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EDQUOT, errno.EROFS])
def test_a_write_that_fails_anywhere_leaves_the_old_value_and_no_litter(store, call, number):
    with pytest.MonkeyPatch.context() as patch:
        fault = Failing(patch, call, OSError(number, os.strerror(number)))
        with pytest.raises(BackendError) as caught:
            store.set_sync("a/k", NEW)
        assert caught.value.errno == number
        assert caught.value.key == "a/k"
        assert isinstance(caught.value.__cause__, OSError)
        full = number in (errno.ENOSPC, errno.EDQUOT)
        assert isinstance(caught.value, NoSpaceError if full else BackendError)
        if number in (errno.EACCES, errno.EROFS):
            assert isinstance(caught.value, PermissionError)
        assert fault.failed
    assert bytes(store.get_sync("a/k")) == OLD
    assert not litter(store.root)
    store.set_sync("a/k", NEW)
    assert bytes(store.get_sync("a/k")) == NEW


@pytest.mark.parametrize("call", ["open", "write", "link", "close"])
def test_a_create_that_fails_leaves_nothing(store, call):
    with pytest.MonkeyPatch.context() as patch:
        Failing(patch, call, OSError(errno.EIO, "input/output error"))
        with pytest.raises(OSError):
            store.create_sync("b/new", NEW)
    assert not litter(store.root)
    assert store.get_sync("b/new") is None
    store.set_sync("b/new", NEW)


@pytest.mark.parametrize("call", _WRITE_CALLS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), SystemExit(3)])
def test_an_interrupt_anywhere_leaves_no_litter(store, call, error):
    with pytest.MonkeyPatch.context() as patch:
        Failing(patch, call, error)
        with pytest.raises(type(error)):
            store.set_sync("a/k", NEW)
    assert bytes(store.get_sync("a/k")) in (OLD, NEW)
    assert not litter(store.root)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ELOOP])
@pytest.mark.parametrize("call", ["open", "preadv", "stat", "scandir"])
def test_a_read_that_fails_raises_and_is_never_missing(store, call, number):
    uses = {
        "open": [lambda: store.get_sync("a/k"), lambda: store.get_partial_values_sync(None, [("a/k", None)])],
        "preadv": [lambda: store.get_sync("a/k")],
        "stat": [lambda: store.exists_sync("a/k"), lambda: store.getsize_sync("a/k")],
        "scandir": [
            lambda: list(store.list_sync()),
            lambda: list(store.list_prefix_sync("a")),
            lambda: list(store.list_dir_sync("")),
            lambda: store.is_empty_sync(""),
            lambda: store.getsize_prefix_sync("a"),
            lambda: store.clear_sync(),
        ],
    }[call]
    for use in uses:
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, call, OSError(number, os.strerror(number)))
            if call == "scandir":
                Refusing(patch, "first_names", number, where=_files)  # the same folder, opened otherwise
            with pytest.raises(BackendError):
                use()
    assert bytes(store.get_sync("a/k")) == OLD


def test_a_failure_below_stops_a_listing(store):
    """One folder that can't be listed is an error for all above it, not a shorter listing."""
    store.set_sync("b/c/x", b"1")
    for use in (
        lambda: list(store.list_sync()),
        lambda: store.getsize_prefix_sync(""),
        lambda: list(store.list_dir_sync("")),
    ):
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, "scandir", PermissionError(errno.EACCES, "Permission denied"), nth=1)
            Refusing(patch, "first_names", errno.EACCES, where=_files)
            with pytest.raises(AccessDeniedError):
                use()


_AS_NOBODY = """
import os, sys, asyncio, numpy
from zarrstore.storage import LocalStore
from zarrstore._os import files as _files, temporary as _temporary
from zarrstore.errors import AccessDeniedError
os.setgid(65534); os.setuid(65534)
store = LocalStore(sys.argv[1])
def denied(use):
    try:
        use()
    except AccessDeniedError as error:
        assert isinstance(error, PermissionError) and "Check the owner" in str(error), error
    else:
        raise SystemExit("no error")
denied(lambda: store.get_sync("closed/k"))
denied(lambda: asyncio.run(store.get("closed/k")))
denied(lambda: store.get_sync("secret"))
denied(lambda: store.exists_sync("closed/k"))
denied(lambda: list(store.list_sync()))
denied(lambda: store.is_empty_sync("closed"))
denied(lambda: store.getsize_prefix_sync(""))
denied(lambda: list(store.list_dir_sync("")))
denied(lambda: store.set_sync("new", b"1"))
denied(lambda: store.set_sync("closed/new", b"1"))
denied(lambda: store.delete_sync("open"))
denied(lambda: store.delete_dir_sync("closed"))
denied(lambda: store.clear_sync())
assert bytes(store.get_sync("open")) == b"1"
print("done")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user without rights")
def test_what_may_not_be_read_is_not_missing(tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if (
            parent.stat().st_uid == os.getuid()
            and not parent.stat().st_mode & 0o001
            and "pytest" in str(parent)
        ):
            parent.chmod(0o755)
    store = LocalStore(tmp_path / "root")
    for key in ("open", "secret", "closed/k"):
        store.set_sync(key, b"1")
    (store.root / "secret").chmod(0)
    (store.root / "closed").chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(store.root)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "done", done.stderr
    assert bytes(store.get_sync("closed/k")) == b"1"


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True
    )
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_keeps_what_was_there(small_disk):
    store = LocalStore(small_disk / "root")
    store.set_sync("a/k", OLD)
    for call in (store.set_sync, store.create_sync):
        with pytest.raises(NoSpaceError, match="Free some space") as caught:
            call("a/k" if call == store.set_sync else "b/new", bytes(1_000_000))
        assert caught.value.errno == errno.ENOSPC
    assert bytes(store.get_sync("a/k")) == OLD
    assert store.get_sync("b/new") is None
    assert not litter(store.root)
    store.set_sync("a/k", NEW)
    assert bytes(store.get_sync("a/k")) == NEW


def test_a_read_only_mount(small_disk):
    store = LocalStore(small_disk / "root")
    store.set_sync("a/k", OLD)
    with ZipStore(small_disk / "a.zip", mode="w") as archive:
        archive.set_sync("k", OLD)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    archive = ZipStore(small_disk / "a.zip", mode="a", deletes=True)
    for call in (
        lambda: store.set_sync("a/k", NEW),
        lambda: store.create_sync("b/new", NEW),
        lambda: store.set_partial_values_sync([("a/k", 0, b"new")]),
        lambda: store.delete_sync("a/k"),
        lambda: store.delete_dir_sync("a"),
        store.clear_sync,
        lambda: archive.set_sync("k", NEW),
        lambda: archive.delete_sync("k"),
        archive.compact_sync,
        archive.clear_sync,
        lambda: ZipStore(small_disk / "new.zip", mode="w").set_sync("k", NEW),
    ):
        with pytest.raises(BackendError) as caught:
            call()
        assert caught.value.errno == errno.EROFS
    assert bytes(store.get_sync("a/k")) == bytes(archive.get_sync("k")) == OLD
    archive.close()
    assert sorted(path.name for path in small_disk.iterdir()) == ["a.zip", "root"]


_WRITER = """
import sys, itertools
from zarrstore.storage import LocalStore
store = LocalStore(sys.argv[1])
print("ready", flush=True)
for i in itertools.count():
    store.set_sync(f"d/{i % 3}", bytes([i % 251]) * (20_000 + i % 7))
    sys.stdout.write(f"{i}\\n"); sys.stdout.flush()
"""


@pytest.mark.parametrize("kills", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_writers_leave_whole_values_and_their_litter_goes(
    tmp_path, monkeypatch, record_property, kills
):
    """Acknowledged values survive; what was under way is the old value or the new one; litter is swept."""
    record_property("cases", kills)
    rng = random.Random(7)
    store = LocalStore(tmp_path / "root")
    left = 0
    for _ in range(kills):
        command = [sys.executable, "-c", _WRITER, str(store.root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.005, 0.03))
            writer.send_signal(signal.SIGKILL)
            acknowledged = [int(line) for line in writer.stdout.read().split()[:-1]]
        left += len(litter(store.root))
        for slot in range(3):
            last = max((i for i in acknowledged if i % 3 == slot), default=None)
            if last is None:
                continue
            value = bytes(store.get_sync(f"d/{slot}"))
            assert len(set(value)) == 1, "torn"
            written = {(bytes([i % 251]) * (20_000 + i % 7)) for i in range(last, last + 7)}
            assert value in written
    monkeypatch.setattr(_temporary, "_FRESH", 0)
    keys = sorted(store.list_sync())
    assert keys == ["d/0", "d/1", "d/2"]
    assert not litter(store.root), f"{left} were left by the killed"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_waited_for(store, monkeypatch, number):
    waited = []
    monkeypatch.setattr(_files.time, "sleep", waited.append)
    for use in (lambda: store.get_sync("a/k"), lambda: store.set_sync("a/k", OLD)):
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, "open", OSError(number, os.strerror(number)))
            use()
    assert waited == [0.001, 0.001]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", failing(number))
        with pytest.raises(BackendError) as caught:
            store.get_sync("a/k")
    assert caught.value.errno == number
    assert 3 < sum(waited) < 6


def test_names_too_long_name_the_cure(store):
    with pytest.raises(InvalidKeyError, match="255 bytes"):
        store.get_sync("y" * 300)


def test_errors_of_the_store_are_not_wrapped_twice(store):
    with pytest.raises(StoreError) as caught:
        store.set_sync("a/k/child", b"1")
    assert not isinstance(caught.value, BackendError)
