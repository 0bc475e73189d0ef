"""Stores for chunked arrays: Zarr's storage layer as a library of its own.

Importing this package loads neither numpy nor asyncio; each name is imported on first use.
"""

from typing import TYPE_CHECKING

from zarrstore._lazy import attach

if TYPE_CHECKING:
    from zarrstore import errors
    from zarrstore._check import (
        CheckReport,
        Problem,
        StoreDigest,
        check_store,
        check_store_sync,
        digest_store,
        digest_store_sync,
    )
    from zarrstore._copy import (
        CopyProgress,
        CopyReport,
        Difference,
        DiffReport,
        copy_store,
        copy_store_sync,
        diff_stores,
        diff_stores_sync,
        move_store,
        move_store_sync,
        sync_store,
        sync_store_sync,
    )
    from zarrstore._core.requests import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
    from zarrstore.abc.store import Store
    from zarrstore.buffer import Buffer, BufferPrototype, default_buffer_prototype
    from zarrstore.storage import (
        FsspecStore,
        GpuMemoryStore,
        LocalStore,
        LoggingStore,
        MemoryStore,
        ObjectStore,
        PrefetchStore,
        RetryPolicy,
        RetryStore,
        StoreLike,
        StorePath,
        WrapperStore,
        ZipStore,
        make_store,
        make_store_path,
        make_store_sync,
    )

__all__ = [
    "Buffer",
    "BufferPrototype",
    "CheckReport",
    "CopyProgress",
    "CopyReport",
    "DiffReport",
    "Difference",
    "FsspecStore",
    "GpuMemoryStore",
    "LocalStore",
    "LoggingStore",
    "MemoryStore",
    "ObjectStore",
    "OffsetByteRequest",
    "PrefetchStore",
    "Problem",
    "RangeByteRequest",
    "RetryPolicy",
    "RetryStore",
    "Store",
    "StoreDigest",
    "StoreLike",
    "StorePath",
    "SuffixByteRequest",
    "WrapperStore",
    "ZipStore",
    "check_store",
    "check_store_sync",
    "copy_store",
    "copy_store_sync",
    "default_buffer_prototype",
    "diff_stores",
    "diff_stores_sync",
    "digest_store",
    "digest_store_sync",
    "errors",
    "make_store",
    "make_store_path",
    "make_store_sync",
    "move_store",
    "move_store_sync",
    "sync_store",
    "sync_store_sync",
]

__version__ = "0.1.0"

_PLACES = {
    "errors": "zarrstore.errors",
    "OffsetByteRequest": "zarrstore._core.requests",
    "RangeByteRequest": "zarrstore._core.requests",
    "SuffixByteRequest": "zarrstore._core.requests",
    "Store": "zarrstore.abc.store",
    **dict.fromkeys(
        (
            "CheckReport",
            "Problem",
            "StoreDigest",
            "check_store",
            "check_store_sync",
            "digest_store",
            "digest_store_sync",
        ),
        "zarrstore._check",
    ),
    **dict.fromkeys(
        (
            "CopyProgress",
            "CopyReport",
            "DiffReport",
            "Difference",
            "copy_store",
            "copy_store_sync",
            "diff_stores",
            "diff_stores_sync",
            "move_store",
            "move_store_sync",
            "sync_store",
            "sync_store_sync",
        ),
        "zarrstore._copy",
    ),
    **dict.fromkeys(("Buffer", "BufferPrototype", "default_buffer_prototype"), "zarrstore.buffer"),
}
if not TYPE_CHECKING:  # checkers would take any name for one of these
    __getattr__, __dir__ = attach(
        __name__, {**dict.fromkeys(__all__, "zarrstore.storage"), **_PLACES}, globals()
    )
