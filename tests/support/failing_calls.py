"""Programs in which strace makes one system call fail: each of them in turn.

strace counts the calls of each process, and makes the `_NTH` one of a kind fail. So a child of a traced
program makes useless calls of that kind until its own next one, or the one after it, is the one to fail.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import lives

from zarrstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

_NTH = 300
# The kinds of calls that are made to fail, with their numbers. Useless calls fail with other errors.
KINDS = {
    "openat": 257,
    "write": 1,
    "pwrite64": 18,
    "pwritev": 296,
    "preadv2": 327,
    "preadv": 295,
    "pread64": 17,
    "ftruncate": 77,
    "fsync": 74,
    "fdatasync": 75,
    "rename": 82,
    "link": 86,
    "unlink": 87,
    "unlinkat": 263,
    "mkdir": 83,
    "rmdir": 84,
    "getdents64": 217,
    "flock": 73,
    "lseek": 8,
}
OPERATIONS = {
    "folder": {
        "set": [("put", {"new/k": lives.value(50)})],
        "replace": [("put", {"old/replaced": lives.value(51)})],
        "create": [("create", {"old/new": lives.value(52)})],
        "patch": [("patch", {"old/replaced": lives.PATCHED})],
        "delete": [("delete", ["b/c"])],
        "delete_dir": [("delete_dir", "old")],
        "clear": [("clear", None)],
        "read": [("read", None)],
        "copy": [("copy", lives.COPIED)],
    },
    "archive": {
        "set": [("put", {"new/k": lives.value(50)})],
        "replace": [("put", {"old/replaced": lives.value(51)}), ("close", None)],
        "stream": [("stream", {"streamed": [lives.value(53, 70_000), lives.value(54, 5000)]})],
        "delete": [("delete", ["b/c"]), ("close", None)],
        "delete_dir": [("delete_dir", "old")],
        "compact": [("delete", ["old/deleted"]), ("compact", None)],
        "clear": [("clear", None)],
        "read": [("read", None)],
        "copy": [("copy", lives.COPIED), ("close", None)],
    },
}


def report(kind: str, number: int, operations: list[str], folder: Path, fsync: str = "full") -> list[dict]:
    """Run operations once for each of their calls, which fails with this error; return the outcomes."""
    command = [sys.executable, __file__, kind, str(number), fsync, str(folder), *operations]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "ready\n"
        tracer = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(program.pid), "-e"]
        tracer.append("trace=" + ",".join(KINDS))
        for name in KINDS:
            tracer += ["-e", f"inject={name}:error={errno.errorcode[number]}:when={_NTH}"]
        with subprocess.Popen(tracer):
            lines = program.stdout.read().splitlines()
    assert program.returncode == 0
    return [json.loads(line) for line in lines]


def _main(kind: str, number: int, fsync: str, folder: Path, operations: list[str]) -> None:
    _import_all(kind, operations, folder)
    print("ready", flush=True)
    _wait_for_tracer()
    for operation in operations:
        for name in KINDS:
            _apart(_ask_in_turn, kind, operation, name, number, fsync, folder)


def _import_all(kind: str, operations: list[str], folder: Path) -> None:
    """Carry out all operations once, so that only their own calls are counted later."""
    for operation in operations:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            top = Path(place) / "top"
            _prepare(kind, top)
            store = lives.make(kind, top)
            for step in OPERATIONS[kind][operation]:
                lives.take(step, store)
            store.close()


def _wait_for_tracer() -> None:
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # any process may trace this one
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        time.sleep(0.001)


def _apart(call: Callable[..., None], *arguments: object) -> None:
    """Make a call in a child, whose system calls are counted from zero."""
    child = os.fork()
    if not child:
        try:
            call(*arguments)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _ask_in_turn(kind: str, operation: str, name: str, number: int, fsync: str, folder: Path) -> None:
    """Make the first call of a kind fail, then the second, until there are no more."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for turn in range(_NTH):
            _apart(_ask, kind, operation, name, turn, number, fsync, Path(place) / str(turn))
            if (Path(place) / str(turn) / "no such call").exists():
                break


def _ask(kind: str, operation: str, name: str, turn: int, number: int, fsync: str, top: Path) -> None:
    _apart(_prepare, kind, top)
    try:
        outcome = _outcome(kind, operation, name, turn, number, fsync, top)
    except BaseException:
        outcome = {"crash": traceback.format_exc()}
    if outcome is None:
        (top / "no such call").touch()
    else:
        print(json.dumps({"operation": operation, "call": name, "turn": turn, **outcome}), flush=True)


def _prepare(kind: str, top: Path) -> None:
    top.mkdir()
    with lives.make(kind, top) as store:
        for key, content in lives.OLD.items():
            store.set_sync(key, content)


_syscall = ctypes.CDLL(None, use_errno=True).syscall


def _in_vain(name: str, number: int) -> bool:
    """Make a useless call of a kind; return whether it was the one to fail."""
    ctypes.set_errno(0)
    _syscall(KINDS[name], -1, 0, 0, 0, 0, 0)
    return ctypes.get_errno() == number


def _outcome(kind, operation, name, turn, number, fsync, top):
    steps = OPERATIONS[kind][operation]
    promise = lives.Promise(steps, lives.OLD, keeps=True, torn=("patch",))
    store = lives.make(kind, top, fsync=fsync)
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(_NTH - turn - 1):
        _in_vain(name, number)
    errors = []
    for index, step in enumerate(steps):
        promise.begin(index)
        try:
            lives.take(step, store)
        except StoreError as error:
            errors.append(str(error))
            break
        promise.end(index)
    if any(_in_vain(name, number) for _ in range(turn + 1)):
        return None
    left = [path.name for path in top.rglob("*") if path.name.startswith(".zarrstore-")]
    found = {key: store.get_sync(key).to_bytes() for key in store.list_sync()}
    broken = sorted(promise.broken(found))
    for key in ("old/replaced", "after/it"):  # the next call works
        store.set_sync(key, b"next")
        assert store.get_sync(key).to_bytes() == b"next"
    store.close()
    again = lives.make(kind, top)
    assert again.get_sync("after/it").to_bytes() == b"next"
    again.close()
    del store, again
    gc.collect()
    leaked = len(os.listdir("/proc/self/fd")) - opened
    return {"errors": errors, "broken": broken, "left": left, "leaked": leaked}


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), sys.argv[5:])
