"""The architecture page names modules, classes and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
SOURCE = ROOT / "src" / "zarrstore"
CODE = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE))))
def test_a_file_that_it_names_exists(path):
    assert (ROOT / path).is_file() or (SOURCE / path).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`_?([A-Z][a-z]\w+)(?:\.\w+)?`", PAGE))))
def test_a_class_that_it_names_exists(name):
    assert re.search(rf"class _?{name}\b", CODE)


def test_it_shows_every_room():
    picture = PAGE.partition("```text")[2].partition("```")[0]
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    stores = {path.stem for path in (SOURCE / "storage").iterdir() if path.name[1] != "_"}
    assert {room for room in rooms | stores if not re.search(rf"\b{room}\b", picture)} == set()
