"""The stores, and the functions that open a place as a store."""

from typing import TYPE_CHECKING

from zarrstore._lazy import attach

if TYPE_CHECKING:
    from zarrstore._core.modes import AccessModeLiteral
    from zarrstore._core.retry import RetryPolicy
    from zarrstore.storage._fsspec.errors import ALLOWED_EXCEPTIONS
    from zarrstore.storage._fsspec.store import FsspecStore
    from zarrstore.storage._gpu import GpuMemoryStore
    from zarrstore.storage._local.store import LocalStore
    from zarrstore.storage._managed import ManagedMemoryStore
    from zarrstore.storage._memory import MemoryStore
    from zarrstore.storage._obstore.store import ObjectStore
    from zarrstore.storage._path import StorePath
    from zarrstore.storage._places.like import StoreLike, make_store, make_store_path, make_store_sync
    from zarrstore.storage._wrappers.logging import LoggingStore
    from zarrstore.storage._wrappers.mapping import StoreMapping
    from zarrstore.storage._wrappers.prefetching import PrefetchStore
    from zarrstore.storage._wrappers.retrying import RetryStore
    from zarrstore.storage._wrappers.views import SubStore
    from zarrstore.storage._wrappers.wrapper import WrapperStore
    from zarrstore.storage._zip.store import ZipStore, ZipStoreAccessModeLiteral

__all__ = [
    "ALLOWED_EXCEPTIONS",
    "AccessModeLiteral",
    "FsspecStore",
    "GpuMemoryStore",
    "LocalStore",
    "LoggingStore",
    "ManagedMemoryStore",
    "MemoryStore",
    "ObjectStore",
    "PrefetchStore",
    "RetryPolicy",
    "RetryStore",
    "StoreLike",
    "StoreMapping",
    "StorePath",
    "SubStore",
    "WrapperStore",
    "ZipStore",
    "ZipStoreAccessModeLiteral",
    "make_store",
    "make_store_path",
    "make_store_sync",
]

_PLACES = {
    "ALLOWED_EXCEPTIONS": "_fsspec.errors",
    "FsspecStore": "_fsspec.store",
    "GpuMemoryStore": "_gpu",
    "LocalStore": "_local.store",
    "LoggingStore": "_wrappers.logging",
    "ManagedMemoryStore": "_managed",
    "MemoryStore": "_memory",
    "ObjectStore": "_obstore.store",
    "PrefetchStore": "_wrappers.prefetching",
    "StoreMapping": "_wrappers.mapping",
    "SubStore": "_wrappers.views",
    "WrapperStore": "_wrappers.wrapper",
    **dict.fromkeys(("RetryPolicy", "RetryStore"), "_wrappers.retrying"),
    "StorePath": "_path",
    **dict.fromkeys(("ZipStore", "ZipStoreAccessModeLiteral"), "_zip.store"),
    **dict.fromkeys(("StoreLike", "make_store", "make_store_path", "make_store_sync"), "_places.like"),
}
if not TYPE_CHECKING:  # checkers would take any name for one of these
    __getattr__, __dir__ = attach(
        __name__,
        {"AccessModeLiteral": "zarrstore._core.modes"}
        | {name: f"{__name__}.{place}" for name, place in _PLACES.items()},
        globals(),
    )
