"""The page on safety: each promise names tests that exist, and each defect the one that shows it."""

import re
from pathlib import Path

import pytest
from named_tests import NAME, node_of

PAGE = (Path(__file__).parents[2] / "docs" / "safety.md").read_text()
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
