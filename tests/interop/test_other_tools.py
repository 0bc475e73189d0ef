"""xarray, anndata and ome-zarr write and read through stores here; in buckets they do in tests/servers."""

import io

import pytest
from other_tools import TOOLS, ome_zarr, xarray

from zarrstore import LocalStore, LoggingStore, MemoryStore, StorePath, ZipStore

STORES = {
    "folder": lambda folder: LocalStore(folder / "data"),
    "memory": lambda folder: MemoryStore(),
    "archive": lambda folder: ZipStore(folder / "data.zip", mode="w"),
    "archive-that-deletes": lambda folder: ZipStore(folder / "data.ozx", mode="w", deletes=True),
    "archive-in-a-file": lambda folder: ZipStore(io.BytesIO(), mode="w"),
    "view": lambda folder: LocalStore(folder / "data").sub("a/b"),
    "wrapper": lambda folder: LoggingStore(MemoryStore(), "ERROR"),
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("kind", STORES)
def test_round_trip(tool, kind, tmp_path):
    with STORES[kind](tmp_path) as store:
        TOOLS[tool](store)


@pytest.mark.parametrize("tool", [xarray, ome_zarr])
def test_round_trip_at_a_path(tool, tmp_path):
    """anndata 0.13 takes no store path below the root, zarr-python's neither: it wants `store.sub(path)`."""
    tool(StorePath(LocalStore(tmp_path), "a/b"))
