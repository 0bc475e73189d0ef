"""Each system call of a store fails in turn: a typed error or none, nothing lost, torn or left behind."""

import errno
import os
import shutil
from pathlib import Path

import failing_calls
import pytest

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to make system calls fail"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="knows the numbers of x86-64's calls"),
    pytest.mark.timeout(1200),
]

ERRORS = ["EIO", "ENOSPC", "EMFILE", "EINTR", "EACCES", "EROFS", "ESTALE", "ENOSYS"]


def look(kind, number, operations, place):
    outcomes = failing_calls.report(kind, number, operations, place)
    asked = {outcome["operation"] for outcome in outcomes}
    assert asked == set(operations)
    for outcome in outcomes:
        assert "crash" not in outcome, outcome
        assert not outcome["broken"], outcome
        assert not outcome["leaked"], outcome
        # A temporary file whose removal fails stays until the next writer's.
        assert not outcome["left"] or outcome["call"] in ("unlink", "unlinkat", "rmdir"), outcome
    told = [outcome for outcome in outcomes if outcome["errors"]]
    assert told
    return len(outcomes)


@pytest.mark.parametrize(
    ("kind", "operation", "name"),
    [
        ("archive", "replace", "EIO"),
        pytest.param("folder", "create", "ENOSPC", marks=pytest.mark.slow),
    ],
)
def test_a_few_calls_fail(tmp_path, record_property, kind, operation, name):
    cases = look(kind, getattr(errno, name), [operation], tmp_path)
    record_property("cases", cases)
    assert cases > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("kind", failing_calls.OPERATIONS)
def test_each_call_fails(tmp_path, record_property, kind, name):
    place = Path("/dev/shm") if os.path.isdir("/dev/shm") else tmp_path
    cases = look(kind, getattr(errno, name), list(failing_calls.OPERATIONS[kind]), place)
    record_property("cases", cases)
    assert cases > 100
