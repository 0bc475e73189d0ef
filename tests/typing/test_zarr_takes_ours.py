"""Type checkers take our stores and buffers where zarr-python's are wanted."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("mypy")

SOURCE = Path(__file__).parents[2] / "src"

RIGHT = """
    import zarr
    import zarr.abc.store
    import zarr.storage
    from zarr.core.buffer import default_buffer_prototype
    from zarrstore import Buffer, RangeByteRequest, Store, StorePath
    from zarrstore.abc.store import ByteRequestLike, Prototype
    from zarrstore.buffer import cpu
    from zarrstore.storage import (
        FsspecStore, LocalStore, LoggingStore, MemoryStore, SubStore, WrapperStore, ZipStore
    )


    class Loud(WrapperStore[MemoryStore]):
        supports_partial_writes = False

        async def get(
            self, key: str, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
        ) -> Buffer | None:
            return await super().get(key, prototype, byte_range)


    array = zarr.create_array(MemoryStore(), shape=(4,), dtype="i4")
    zarr.open(store=LocalStore("data.zarr"))
    zarr.open_group(ZipStore("data.zip"), mode="r")
    zarr.create_group(FsspecStore.from_url("memory://x"))
    zarr.create_group(LocalStore("data.zarr").sub("a").with_read_only(False))
    zarr.storage.StorePath(WrapperStore(MemoryStore()))
    zarr.open_group(StorePath(MemoryStore(), "a") / "b", mode="r")
    zarr.storage.LoggingStore(LoggingStore(MemoryStore()))


    async def read(store: zarr.abc.store.Store) -> None:
        await store.set("k", cpu.Buffer.from_bytes(b"v"))


    async def main(store: Store) -> Buffer:
        await read(store)
        # Byte requests of both libraries are taken.
        await store.get("k", default_buffer_prototype(), zarr.abc.store.OffsetByteRequest(1))
        value: Buffer | None = await store.get("k", byte_range=RangeByteRequest(0, 1))
        assert value is not None
        return value
"""

WRONG = {
    "a path of ours isn't a store": (
        """
        import zarr.storage
        from zarrstore.storage import MemoryStore, StorePath
        zarr.storage.WrapperStore(StorePath(MemoryStore()))
        """,
        "type-var",
    ),
    "a range of numbers isn't a request": (
        """
        from zarrstore import MemoryStore
        MemoryStore().get_sync("k", None, (0, 1))
        """,
        "arg-type",
    ),
    "a misspelt option": (
        """
        from zarrstore import LocalStore
        LocalStore("data.zarr", readonly=True)
        """,
        "call-arg",
    ),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What mypy says of each example: they are checked in one go, since that takes a while."""
    folder = tmp_path_factory.mktemp("user")
    names = {"right": RIGHT} | {f"wrong{number}": code for number, (code, _) in enumerate(WRONG.values())}
    for name, code in names.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(code))
    done = subprocess.run(
        # Silent: a user is told of errors in the user's own code only.
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--config-file=",
            *names_of(folder),
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout.splitlines()


def names_of(folder):
    return sorted(path.name for path in folder.glob("*.py"))


@pytest.mark.timeout(600)
def test_stores_are_taken(found):
    assert [line for line in found if line.startswith("right.py")] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", WRONG)
def test_wrong_use_is_seen(what, found):
    number = list(WRONG).index(what)
    errors = [line for line in found if line.startswith(f"wrong{number}.py") and ": error:" in line]
    assert len(errors) == 1
    assert errors[0].endswith(f"[{WRONG[what][1]}]")
