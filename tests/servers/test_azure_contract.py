"""The contract and zarr-python's suite, on a server that speaks Azure's blob interface."""

import pytest
from adlfs import AzureBlobFileSystem
from obstore.store import AzureStore
from zarr_python_suite import FsspecSuite, ObstoreSuite

from zarrstore.storage import FsspecStore, ObjectStore
from zarrstore.testing import StoreContract

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning"),
    # aiohttp's advice to whoever hands it more than a megabyte, as the file system does.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]


class TestFsspec(StoreContract):
    faces = ("await",)  # the blocking one is the same coroutines on the same thread

    @pytest.fixture
    def store(self, azure_server, place):
        fs = AzureBlobFileSystem(asynchronous=True, **azure_server.fsspec_options())
        return FsspecStore(fs, path="/".join(place))


class TestObstore(StoreContract):
    faces = ("await",)

    @pytest.fixture
    def store(self, azure_server, place):
        container, prefix = place
        return ObjectStore(AzureStore(container, prefix=prefix, **azure_server.obstore_options()))


class TestFsspecInZarrsSuite(FsspecSuite):
    @pytest.fixture
    def store_kwargs(self, azure_server, place):
        fs = AzureBlobFileSystem(asynchronous=True, **azure_server.fsspec_options())
        return {"fs": fs, "path": "/".join(place)}


class TestObstoreInZarrsSuite(ObstoreSuite):
    @pytest.fixture
    def store_kwargs(self, azure_server, place):
        container, prefix = place
        return {"store": AzureStore(container, prefix=prefix, **azure_server.obstore_options())}
