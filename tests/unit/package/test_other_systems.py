"""The folder and zip stores where Windows or macOS is simulated, by taking away what those lack."""

import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_stores_and_tools_where_calls_are_missing(system, tmp_path):
    command = [sys.executable, "-W", "error", SUPPORT / "kit_elsewhere.py", system, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.endswith("all is well\n")
