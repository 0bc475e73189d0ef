"""Random small faults in the source, and whether the tests near them notice.

    python tests/mutation/random_mutants.py [--count N] [--seed S] [--minutes M]

Each mutant is one change in a copy of the source: a comparison turned round, a constant that is off by one, a
condition negated, a statement left out. The tests of its room are run over it, and over a survivor the
contract's as well. Printed are survivors, with the line and what became of it, and how many there were.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"

# Which tests look at a room, the first that fits.
NEAR = {
    "storage/_zip": ["tests/unit/zip"],
    "storage/_local": ["tests/unit/local", "tests/faults/test_local_faults.py"],
    "storage/_memory": ["tests/unit/memory"],
    "storage/_wrappers": ["tests/unit/wrappers"],
    "storage/_places": ["tests/unit/places"],
    "storage/_": ["tests/unit/remote", "tests/unit/wrappers", "tests/unit/places"],
    "_os": ["tests/unit/local", "tests/unit/zip"],
    "_async": ["tests/unit/threads", "tests/unit/core"],
    "_core": ["tests/unit/core", "tests/unit/places"],
    "_copy": ["tests/copy"],
    "_check": ["tests/check"],
    "_hierarchy": ["tests/check", "tests/cli"],
    "_cli": ["tests/cli"],
    "serve": ["tests/serve"],
    "buffer": ["tests/unit/buffers"],
    "": ["tests/unit/core", "tests/unit/wrappers"],
}
ALL = ["tests/contract/test_stores.py", "tests/contract/test_zip_stores.py", "tests/unit"]

TURNED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def places(tree):
    """Yield (node, kind) of what can be changed; nothing that only type checkers or the import see."""
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        body = [node for statement in function.body for node in ast.walk(statement)]
        for node in body:
            if isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
                yield node, "compare"
            elif isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in TURNED:
                yield node, "operator"
            elif isinstance(node, ast.Constant) and type(node.value) in (int, bool):
                yield node, "constant"
            elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
                yield node, "condition"
            elif isinstance(node, ast.Expr) and not isinstance(node.value, (ast.Constant, ast.Yield)):
                yield node, "statement"


def change(node, kind):
    """Change a node in place."""
    if kind == "compare":
        node.ops[0] = TURNED[type(node.ops[0])]()
    elif kind == "operator":
        node.op = TURNED[type(node.op)]()
    elif kind == "constant":
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif kind == "condition":
        node.test = ast.UnaryOp(ast.Not(), node.test)
    else:
        node.value = ast.Constant(None)


def mutant(random_, files):
    """Return (path, line, what was and what is, source) of a random change."""
    while True:
        path = random_.choices(files, [file.stat().st_size for file in files])[0]
        tree = ast.parse(path.read_text())
        found = list(places(tree))
        if not found:
            continue
        node, kind = random_.choice(found)
        before = ast.unparse(node if kind != "condition" else node.test)
        if kind == "statement" and before.startswith(("super().__init__", "log.")):
            continue
        change(node, kind)
        after = ast.unparse(node if kind != "condition" else node.test)
        return (
            path,
            node.lineno,
            f"{kind}: {before[:70]} -> {after[:70]}",
            ast.unparse(ast.fix_missing_locations(tree)),
        )


def survives(source, tests):
    """Whether tests pass over a source."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-n",
        "2",
        "--timeout",
        "60",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *tests], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="no mutant is begun after that")
    options = parser.parse_args()
    chosen, began = random.Random(options.seed), time.monotonic()
    files = [path for path in (SOURCE / "zarrstore").rglob("*.py") if path.stat().st_size > 400]
    tried, survivors = 0, []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(SOURCE, source)
        while tried < options.count and time.monotonic() - began < options.minutes * 60:
            path, line, what, text = mutant(chosen, files)
            place = path.relative_to(SOURCE / "zarrstore").as_posix()
            target = source / "zarrstore" / place
            target.write_text(text)
            near = next(tests for room, tests in NEAR.items() if place.startswith(room))
            tried += 1
            if survives(source, near) and survives(source, ALL):
                survivors.append((place, line, what))
                print(f"survived: {place}:{line} {what}", flush=True)
            shutil.copyfile(path, target)
    print(f"{tried} mutants, {len(survivors)} survived")


if __name__ == "__main__":
    main()
