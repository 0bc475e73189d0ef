"""The documentation as a site: it builds without a warning, has every public name, and can be searched."""

import builtins
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = (
    "zarrstore",
    "zarrstore.storage",
    "zarrstore.buffer",
    "zarrstore.abc.store",
    "zarrstore.serve",
    "zarrstore.testing",
)

# What newcomers ask, as they would type it, and the page with the answer.
QUESTIONS = {
    "install extras s3": "install/",
    "public bucket anonymous": "how-to/buckets/",
    "minio endpoint": "how-to/buckets/",
    "xarray to zip": "how-to/zarr-xarray-dask/",
    "inode quota hpc": "how-to/archives/",
    "copy folder to bucket verify": "how-to/copy/",
    "pytorch dataloader fork": "how-to/workers/",
    "codec pipeline": "how-to/zarr-xarray-dask/",
    "write own store": "how-to/write-a-store/",
    "windows reserved names": "platforms/",
    "browser viewer": "how-to/serve/",
    "repair damaged archive": "stores/zip/",
    "LockedError": "reference/errors/",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.once
def test_the_site_has_every_public_name_and_asks_nobody_else(site):
    reference = "\n".join(page.read_text() for page in (site / "reference").rglob("index.html"))
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            assert re.search(rf'id="zarrstore[\w.]*\.{name}"', reference) or name in (
                "cpu",
                "gpu",
                "errors",
            ), f"{module}.{name}"
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img)[^>]* src="([^"]+)"|<link[^>]* href="(http[^"]+)"', page.read_text()
        )
        assert not [a or b for a, b in loaded if (a or b).startswith(("http", "//"))], page


@pytest.mark.once
def test_the_site_answers_questions_within_two_pages(site):
    lunr = pytest.importorskip("lunr")
    sections = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    fields = [{"field_name": "title", "boost": 10}, {"field_name": "text", "boost": 1}]
    index = lunr.lunr(ref="location", fields=fields, documents=sections)
    first = {}
    for question in QUESTIONS:
        query = " ".join(f"+{word}" for word in question.split())
        found = [hit["ref"].partition("#")[0] for hit in index.search(query) or index.search(question)]
        first[question] = list(dict.fromkeys(found))[:2]
    assert {question: found for question, found in first.items() if QUESTIONS[question] not in found} == {}


def test_the_page_of_errors_has_each_with_cause_and_remedy():
    from zarrstore import errors

    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert rows.keys() == set(errors.__all__)
    for name, row in rows.items():
        built_ins, cause, remedy = row.split(" | ")
        assert cause
        assert remedy
        for built_in in re.findall(r"`(\w+)`", built_ins):
            assert issubclass(getattr(errors, name), getattr(builtins, built_in))


def test_the_page_of_variables_has_each_that_is_read():
    page = (ROOT / "docs" / "reference" / "environment.md").read_text()
    code = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for name in set(re.findall(r'"((?:ZARRSTORE|AWS|GS|GOOGLE|AZURE)_[A-Z_0-9]+)"', code)):
        assert f"`{name}`" in page, name


def test_the_page_of_extras_has_each():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "install.md").read_text()
    for extra in project["optional-dependencies"]:
        assert f"`{extra}`" in page, extra
