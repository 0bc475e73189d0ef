"""Is the contract's suite a test? Break lines of the stores one at a time: it must notice each."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parents[2] / "src"

# File, the line's text, what it becomes, and the store that is asked.
MUTATIONS = [
    ("_core/requests.py", "max(0, size - request.suffix), size", "size - request.suffix, size", "memory"),
    ("_core/requests.py", "    if start >= size:", "    if start > size:", "memory"),
    ("_core/requests.py", "min(request.end, size)", "request.end", "local"),
    ("_core/requests.py", "r.end - start) for index", "r.end - start + 1) for index", "memory"),
    ("_core/keys.py", 'and "//" not in key', "", "memory"),
    ("_core/keys.py", 'prefix if prefix[-1] == "/" else prefix + "/"', "prefix", "memory"),
    ("_core/composites.py", "if start < end:", "if False:", "memory"),
    (
        "_faces/bodies.py",
        "        self._check_writable(prefix)\n        directory",
        "        directory",
        "memory",
    ),
    ("_core/verbs.py", "if start > size:", "if False:", "local"),
    ("_core/key_tree.py", "            del names[path[cut:]]", "            pass", "memory"),
    ("storage/_memory.py", "else array.copy())", "else array)", "memory"),
    ("storage/_memory.py", "return piece.tobytes()", "return piece", "memory"),
    ("storage/_memory.py", "self.fresh.append(key)", "pass", "memory"),
    ("storage/_memory.py", "if key in self.values:\n                    self", "if True: self", "memory"),
    ("storage/_memory.py", "self._clock += 1", "pass", "memory"),
    ("storage/_memory.py", "return CONFLICT\n            data.put", "pass\n            data.put", "memory"),
    ("storage/_memory.py", "return CONFLICT\n            data.drop", "pass\n            data.drop", "memory"),
    (
        "storage/_local/reading.py",
        "if not 0 < size < _ENDLESS and not self",
        "if False and not self",
        "local",
    ),
    ("_os/files.py", "os.link(source, target)", "os.replace(source, target)", "local"),
    ("storage/_local/reading.py", "if self._is_absent(key):\n                        return -1", "", "local"),
    ("storage/_local/store.py", "removal.remove_folder(path, atomic=self.atomic)", "pass", "local"),
]

ASK = """
import itertools, sys, tempfile
from zarrstore.storage import LocalStore, MemoryStore
from zarrstore.testing import check_store
kind, count = sys.argv[1], itertools.count()
with tempfile.TemporaryDirectory() as folder:
    makes = {
        "memory": MemoryStore,
        "local": lambda: LocalStore(f"{folder}/{next(count)}"),
    }
    report = check_store(makes[kind])
print(len(report.wrong), next(iter(report.wrong), ""))
"""


def ask(source, kind):
    return subprocess.run(
        [sys.executable, "-c", ASK, kind],
        env={"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_the_unbroken_code_answers_right(kind):
    done = ask(SOURCE, kind)
    assert done.stdout.startswith("0 "), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "kind"),
    MUTATIONS,
    ids=[f"{i}-{mutation[0]}" for i, mutation in enumerate(MUTATIONS)],
)
def test_a_broken_line_is_noticed(tmp_path, file, old, new, kind):
    shutil.copytree(
        SOURCE / "zarrstore", tmp_path / "zarrstore", ignore=shutil.ignore_patterns("__pycache__")
    )
    path = tmp_path / "zarrstore" / file
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new))
    done = ask(tmp_path, kind)
    assert done.returncode or not done.stdout.startswith("0 "), f"{old!r} -> {new!r} went unnoticed"
