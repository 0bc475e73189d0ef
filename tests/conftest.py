"""What all tests share: the end of a run names what failed, however long the reasons above it are."""

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    yield  # pytest's own summary, which in CI gives each reason whole
    failed = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
    for report in failed[-50:]:
        terminalreporter.write_line(f"failed: {report.nodeid}")
