"""The local store's own ways: names, permissions, links, places, temporary files."""

import asyncio
import errno
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zarrstore._os import files as _files
from zarrstore._os import temporary as _temporary
from zarrstore._os.temporary import claim, is_temporary, make_name, reap
from zarrstore.errors import (
    BackendError,
    InvalidKeyError,
    KeyConflictError,
    RefusedError,
    RootError,
    TruncatedError,
)
from zarrstore.storage import LocalStore
from zarrstore.storage._local import rmtree as _removal


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "root")


def names_below(path):
    return sorted(str(p.relative_to(path)) for p in Path(path).rglob("*"))


# -- places ---------------------------------------------------------------------------------------


def test_only_a_write_creates_the_root(store):
    assert store.get_sync("a") is None
    assert list(store.list_sync()) == []
    store.clear_sync()
    store.delete_dir_sync("a")
    asyncio.run(LocalStore.open(store.root))
    assert not store.root.exists()
    store.set_sync("a", b"1")
    assert names_below(store.root) == ["a"]


def test_the_root_is_the_folder(tmp_path):
    for given in (tmp_path / "root", str(tmp_path / "root"), f"{tmp_path}/./root/"):
        assert LocalStore(given).root == tmp_path / "root"
        assert isinstance(LocalStore(given).root, Path)


@pytest.mark.parametrize("mode", ["r", "r+", "a", "w", "w-", None])
def test_a_mode_says_whether_the_folder_must_be_there_and_no_more(mode, tmp_path):
    missing = tmp_path / "missing"
    if mode in ("r", "r+"):
        with pytest.raises(FileNotFoundError, match=f"mode '{re.escape(mode)}' opens one that is there"):
            asyncio.run(LocalStore.open(missing, mode=mode))
    else:
        asyncio.run(LocalStore.open(missing, mode=mode))
    assert not missing.exists()
    LocalStore(tmp_path).set_sync("k", b"1")
    store = asyncio.run(LocalStore.open(root=tmp_path, read_only=False, mode=mode, atomic=False))
    assert (store.read_only, store._is_open, store.atomic) == (False, True, False)
    assert store.get_sync("k").to_bytes() == b"1"
    assert asyncio.run(LocalStore.open(tmp_path, mode=mode, read_only=True)).read_only
    with pytest.raises(ValueError, match="mode is one of"):
        asyncio.run(LocalStore.open(tmp_path, mode="rw"))


def test_two_spellings_of_one_folder_are_one_store(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    stores = [LocalStore(p) for p in ("real", "./real/", "link", tmp_path / "link", f"{tmp_path}/x/../real")]
    assert len(set(stores)) == 1
    assert str(stores[2]) == f"file://{tmp_path}/real"
    assert stores[0] != LocalStore(tmp_path)


def test_a_relative_root_stays_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = LocalStore("data")
    store.set_sync("k", b"1")
    copy = pickle.dumps(store)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert bytes(store.get_sync("k")) == b"1"
    assert bytes(pickle.loads(copy).get_sync("k")) == b"1"


@pytest.mark.parametrize("root", [None, 3, b"bytes", ""])
def test_a_root_is_a_folders_path(root):
    with pytest.raises((TypeError, ValueError), match="root is"):
        LocalStore(root)


def test_a_root_that_is_a_file_is_an_error_not_an_empty_store(tmp_path):
    (tmp_path / "file").write_bytes(b"precious")
    store = LocalStore(tmp_path / "file")
    for call in (
        lambda: store.get_sync("a"),
        lambda: store.exists_sync("a/b"),
        lambda: store.set_sync("a", b"1"),
        lambda: store.set_sync("a/b", b"1"),
        lambda: list(store.list_sync()),
        lambda: list(store.list_dir_sync("")),
        lambda: store.is_empty_sync(""),
        lambda: store.clear_sync(),
        lambda: asyncio.run(store.get("a")),
    ):
        with pytest.raises(RootError, match="ZipStore"):
            call()
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_the_file_systems_own_root_is_never_cleared(monkeypatch):
    store = LocalStore("/")
    monkeypatch.setattr(_removal, "empty_folder", None)  # if the refusal failed, this would stop it
    for call in (store.clear_sync, lambda: store.delete_dir_sync(""), lambda: asyncio.run(store.clear())):
        with pytest.raises(RefusedError, match="whole file system"):
            call()


@pytest.mark.parametrize("key", ["../victim/x", "a/../../victim/x", "/etc/x", "..", "victim/../../victim/x"])
def test_no_key_leaves_the_root(tmp_path, key):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/x").write_bytes(b"1")
    store = LocalStore(tmp_path / "root")
    store.set_sync("k", b"1")
    for call in (
        lambda: store.get_sync(key),
        lambda: store.set_sync(key, b"2"),
        lambda: store.create_sync(key, b"2"),
        lambda: store.delete_sync(key),
        lambda: store.delete_dir_sync(key),
        lambda: store.exists_sync(key),
        lambda: store.getsize_sync(key),
        lambda: list(store.list_prefix_sync(key)),
        lambda: list(store.list_dir_sync(key)),
    ):
        with pytest.raises(InvalidKeyError):
            call()
    assert names_below(tmp_path / "victim") == ["x"]
    assert (tmp_path / "victim/x").read_bytes() == b"1"


# -- links and odd files --------------------------------------------------------------------------


def test_links_are_followed_by_reads_and_listings_and_removed_not_followed(tmp_path, store):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "0").write_bytes(b"far")
    store.set_sync("near", b"1")
    (store.root / "c").symlink_to(scratch)
    (store.root / "again").symlink_to(scratch / "0")
    assert bytes(store.get_sync("c/0")) == b"far"
    assert sorted(store.list_sync()) == ["again", "c/0", "near"]
    assert sorted(store.list_dir_sync("")) == ["again", "c", "near"]
    store.clear_sync()
    assert names_below(store.root) == []
    assert (scratch / "0").read_bytes() == b"far"


def test_delete_dir_of_a_link_removes_the_link_only(tmp_path, store):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "0").write_bytes(b"far")
    store.set_sync("near", b"1")
    (store.root / "c").symlink_to(scratch)
    store.delete_dir_sync("c")
    assert list(store.list_sync()) == ["near"]
    assert (scratch / "0").read_bytes() == b"far"
    (store.root / "c").symlink_to(scratch)
    store.delete_sync("c")
    assert list(store.list_sync()) == ["near"]
    assert (scratch / "0").read_bytes() == b"far"


def test_links_in_a_circle_end(store):
    store.set_sync("a/b/x", b"1")
    (store.root / "a/b/up").symlink_to("../..")
    (store.root / "a/self").symlink_to(".")
    assert sorted(store.list_sync()) == ["a/b/x"]
    assert sorted(store.list_dir_sync("a")) == ["b"]


def test_pipes_and_folders_of_pipes_are_no_values(store):
    store.set_sync("d/x", b"1")
    os.mkfifo(store.root / "pipe")
    os.mkfifo(store.root / "d/pipe")
    assert sorted(store.list_sync()) == ["d/x"]
    assert not store.exists_sync("pipe")
    for call in (lambda: store.get_sync("pipe"), lambda: asyncio.run(store.get("pipe"))):
        with pytest.raises(BackendError, match="pipe"):
            call()


def test_names_that_are_no_text_are_hidden_but_cleared(store):
    store.set_sync("a", b"1")
    with open(os.fsencode(store.root) + b"/\xff\xfe", "wb"):
        pass
    assert list(store.list_sync()) == ["a"]
    assert list(store.list_dir_sync("")) == ["a"]
    store.clear_sync()
    assert os.listdir(store.root) == []


def test_folders_without_keys_are_hidden_and_make_way(store):
    store.set_sync("a", b"1")
    (store.root / "empty/deeper").mkdir(parents=True)
    assert list(store.list_dir_sync("")) == ["a"]
    assert store.is_empty_sync("empty")
    store.set_sync("empty", b"now a value")
    assert bytes(store.get_sync("empty")) == b"now a value"
    (store.root / "other/deeper").mkdir(parents=True)
    assert store.create_sync("other", b"created") is True
    assert bytes(store.get_sync("other")) == b"created"


# -- temporary files ------------------------------------------------------------------------------


def test_temporary_names_fit_beside_the_longest_name(store):
    assert len(make_name()) == 31
    store.set_sync("x" * 255, b"1")
    assert list(store.list_sync()) == ["x" * 255]
    with pytest.raises(InvalidKeyError, match="255 bytes"):
        store.set_sync("x" * 256, b"1")
    assert store.create_sync("é" * 127, b"1")
    assert len(os.listdir(store.root)) == 2


def test_keys_that_look_temporary_are_refused(store):
    for key in (make_name(), f"a/{make_name()}", f"{make_name()}/a"):
        with pytest.raises(InvalidKeyError, match="temporary"):
            store.set_sync(key, b"1")
        with pytest.raises(InvalidKeyError, match="temporary"):
            store.delete_sync(key)
    store.set_sync(".zarrstore-mine", b"1")


def test_permissions_follow_the_umask(store):
    before = os.umask(0o027)
    try:
        store.set_sync("a/k", b"1")
        store.create_sync("a/c", b"1")
    finally:
        os.umask(before)
    for key, mode in (("a", 0o750), ("a/k", 0o640), ("a/c", 0o640)):
        assert os.stat(store.root / key).st_mode & 0o777 == mode


def test_litter_of_the_dead_is_swept_up_and_work_of_the_living_is_not(store, monkeypatch):
    store.set_sync("a", b"1")
    dead, alive = store.root / make_name(), store.root / make_name()
    dead.write_bytes(b"half")
    gone = store.root / make_name()
    (gone / "deep").mkdir(parents=True)
    (gone / "deep/x").write_bytes(b"1")
    descriptor = os.open(alive, os.O_CREAT | os.O_WRONLY)
    claim(descriptor)
    assert list(store.list_sync()) == ["a"]
    assert dead.exists(), "its maker may not have got the lock yet"
    monkeypatch.setattr(_temporary, "_FRESH", 0)
    try:
        assert list(store.with_read_only(True).list_sync()) == ["a"]
        assert dead.exists(), "a read-only store removes nothing"
        assert list(store.list_sync()) == ["a"]
        assert alive.exists()
        assert not dead.exists()
        assert not gone.exists()
        assert not reap(str(alive))
    finally:
        os.close(descriptor)
    assert list(store.list_dir_sync("")) == ["a"]
    assert not alive.exists()


def test_litter_is_never_a_key(store, monkeypatch):
    store.set_sync("a/k", b"1")
    (store.root / "a" / make_name()).write_bytes(b"half")
    monkeypatch.setattr(_temporary, "_FRESH", 0)
    (store.root / "only").mkdir()
    (store.root / "only" / make_name()).write_bytes(b"half")
    reader = store.with_read_only(True)
    assert list(reader.list_sync()) == ["a/k"]
    assert list(reader.list_dir_sync("")) == ["a"]
    assert reader.is_empty_sync("only")
    assert reader.getsize_prefix_sync("") == 1
    store.set_sync("only", b"a folder with nothing but litter makes way")


# -- without what a file system or system lacks ----------------------------------------------------


def test_create_without_hard_links(store, monkeypatch):
    def no_links(*args, **kwargs):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    assert store.create_sync("a/k", b"first") is True
    assert store.create_sync("a/k", b"second") is False
    assert bytes(store.get_sync("a/k")) == b"first"
    assert names_below(store.root) == ["a", "a/k"]


@pytest.mark.parametrize(
    ("kind", "in_memory", "in_place", "later"),
    [("tmpfs", True, True, True), ("overlay", False, True, False), ("nfs4", False, False, False)],
)
def test_file_systems_are_read_as_they_allow(tmp_path, monkeypatch, kind, in_memory, in_place, later):
    """Both tmpfs and overlayfs refuse reads without waiting; only the first never blocks."""
    real = os.preadv

    def refuse(descriptor, buffers, offset, flags=0):
        if flags:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", refuse)
    monkeypatch.setattr(_files, "file_system", lambda path: kind)
    store = LocalStore(tmp_path / "root")
    asyncio.run(store.set("k", b"0123"))
    assert (store._in_memory, store._can_nowait) == (in_memory, in_place)
    assert bytes(asyncio.run(store.get("k"))) == b"0123"
    assert asyncio.run(store.exists("k"))
    assert store._can_nowait is later
    asyncio.run(store.set("k", b"4567"))
    assert bytes(asyncio.run(store.get("k"))) == b"4567"


def test_the_kernel_names_file_systems():
    assert _files.file_system("/proc/self") == "proc"
    if os.path.isdir("/dev/shm") and "tmpfs /dev/shm" in Path("/proc/mounts").read_text():
        assert _files.file_system("/dev/shm/not/there") == "tmpfs"


def test_a_short_answer_from_the_cache_is_not_the_end(store, monkeypatch):
    """Half a file in the cache looks like a short file: only exactly what was asked for counts."""
    store.set_sync("k", bytes(range(256)) * 64)
    assert store._can_nowait
    real = os.preadv
    short = []

    def half(descriptor, buffers, offset, flags=0):
        if flags:
            short.append(1)
            return real(descriptor, [memoryview(buffers[0])[:4096]], offset)
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", half)
    assert bytes(asyncio.run(store.get("k"))) == bytes(range(256)) * 64
    assert short


def test_reads_in_many_answers_are_put_together(store, monkeypatch):
    data = bytes(range(250)) * 100
    store.set_sync("k", data)
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: real(fd, [memoryview(buffers[0])[:999]], at))
    store._can_nowait = False
    assert bytes(store.get_sync("k")) == data


def test_a_file_cut_while_it_is_read_is_an_error(store, monkeypatch):
    store.set_sync("k", bytes(10000))
    real = os.lseek

    def seek_then_cut(descriptor, offset, how):
        size = real(descriptor, offset, how)
        os.truncate(store.root / "k", 500)
        return size

    monkeypatch.setattr(os, "lseek", seek_then_cut)
    with pytest.raises(TruncatedError, match="ended after 500 bytes; it had 10000"):
        store.get_sync("k")


# -- moving, forking, processes -------------------------------------------------------------------


def test_move(tmp_path, store):
    store.set_sync("a/k", b"1")
    asyncio.run(store.move(tmp_path / "new/place"))
    assert store.root == tmp_path / "new/place"
    assert bytes(store.get_sync("a/k")) == b"1"
    assert not (tmp_path / "root").exists()
    (tmp_path / "taken").mkdir()
    with pytest.raises(KeyConflictError, match="exists already"):
        asyncio.run(store.move(tmp_path / "taken"))


def test_a_store_is_not_moved_into_itself(store):
    store.set_sync("a/k", b"v")
    with pytest.raises(BackendError, match="move"):
        asyncio.run(store.move(store.root / "a/b"))
    assert store.get_sync("a/k").to_bytes() == b"v"


_FORK = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from zarrstore.storage import LocalStore
store = LocalStore(sys.argv[1])
async def use(tag):
    await asyncio.gather(*(store.set(f"{tag}/{i}", bytes(i)) for i in range(50)))
    store._can_nowait = False
    for i in range(50):
        assert len(await store.get(f"{tag}/{i}")) == i
asyncio.run(use("parent"))
child = os.fork()
if not child:
    asyncio.run(use("child"))
    os._exit(0)
_, status = os.waitpid(child, 0)
asyncio.run(use("parent"))
assert status == 0
assert len(list(store.list_sync())) == 100
"""


def test_a_forked_child_goes_on(tmp_path):
    subprocess.run([sys.executable, "-c", _FORK, str(tmp_path / "r")], check=True, timeout=60)


_CREATE = """
import sys
from zarrstore.storage import LocalStore
store = LocalStore(sys.argv[1])
sys.stdin.readline()
print(sum(store.create_sync(f"k/{i}", (sys.argv[2] * 1000).encode()) for i in range(200)))
"""


def test_of_many_processes_one_creates(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _CREATE, str(tmp_path / "r"), str(n)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for n in range(3)
    ]  # fmt: skip
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    wins = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(wins) == 200
    store = LocalStore(tmp_path / "r")
    assert all(len(set(bytes(store.get_sync(f"k/{i}")))) == 1 for i in range(200))


def test_writers_and_pruners_of_one_folder_do_not_trip_over_each_other(store):
    async def work(number):
        for _i in range(40):
            await store.set(f"a/b/c/{number}", b"1")
            await store.delete(f"a/b/c/{number}")

    async def all_of_them():
        await asyncio.gather(*(work(number) for number in range(8)))

    asyncio.run(all_of_them())
    assert names_below(store.root) == []


def test_a_folder_that_is_pruned_while_it_is_made_is_made_again(store, monkeypatch):
    real, pruned = os.mkdir, []

    def made_and_pruned_by_others(path, *args):
        if not pruned and path.endswith("/b"):
            pruned.append(path)
            raise FileExistsError(errno.EEXIST, "File exists", path)  # and when we look it is gone
        real(path, *args)

    monkeypatch.setattr(os, "mkdir", made_and_pruned_by_others)
    store.set_sync("a/b/c/k", b"1")
    assert pruned
    assert bytes(store.get_sync("a/b/c/k")) == b"1"


def test_clearing_deleting_and_writing_at_once_is_no_error(store):
    """Whoever is first, nobody is told of a failure that there wasn't."""

    async def work(number):
        for i in range(25):
            await store.set(f"g/{number}/{i % 3}/x", b"1")
            if number == 0:
                await store.clear()
            elif number < 3:
                await store.delete_dir("g" if number == 1 else f"g/{number}")
            else:
                await store.create(f"g/{number}/{i % 3}/y", b"1")
                await store.delete(f"g/{number}/{i % 3}/x")

    async def all_of_them():
        await asyncio.gather(*(work(number) for number in range(8)))

    asyncio.run(all_of_them())
    store.clear_sync()
    assert list(store.list_sync()) == []


def test_is_temporary_is_exact():
    assert is_temporary(make_name())
    for name in (".zarrstore-", ".zarrstore-123.tmp", "zarrstore-0123456789abcdef.tmp", make_name() + "x"):
        assert not is_temporary(name)


def test_a_key_is_found_wherever_it_lies(store):
    """Behind hollow folders, dead writers' files and links, and deeper than a glance goes."""
    for number in range(40):
        (store.root / f"hollow/{number}/inner").mkdir(parents=True)
    (store.root / "loop").symlink_to(store.root)
    assert store.is_empty_sync()
    assert asyncio.run(store.is_empty("hollow"))
    deep = "hollow/7/inner/" + "/".join("d" * 60) + "/key"
    store.set_sync(deep, b"")
    for prefix in ("", "hollow", "hollow/7", "hollow/7/inner/d"):
        assert not store.is_empty_sync(prefix)
        assert not asyncio.run(store.is_empty(prefix))
    assert store.is_empty_sync("hollow/8")
    assert store.is_empty_sync("none")
    store.delete_sync(deep)
    assert store.is_empty_sync()
