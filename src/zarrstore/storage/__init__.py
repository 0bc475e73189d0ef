"""The stores, and what turns a place's name into one."""

from typing import TYPE_CHECKING

from zarrstore._lazy import attach

if TYPE_CHECKING:
    from zarrstore._retry import RetryPolicy
    from zarrstore.storage._fsspec import FsspecStore
    from zarrstore.storage._fsspec_errors import ALLOWED_EXCEPTIONS
    from zarrstore.storage._gpu import GpuMemoryStore
    from zarrstore.storage._like import StoreLike, make_store, make_store_path, make_store_sync
    from zarrstore.storage._local import LocalStore
    from zarrstore.storage._logging import LoggingStore
    from zarrstore.storage._mapping import StoreMapping
    from zarrstore.storage._memory import MemoryStore
    from zarrstore.storage._obstore import ObjectStore
    from zarrstore.storage._path import AccessModeLiteral, StorePath
    from zarrstore.storage._retrying import RetryStore
    from zarrstore.storage._views import SubStore
    from zarrstore.storage._wrapper import WrapperStore
    from zarrstore.storage._zip import ZipStore, ZipStoreAccessModeLiteral

__all__ = [
    "ALLOWED_EXCEPTIONS",
    "AccessModeLiteral",
    "FsspecStore",
    "GpuMemoryStore",
    "LocalStore",
    "LoggingStore",
    "MemoryStore",
    "ObjectStore",
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
    "ALLOWED_EXCEPTIONS": "_fsspec_errors",
    "FsspecStore": "_fsspec",
    "GpuMemoryStore": "_gpu",
    "LocalStore": "_local",
    "LoggingStore": "_logging",
    "MemoryStore": "_memory",
    "ObjectStore": "_obstore",
    "StoreMapping": "_mapping",
    "SubStore": "_views",
    "WrapperStore": "_wrapper",
    **dict.fromkeys(("RetryPolicy", "RetryStore"), "_retrying"),
    **dict.fromkeys(("AccessModeLiteral", "StorePath"), "_path"),
    **dict.fromkeys(("ZipStore", "ZipStoreAccessModeLiteral"), "_zip"),
    **dict.fromkeys(("StoreLike", "make_store", "make_store_path", "make_store_sync"), "_like"),
}
__getattr__, __dir__ = attach(
    __name__, {name: f"{__name__}.{place}" for name, place in _PLACES.items()}, globals()
)
