"""What a new store finds in a folder after a life was interrupted."""

import os
import re
import zipfile

import lives

from zarrstore.errors import CorruptError
from zarrstore.storage import LocalStore, ZipStore

_MARK = re.compile(rb"(begin|end) (\d+)\n")


def place_in(call):
    """Return the step that a call announces, and whether it begins or ends; None if it announces none."""
    mark = _MARK.fullmatch(call.data)
    return (mark[1].decode(), int(mark[2])) if mark else None


def contents(kind, mode, top, word, number):
    """Return what a new store finds at the places where it must look at this step."""
    steps = lives.STEPS[kind]
    if kind.startswith("folder"):
        moves = [step for step, _ in steps].index("move")
        is_old = number < moves or (word, number) == ("begin", moves) or mode != "full"
        stores = [LocalStore(top / "root")] * is_old + [LocalStore(top / "some/where/else")] * (
            number >= moves
        )
        return {key: store.get_sync(key).to_bytes() for store in stores for key in store.list_sync()}
    path = lives.make(kind, top)._archive.path
    if not os.path.exists(path):
        return {}
    if mode == "none":
        return mended(path)
    found = whole(
        path, mode="a" if kind == "new archive" else "r"
    )  # which may be empty before its first value
    if word == "end" and number >= 0 and steps[number][0] == "close":
        with zipfile.ZipFile(path) as archive:  # other programs find everything
            assert archive.testzip() is None
            assert sorted(archive.namelist()) == sorted(found)
    return found


def whole(path, mode="r"):
    with ZipStore(path, mode=mode, verify=True) as store:
        return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


def mended(path):
    try:
        return whole(path)
    except CorruptError:
        pass
    try:
        ZipStore.repair(path)
    except CorruptError:
        return {}  # nothing was saved
    return whole(path)
