"""A pytest plugin that replaces zarr-python's stores with ours, for the tests in its repository."""

import zarr.storage
import zarr.storage._common
import zarr.testing.store

import zarrstore.storage
from zarrstore.testing import LatencyStore

# The stores of `zarr.storage`, except those that this version lacks.
for _name in (
    "FsspecStore",
    "LocalStore",
    "LoggingStore",
    "ManagedMemoryStore",
    "MemoryStore",
    "ObjectStore",
    "WrapperStore",
    "ZipStore",
):
    for _module in (zarr.storage, zarr.storage._common):
        if hasattr(_module, _name):
            setattr(_module, _name, getattr(zarrstore.storage, _name))
zarr.testing.store.LatencyStore = LatencyStore
