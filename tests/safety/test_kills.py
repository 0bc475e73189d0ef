"""A writer killed at any of its system calls, or within a write: what was acknowledged is there, whole.

A kill keeps all that the calls before it changed, so a recorded life (`lives`) tells what each leaves.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import lives
import pytest
from found_after import contents, place_in
from injected import litter
from power_loss import kills, materialise

from zarrstore._os import temporary as _temporary
from zarrstore.storage import LocalStore, ZipStore

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to see system calls")

TEARS = {"folder in place": tuple({step for step, _ in lives.FOLDER})}


@needs_strace
@pytest.mark.parametrize("mode", ["none", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", lives.STEPS)
def test_a_kill_at_each_call(recorded, cut, monkeypatch, record_property, kind, mode):
    monkeypatch.setattr(_temporary, "_FRESH", 0)
    _, disk, calls = recorded(kind, mode)
    promise = lives.Promise(
        lives.STEPS[kind], lives.BEFORE[kind], keeps=True, torn=TEARS.get(kind, ("patch",)), follows=True
    )
    word, number, last, left, cases = "end", -1, {}, 0, 0
    for call, tree in kills(disk, calls):
        if told := place_in(call):
            word, number = told
            getattr(promise, word)(number)
        elif tree == last:
            continue
        last = tree
        cases += 1
        materialise(tree, cut)
        left += len(litter(cut))
        try:
            assert not promise.broken(contents(kind, "full", cut, word, number)), (word, number, call.name)
            if kind.startswith("folder"):
                roots = [path for path in (cut / "root", cut / "some/where/else") if path.exists()]
                assert [list(LocalStore(root).list_sync()) for root in roots]
            else:
                with lives.make(kind, cut) as store:
                    store.set_sync("by the next", b"")
            assert not litter(cut)
        finally:
            shutil.rmtree(cut)
    record_property("cases", cases)
    assert left > 3 or kind in ("new archive", "folder in place")


COPIER = """
import sys, lives
print("ready", flush=True)
lives.copy_many(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("kind", ["folder", "archive"])
@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_a_copy_killed_at_random_moments(tmp_path, record_property, kind, kills):
    rng = random.Random(3)
    seen = []
    record_property("cases", kills)
    for number in range(kills):
        path = tmp_path / f"target{number}"
        with started(COPIER, kind, path) as copier:
            while not path.exists():
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.03))
            copier.kill()
        store = LocalStore(path) if kind == "folder" else ZipStore(path, mode="a")
        found = {key: store.get_sync(key).to_bytes() for key in store.list_sync()}
        store.close()
        assert found.items() <= lives.MANY.items()
        seen.append(len(found))
        lives.copy_many(kind, path)  # and goes on
        store = LocalStore(path) if kind == "folder" else ZipStore(path)
        assert {key: store.get_sync(key).to_bytes() for key in store.list_sync()} == lives.MANY
        store.close()
    assert len(set(seen)) > 1 or kills < 100  # a few may all come when it has ended


WRITER = """
import sys
from zarrstore._core.verbs import ANY
from zarrstore.storage import LocalStore

def pieces():
    yield b"half"
    print("ready", flush=True)
    sys.stdin.read()

LocalStore(sys.argv[1])._write("k", pieces(), ANY)
"""
IN_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child"]


def started(program, *arguments, within=()):
    """Start a program that says when it is ready."""
    child = subprocess.Popen(
        [*within, sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("within", [[], IN_NAMESPACE], ids=["here", "in another namespace of processes"])
def test_the_file_of_a_writer_that_lives_stays(tmp_path, monkeypatch, within):
    """Whatever its process has for a number here, or another process has by now."""
    if within and (shutil.which("unshare") is None or subprocess.run([*within, "true"]).returncode):
        pytest.skip("needs the right to make a namespace of processes")
    monkeypatch.setattr(_temporary, "_FRESH", 0)
    store = LocalStore(tmp_path / "root")
    with started(WRITER, store.root, within=within) as writer:
        for call in (lambda: list(store.list_sync()), store.clear_sync, lambda: store.set_sync("other", b"")):
            call()
            assert len(litter(store.root)) == 1
        writer.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while litter(store.root) and time.monotonic() < deadline:  # the namespace ends a moment later
        assert list(store.list_sync()) == ["other"]
    assert not litter(store.root)
