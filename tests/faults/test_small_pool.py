"""A pool of one or two threads does all that a larger one does: nothing waits for a thread that isn't free.

Each part is a process of its own, since a pool that hung would take the tests with it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_pool

SUPPORT = Path(small_pool.__file__).parent
ROOT = SUPPORT.parents[1]
# One thread is the hardest case; two of them wait for each other in more ways.
THREADS = pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])


def run(threads, *command, seconds):
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        env={**os.environ, "ZARRSTORE_THREADS": str(threads)},
        cwd=SUPPORT,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]


@THREADS
@pytest.mark.parametrize("part", ["contract", pytest.param("whole_contract", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", small_pool.KINDS)
def test_every_store(tmp_path, threads, part, kind):
    run(threads, SUPPORT / "small_pool.py", part, kind, tmp_path, 60, seconds=70)


# Their bodies are the same over every store: the ones that block, that wrap and that await are enough here.
OTHERS = [kind for kind in small_pool.KINDS if kind not in ("local", "retry", "fsspec-bucket")]


@THREADS
@pytest.mark.parametrize(
    "kind",
    ["local", "retry", "fsspec-bucket", *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)],
)
def test_copies(tmp_path, threads, kind):
    run(threads, SUPPORT / "small_pool.py", "copies", kind, tmp_path, 60, seconds=70)


@THREADS
@pytest.mark.parametrize("part", ["archives", "busy_archive", "overridden"])
@pytest.mark.parametrize("kind", ["local", "fsspec-other", "fsspec-memory", "fsspec-bucket", "retry"])
def test_stores_on_stores(tmp_path, threads, part, kind):
    run(threads, SUPPORT / "small_pool.py", part, kind, tmp_path, 20, seconds=30)


@THREADS
def test_some_examples(threads, tmp_path):
    page = ROOT / "tests" / "docs" / "test_examples.py"
    chosen = [f"{page}::test_python_blocks_run[{name}]" for name in ("README.md", "docs/how-to/check.md")]
    # Within this test's folder: another pytest may be tidying up the common one.
    options = ("-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}")
    run(threads, "-m", "pytest", *options, *chosen, seconds=60)
