"""File systems that can't do what others can: mounts of buckets, FUSE, handles that an NFS server lost.

Each call is made to fail as such a file system does: it works all the same, or the error names the cure.
"""

import asyncio
import errno
import os
import zipfile

import pytest
from injected import Refusing, litter, refuse_folder_sync, refuse_new_names

from zarrstore._os import files as _files
from zarrstore.errors import BackendError, KeyConflictError, NoSpaceError
from zarrstore.storage import LocalStore, ZipStore

UNABLE = [errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL]
OLD, NEW = b"old" * 1000, b"new value" * 2000


@pytest.fixture
def root(tmp_path):
    LocalStore(tmp_path / "root").set_sync("a/k", OLD)
    return tmp_path / "root"


# -- writes that can't be one step ----------------------------------------------------------------


@pytest.mark.parametrize("number", UNABLE)
def test_without_rename(root, monkeypatch, number):
    Refusing(monkeypatch, "replace", number)
    store = LocalStore(root)
    for key in ("a/k", "a/new"):
        with pytest.raises(BackendError, match="atomic=False") as caught:
            store.set_sync(key, NEW)
        assert (caught.value.errno, caught.value.key) == (number, key)
        assert isinstance(caught.value, PermissionError) == (number == errno.EPERM)
    assert bytes(store.get_sync("a/k")) == OLD
    assert store.get_sync("a/new") is None
    assert not litter(root)
    store = LocalStore(root, atomic=False)
    store.set_sync("a/k", NEW)
    store.set_sync("deep/er/new", NEW)
    asyncio.run(store.set("x", NEW))
    assert {key: bytes(store.get_sync(key)) for key in store.list_sync()} == dict.fromkeys(
        ("a/k", "deep/er/new", "x"), NEW
    )


@pytest.mark.parametrize("number", UNABLE)
def test_without_links_but_with_a_rename_that_never_replaces(root, monkeypatch, number):
    Refusing(monkeypatch, "link", number)
    store = LocalStore(root)
    if number == errno.EINVAL:
        with pytest.raises(BackendError, match="atomic=False"):
            store.create_sync("a/new", NEW)
        return
    assert store.create_sync("a/new", NEW)
    assert not store.create_sync("a/new", OLD)
    assert bytes(store.get_sync("a/new")) == NEW
    assert not litter(root)


@pytest.mark.parametrize("number", UNABLE)
def test_without_names_that_must_be_new(root, monkeypatch, number):
    """An empty value that reserves the name would stay after a kill."""
    refuse_new_names(monkeypatch, number)
    store = LocalStore(root)
    with pytest.raises(BackendError, match="atomic=False") as caught:
        store.create_sync("a/new", NEW)
    assert caught.value.key == "a/new"
    assert sorted(store.list_sync()) == ["a/k"]
    assert not litter(root)
    assert not store.create_sync("a/k", NEW)
    store = LocalStore(root, atomic=False)
    assert not store.capabilities.atomic_create
    assert store.create_sync("a/new", NEW)
    assert not store.create_sync("a/new", OLD)
    asyncio.run(store.set_if_not_exists("a/new", OLD))
    assert bytes(store.get_sync("a/new")) == NEW


@pytest.mark.parametrize("number", UNABLE)
def test_without_renames_of_folders(root, monkeypatch, number):
    Refusing(monkeypatch, "rename", number)
    for call in (
        lambda store: store.delete_dir_sync("a"),
        lambda store: store.delete_sync("a"),
        lambda store: store.clear_sync(),
    ):
        LocalStore(root, atomic=False).set_sync("a/b/c", OLD)
        with pytest.raises(BackendError, match="atomic=False"):
            call(LocalStore(root))
        assert sorted(LocalStore(root).list_sync()) in (["a/b/c", "a/k"], ["a/b/c"])
        call(LocalStore(root, atomic=False))
        assert list(LocalStore(root).list_sync()) == []
        assert not litter(root)


@pytest.mark.parametrize("number", UNABLE)
@pytest.mark.parametrize(("mode", "call"), [("data", "fdatasync"), ("full", "fsync")])
def test_without_syncs(root, monkeypatch, number, mode, call):
    Refusing(monkeypatch, call, number)
    for atomic in (True, False):
        store = LocalStore(root, fsync=mode, atomic=atomic)
        with pytest.raises(BackendError, match="fsync='none'") as caught:
            store.set_sync("a/k", NEW)
        assert caught.value.errno == number
        if atomic:
            assert bytes(store.get_sync("a/k")) == OLD
            with pytest.raises(BackendError, match="fsync='none'"):
                store.set_partial_values_sync([("a/k", 0, b"old")])
    assert not litter(root)


@pytest.mark.parametrize("number", UNABLE)
def test_without_syncs_of_folders(root, monkeypatch, number):
    refuse_folder_sync(monkeypatch, number)
    for atomic in (True, False):
        store = LocalStore(root, fsync="full", atomic=atomic)
        for change in (
            lambda store=store: store.set_sync("a/k", NEW),
            lambda store=store: store.delete_sync("a/k"),
        ):
            with pytest.raises(BackendError, match="fsync='data'") as caught:
                change()
            assert caught.value.errno == number
    assert LocalStore(root).get_sync("a/k") is None
    assert not litter(root)


@pytest.mark.parametrize("number", [*UNABLE, errno.EIO])
def test_without_locks(root, monkeypatch, number):
    Refusing(monkeypatch, "flock", number, where=_files.fcntl)
    for atomic in (True, False):
        LocalStore(root, atomic=atomic).set_sync("a/k", NEW)
        assert bytes(LocalStore(root).get_sync("a/k")) == NEW


# -- in place -------------------------------------------------------------------------------------


@pytest.fixture
def store(root):
    return LocalStore(root, atomic=False)


def test_a_store_in_place_keeps_the_other_promises(store, tmp_path):
    assert store.capabilities.folders
    store.set_sync("a/k", b"shorter")
    assert bytes(store.get_sync("a/k")) == b"shorter"
    store.set_sync("a/k", b"")
    assert bytes(store.get_sync("a/k")) == b""
    with pytest.raises(KeyConflictError):
        store.set_sync("a", b"")
    with pytest.raises(KeyConflictError):
        store.set_sync("a/k/below", b"")
    (store.root / "hollow/er").mkdir(parents=True)
    store.set_sync("hollow", b"value")
    assert sorted(store.list_sync()) == ["a/k", "hollow"]
    os.mkfifo(store.root / "pipe")
    with pytest.raises(BackendError, match="pipe"):
        store.set_sync("pipe", b"")


def test_links_are_replaced_not_written_through(store, tmp_path):
    """What git-annex keeps, or another store, is never written by way of a link."""
    (tmp_path / "kept").write_bytes(b"kept")
    for target in (tmp_path / "kept", tmp_path / "nothing"):
        (store.root / "link").symlink_to(target)
        store.set_sync("link", b"value")
        assert bytes(store.get_sync("link")) == b"value"
        store.delete_sync("link")
    assert (tmp_path / "kept").read_bytes() == b"kept"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("call", ["write", "close"])
def test_a_write_in_place_that_fails_leaves_no_part_and_says_so(store, monkeypatch, call):
    with pytest.MonkeyPatch.context() as patch:
        if call == "write":
            _fill_up(patch)
        else:
            Refusing(patch, "close", errno.ENOSPC, times=1)
        with pytest.raises(NoSpaceError, match="is lost") as caught:
            store.set_sync("a/k", NEW)
    assert caught.value.errno == errno.ENOSPC
    assert store.get_sync("a/k") is None


def _fill_up(patch):
    """Let a write end early, as on a full disk, and the next one fail."""
    real = os.write

    def write(descriptor, data):
        if len(data) < len(NEW):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:100])

    patch.setattr(os, "write", write)


def test_it_goes_with_the_store(store):
    import pickle

    for other in (pickle.loads(pickle.dumps(store)), store.with_read_only(True)):
        assert other.atomic is False
        assert not other.capabilities.atomic_create
    assert LocalStore("x").atomic is True


# -- handles that the server lost -----------------------------------------------------------------


READS = {
    "get": lambda store: store.get_sync("a/k").to_bytes(),
    "awaited get": lambda store: asyncio.run(store.get("a/k")).to_bytes(),
    "many": lambda store: [
        value.to_bytes() for value in store.get_partial_values_sync(None, [("a/k", None)])
    ],
    "exists": lambda store: store.exists_sync("a/k"),
    "size": lambda store: store.getsize_sync("a/k"),
    "list": lambda store: sorted(store.list_sync()),
    "list_dir": lambda store: sorted(store.list_dir_sync("a")),
    "is_empty": lambda store: store.is_empty_sync("a"),
    "sizes": lambda store: store.getsize_prefix_sync(""),
    "set": lambda store: store.set_sync("a/k", OLD),
    "patch": lambda store: store.set_partial_values_sync([("a/k", 0, b"old")]),
    "create": lambda store: store.create_sync("a/k", NEW),
}


@pytest.mark.parametrize("call", ["open", "lseek", "preadv", "stat", "scandir", "write", "pwrite", "replace"])
@pytest.mark.parametrize("read", READS)
def test_a_stale_handle_is_opened_anew_once(root, monkeypatch, read, call):
    monkeypatch.setattr(_files, "file_system", lambda path: "nfs4")
    store = LocalStore(root)
    wanted = READS[read](store)
    with pytest.MonkeyPatch.context() as patch:
        Refusing(patch, call, errno.ESTALE, times=1)
        assert READS[read](store) == wanted
    with pytest.MonkeyPatch.context() as patch:
        fault = Refusing(patch, call, errno.ESTALE)
        told = None
        try:
            assert READS[read](store) == wanted
        except BackendError as error:
            told = error
        if told is not None:
            assert told.errno == errno.ESTALE
            assert fault.calls >= 2
        else:
            # That something has the name is known by then; a listing tells what a glance can't.
            assert not fault.calls or read in ("create", "is_empty")
    assert bytes(store.get_sync("a/k")) == OLD
    assert not litter(root)


@pytest.mark.parametrize("times", [1, 1 << 30])
def test_a_stale_archive_is_opened_anew_once(tmp_path, monkeypatch, times):
    """An NFS server that has another file at the path now lost the one that was open."""
    path = tmp_path / "a.zip"
    for name, value in (("a.zip", b"old"), ("b.zip", b"new")):
        with ZipStore(tmp_path / name, mode="w") as store:
            store.set_sync("k", value)
    store = ZipStore(path)
    assert bytes(store.get_sync("k")) == b"old"
    os.replace(tmp_path / "b.zip", path)
    for read in (lambda: store.get_sync("k"), lambda: asyncio.run(store.get("k"))):
        with pytest.MonkeyPatch.context() as patch:
            Refusing(patch, "preadv", errno.ESTALE, times=times)
            Refusing(patch, "_pread", errno.ESTALE, times=times, where=_files)
            if times == 1:
                assert bytes(read()) == b"new"
            else:
                with pytest.raises(BackendError) as caught:
                    read()
                assert caught.value.errno == errno.ESTALE
    assert bytes(store.get_sync("k")) == b"new"


# -- archives -------------------------------------------------------------------------------------


CURES = {"replace": "local disk", "chmod": "local disk", "fsync": "fsync='none'", "fdatasync": "fsync='none'"}


@pytest.mark.parametrize("number", UNABLE)
@pytest.mark.parametrize("call", CURES)
@pytest.mark.parametrize("change", ["replaced", "added to", "compacted"])
@pytest.mark.parametrize("fsync", ["none", "data", "full"])
def test_archives(tmp_path, number, call, change, fsync):
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", OLD)
    path.chmod(0o640)

    def use():
        with ZipStore(path, mode="w" if change == "replaced" else "a", fsync=fsync) as store:
            store.set_sync("new", NEW)
            if change == "compacted":
                store.compact_sync()

    with pytest.MonkeyPatch.context() as patch:
        fault = Refusing(patch, call, number)
        told = None
        try:
            use()
        except BackendError as error:
            told = error
    if fsync == "none" and call == "fsync":
        assert told is None  # what replaces an archive is synced where that is possible
    else:
        assert (told is None) == (fault.calls == 0)
    if told is not None:
        assert told.errno == number
        assert CURES[call] in told.hint
    with ZipStore(path) as found:
        values = {key: bytes(found.get_sync(key)) for key in found.list_sync()}
    if told is None:
        assert values == ({"new": NEW} if change == "replaced" else {"k": OLD, "new": NEW})
    else:
        assert values in ({"k": OLD}, {"k": OLD, "new": NEW}, {"new": NEW}, {})
    assert not litter(tmp_path)


def test_a_mode_that_is_as_it_should_be_is_not_set(tmp_path, monkeypatch):
    """Mounts without modes give every file the same one, and refuse to change it."""
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", OLD)
    fault = Refusing(monkeypatch, "chmod", errno.ENOSYS)
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", NEW)
    assert not fault.calls
    assert zipfile.ZipFile(path).read("k") == NEW


@pytest.mark.parametrize("number", UNABLE)
def test_repair_without_links_and_renames(tmp_path, monkeypatch, number):
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", OLD)
    cut = path.read_bytes()[:-30]
    path.write_bytes(cut)
    refuse_new_names(monkeypatch, number)
    with pytest.raises(BackendError, match="output"):
        ZipStore.repair(path)
    assert path.read_bytes() == cut
    assert not litter(tmp_path)
