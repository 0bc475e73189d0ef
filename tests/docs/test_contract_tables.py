"""The contract page's tables of what others leave: each row names tests, in comments, and they exist."""

import re
from pathlib import Path

import pytest
from named_tests import node_of

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "contract.md").read_text()
SECTION = PAGE.partition("## What others leave")[2].partition("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| ") and "`LocalStore` |" not in line]


def test_the_section_has_both_tables():
    assert len(ROWS) >= 20
    assert SECTION.count("\n|---|") == 2


@pytest.mark.parametrize("row", ROWS, ids=[row.partition("<!--")[0][2:40].strip() for row in ROWS])
def test_a_row_is_held_by_tests_that_exist(row):
    (comment,) = re.findall("<!-- (.*?) -->", row)
    assert len(re.sub("<!--.*?-->", "", row).split("|")) == 7  # a case and four answers
    for name in comment.split():
        assert node_of(name)
