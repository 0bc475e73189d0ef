"""Folders and archives that other tools made: through every store nothing is lost and nothing invented."""

import io
import itertools
from urllib.parse import quote

import obstore.store
import pytest
from file_server import serve
from found import assert_arrays, assert_found
from hierarchies import ARCHIVES, AROUND, FOLDERS, trees

from zarrstore import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    ObjectStore,
    ZipStore,
    copy_store_sync,
    make_store_sync,
)
from zarrstore.storage import LoggingStore, StorePath, WrapperStore

TREES = trees()
OF_FOLDERS = {
    "LocalStore": LocalStore,
    "mapped": lambda path: LocalStore(path, mmap=True),
    "read-only": lambda path: LocalStore(path, read_only=True),
    "wrapped": lambda path: LoggingStore(WrapperStore(LocalStore(path)), "ERROR"),
    "view": lambda path: LocalStore(path.parent).sub(path.name),
    "fsspec": lambda path: FsspecStore.from_url(f"file://{path}"),
    "obstore": lambda path: ObjectStore(obstore.store.LocalStore(path)),
    "make_store": make_store_sync,
}
OF_ARCHIVES = {
    "ZipStore": ZipStore,
    "mapped": lambda path: ZipStore(path, mmap=True),
    "verified": lambda path: ZipStore(path, verify=True),
    "to be written": lambda path: ZipStore(path, mode="a", deletes=True),
    "open file": lambda path: ZipStore(io.BytesIO(path.read_bytes())),
    "value of a store": lambda path: ZipStore(StorePath(LocalStore(path.parent), path.name)),
    "value in memory": lambda path: ZipStore(StorePath(MemoryStore({"x": path.read_bytes()}), "x")),
    "wrapped": lambda path: LoggingStore(WrapperStore(ZipStore(path)), "ERROR"),
    "make_store": lambda path: make_store_sync(f"{path}|zip:"),
}
_numbers = itertools.count()
TARGETS = {
    "MemoryStore": lambda folder: MemoryStore(),
    "LocalStore": lambda folder: LocalStore(folder / "copy"),
    "ZipStore": lambda folder: ZipStore(folder / "copy.zip", mode="w"),
    "fsspec, folder": lambda folder: FsspecStore.from_url(f"file://{folder}/copy"),
    "fsspec, memory": lambda folder: FsspecStore.from_url(f"memory://copy-{next(_numbers)}"),
    "obstore, folder": lambda folder: ObjectStore(obstore.store.LocalStore(folder / "copy", mkdir=True)),
    "obstore, memory": lambda folder: ObjectStore(obstore.store.MemoryStore()),
    "view": lambda folder: MemoryStore().sub("deep/er"),
}


def cases(vessels):
    """A third of all trees in all vessels; the short tier takes each tree and each vessel at least once."""
    count = max(len(TREES), len(vessels))
    short = {(number % len(TREES), number % len(vessels)) for number in range(count)}
    return [
        pytest.param(tree, vessel, row + column, id=f"{tree} in {vessel}", marks=marks)
        for (row, tree), (column, vessel) in itertools.product(enumerate(TREES), enumerate(vessels))
        for marks in [() if (row, column) in short else pytest.mark.slow]
        if not marks or (row + column) % 3 == 0
    ]


def check(opened, values, arrays, number, folder):
    """Read through three stores whose turn it is, and copy from each to another one."""
    for turn in range(number, number + 3):
        make = list(opened.values())[turn % len(opened)]
        make_target = list(TARGETS.values())[turn % len(TARGETS)]
        scratch = folder / f"{turn}"
        scratch.mkdir()
        with make() as store, make_target(scratch) as copied:
            assert_found(store, values)
            assert_arrays(store, arrays)
            copy_store_sync(store, copied, verify=True)
            assert_found(copied, values)
            assert_arrays(copied, arrays)


@pytest.mark.parametrize(("tree", "vessel", "number"), cases(FOLDERS))
def test_folders(tree, vessel, number, tmp_path):
    made = TREES[tree]()
    path = tmp_path / "made"
    values = FOLDERS[vessel](made, path)
    opened = {name: (lambda make=make: make(path)) for name, make in OF_FOLDERS.items()}
    check(opened, values, made.arrays, number, tmp_path)


@pytest.mark.parametrize(("tree", "vessel", "number"), cases(ARCHIVES))
def test_archives(tree, vessel, number, tmp_path):
    made = TREES[tree]()
    path = tmp_path / "made.zip"
    values = ARCHIVES[vessel](made, path)

    def inside(store):
        return store.sub(AROUND) if vessel == "folder around" else store

    opened = {name: (lambda make=make: inside(make(path))) for name, make in OF_ARCHIVES.items()}
    check(opened, values, made.arrays, number, tmp_path)


ON_THE_WEB = {"folder": FOLDERS, "folder with litter": FOLDERS, "folder of links": FOLDERS}
ON_THE_WEB |= dict.fromkeys(("zip", ".NET", "Python, piped"), ARCHIVES)
WEB_TREES = ("v2, flat, odd names", "v3, nested, consolidated")
WEB_SHORT = (("v2, flat, odd names", "folder"), ("v3, nested, consolidated", "zip"))


@pytest.mark.parametrize(
    ("tree", "vessel"),
    [
        pytest.param(*case, marks=() if case in WEB_SHORT else pytest.mark.slow)
        for case in itertools.product(WEB_TREES, ON_THE_WEB)
    ],
)
def test_on_a_web_server(tree, vessel, tmp_path):
    """Which lists its folders by pages with links."""
    made = TREES[tree]()
    name = "a b#c?d%20e" if ON_THE_WEB[vessel] is FOLDERS else "made.zip"
    values = ON_THE_WEB[vessel][vessel](made, tmp_path / name)
    with serve(tmp_path) as (url, _):
        like = f"{url}/{quote(name)}" + "|zip:" * (name == "made.zip")
        with make_store_sync(like, mode="r") as store:
            assert_found(store, values)
            assert_arrays(store, made.arrays)
            copied = MemoryStore()
            copy_store_sync(store, copied, verify=True)
            assert_found(copied, values)
