"""What type checkers say of each public name: asked of mypy and of basedpyright, and kept in two text files.

`python tests/typing/reveal.py` writes the files anew; a change in them is a change of the public API.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
MODULES = (
    "zarrstore",
    "zarrstore.abc.store",
    "zarrstore.buffer",
    "zarrstore.buffer.cpu",
    "zarrstore.buffer.gpu",
    "zarrstore.errors",
    "zarrstore.serve",
    "zarrstore.storage",
    "zarrstore.testing",
)


def public_names() -> list[str]:
    """Every public function, and every class with its own public methods, each under one name."""
    found: dict[int, str] = {}
    names: list[str] = []
    for module in MODULES:
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            thing = getattr(loaded, name)
            if not callable(thing) or not getattr(thing, "__module__", "").startswith("zarrstore"):
                continue
            if found.setdefault(id(thing), f"{module}.{name}") != f"{module}.{name}":
                continue
            names.append(f"{module}.{name}")
            if inspect.isclass(thing):
                names += [
                    f"{module}.{name}.{method}" for method in sorted(vars(thing)) if _is_method(thing, method)
                ]
    return names


def _is_method(cls: type, name: str) -> bool:
    method = inspect.getattr_static(cls, name)
    plain = inspect.isfunction(method) or isinstance(method, (classmethod, staticmethod))
    return plain and (not name.startswith("_") or name == "__init__")


def code(names: list[str]) -> str:
    """A module that reveals the type of each name, a line each."""
    return (
        "\n".join([f"import {module}" for module in MODULES] + [f"reveal_type({name})" for name in names])
        + "\n"
    )


def ask_mypy(names: list[str]) -> dict[str, str]:
    """What mypy, strict, reveals of each name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reveal.py")
        path.write_text(code(names))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "mypy",
                "--strict",
                "--config-file=",
                "--follow-imports=silent",
                path.name,
            ],
            cwd=folder,
            env={**os.environ, "MYPYPATH": str(SOURCE)},
            capture_output=True,
            text=True,
        )
    lines = re.findall(r'^reveal\.py:(\d+): note: Revealed type is "(.*)"$', done.stdout, re.M)
    assert len(lines) == len(names), done.stdout[-3000:] + done.stderr
    return {names[int(line) - len(MODULES) - 1]: text for line, text in lines}


def ask_pyright(names: list[str]) -> dict[str, str]:
    """What basedpyright reveals of each name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reveal.py")
        path.write_text(code(names))
        Path(folder, "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(SOURCE)]}))
        done = subprocess.run(
            [
                Path(sys.executable).with_name("basedpyright"),
                "--outputjson",
                "--pythonpath",
                sys.executable,
                path,
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )
    found = json.loads(done.stdout)["generalDiagnostics"]
    revealed = {}
    for line in found:
        if match := re.fullmatch(r'Type of ".*" is "(.*)"', line["message"], re.S):
            revealed[names[line["range"]["start"]["line"] - len(MODULES)]] = match[1]
    assert len(revealed) == len(names), [line for line in found if line["severity"] == "error"][:5]
    return revealed


CHECKERS = {"mypy": ask_mypy, "basedpyright": ask_pyright}


def kept(checker: str) -> Path:
    """The file that holds what a checker says."""
    return HERE / f"revealed_by_{checker}.txt"


# What NumPy's and Python's versions say differently.
_SAME = (
    (r"(typing_extensions|_collections_abc)\.Buffer", "Buffer"),
    (r"(numpy\.)?ndarray\[(builtins\.)?tuple\[Any, \.\.\.\], (numpy\.)?dtype\[.*?8Bit\]\]\]", "ByteArray"),
)


def text(revealed: dict[str, str]) -> str:
    """A line for each name."""
    lines = []
    for name in sorted(revealed):
        if ".NDBuffer." in name:  # takes what NumPy takes, whose types differ by its version
            continue
        said = " ".join(revealed[name].split())
        for pattern, plain in _SAME:
            said = re.sub(pattern, plain, said)
        lines.append(f"{name}: {said}\n")
    return "".join(lines)


if __name__ == "__main__":
    for checker, ask in CHECKERS.items():
        kept(checker).write_text(text(ask(public_names())))
        print(kept(checker).relative_to(HERE.parents[1]))
