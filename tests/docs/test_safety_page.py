"""The page on safety: each promise names tests that exist, and each defect the one that shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from named_tests import NAME, node_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text()
NAMES = sorted(set(re.findall(NAME, PAGE)))


@pytest.mark.parametrize("name", NAMES)
def test_a_test_that_it_names_exists(name):
    assert node_of(name)


@pytest.mark.parametrize("heading", ["What is promised", "What these tests found"])
def test_each_row_names_a_test(heading):
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 5
    for row in rows:
        assert re.search(NAME, row), row


@pytest.mark.once
def test_the_command_counts_cases_and_fails_where_nothing_is_tried():
    only = [
        "-n",
        "1",
        "-p",
        "no:cacheprovider",
        "-k",
        "test_fuzz_corpus or test_texts_that_name_a_place_badly",
    ]
    command = [sys.executable, "-m", "tests.safety", *only, "-m", "not slow and not gpu"]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    table, _, idle = child.stdout.partition("promise (store)\n")[2].partition("\nnothing tried by\n")
    cases = {line[17:].partition(" (")[0]: int(line[:8]) for line in table.splitlines()}
    tried = [promise for promise, count in cases.items() if count]
    assert [promise.partition(",")[0] for promise in tried] == [
        "Text that names no place is a typed error",
        "Whatever bytes make up keys",
    ]
    assert cases[tried[1]] > 5  # each file of the corpus, not only each test
    assert child.returncode == 1
    names = set(map(str.strip, idle.splitlines()))
    assert names < set(NAMES)
    assert names & {"test_power_loss.py::test_a_repair", "test_fuzz_corpus.py::test_what_was_kept"} == {
        "test_power_loss.py::test_a_repair"
    }
