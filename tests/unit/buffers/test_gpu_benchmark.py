"""The benchmark of reads into a GPU runs, and says where its figures mean nothing."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu.py"


def test_it_runs_on_the_stand_in_and_says_so():
    pytest.importorskip("zarr")
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--stand-in", "--quick"], capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    assert "the figures mean nothing" in ran.stdout
    for title in ("20 values of 1 MiB", "one value of 16 MiB"):
        assert title in ran.stdout
    assert ran.stdout.count("x zarr-python") == ran.stdout.count("% of the bus") == 5


def test_without_a_gpu_it_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 3
    assert "need the package cupy" in capsys.readouterr().err
