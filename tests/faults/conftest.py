"""A server that answers by a table, one for each test: an earlier test's late requests don't reach it."""

import pytest
from scripted_server import scripted_server


@pytest.fixture
def told():
    with scripted_server() as server:
        yield server
