"""Try all that the page on safety promises, in its long form: ``python -m tests.safety``.

It prints each promise, the stores, how many cases were tried, and how many failed.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from named_tests import node_of  # noqa: E402


class Counts:
    """Counts the cases of each test, and the failures."""

    def __init__(self):
        self.cases, self.failed = Counter(), Counter()

    def pytest_runtest_logreport(self, report):
        node = report.nodeid.partition("[")[0]
        if report.failed:
            self.failed[node] += 1
        if report.when == "call":
            self.cases[node] += dict(report.user_properties).get("cases", 1)


def main(arguments):
    page = (ROOT / "docs" / "safety.md").read_text()
    section = page.partition("## What is promised\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")][1:]
    nodes = [[node_of(name) for name in re.findall(r"`(test_\w+\.py::test_\w+)`", row[-1])] for row in rows]
    counts = Counts()
    asked = sorted({node for some in nodes for node in some})
    status = pytest.main([*asked, "-q", "-m", "not gpu", f"--rootdir={ROOT}", *arguments], [counts])
    known = {node: str(Path(node).relative_to(ROOT)) for node in asked}
    print(f"\n{'cases':>8} {'failed':>6}  promise (store)")
    for (promise, store, *_), some in zip(rows, nodes, strict=True):
        cases, failed = (sum(count[known[node]] for node in some) for count in (counts.cases, counts.failed))
        print(f"{cases:>8} {failed:>6}  {promise.strip()} ({store.strip()})")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
