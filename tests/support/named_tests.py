"""Tests that pages name, as ``test_file.py::test_function``: whether they exist, and where."""

import re
from pathlib import Path

_FILES = {path.name: path for path in (Path(__file__).parents[1]).rglob("test_*.py")}


# A test's name on a page, perhaps with one of its cases.
NAME = r"`(test_\w+\.py::test_\w+(?:\[[^\]]*\])?)`"


def node_of(name: str) -> str:
    """Return the pytest id of a named test, without its case; raise KeyError if there is none."""
    file, _, function = name.partition("[")[0].partition("::")
    path = _FILES[file]
    if not re.search(rf"^(async )?def {function}\(", path.read_text(), re.MULTILINE):
        raise KeyError(name)
    return f"{path}::{function}"
