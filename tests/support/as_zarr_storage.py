"""A plugin for pytest that puts our stores in the place of zarr-python's, for its repository's own tests."""

import zarr.storage
import zarr.storage._common
import zarr.testing.store

import zarrstore.storage
from zarrstore.testing import LatencyStore

# What `zarr.storage` has, but for a class of a version's that isn't there.
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
