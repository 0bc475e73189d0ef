"""Runs the contract's questions on the folder and zip stores, with another system simulated.

python kit_elsewhere.py windows|macos FOLDER
"""

import itertools
import sys

import other_systems
import pytest

other_systems.become(sys.argv[1])

from zarrstore import LocalStore, ZipStore, check_store_sync, copy_store_sync  # noqa: E402
from zarrstore._os import files  # noqa: E402
from zarrstore.errors import AccessDeniedError, InvalidKeyError, LockedError  # noqa: E402
from zarrstore.testing import check_store  # noqa: E402

FOLDER = sys.argv[2]
DOCUMENT = (
    b'{"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "|u1", "fill_value": 0,'
    b' "compressor": null, "filters": null, "order": "C"}'
)


def ask_the_contract():
    numbers = itertools.count()
    for make in (
        lambda: LocalStore(f"{FOLDER}/{next(numbers)}"),
        lambda: ZipStore(f"{FOLDER}/{next(numbers)}.zip", mode="a", deletes=True),
    ):
        report = check_store(make)
        assert report.asked > 1000, report
        assert not report.wrong, report
        print(report)


def use_an_archive():
    path = f"{FOLDER}/used.zip"
    with ZipStore(path, mode="w", deletes=True) as store:
        store.set_sync("large", bytes(300_000))
        store.set_sync("kept", b"value")
        store.delete_sync("large")
        with pytest.raises(LockedError):
            ZipStore(path, mode="a").set_sync("k", b"")
        if sys.argv[1] == "windows":
            others_keep_it(path, store)
        assert store.compact_sync() > 0
        store.set_sync("later", b"value")
    with open(path, "r+b") as file:
        file.truncate(file.seek(0, 2) - 60)
    report = ZipStore.repair(path)
    assert report.saved >= 2
    assert report.damaged.exists()
    assert ZipStore(path).get_sync("kept") == b"value"


def others_keep_it(path, store):
    """While a reader has an archive open, it can't be replaced, and stays unchanged."""
    files._PATIENCE = (0.001,)
    reader = ZipStore(path)
    assert reader.get_sync("kept") == b"value"
    for call in (store.compact_sync, store.clear_sync):
        with pytest.raises(AccessDeniedError):
            call()
        assert store.get_sync("kept") == b"value"
        store.set_sync("meanwhile", b"value")
    reader.close()


def use_the_tools():
    source = LocalStore(f"{FOLDER}/tools", mmap=True)
    for key, value in ((".zarray", DOCUMENT), ("0", b"12"), ("1", b"34")):
        source.set_sync(key, value)
    assert bytes(source.get_sync("1")) == b"34"
    assert copy_store_sync(source, f"{FOLDER}/tools.zip", verify=True).verified == 3
    assert copy_store_sync(f"{FOLDER}/tools.zip", f"{FOLDER}/back", verify=True).verified == 3
    assert not check_store_sync(f"{FOLDER}/back").problems
    source.clear_sync()


def refuse_names():
    store = LocalStore(f"{FOLDER}/names")
    for key in ("a:b", "c*", "NUL", "x/aux.txt", "a.", "b ", "com1/0", "k" * 300):
        for call in (store.get_sync, store.delete_sync, lambda key: store.set_sync(key, b"")):
            with pytest.raises(InvalidKeyError, match=r"Windows.* ZipStore"):
                call(key)


ask_the_contract()
use_an_archive()
use_the_tools()
if sys.argv[1] == "windows":
    refuse_names()
print("all is well")
