"""After a loss of power: what was acknowledged is there, and no value is torn, as the option ``fsync`` says.

A program lives through the steps of `lives` under strace. A cut may come after each of its calls;
`power_loss.Disk` tells what it may leave, and a new store opens each of that.
"""

import copy
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import lives
import pytest
from power_loss import Disk, cuts, materialise, record, seen, who_syncs

from zarrstore.errors import CorruptError
from zarrstore.storage import LocalStore, ZipStore

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="needs strace, to see the system calls"
)

LIVE = "import sys, lives; lives.live(*sys.argv[1:])"
REPAIR = "import sys; from zarrstore import ZipStore; ZipStore.repair(sys.argv[1])"
MARK = re.compile(rb"(begin|end) (\d+)\n")

# Kinds of lives, the option, and what it promises: whether what was acknowledged is kept, and which steps may
# leave anything. An archive that is there already keeps its name, and all else is data.
PATCHES = ("patch", "by_another")
ALL = tuple({step for steps in lives.STEPS.values() for step, _ in steps})
CASES = {
    ("folder", "none"): {"keeps": False, "torn": ALL, "mends": False},
    ("folder", "data"): {"keeps": False, "torn": PATCHES},
    ("folder", "full"): {"keeps": True, "torn": PATCHES},
    ("folder without links out", "full"): {"keeps": True, "torn": PATCHES},
    ("folder in place", "full"): {"keeps": True, "torn": ALL},
    ("archive", "none"): {"keeps": False, "torn": (), "mends": False},
    ("archive", "data"): {"keeps": True, "torn": ()},
    ("archive", "full"): {"keeps": True, "torn": ()},
    ("new archive", "full"): {"keeps": True, "torn": ()},
}
each_case = pytest.mark.parametrize(("kind", "mode"), CASES)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return a life's folder, the disk before it, and its calls."""
    known = {}

    def recorded(kind, mode):
        if (kind, mode) not in known:
            folder = tmp_path_factory.mktemp("life")
            top = folder / "top"
            top.mkdir()
            with lives.make(kind, top) as store:
                for key, value in lives.BEFORE[kind].items():
                    store.set_sync(key, value)
            disk = Disk(top)
            known[kind, mode] = top, disk, record(LIVE, kind, str(top), mode, folder=folder)
        top, disk, calls = known[kind, mode]
        return top, copy.deepcopy(disk), calls

    return recorded


@pytest.fixture
def cut(tmp_path):
    """Where to put what a cut leaves: in memory, if there is a place, since each is soon removed."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else tmp_path) as folder:
        yield Path(folder) / "cut"


def wrong(recorded, kind, mode, cut, *, most=1, unless=""):
    """Yield for each state after a cut what is wrong: step, call, and keys or the error; None if nothing."""
    _, disk, calls = recorded(kind, mode)
    promise = lives.Promise(lives.STEPS[kind], lives.BEFORE[kind], **CASES[kind, mode])
    word, number = "end", -1
    for call, trees in cuts(disk, calls, most, unless=unless):
        if mark := MARK.fullmatch(call.data):
            word, number = mark[1].decode(), int(mark[2])
            getattr(promise, word)(number)
        for tree in trees:
            materialise(tree, cut)
            try:
                broken = promise.broken(contents(kind, mode, cut, word, number))
            except Exception as error:
                broken = {repr(error)}
            shutil.rmtree(cut)
            yield (word, number, call.name, call.paths, sorted(broken)) if broken else None


def contents(kind, mode, top, word, number):
    """What a new store finds, where it has to look for it at this step."""
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
        with zipfile.ZipFile(path) as archive:  # other programs find all of it
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


@pytest.mark.parametrize("kind", lives.STEPS)
def test_a_replay_without_a_cut_is_what_there_is(recorded, kind):
    top, disk, calls = recorded(kind, "full")
    for call in calls:
        disk.replay(call)
    assert disk.tree() == seen(top)


@each_case
def test_what_a_cut_leaves(recorded, cut, kind, mode):
    found = list(wrong(recorded, kind, mode, cut))
    assert not list(filter(None, found))
    assert len(found) > 20


@pytest.mark.slow
@pytest.mark.timeout(1200)
@each_case
def test_what_many_cuts_leave(recorded, cut, kind, mode):
    assert not list(filter(None, wrong(recorded, kind, mode, cut, most=60)))


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("store", ["folder", "archive"])
def test_each_sync_is_needed(recorded, cut, store, every):
    """The checker is checked: with the syncs of one place in vain, something is lost or torn in some life."""
    cases = [case for case in CASES if store in case[0] and case[1] != "none"]
    callers = {case: {who_syncs(call) for call in recorded(*case)[2]} - {""} for case in cases}
    asked = sorted(set().union(*callers.values()))[::every]
    assert asked
    for caller in asked:
        lives_with_it = [case for case in cases if caller in callers[case]]
        assert any(any(wrong(recorded, *case, cut, most=5, unless=caller)) for case in lives_with_it), caller


def test_a_repair(tmp_path, cut):
    """The damaged archive is there, under one of its names, and what is whole can be saved from it."""
    top = tmp_path / "top"
    top.mkdir()
    path = top / "a.zip"
    with lives.make("archive", top) as store:
        for key, value in lives.OLD.items():
            store.set_sync(key, value)
    damaged = bytearray(path.read_bytes()[:-30])
    damaged[damaged.index(lives.OLD["old/deleted"]) + 5] ^= 1
    path.write_bytes(damaged)
    disk = Disk(top)
    kept = {key: value for key, value in lives.OLD.items() if key != "old/deleted"}
    count = 0
    for _, trees in cuts(disk, record(REPAIR, str(path), folder=tmp_path), 20):
        for tree in trees:
            count += 1
            materialise(tree, cut)
            assert damaged in (tree["a.zip"], tree.get("a.zip.damaged"))
            assert mended(cut / "a.zip") == kept
            shutil.rmtree(cut)
    assert count > 20
