"""A server that answers by a table, one for each module of tests here, and blank for each test."""

import pytest
from scripted_server import scripted_server


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


@pytest.fixture
def told(server):
    for kept in (server.table, server.requests, server.unforeseen):
        kept.clear()
    return server


@pytest.fixture
def told_apart():
    """A server of one test alone, whose requests still arrive after it failed."""
    with scripted_server() as server:
        yield server
