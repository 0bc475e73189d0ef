"""How a process ends that has called a server through obstore: with its own exit code, and without a word."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from object_servers import BUCKET, KEY, SECRET, seaweed_s3

# obstore's threads wake an event loop, and then need the interpreter once more. Here that takes them long, as
# it may on a busy machine, and so does the interpreter's end. Without waiting nearly each of these aborts; as
# they are, one in five does.
SLOW_THREADS = """
import asyncio, sys, time
wake = asyncio.BaseEventLoop.call_soon_threadsafe
def slowly(self, *args, **kwargs):
    handle = wake(self, *args, **kwargs)
    if sys._getframe().f_back is None:  # no thread of Python's
        time.sleep(0.05)
    return handle
asyncio.BaseEventLoop.call_soon_threadsafe = slowly
class Last:
    def __del__(self, sleep=time.sleep):
        sleep(0.2)
last = Last()
"""
BEGIN = """
import asyncio, atexit, sys
{before}
from obstore.store import MemoryStore, S3Store
from zarrstore import copy_store
from zarrstore.storage import ObjectStore
store = ObjectStore(MemoryStore())
store.set_sync("a/0", b"value")

async def run():
    {call}
"""
CALLS = {
    "get": 'assert (await store.get("a/0")).to_bytes() == b"value"',
    "set": 'await store.set("a/1", b"other")',
    "list": 'assert [key async for key in store.list()] == ["a/0"]',
    "copy": 'assert (await copy_store(store, ObjectStore(MemoryStore()))).keys == 1',
    "list half": "await anext(store.list())",
    "abandoned": """calls = [asyncio.ensure_future(store.get("a/0")) for _ in range(20)]
    await asyncio.sleep(0)""",
}  # fmt: skip
BLOCKING = {
    "get": 'assert store.get_sync("a/0").to_bytes() == b"value"',
    "set": 'store.set_sync("a/1", b"other")',
    "list": 'assert list(store.list_sync()) == ["a/0"]',
    "list half": "next(store.list_sync())",
}


def end(command, **environment):
    """Run a program to its end; its exit code and what it complains about."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


def ends(commands, **environment):
    """What is told of the ends of many programs, each once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return set(pool.map(lambda command: end(command, **environment), commands))


def script(call="pass", after="asyncio.run(run())", before=""):
    return ["-c", BEGIN.format(call=call, before=before) + after]


SCRIPTS = [script(call) for call in CALLS.values()] + [script(after=call) for call in BLOCKING.values()]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_awaited_calls(call):
    assert end(script(call, before=SLOW_THREADS)) == (0, "")


@pytest.mark.parametrize("call", BLOCKING.values(), ids=BLOCKING)
def test_blocking_calls(call):
    assert end(script(before=SLOW_THREADS, after=call)) == (0, "")


@pytest.mark.parametrize("last", ['store.get_sync("a/0")', 'asyncio.run(store.set("a/1", b"other"))'])
def test_calls_of_a_handler_that_comes_after_ours(last):
    before = SLOW_THREADS + f"atexit.register(lambda: {last})"
    assert end(script(before=before)) == (0, "")


@pytest.mark.parametrize("then", ["", "loop.call_soon_threadsafe(loop.stop); thread.join()"])
def test_requests_of_an_event_loop_that_was_left_in_another_thread(then):
    after = """
import threading
loop = asyncio.new_event_loop()
thread = threading.Thread(target=loop.run_forever, daemon=True)
thread.start()
async def many():
    global calls
    calls = [asyncio.ensure_future(store.set(f"b/{number}", b"v" * 100_000)) for number in range(20)]
    await asyncio.sleep(0)
asyncio.run_coroutine_threadsafe(many(), loop).result()
"""
    assert end(script(before=SLOW_THREADS, after=after + then)) == (0, "")


@pytest.fixture(scope="module")
def s3_place(tmp_path_factory):
    """A folder, the URL of a bucket with the same value, and how the command line reaches it."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "a").mkdir()
    (folder / "a/0").write_bytes(b"value")
    with seaweed_s3() as server:
        url = f"s3://{BUCKET}/data"
        secrets = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        environment = {**secrets, "AWS_ENDPOINT_URL": server.endpoint, "AWS_REGION": "us-east-1"}
        assert end(["-m", "zarrstore", "copy", "-q", str(folder), url], **environment) == (0, "")
        yield folder, url, environment


def commands(folder, url):
    program = ["-m", "zarrstore"]
    copy = [*program, "copy", "-q", "--if-exists", "replace"]
    return [
        [*program, "ls", url],
        [*program, "cat", url, "a/0"],
        [*copy, str(folder), url],
        [*copy, url, f"{folder}-back"],
    ]


@pytest.mark.parametrize("number", range(4), ids=["ls", "cat", "copy to", "copy from"])
def test_the_command_line(s3_place, number):
    folder, url, environment = s3_place
    command = commands(folder, url)[number]
    slow = SLOW_THREADS + "sys.argv = sys.argv[2:]; from zarrstore._cli import main; main()"
    assert end(["-c", slow, *command], **environment) == (0, "")


def test_many_processes_as_they_are(s3_place):
    folder, url, environment = s3_place
    assert ends(SCRIPTS + commands(folder, url), **environment) == {(0, "")}


@pytest.mark.slow
def test_four_hundred_processes_as_they_are(s3_place):
    folder, url, environment = s3_place
    assert ends(SCRIPTS * 30 + commands(folder, url) * 25, **environment) == {(0, "")}
