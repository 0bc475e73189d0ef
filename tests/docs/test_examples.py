"""README and docs: every Python block runs, every console block shows what the program prints."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy_cupy
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    """(line, text) of each fenced block of a language."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: found.start(2)].count("\n"), found[2])
        for found in BLOCK.finditer(text)
        if found[1] == language
    ]


def pages_with(language):
    return pytest.mark.parametrize(
        "page",
        [page for page in PAGES if blocks(page, language)],
        ids=lambda page: page.relative_to(ROOT).as_posix(),
    )


@pages_with("python")
def test_python_blocks_run(page, tmp_path, monkeypatch, services):
    monkeypatch.chdir(tmp_path)
    if page.name == "gpu.md":
        numpy_cupy.install_under_zarr(monkeypatch)  # few machines have the real one
    module = ModuleType("example")  # a real one, so that its classes can be pickled
    monkeypatch.setitem(sys.modules, "example", module)
    namespace = module.__dict__
    services("".join(code for _, code in blocks(page, "python")), namespace)
    for line, code in blocks(page, "python"):
        # Blank lines in front let a traceback name the line of the page.
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


@pages_with("console")
def test_console_blocks_show_what_is_printed(page, tmp_path, monkeypatch):
    pytest.importorskip("click")
    from click.testing import CliRunner

    from zarrstore._cli.program import program

    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.zarr")
    for line, text in blocks(page, "console"):
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            name, *arguments = shlex.split(command)
            assert name == "zarrstore", f"{page}:{line}: {command}"
            printed = CliRunner().invoke(program, arguments).output
            # Three dots stand for what differs from run to run.
            pattern = re.escape(expected.rstrip("\n")).replace(re.escape("..."), ".*")
            assert re.fullmatch(pattern, printed.rstrip("\n")), f"{page}:{line}: {command}\n{printed}"


def write_data(folder):
    """The hierarchy that the pages look at."""
    values = {
        "zarr.json": b'{"zarr_format": 3, "node_type": "group"}',
        "temp/zarr.json": json.dumps(
            {"node_type": "array", "shape": [4, 6], "data_type": "float32"}
        ).encode(),
        "temp/c/0": bytes(2048),
        "temp/c/1": bytes(1024),
        "old/.zarray": b'{"shape": [7], "dtype": "<i4"}'.ljust(31),
        "old/0": b"1",
    }
    for name, value in values.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "changelog.d" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_fragments_of_the_changelog_are_named_as_agreed():
    for path in (ROOT / "changelog.d").iterdir():
        assert re.fullmatch(r"README\.md|[\w-]+\.(added|changed|fixed|removed)\.md", path.name), path


def test_the_main_job_runs(tmp_path):
    """The README's first command, without the installation."""
    import subprocess

    for package in ("nibabel", "zarr"):
        pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "main_job.py", tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.endswith("all is well\n")
    assert done.stdout.count("equal byte for byte") >= 4
    shutil.rmtree(tmp_path / "out")


def test_the_conformance_example_knows_every_question_and_its_table_is_there(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.syspath_prepend(ROOT / "examples")
    import conformance

    for question in conformance.QUESTIONS:
        assert conformance.subject_of(question) in conformance.SUBJECTS
    asked, wrong = conformance.examine(conformance.STORES["Memory"], tmp_path)
    assert asked.total() == len(conformance.QUESTIONS)
    assert wrong.total() == 0
    table = (ROOT / "docs" / "how-to" / "test-a-store.md").read_text(encoding="utf-8")
    for subject in conformance.SUBJECTS:
        assert f"| {subject} |" in table
