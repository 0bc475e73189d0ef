"""`follow_symlinks=False`: no call leaves the root, whatever becomes of links while it is under way."""

import asyncio
import ctypes
import os
import threading
from pathlib import Path

import pytest

from zarrstore import MemoryStore, copy_store_sync
from zarrstore._os import files as _files
from zarrstore.errors import RefusedError
from zarrstore.storage import LocalStore

INSIDE, OUTSIDE = b"inside", b"outside, and larger"


@pytest.fixture(params=["openat2", "without"])
def store(request, tmp_path, monkeypatch):
    """A store with links of all kinds; also as where the kernel can't confine a call."""
    if request.param == "without":
        monkeypatch.setattr(_files, "CAN_CONFINE", False)
    victim = tmp_path / "victim"
    (victim / "deep").mkdir(parents=True)
    (victim / "x").write_bytes(OUTSIDE)
    (victim / "deep/y").write_bytes(OUTSIDE)
    store = LocalStore(tmp_path / "root", follow_symlinks=False)
    for key in ("in/k", "top", "a/b/c"):
        store.set_sync(key, INSIDE)
    links = {
        "out": victim,
        "file": victim / "x",
        "relative": "../victim/x",
        "a/up": "../../victim",
        "by-way": "in/../../victim/x",
        "near": "in",
        "near-file": "in/k",
        "absolute": store.root / "in",
        "a/loop": "loop",
    }
    for name, target in links.items():
        (store.root / name).symlink_to(target)
    return store


OUT = ["out", "file", "relative", "a/up", "by-way"]


def outside(store):
    victim = store.root.parent / "victim"
    return {path.relative_to(victim).as_posix() for path in victim.rglob("*")}


async def _listed(listing):
    return [item async for item in listing]


def test_listings_end_at_links_that_lead_out(store):
    keys = sorted(
        ["in/k", "top", "a/b/c", "near/k", "near-file", "absolute/k", "a/loop", *OUT],
    )
    assert sorted(store.list_sync()) == keys
    assert sorted(asyncio.run(_listed(store.list()))) == keys
    assert sorted(store.list_dir_sync("a")) == ["b", "loop", "up"]
    assert sorted(store.list_dir_sync("")) == sorted({key.partition("/")[0] for key in keys})
    assert store.getsize_prefix_sync("near") == len(INSIDE)
    for call in (
        lambda: store.getsize_prefix_sync(""),
        lambda: copy_store_sync(store, MemoryStore()),
        lambda: list(store.list_prefix_sync("out")),
        lambda: list(store.list_prefix_sync("a/up/deep")),
        lambda: list(store.list_dir_sync("out")),
        lambda: store.is_empty_sync("out/deep"),
    ):
        with pytest.raises(RefusedError, match="leads out"):
            call()


def test_links_inside_are_followed(store):
    for key in ("near/k", "near-file", "absolute/k"):
        assert bytes(store.get_sync(key)) == INSIDE
        assert bytes(asyncio.run(store.get(key))) == INSIDE
        assert store.exists_sync(key)
    store.set_sync("near/new", b"1")
    store.set_sync("absolute/deep/er", b"2")
    assert bytes(store.get_sync("in/new")) == b"1"
    assert bytes(store.get_sync("in/deep/er")) == b"2"
    store.delete_sync("near/new")
    assert not (store.root / "in/new").exists()
    store.set_partial_values_sync([("near/k", 0, b"I")])
    assert bytes(store.get_sync("in/k")) == b"Inside"


@pytest.mark.parametrize("fsync", ["none", "full"])
@pytest.mark.parametrize("atomic", [True, False])
def test_whatever_writes_is_refused(store, fsync, atomic):
    store = LocalStore(store.root, follow_symlinks=False, fsync=fsync, atomic=atomic)
    before = outside(store)
    for call in (
        lambda: store.set_sync("out/new", b""),
        lambda: store.set_sync("out/deeper/new", b""),
        lambda: asyncio.run(store.set("a/up/new", b"")),
        lambda: store.create_sync("out/new", b""),
        lambda: store.set_partial_values_sync([("file", 0, b"!")]),
        lambda: store.delete_sync("out/x"),
        lambda: store.delete_dir_sync("out/deep"),
        lambda: store.delete_dir_sync("a/up/deep"),
    ):
        with pytest.raises(RefusedError, match="leads out"):
            call()
    assert outside(store) == before
    store.delete_dir_sync("out")
    store.set_sync("file", b"replaced")
    store.set_sync("new/deep/er", b"1")
    store.delete_dir_sync("new")
    assert not (store.root / "new").exists()
    assert not (store.root / "out").exists()
    assert bytes(store.get_sync("file")) == b"replaced"
    store.clear_sync()
    assert list(store.root.iterdir()) == []
    assert outside(store) == before


@pytest.mark.skipif(not _files.CAN_CONFINE, reason="needs Linux's openat2")
def test_a_link_that_is_swapped_while_calls_are_under_way(tmp_path, record_property):
    """Folder and link to another one take the same name in turn; nothing is read or written there."""
    store = LocalStore(tmp_path / "root", follow_symlinks=False)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "k").write_bytes(OUTSIDE)
    store.set_sync("d/k", INSIDE)
    (tmp_path / "root/link").symlink_to(victim)
    libc = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(store.root / name) for name in ("d", "link")]
    stop = threading.Event()

    def swap():
        exchange = 2
        while not stop.is_set():
            assert libc.renameat2(-100, names[0], -100, names[1], exchange) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    answers, refused = [], 0
    try:
        for number in range(1500):
            for call, arguments in (
                (store.get_sync, ["d/k"]),
                (store.getsize_sync, ["d/k"]),
                (store.set_sync, [f"d/{number % 7}", INSIDE]),
                (store.delete_sync, [f"d/{number % 7}"]),
                (store.getsize_prefix_sync, ["d"]),
            ):
                try:
                    answers.append(call(*arguments))
                except (FileNotFoundError, RefusedError):
                    refused += 1
    finally:
        stop.set()
        thread.join()
    record_property("cases", len(answers) + refused)
    assert refused
    values = {bytes(answer) for answer in answers if not isinstance(answer, (int, type(None)))}
    assert values == {INSIDE}
    sizes = {answer for answer in answers if isinstance(answer, int)}
    assert sizes <= {count * len(INSIDE) for count in range(1, 9)}
    assert os.listdir(victim) == ["k"]
    assert Path(victim / "k").read_bytes() == OUTSIDE
