"""What all tests share: how their own number is borne, and an end of a run that names what failed."""

import gc

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Spare the garbage collector the tests themselves, all of which it would look at each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    yield  # pytest's own summary, which in CI gives each reason whole
    failed = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
    for report in failed[-50:]:
        terminalreporter.write_line(f"failed: {report.nodeid}")
