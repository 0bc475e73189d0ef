"""Servers that the tests here talk to: started once a test process, when first asked for."""

import itertools

import pytest
from object_servers import BUCKET, seaweed_s3

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server():
    with seaweed_s3() as server:
        yield server


@pytest.fixture
def s3_place():
    """A bucket's name and a prefix in it that no other test uses."""
    return BUCKET, f"t{next(_numbers)}"
