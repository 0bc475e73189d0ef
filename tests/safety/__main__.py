"""Try all that the page on safety promises, in its long form: ``python -m tests.safety``.

It prints each promise, the stores, how many cases were tried, and how many failed. It fails if a test did, or
if one that the page names tried nothing. Arguments go to pytest: ``-n 2`` uses two processes.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from named_tests import NAME, node_of  # noqa: E402


class Counts:
    """Counts the cases of each test, and the failures."""

    def __init__(self):
        self.cases, self.failed = Counter(), Counter()

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed[report.nodeid] += 1
        if report.when == "call" and not report.skipped:
            self.cases[report.nodeid] += dict(report.user_properties).get("cases", 1)


def told(counts, name):
    """How many there are of a test, or of one of its cases."""
    node = str(Path(node_of(name)).relative_to(ROOT))
    _, bracket, case = name.partition("[")
    return sum(
        count
        for known, count in counts.items()
        if known == node + bracket + case or (not bracket and known.startswith(node + "["))
    )


def main(arguments):
    page = (ROOT / "docs" / "safety.md").read_text()
    section = page.partition("## What is promised\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")][1:]
    names = [re.findall(NAME, row[-1]) for row in rows]
    counts = Counts()
    asked = sorted({node_of(name) for some in names for name in some})
    status = pytest.main([*asked, "-q", "-m", "not gpu", f"--rootdir={ROOT}", *arguments], [counts])
    idle = [name for some in names for name in some if not told(counts.cases, name)]
    print(f"\n{'cases':>8} {'failed':>6}  promise (store)")
    for (promise, store, *_), some in zip(rows, names, strict=True):
        cases, failed = (sum(told(count, name) for name in some) for count in (counts.cases, counts.failed))
        print(f"{cases:>8} {failed:>6}  {promise.strip()} ({store.strip()})")
    if idle:
        print("\nnothing tried by", *idle, sep="\n    ")
    return status or bool(idle)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
