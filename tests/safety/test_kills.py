"""A writer killed at any of its system calls, or within a write: what was acknowledged is there, whole.

A kill keeps all that the calls before it changed, so a recorded life (`lives`) tells what each leaves.
"""

import shutil

import lives
import pytest
from found_after import contents, place_in
from injected import litter
from power_loss import kills, materialise

from zarrstore._os import temporary as _temporary
from zarrstore.storage import LocalStore

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="needs strace, to see the system calls"
)

TEARS = {"folder in place": tuple({step for step, _ in lives.FOLDER})}


@pytest.mark.parametrize("mode", ["none", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", lives.STEPS)
def test_a_kill_at_each_call(recorded, cut, monkeypatch, record_property, kind, mode):
    monkeypatch.setattr(_temporary, "_FRESH", 0)
    _, disk, calls = recorded(kind, mode)
    promise = lives.Promise(
        lives.STEPS[kind], lives.BEFORE[kind], keeps=True, torn=TEARS.get(kind, ("patch",)), follows=True
    )
    word, number, last, left, cases = "end", -1, {}, 0, 0
    for call, tree in kills(disk, calls):
        if told := place_in(call):
            word, number = told
            getattr(promise, word)(number)
        elif tree == last:
            continue
        last = tree
        cases += 1
        materialise(tree, cut)
        left += len(litter(cut))
        try:
            assert not promise.broken(contents(kind, "full", cut, word, number)), (word, number, call.name)
            if kind.startswith("folder"):
                roots = [path for path in (cut / "root", cut / "some/where/else") if path.exists()]
                assert [list(LocalStore(root).list_sync()) for root in roots]
            else:
                with lives.make(kind, cut) as store:
                    store.set_sync("by the next", b"")
            assert not litter(cut)
        finally:
            shutil.rmtree(cut)
    record_property("cases", cases)
    assert left > 3 or kind in ("new archive", "folder in place")
