"""Modules that are imported on first use."""

import subprocess
import sys

import numpy as np

from zarrstore._core import later, recycling, verbs


def test_a_stand_in_makes_way_for_its_module():
    assert later.np.uint8 is np.uint8
    assert later.recycling.BYTE is recycling.BYTE
    for module in (later, verbs):
        assert module.np is np
        assert module.recycling is recycling


# Each round has a new stand-in, and a module that takes a moment to be imported.
TOGETHER = """
import sys, threading
from zarrstore._core import later

sys.setswitchinterval(1e-6)
wrong = []

def use(barrier):
    barrier.wait()
    try:
        for _ in range(100):
            assert later.codec.b64encode(b"k") == b"aw=="
    except BaseException as error:
        wrong.append(error)

for _ in range(100):
    sys.modules.pop("base64", None)
    later.codec, barrier = later._Later("base64"), threading.Barrier(4)
    threads = [threading.Thread(target=use, args=(barrier,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert later.codec is sys.modules["base64"]
print(wrong)
"""


def test_threads_may_use_a_module_first_at_the_same_time():
    done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_missing_name_is_an_attribute_error_of_the_module():
    code = "from zarrstore._core.later import np; np.no_such_name"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AttributeError: module 'numpy' has no attribute 'no_such_name'" in done.stderr


def test_a_store_is_made_and_listed_without_numpy_and_asyncio(tmp_path):
    (tmp_path / "k").write_bytes(b"value")
    code = (
        "import sys\n"
        "from zarrstore import LocalStore\n"
        f"store = LocalStore({str(tmp_path)!r})\n"
        "listed = [*store.list_sync()]\n"
        "before = {'numpy', 'asyncio'} & set(sys.modules)\n"
        "print(listed, before, store.get_sync('k').to_bytes())\n"
        "print({'numpy', 'asyncio'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['k'] set() b'value'\n{'numpy'}\n", "")
