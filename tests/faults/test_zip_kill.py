"""What is left of a zip archive whose writer is killed: at every call that changes it, and at random."""

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile

import pytest
from injected import Recorder

from zarrstore._core.verbs import ANY
from zarrstore._os import files as _files
from zarrstore._os import fsync as _fsync
from zarrstore.storage import ZipStore
from zarrstore.storage._zip import archive as _archive
from zarrstore.storage._zip import ending as _ending
from zarrstore.storage._zip import file as _file
from zarrstore.storage._zip import writer as _writer

pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="archives are written by pwrite")

needs_unzip = pytest.mark.skipif(shutil.which("unzip") is None, reason="needs Debian's package unzip")


def foreign_archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in members.items():
            archive.writestr(name, value)
    return file.getvalue()


def contents(path):
    with ZipStore(path, verify=True) as store:
        return {key: bytes(store.get_sync(key).to_bytes()) for key in store.list_sync()}


def run(store, do):
    """A small life of an archive; ``do(change, operation)`` carries out each step."""
    rng = random.Random(5)
    nested = foreign_archive(one=b"1" * 700, two=b"2")

    def put(key, value):
        do(lambda state: {**state, key: value}, lambda: store.set_sync(key, value))

    def stream(key, pieces):
        do(lambda state: {**state, key: b"".join(pieces)}, lambda: store._write(key, iter(pieces), ANY))

    put("zarr.json", b"{}")
    put("c/0", rng.randbytes(600))
    put("c/1", nested)  # ends with an end record that isn't ours
    put("c/1", nested + b"tail")
    put("empty", b"")
    put("c/0", rng.randbytes(4000))
    stream("streamed", [nested[:100], nested[100:], rng.randbytes(1000), nested])
    do(lambda state: {k: v for k, v in state.items() if k != "c/0"}, lambda: store.delete_sync("c/0"))
    with open(store.path, "rb") as file:
        itself = file.read()
    put("itself", itself)
    do(lambda state: state, store.close)
    put("c/2", nested)
    with open(store.path, "rb") as file:
        itself = file.read()
    put("itself", itself)
    do(lambda state: state, store.close)
    put("ünïcode", b"u" * 511)
    do(
        lambda state: {k: v for k, v in state.items() if not k.startswith("c/")},
        lambda: store.delete_dir_sync("c"),
    )
    do(lambda state: state, store.compact_sync)
    put("after", nested)
    do(lambda state: state, store.close)
    do(lambda state: {}, store.clear_sync)
    put("last", nested)
    do(lambda state: state, store.close)
    do(lambda state: {}, store.clear_sync)
    for _ in range(2):  # too large for the room in front
        put("large", nested + rng.randbytes(3000))
    do(lambda state: state, store.close)


@pytest.mark.parametrize(
    ("start", "method"),
    [
        ("new", zipfile.ZIP_STORED),
        ("foreign", zipfile.ZIP_STORED),
        ("foreign", zipfile.ZIP_DEFLATED),
        ("prefixed", zipfile.ZIP_STORED),
    ],
)
def test_every_call_that_changes_the_file_leaves_all_that_was_acknowledged(
    tmp_path, monkeypatch, start, method
):
    path = tmp_path / "a.zip"
    copy = tmp_path / "copy" / "a.zip"
    copy.parent.mkdir()
    old = {} if start == "new" else {"old": b"o" * 100, "c/9": b"9"}
    if old:
        prefix = b"#!/bin/sh\nexit\n" * 50 if start == "prefixed" else b""
        path.write_bytes(prefix + foreign_archive(**old))
    store = ZipStore(path, mode="a", deletes=True, compression=method)
    states = [old, old]

    def check():
        # An archive that is being made may be empty for a moment.
        if not path.exists() or not path.stat().st_size:
            assert states[0] == {}
            return
        shutil.copyfile(path, copy)
        found = contents(copy)
        assert found in states, (found.keys(), [state.keys() for state in states])
        if recorder.calls % 4 == 0:
            # Whoever opens it for writing goes on from there, and any tool reads what he closes.
            with ZipStore(copy, mode="a") as other:
                other.set_sync("more", b"m" * 30)
            with zipfile.ZipFile(copy) as archive:
                assert archive.testzip() is None
                names = archive.namelist()
                assert sorted(names) == sorted({*found, "more"})

    recorder = Recorder(check)
    for module in (_writer, _ending, _archive, _file, _files, _fsync):
        monkeypatch.setattr(module, "os", recorder)

    def do(change, operation):
        states[1] = change(states[0])
        try:
            operation()
        except NotImplementedError:
            assert start == "prefixed"  # such an archive isn't written anew
        states[0] = states[1]
        recorder.note()

    run(store, do)
    assert recorder.calls > 100
    assert contents(path) == states[0]


WRITER = textwrap.dedent(
    """
    import os, random, sys
    from zarrstore._core.verbs import ANY
    from zarrstore.storage import ZipStore

    path, seed = sys.argv[1], int(sys.argv[2])
    print("ready", flush=True)
    for line in sys.stdin:
        # One child after another writes until it is killed: starting an interpreter for each is slow.
        rng = random.Random(int(line))
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            os.waitpid(pid, 0)
            print("dead", flush=True)
            continue
        with ZipStore(path, mode="a", deletes=True) as store:
            log = os.open(path + ".log", os.O_WRONLY | os.O_APPEND)
            for number in range(10**9):
                key = f"k/{rng.randrange(40)}"
                if rng.random() < 0.15:
                    os.write(log, f"? {key} -\\n".encode())
                    store.delete_sync(key)
                    os.write(log, f"! {key} -\\n".encode())
                else:
                    value = rng.randbytes(8) * rng.randrange(rng.choice((4, 600, 40000)))
                    token = value[:8].hex() + "." + str(len(value))
                    os.write(log, f"? {key} {token}\\n".encode())
                    if rng.random() < 0.3:
                        store._write(key, iter([value[:100], value[100:]]), ANY)
                    else:
                        store.set_sync(key, value)
                    os.write(log, f"! {key} {token}\\n".encode())
                if rng.random() < 0.01:
                    store.close()
        os._exit(0)
    """
)


def expected(log):
    """What the log says was acknowledged, and what was under way when it ended."""
    state, open_key, open_token = {}, None, None
    for line in log.splitlines():
        mark, key, token = line.split(" ")
        if mark == "?":
            open_key, open_token = key, token
        else:
            state[key] = token
            open_key = None
    return {k: t for k, t in state.items() if t != "-"}, open_key, open_token


def token_of(value):
    whole = value == value[:8] * (len(value) // 8) or len(value) < 8
    return value[:8].hex() + "." + str(len(value)) if whole else "torn"


@needs_unzip
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kills", [24, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, record_property, kills):
    record_property("cases", kills)
    path = tmp_path / "a.zip"
    log_path = tmp_path / "a.zip.log"
    log_path.touch()
    rng = random.Random(11)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with writer:
        assert writer.stdout.readline() == "ready\n"
        for turn in range(kills):
            writer.stdin.write(f"{turn}\n")
            writer.stdin.flush()
            pid = int(writer.stdout.readline())
            time.sleep(rng.uniform(0.01, 0.06))
            os.kill(pid, signal.SIGKILL)
            assert writer.stdout.readline() == "dead\n"
            state, open_key, open_token = expected(log_path.read_text())
            found = {key: token_of(value) for key, value in contents(path).items()} if path.exists() else {}
            maybe = dict(state)
            if open_key is not None:
                maybe[open_key] = open_token
                if open_token == "-":
                    del maybe[open_key]
            assert found in (state, maybe)
            # From here on what was under way counts as what it became.
            log_path.write_text("".join(f"! {key} {token}\n" for key, token in found.items()))
            if turn % 6 == 5:
                with ZipStore(path, mode="a") as store:
                    store.set_sync("closing", b"x")
                subprocess.run(["unzip", "-tqq", path], check=True)
                with zipfile.ZipFile(path) as archive:
                    assert sorted(archive.namelist()) == sorted({*found, "closing"})
                log_path.write_text(
                    "".join(f"! {key} {token}\n" for key, token in {**found, "closing": "78.1"}.items())
                )
        writer.stdin.close()
    assert len(expected(log_path.read_text())[0]) > 20
