"""The stores, and what turns a place's name into one."""

from typing import TYPE_CHECKING

from zarrstore._lazy import attach

if TYPE_CHECKING:
    from zarrstore.storage._like import StoreLike, make_store, make_store_path, make_store_sync
    from zarrstore.storage._local import LocalStore
    from zarrstore.storage._memory import MemoryStore
    from zarrstore.storage._path import AccessModeLiteral, StorePath
    from zarrstore.storage._wrapper import WrapperStore
    from zarrstore.storage._zip import ZipStore, ZipStoreAccessModeLiteral

__all__ = [
    "AccessModeLiteral",
    "LocalStore",
    "MemoryStore",
    "StoreLike",
    "StorePath",
    "WrapperStore",
    "ZipStore",
    "ZipStoreAccessModeLiteral",
    "make_store",
    "make_store_path",
    "make_store_sync",
]

_PLACES = {
    "LocalStore": "_local",
    "MemoryStore": "_memory",
    "WrapperStore": "_wrapper",
    **dict.fromkeys(("AccessModeLiteral", "StorePath"), "_path"),
    **dict.fromkeys(("ZipStore", "ZipStoreAccessModeLiteral"), "_zip"),
    **dict.fromkeys(("StoreLike", "make_store", "make_store_path", "make_store_sync"), "_like"),
}
__getattr__, __dir__ = attach(
    __name__, {name: f"{__name__}.{place}" for name, place in _PLACES.items()}, globals()
)
