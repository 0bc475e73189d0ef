"""Fuzz the library, guided by coverage: ``python -m tests.fuzz``, or with seconds and names of targets.

It needs ``pip install atheris``. What crashes a target is left in the current folder, and goes into
``tests/fuzz/corpus`` with the mend: the tests try all that is there.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("keys", "requests", "archives", "urls", "listings")


def fuzz(name, seconds):
    """Fuzz one target in this process, which that ends."""
    sys.path.insert(0, str(HERE.parent / "support"))
    import atheris

    with atheris.instrument_imports(include=["zarrstore"]):
        from fuzz_targets import TARGETS

    with tempfile.TemporaryDirectory() as found:
        arguments = [
            f"-max_total_time={seconds}",
            "-max_len=4096",
            "-timeout=20",
            found,
            str(HERE / "corpus" / name),
        ]
        atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
        atheris.Fuzz()


def main(seconds="20", *names):
    """Fuzz each target in a process of its own; return how many failed."""
    failed = 0
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        failed += bool(subprocess.call([sys.executable, "-m", "tests.fuzz", "--target", name, seconds]))
    return failed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--target"]:
        fuzz(*sys.argv[2:])
    else:
        sys.exit(main(*sys.argv[1:]))
