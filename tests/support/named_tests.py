"""Tests that pages name, as ``test_file.py::test_function``: whether they exist, and where."""

import re
from pathlib import Path

_FILES = {path.name: path for path in (Path(__file__).parents[1]).rglob("test_*.py")}


def node_of(name: str) -> str:
    """The path of a test that is named so, as pytest takes it; a KeyError if there is none."""
    file, _, function = name.partition("::")
    path = _FILES[file]
    if not re.search(rf"^(async )?def {function}\(", path.read_text(), re.MULTILINE):
        raise KeyError(name)
    return f"{path}::{function}"
