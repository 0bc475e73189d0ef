"""What must not hang: leaving the interpreter, forking, and what is no file. Each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import bucket_fs
import pytest
from file_server import serve

SUPPORT = Path(bucket_fs.__file__).parent


def run(code, *arguments, seconds=20, threads="2"):
    """Run a program that has to end by itself, without a word of complaint."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env={**os.environ, "ZARRSTORE_THREADS": threads},
        cwd=SUPPORT,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


AT_EXIT = """
import asyncio, atexit, sys, time
from pathlib import Path

def last():
    asyncio.run(store.set("last", b"v"))
    print(store.get_sync("last").to_bytes(), asyncio.run(store.get("last")).to_bytes())

{before}
from zarrstore._async import threads as _threads
from zarrstore.storage import {imported}
store = {made}

async def fill():
    if {full}:  # the pool is at its size
        await asyncio.gather(*(_threads.to_thread(time.sleep, 0.1) for _ in range(20)))
    await store.set("first", b"v")
asyncio.run(fill())
{after}
"""
FILES = ("LocalStore", "LocalStore(sys.argv[1])")
OTHERS = ("FsspecStore", 'FsspecStore.from_url("memory://root")')


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("imported", "made"), [FILES, OTHERS])
def test_a_handler_at_exit_may_await(tmp_path, imported, made, when, full):
    lines = {"before": "", "after": "", when: "atexit.register(last)"}
    code = AT_EXIT.format(imported=imported, made=made, full=full, **lines)
    assert run(code, tmp_path / "root") == "b'v' b'v'\n"


HALF_LISTED = """
import sys
from zarrstore.storage import FsspecStore
store = FsspecStore.from_url(sys.argv[1])
for number in range(3000 if sys.argv[1].startswith("memory") else 0):
    store.set_sync(f"k/{number}", b"v")
listing, names = store.list_sync(), store.list_dir_sync("k")
print(next(listing)[:2], bool(next(names)))
"""


def test_a_listing_that_is_left_half_way_lets_the_interpreter_end(tmp_path):
    assert run(HALF_LISTED, "memory://root") == "k/ True\n"


def test_a_listing_of_a_server_that_is_left_half_way_lets_the_interpreter_end(tmp_path):
    pytest.importorskip("aiohttp")
    (tmp_path / "k").mkdir()
    for number in range(50):
        (tmp_path / "k" / str(number)).write_bytes(b"v")
    with serve(tmp_path) as (url, _):
        assert run(HALF_LISTED, url) == "k/ True\n"


def test_a_listing_of_an_awaiting_file_system_that_is_left_half_way_lets_the_interpreter_end():
    code = """
from bucket_fs import BUCKETS, BucketFileSystem
from zarrstore.storage import FsspecStore
BUCKETS["b"] = {}
store = FsspecStore(BucketFileSystem(asynchronous=True), path="b/root")
for number in range(3000):
    store.set_sync(f"k/{number}", b"v")
listing, names = store.list_sync(), store.list_dir_sync("k")
print(next(listing)[:2], bool(next(names)))
"""
    assert run(code) == "k/ True\n"


FORK = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads and fork
{setup}
held, go = threading.Event(), threading.Event()
def hold():
    with lock:
        held.set()
        go.wait(20)
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(5)
    use()
    os._exit(0)
status = os.waitpid(child, 0)[1]
go.set()
thread.join()
use()
sys.exit(os.waitstatus_to_exitcode(status))
"""
MEMORY = """
from zarrstore.storage import MemoryStore
store = MemoryStore({mapping})
store.set_sync("a/b", b"v")
lock = store._data.lock
def use():
    store.set_sync("a/c", b"w")
    assert sorted(store.list_sync()) == ["a/b", "a/c"], list(store.list_sync())
    assert sorted(store.list_dir_sync("a")) == ["b", "c"]
    assert store.get_versioned_sync("a/c")[0].to_bytes() == b"w"
    store.delete_dir_sync("a")
    assert store.is_empty_sync()
    store.set_sync("a/b", b"v")
"""
OPEN_FILE = """
import io, zipfile
from zarrstore.storage import ZipStore
file = io.BytesIO()
with zipfile.ZipFile(file, "w") as archive:
    archive.writestr("a", b"v")
store = ZipStore(file)
assert store.get_sync("a").to_bytes() == b"v"
lock = store._archive.view.source.lock
def use():
    assert store.get_sync("a").to_bytes() == b"v"
"""
LISTED = """
import zipfile, tempfile, os
from zarrstore.storage import ZipStore
path = os.path.join(tempfile.mkdtemp(), "a.zip")
with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("a/b", b"v")
store = ZipStore(path)
assert store.get_sync("a/b").to_bytes() == b"v"
lock = store._archive.view.index.lock
def use():
    assert list(store.list_sync()) == ["a/b"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "setup",
    [MEMORY.replace("{mapping}", ""), MEMORY.replace("{mapping}", "{}"), OPEN_FILE, LISTED],
    ids=["memory", "mapping", "open file", "index"],
)
def test_a_lock_that_another_thread_holds_at_a_fork_is_free_in_the_child(setup):
    run(FORK.format(setup=setup))


PIPE = """
import asyncio, os, sys, time
from zarrstore.errors import StoreError
{setup}
async def main():
    for _ in range(3):  # more often than the pool has threads
        try:
            await asyncio.wait_for({call}, 5)
        except StoreError as error:
            print(type(error).__name__, "pipe" in str(error) or "no regular file" in str(error))
asyncio.run(main())
"""
LOCAL = """
from zarrstore.storage import LocalStore
store = LocalStore(sys.argv[1])
os.mkfifo(sys.argv[1] + "/pipe")
{holder}
"""
ARCHIVE = """
from zarrstore.storage import ZipStore
os.mkfifo(sys.argv[1] + "/pipe")
{holder}
store = ZipStore(sys.argv[1] + "/pipe", mode="{mode}")
"""
HOLDER = 'holder = os.open(sys.argv[1] + "/pipe", os.O_RDWR)'


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("holder", ["", HOLDER], ids=["alone", "held"])
@pytest.mark.parametrize(
    ("setup", "call", "error"),
    [
        (LOCAL, 'store.set("pipe", b"v", byte_range=(0, 1))', "BackendError"),
        (LOCAL, 'store.set_partial_values([("pipe", 0, b"v")])', "BackendError"),
        (LOCAL, 'store.get("pipe")', "BackendError"),
        (ARCHIVE.replace("{mode}", "r"), 'store.get("k")', "RootError"),
        (ARCHIVE.replace("{mode}", "a"), 'store.set("k", b"v")', "RootError"),
    ],
    ids=["byte_range", "parts", "get", "archive", "written archive"],
)
def test_a_pipe_is_refused_and_holds_up_nothing(tmp_path, setup, call, error, holder):
    code = PIPE.format(setup=setup.format(holder=holder), call=call)
    assert run(code, tmp_path) == f"{error} True\n" * 3


def test_calls_that_never_end_hold_up_leaving_once_and_not_a_thread_each():
    code = """
import asyncio, threading
from zarrstore._async import threads as _threads
async def main():
    wait = threading.Event().wait
    calls = [asyncio.ensure_future(_threads.to_thread(wait, abandon_on_cancel=True)) for _ in range(8)]
    await asyncio.sleep(0.3)
    for call in calls:
        call.cancel()
asyncio.run(main())
"""
    run(code, seconds=12, threads="8")


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_interrupt_while_a_folder_is_synced_holds_up_no_later_write(tmp_path, times):
    """Ctrl-C meets a thread that syncs, one that waits for that sync, and one that is to sync next."""
    code = """
import os, signal, sys, threading, time
from zarrstore._os import fsync
from zarrstore.storage import LocalStore
store = LocalStore(sys.argv[1], fsync="full")
store.set_sync("a", b"v")
real, begun, go = fsync.sync_folder, threading.Event(), threading.Event()
def slow(folder):
    begun.set()
    go.wait(30)
    real(folder)
fsync.sync_folder = slow
def write(number):
    store.set_sync(f"b/{number}", b"v")
others = [threading.Thread(target=write, args=(i,), daemon=True) for i in range({threads})]
for other in others:
    other.start()
if others:
    begun.wait()
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us may have it ignored
interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
interrupt.start()
try:
    store.set_sync("b/mine", b"v")
    print("not interrupted")
except KeyboardInterrupt:
    pass
go.set()
store.set_sync("b/c", b"v")
for other in others:
    other.join(10)
print([other.is_alive() for other in others])
"""
    threads = times - 1
    assert run(code.replace("{threads}", str(threads)), tmp_path / "root") == f"{[False] * threads}\n"
