"""What killed writers leave goes, is no value, and hinders no other program."""

import asyncio
import os
import signal
import subprocess
import sys
import zipfile

import pytest

from zarrstore._os import temporary as _temporary
from zarrstore._os.temporary import is_temporary, make_name
from zarrstore.errors import InvalidKeyError
from zarrstore.storage import LocalStore, ZipStore

# Kills itself in the middle of what the second argument names.
KILLED = """
import os, signal, sys
from zarrstore.storage import ZipStore
path, when = sys.argv[1:]
store = ZipStore(path, mode="a", deletes=True)
def die(*args): os.kill(os.getpid(), signal.SIGKILL)
if when == "compact":
    os.replace = die
    store.compact_sync()
else:
    from zarrstore.storage._zip import writer
    writer.Appender._commit = die
    store.set_sync("large", b"x" * 5_000_000)
"""


def kill(path, when):
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), when])
    assert done.returncode == -signal.SIGKILL


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.zip"
    with ZipStore(path, mode="w") as store:
        store.set_sync("k", b"value" * 50_000)
    return path


def litter(folder):
    return [name for name in os.listdir(folder) if is_temporary(name)]


@pytest.mark.parametrize("use", ["set", "compact", "close", "replace", "repair"])
def test_the_file_of_a_killed_compaction_goes(path, monkeypatch, use):
    kill(path, "compact")
    assert len(litter(path.parent)) == 1
    monkeypatch.setattr(_temporary, "_FRESH", 0)
    if use == "repair":
        path.write_bytes(path.read_bytes()[:-10])
        ZipStore.repair(path)
    else:
        with ZipStore(path, mode="w" if use == "replace" else "a") as store:
            if use == "compact":
                store.compact_sync()
            else:
                store.set_sync("more", b"")
    assert litter(path.parent) == []
    assert zipfile.ZipFile(path).testzip() is None


def test_one_that_may_be_in_use_stays_and_hinders_nobody(path):
    kill(path, "compact")
    with ZipStore(path, mode="a") as store:
        store.compact_sync()
        store.set_sync("more", b"1")
    assert len(litter(path.parent)) == 1
    with ZipStore(path) as store:
        assert sorted(store.list_sync()) == ["k", "more"]


@pytest.mark.parametrize("reads", [True, False])
def test_what_a_killed_first_write_left_behind_the_end_is_cut_off(path, reads):
    whole = path.read_bytes()
    kill(path, "write")
    assert path.stat().st_size > len(whole) + 4_000_000
    with ZipStore(path) as store:
        assert list(store.list_sync()) == ["k"]
    with ZipStore(path, mode="a") as store:
        if reads:
            store.get_sync("k")
    assert path.read_bytes() == whole
    assert zipfile.ZipFile(path).namelist() == ["k"]


def test_temporary_names_are_no_keys(tmp_path):
    store = LocalStore(tmp_path)
    store.set_sync("a/k", b"1")
    for key in (make_name(), f"a/{make_name()}", f"{make_name()}/k"):
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(b"half")
        for call in (
            lambda key=key: store.get_sync(key),
            lambda key=key: asyncio.run(store.get(key)),
            lambda key=key: store.get_partial_values_sync(None, [(key, None)]),
            lambda key=key: asyncio.run(store.get_partial_values(None, [("a/k", None), (key, None)])),
            lambda key=key: store.exists_sync(key),
            lambda key=key: asyncio.run(store.exists(key)),
            lambda key=key: store.getsize_sync(key),
            lambda key=key: store.set_sync(key, b""),
            lambda key=key: store.create_sync(key, b""),
            lambda key=key: store.delete_sync(key),
        ):
            with pytest.raises(InvalidKeyError, match="reserved"):
                call()
    assert list(store.list_sync()) == ["a/k"]
