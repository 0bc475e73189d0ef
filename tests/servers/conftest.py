"""Servers that the tests here talk to: started once a test process, when first asked for."""

import itertools

import pytest
from object_servers import BUCKET, azurite, fake_gcs, seaweed_s3

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server():
    with seaweed_s3() as server:
        yield server


@pytest.fixture(scope="session")
def azure_server():
    with azurite() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server():
    with fake_gcs() as server:
        yield server


@pytest.fixture
def place():
    """A bucket's name, on each server, and a prefix in it that no other test uses."""
    return BUCKET, f"t{next(_numbers)}"


@pytest.fixture
def s3_place(place):
    return place
