"""The table of the listing's sentences names tests that exist, and leaves no entry out."""

import ast
import json
from functools import cache
from pathlib import Path

import listing_sentences
import pytest

from zarrstore.testing import QUESTIONS

LISTING = json.loads(Path(__file__).with_name("listing.json").read_text())
ROOT = Path(__file__).parents[2]
ROWS = list(listing_sentences.rows(LISTING))
ASKED = {question.name.partition("[")[0] for question in QUESTIONS}


@cache
def names_in(path):
    body = ast.parse((ROOT / path).read_text()).body
    return {
        node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }


@pytest.mark.parametrize("test", sorted({test for _, _, test in ROWS}))
def test_the_named_test_exists(test):
    path, name, *question = test.split("::")
    assert name in names_in(path)
    assert set(question) <= ASKED


def test_no_entry_is_left_out():
    entries = {name for name, entry in LISTING.items() if entry["kind"] == "class"}
    entries |= {f"{name}.{member}" for name in entries for member in LISTING[name]["members"]}
    shown = {entry for entry, _, _ in ROWS}
    assert shown == entries
