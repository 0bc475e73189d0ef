"""After a loss of power: what was acknowledged is there, and no value is torn, as the option ``fsync`` says.

A program lives through the steps of `lives` under strace. A cut may come after each of its calls;
`power_loss.Disk` tells what it may leave, and a new store opens each of that.
"""

import shutil

import lives
import pytest
from found_after import contents, mended, place_in
from power_loss import Disk, cuts, materialise, record, seen, who_syncs

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="needs strace, to see the system calls"
)

REPAIR = "import sys; from zarrstore import ZipStore; ZipStore.repair(sys.argv[1])"

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


def wrong(recorded, kind, mode, cut, *, most=1, unless=""):
    """Yield for each state after a cut what is wrong: step, call, and keys or the error; None if nothing."""
    _, disk, calls = recorded(kind, mode)
    promise = lives.Promise(lives.STEPS[kind], lives.BEFORE[kind], **CASES[kind, mode])
    word, number = "end", -1
    for call, trees in cuts(disk, calls, most, unless=unless):
        if told := place_in(call):
            word, number = told
            getattr(promise, word)(number)
        for tree in trees:
            materialise(tree, cut)
            try:
                broken = promise.broken(contents(kind, mode, cut, word, number))
            except Exception as error:
                broken = {repr(error)}
            shutil.rmtree(cut)
            yield (word, number, call.name, call.paths, sorted(broken)) if broken else None


@pytest.mark.parametrize("kind", lives.STEPS)
def test_a_replay_without_a_cut_is_what_there_is(recorded, kind):
    top, disk, calls = recorded(kind, "full")
    for call in calls:
        disk.replay(call)
    assert disk.tree() == seen(top)


@each_case
def test_what_a_cut_leaves(recorded, cut, record_property, kind, mode):
    found = list(wrong(recorded, kind, mode, cut))
    record_property("cases", len(found))
    assert not list(filter(None, found))
    assert len(found) > 20


@pytest.mark.slow
@pytest.mark.timeout(1200)
@each_case
def test_what_many_cuts_leave(recorded, cut, record_property, kind, mode):
    found = list(wrong(recorded, kind, mode, cut, most=60))
    record_property("cases", len(found))
    assert not list(filter(None, found))


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("store", ["folder", "archive"])
def test_each_sync_is_needed(recorded, cut, record_property, store, every):
    """The checker is checked: with the syncs of one place in vain, something is lost or torn in some life."""
    cases = [case for case in CASES if store in case[0] and case[1] != "none"]
    callers = {case: {who_syncs(call) for call in recorded(*case)[2]} - {""} for case in cases}
    asked = sorted(set().union(*callers.values()))[::every]
    record_property("cases", len(asked))
    assert asked
    for caller in asked:
        lives_with_it = [case for case in cases if caller in callers[case]]
        assert any(any(wrong(recorded, *case, cut, most=5, unless=caller)) for case in lives_with_it), caller


def test_a_repair(tmp_path, cut, record_property):
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
    record_property("cases", count)
    assert count > 20
