"""Notes which lines of the source each test runs; loaded by every Python whose path this folder is on.

One of them is pytest, to which this is a plugin as well; the others are started by tests. Each process writes
to a file of its own in the folder $LINES_OF_TESTS. (PYTEST_DONT_REWRITE keeps pytest from warning.)
"""

import os
from pathlib import Path
from sys import monitoring

_SOURCE = f"{Path(__file__).parents[3]}/src/zarrstore/"
_notes = os.open(f"{os.environ['LINES_OF_TESTS']}/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_test = ""


def _note(*words):
    try:
        os.write(_notes, ("\t".join(words) + "\n").encode())
    except OSError:  # the test makes system calls fail
        pass


def _on_line(code, line):
    global _test
    if code.co_filename.startswith(_SOURCE):
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        if test != _test:
            _test = test
            _note("test", test)
        _note("line", f"{code.co_filename.removeprefix(_SOURCE)}:{line}")
    return monitoring.DISABLE  # for the rest of this test


def pytest_runtest_logstart():
    """See every line once more."""
    monitoring.restart_events()


def pytest_runtest_logreport(report):
    """Note how long a part of a test took, and whether it passed."""
    _note(report.outcome, report.nodeid, str(report.duration))


monitoring.use_tool_id(monitoring.COVERAGE_ID, "lines of tests")
monitoring.register_callback(monitoring.COVERAGE_ID, monitoring.events.LINE, _on_line)
monitoring.set_events(monitoring.COVERAGE_ID, monitoring.events.LINE)
