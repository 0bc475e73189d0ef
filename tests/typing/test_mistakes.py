"""Mistakes that both type checkers report, in code as users write it; the code right beside it passes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

RIGHT = """
import asyncio
from collections.abc import AsyncIterator, Iterable

from distributed import Client

from zarrstore import (
    Buffer, LocalStore, MemoryStore, RangeByteRequest, Store, WrapperStore, copy_store_sync, make_store,
)
from zarrstore.abc.store import (
    Allocate, AnyPieces, ByteRequest, Conflict, Data, Precondition, Entry, Pieces, Verbs,
    cut, gather_pieces, join_pieces,
)
from zarrstore.buffer import default_buffer_prototype


class Blocking(Store):
    values: dict[str, bytes]

    @property
    def _location(self) -> str:
        return "dict://"

    def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        return cut(self.values[key], request) if key in self.values else None

    def _write(self, key: str, pieces: Pieces, condition: Precondition) -> None:
        self.values[key] = join_pieces(pieces)

    def _remove(self, key: str, condition: Precondition) -> None:
        self.values.pop(key, None)

    def _scan(self, prefix: str, deep: bool, sizes: bool) -> Iterable[list[Entry]]:
        yield [Entry(key) for key in self.values if key.startswith(prefix)]


class Awaiting(Store):
    values: dict[str, bytes]

    @property
    def _location(self) -> str:
        return "dict://"

    async def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        return cut(self.values[key], request) if key in self.values else None

    async def _write(self, key: str, pieces: AnyPieces, condition: Precondition) -> str | Conflict | None:
        self.values[key] = await gather_pieces(pieces)
        return None

    async def _remove(self, key: str, condition: Precondition) -> None:
        self.values.pop(key, None)

    async def _scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        yield [Entry(key) for key in self.values if key.startswith(prefix)]


class Shouting(WrapperStore[Store]):
    async def _read(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | None:
        value = await below.read(key, request, allocate)
        return None if value is None else bytes(value).upper()


async def main(store: Store) -> bytes:
    await store.set("a", b"1")
    value: Buffer | None = await store.get("a", default_buffer_prototype(), RangeByteRequest(0, 1))
    assert value is not None
    return value.to_bytes()


def on_a_cluster(client: Client) -> int:
    return copy_store_sync("a.zarr", "b.zarr", client=client).keys


asyncio.run(main(Shouting(MemoryStore())))
store = make_store("data.zarr")
"""

# What is wrong with it, and the code, which begins with the same imports.
WRONG = {
    "no check for a missing value": (
        'async def f(store: Store) -> None:\n    (await store.get("k")).to_bytes()'
    ),
    "no check for a missing value, blocking": 'MemoryStore().get_sync("k").to_bytes()',
    "a misspelt method": 'value = MemoryStore().get_sync("k")\nassert value is not None\nvalue.to_byts()',
    "a number for a value": 'MemoryStore().set_sync("a", 3)',
    "text for a prototype": 'MemoryStore().get_sync("a", prototype="cpu")',
    "a tuple for a request": 'MemoryStore().get_sync("a", None, (0, 1))',
    "a misspelt name of the package's": "import zarrstore\nzarrstore.LocalStor",
    "a misspelt name of a module's": "from zarrstore.storage import LocalStor",
    "a misspelt option": 'LocalStore("data.zarr", readonly=True)',
    "a verb with other types": (
        "class Odd(Store):\n    def _read(self, key: int) -> str:\n        return str(key)"
    ),
    "an awaited verb with another type": (
        "class Odd(Store):\n    async def _stat(self, key: str) -> int:\n        return len(key)"
    ),
    "a wrapper's verb with other types": (
        "class Odd(WrapperStore[Store]):\n"
        "    async def _stat(self, below: Verbs, key: int) -> None:\n        return None"
    ),
}


def run_mypy(folder, files):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", *files],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line.partition(":")[0] for line in done.stdout.splitlines() if ": error:" in line], done.stdout


def run_basedpyright(folder, files):
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(SOURCE)], "typeCheckingMode": "standard"})
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("basedpyright"), "--outputjson", "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [line for line in found if line["severity"] == "error"]
    return [Path(line["file"]).name for line in errors], json.dumps(errors, indent=1)


@pytest.fixture(scope="module", params=[run_mypy, run_basedpyright], ids=["mypy", "basedpyright"])
def found(request, tmp_path_factory):
    """Names of the files in which a checker reports errors: it is asked once, since that takes a while."""
    folder = tmp_path_factory.mktemp("user")
    imports = RIGHT[: RIGHT.index("class Blocking")]
    files = {"right.py": RIGHT} | {
        f"wrong{n}.py": f"{imports}{code}\n" for n, code in enumerate(WRONG.values())
    }
    for name, code in files.items():
        (folder / name).write_text(code)
    return request.param(folder, list(files))


def test_right_code_passes(found):
    files, said = found
    assert "right.py" not in files, said


@pytest.mark.parametrize("what", WRONG)
def test_wrong_use_is_reported(what, found):
    files, said = found
    assert f"wrong{list(WRONG).index(what)}.py" in files, said
