"""Random small faults in the source, and whether a test notices each.

    python tests/mutation/random_mutants.py [--count N] [--seed S] [--jobs J] [--map FILE]
    python tests/mutation/random_mutants.py --only N [--seed S] TEST...

A mutant is one change in a copy of the checkout: a comparison turned round, a constant that is off by one,
a condition negated, a statement left out. The quick tests run once, and it is noted which lines each of them
runs. A mutant then meets tests that run its line, short ones from many files. If none fails, it has survived.

It needs Linux, Python 3.12 or newer, and the right to make namespaces: mutants may write and remove anything,
so they see the root file system read-only, but for a folder of their own, and their processes end with them.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, chain
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "zarrstore"
QUICK = [
    f"tests/{name}" for name in ("check", "cli", "cluster", "contract", "copy", "faults", "serve", "unit")
]
QUICK += ["tests/interop/test_drop_in.py", "--ignore=tests/serve/test_serve_browser.py"]
# How many tests a mutant meets first, from how many files; and then how many from all files.
QUICKEST, FILES, MOST = 150, 20, 600
SECONDS = 600  # for either

TURNED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutant(NamedTuple):
    """A change of a file: the node, the lines of its statement, and what the node becomes."""

    file: str
    node: ast.AST
    statement: list[int]
    text: str

    def __str__(self):
        return f"{self.file}:{self.node.lineno} {ast.unparse(self.node)[:70]} -> {self.text[:70]}"


# -- mutants -------------------------------------------------------------------------------------------------


def statements(node, inside=False):
    """Yield the statements in functions; the others run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if inside and isinstance(child, ast.stmt):
            yield child
        yield from statements(child, inside or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))


def own(statement):
    """Yield the nodes of a statement that belong to no statement inside it."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, ast.stmt):
            yield child
            yield from own(child)


def changed(node):
    """Yield a change of a node: which part of it, and what that becomes."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
        yield node, ast.Compare(node.left, [TURNED[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in TURNED:
        yield node, ast.BinOp(node.left, TURNED[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield node, ast.BoolOp(TURNED[type(node.op)](), node.values)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, bool):
        yield node, ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield node.test, ast.UnaryOp(ast.Not(), node.test)
    elif (
        isinstance(node, ast.Expr)
        and not isinstance(node.value, (ast.Constant, ast.Yield))
        and not ast.unparse(node).startswith(("log.", "super().__init__"))
    ):
        yield node, ast.Constant(None)


def lines(node):
    return range(node.lineno, node.end_lineno + 1)


def mutants_of(path):
    """Yield every mutant of a file."""
    file = str(path.relative_to(SOURCE))
    for statement in statements(ast.parse(path.read_text())):
        nodes = [statement, *(node for node in own(statement) if hasattr(node, "lineno"))]
        around = sorted({line for node in nodes[1:] for line in lines(node)} | {statement.lineno})
        for part, becomes in chain.from_iterable(map(changed, nodes)):
            yield Mutant(file, part, around, ast.unparse(becomes))


def put(mutant, source):
    """Return a source with a mutant's change; the other lines stay as they are."""
    node, source = mutant.node, source.encode()
    starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
    start = starts[node.lineno - 1] + node.col_offset
    end = starts[node.end_lineno - 1] + node.end_col_offset
    return (source[:start] + f"({mutant.text})".encode() + source[end:]).decode()


# -- tests ---------------------------------------------------------------------------------------------------


def copy_checkout(folder):
    return Path(shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__")))


def run(checkout, *arguments, notes=None, timeout=None):
    """Run pytest in a copy of the checkout, which is all that it can write to."""
    own = checkout / "own"
    own.mkdir(exist_ok=True)
    paths = [checkout / "src", *([checkout / "tests" / "mutation" / "watched"] if notes else [])]
    environment = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LINES_OF_TESTS": str(notes),
        "HOME": str(own),
        "TMPDIR": str(own),
    }
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    alone += [] if os.geteuid() == 0 else ["--map-root-user"]
    mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && cd "$0" && "$@"'
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60", *arguments]
    return subprocess.run(
        [*alone, "sh", "-c", mounts, checkout, *pytest],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def make_map(checkout, jobs):
    """Run the quick tests, and return what `read` does."""
    notes = checkout / "notes"
    notes.mkdir()
    done = run(checkout, "-n", str(jobs), "-p", "sitecustomize", *QUICK, notes=notes)
    print(done.stdout.splitlines()[-1], flush=True)
    return read(notes)


def read(notes):
    """Return the tests that passed, the shortest first, and the numbers of some that run each line."""
    seconds, bad, runs = defaultdict(float), set(), defaultdict(set)
    for path in notes.iterdir():
        test = ""
        for text in path.read_text().splitlines():
            kind, name, *duration = text.split("\t")
            if kind == "test":
                test = name
            elif kind == "line":
                runs[name].add(test)
            else:
                seconds[name] += float(*duration)
                bad |= {name} if kind != "passed" else set()
    tests = sorted(seconds.keys() - bad, key=seconds.get)
    number = {test: index for index, test in enumerate(tests)}
    runs = {line: spread(map(number.get, ran & number.keys()), tests) for line, ran in runs.items()}
    return tests, runs


def spread(numbers, tests):
    """Return some of the tests: of each file the shortest, then the second shortest, and so on."""
    files = defaultdict(list)
    for number in sorted(numbers):
        files[file_of(tests[number])].append(number)
    ranked = sorted(pair for of_file in files.values() for pair in enumerate(of_file))
    return [number for _, number in ranked[:MOST]]


def file_of(test):
    return test.partition("::")[0]


def tests_over(mutant, tests, runs):
    """Return tests that run a mutant's line, or else its statement: those of a few files, then the others."""

    def running(where):
        return {number for line in where for number in runs.get(f"{mutant.file}:{line}", ())}

    found = [
        tests[number] for number in spread(running(lines(mutant.node)) or running(mutant.statement), tests)
    ]
    few = list(dict.fromkeys(map(file_of, found)))[:FILES]
    quickest = [test for test in found if file_of(test) in few][:QUICKEST]
    return [part for part in (quickest, [test for test in found if test not in quickest]) if part]


def survives(mutant, tests, checkout):
    """Whether all tests pass over a mutant."""
    target = checkout / "src" / "zarrstore" / mutant.file
    before = target.read_text()
    target.write_text(put(mutant, before))
    try:
        return run(checkout, "-x", *tests, timeout=SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        target.write_text(before)


def known_lines(file, folder, jobs):
    """Read the map from a file, or make it and write it there."""
    if file and file.exists():
        return json.loads(file.read_text())
    known = make_map(copy_checkout(f"{folder}/map"), jobs)
    if file:
        file.write_text(json.dumps(known))
    return known


def chosen_mutants(seed, count):
    found = chain.from_iterable(map(mutants_of, sorted(SOURCE.rglob("*.py"))))
    return list(enumerate(random.Random(seed).sample(list(found), count)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--map", type=Path, help="which tests run which lines: read if it exists, else written"
    )
    parser.add_argument("--only", type=int, help="one mutant's number")
    parser.add_argument("tests", nargs="*", help="what each mutant meets, instead of what the map says")
    options = parser.parse_args()
    chosen = chosen_mutants(options.seed, options.count)
    if options.only is not None:
        chosen = [chosen[options.only]]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        known = None if options.tests else known_lines(options.map, folder, options.jobs)
        checkouts = SimpleQueue()
        for job in range(options.jobs):
            checkouts.put(copy_checkout(f"{folder}/{job}"))

        def judge(numbered):
            number, mutant = numbered
            parts = [options.tests] if options.tests else tests_over(mutant, *known)
            checkout = checkouts.get()
            survived = all(survives(mutant, tests, checkout) for tests in parts)
            checkouts.put(checkout)
            outcome = f"survived {sum(map(len, parts))} tests" if survived else "noticed"
            print(f"{number} {outcome}: {mutant}", flush=True)
            return survived

        survivors = sum(pool.map(judge, chosen))
    print(f"{len(chosen)} mutants, {survivors} survived")


if __name__ == "__main__":
    main()
