"""Values in memory that isn't contiguous: every store copies them, and stores the same bytes."""

import asyncio

import numpy as np
import pytest
import zarr.core.buffer.cpu

from zarrstore.buffer import cpu
from zarrstore.storage import FsspecStore, LocalStore, MemoryStore, ZipStore

SQUARE = np.arange(100, dtype=np.uint8).reshape(10, 10)
ODD = {
    "every second byte": memoryview(SQUARE.tobytes())[::2],
    "backwards": memoryview(SQUARE.tobytes())[::-1],
    "columns": SQUARE[:, ::2],
    "transposed": SQUARE.T,
    "of numbers": np.arange(20, dtype="<u4")[::3],
    "a buffer": cpu.Buffer(SQUARE.ravel()[::2]),
    "zarr-python's buffer": zarr.core.buffer.cpu.Buffer(SQUARE.ravel()[::2]),
}
STORES = {
    "memory": lambda folder: MemoryStore(),
    "mapping": lambda folder: MemoryStore({}),
    "local": LocalStore,
    "in place": lambda folder: LocalStore(folder, atomic=False),
    "zip": lambda folder: ZipStore(folder / "a.zip", mode="w"),
    "deflated zip": lambda folder: ZipStore(folder / "b.zip", mode="w", compression=8),
    "fsspec": lambda folder: FsspecStore.from_url(f"memory://{folder}"),
    "part": lambda folder: LocalStore(folder).sub("a"),
}


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("odd", ODD)
def test_a_value_that_is_not_contiguous_is_copied(tmp_path, kind, odd):
    value = ODD[odd]
    wanted = value.to_bytes() if hasattr(value, "to_bytes") else bytes(value)
    with STORES[kind](tmp_path) as store:
        store.set_sync("k", value)
        assert store.get_sync("k").to_bytes() == wanted
        asyncio.run(store.set("awaited", value))
        assert store.get_sync("awaited").to_bytes() == wanted
        assert store.create_sync("created", value)
        assert store.get_sync("created").to_bytes() == wanted
        if store.supports_partial_writes:
            store.set_partial_values_sync([("k", 1, value)])
            assert store.get_sync("k").to_bytes() == wanted[:1] + wanted
