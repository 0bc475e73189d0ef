"""The contract and zarr-python's suite, on a server that speaks Google Cloud Storage's JSON interface."""

import pytest
from gcsfs import GCSFileSystem
from zarr_python_suite import FsspecSuite

from zarrstore.storage import FsspecStore
from zarrstore.testing import StoreContract

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning"),
    # aiohttp's advice to whoever hands it more than a megabyte, as the file system does.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]


class TestFsspec(StoreContract):
    faces = ("await",)  # the blocking one is the same coroutines on the same thread

    @pytest.fixture
    def store(self, gcs_server, place):
        fs = GCSFileSystem(asynchronous=True, **gcs_server.fsspec_options())
        return FsspecStore(fs, path="/".join(place))


class TestFsspecInZarrsSuite(FsspecSuite):
    @pytest.fixture
    def store_kwargs(self, gcs_server, place):
        fs = GCSFileSystem(asynchronous=True, **gcs_server.fsspec_options())
        return {"fs": fs, "path": "/".join(place)}
