"""From anything that says where data lies to a store."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from zarrstore._foreign import is_foreign_path, is_foreign_store
from zarrstore.abc.store import Store
from zarrstore.errors import MissingDependencyError, ReadOnlyError, StoreLikeError
from zarrstore.storage._local import LocalStore
from zarrstore.storage._memory import MemoryStore
from zarrstore.storage._path import AccessModeLiteral, StorePath
from zarrstore.storage._wrapper import as_store

if TYPE_CHECKING:
    from typing import TypeAlias

StoreLike: TypeAlias = Store | StorePath | Path | str | dict[str, Any]

# How an archive starts: with a member, empty, or (ours) not closed yet.
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PKzg")
_KINDS = (
    "a store, a store path, a path or URL as text, a pathlib.Path, a dict, an fsspec mapper, "
    "a universal path, an obstore store, or None"
)


async def make_store(
    store_like: Any,
    *,
    mode: AccessModeLiteral | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Store:
    """Turn anything that says where data lies into a store.

    Parameters
    ----------
    store_like : StoreLike or None
        A store is returned as it is, a store path gives its store, None and a dict a `MemoryStore`,
        a path a `LocalStore`, or a `ZipStore` if a zip archive lies there (its first bytes tell).
    mode : str, optional
        ``"r"`` makes the result read-only.
    storage_options : dict, optional
        Options for the file system behind a URL.

    Raises
    ------
    StoreLikeError
        If no rule fits, or if options were given that nothing would use.
    """
    return make_store_sync(store_like, mode=mode, storage_options=storage_options)


def make_store_sync(
    store_like: Any,
    *,
    mode: AccessModeLiteral | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Store:
    """Blocking form of `make_store`: nothing it does takes long."""
    if not isinstance(store_like, str) and storage_options:
        raise StoreLikeError(
            f"storage_options go with a URL, not with {type(store_like).__name__}: nothing would use them.",
            cure="Drop them, or make the store yourself.",
        )
    store = _dispatch(store_like, mode, storage_options)
    if mode == "r" and not store.read_only:
        return store.with_read_only(True)
    if mode not in (None, "r") and store.read_only:
        raise ReadOnlyError(f"mode {mode!r} writes, and the store is read-only.", store=store)
    return store


async def make_store_path(
    store_like: Any,
    *,
    path: str | None = "",
    mode: AccessModeLiteral | None = None,
    storage_options: dict[str, Any] | None = None,
) -> StorePath:
    """Turn anything that says where data lies into a store path.

    Parameters
    ----------
    store_like : StoreLike or None
        As in `make_store`; a store path keeps its path.
    path : str, optional
        Path below that.
    mode : str, optional
        As in `StorePath.open`; mind that ``"w"`` removes what lies there.
    storage_options : dict, optional
        Options for the file system behind a URL.
    """
    store = await make_store(store_like, storage_options=storage_options)
    base = store_like.path if isinstance(store_like, StorePath) or is_foreign_path(store_like) else ""
    return await StorePath.open(store, f"{base}/{path or ''}", mode)


def _dispatch(value: Any, mode: AccessModeLiteral | None, options: dict[str, Any] | None) -> Store:
    if isinstance(value, Store):
        return value
    if isinstance(value, StorePath) or is_foreign_path(value):
        return as_store(value.store)
    if is_foreign_store(value):
        return as_store(value)
    if value is None:
        return MemoryStore()
    if isinstance(value, str):
        return _from_text(value, mode, options)
    if isinstance(value, dict):
        _check_dict(value)
        return MemoryStore(value)
    if type(value).__module__.startswith("upath"):
        return cast("Store", _fsspec_store().from_upath(value))
    if isinstance(value, os.PathLike):
        return _from_path(os.fspath(value), mode)
    if type(value).__module__.startswith("fsspec"):
        return cast("Store", _fsspec_store().from_mapper(value))
    if isinstance(value, MutableMapping):
        _check_dict(value)
        return MemoryStore(value)
    raise StoreLikeError(f"{type(value).__name__} can't be opened as a store.", cure=f"Give {_KINDS}.")


def _check_dict(value: MutableMapping[Any, Any]) -> None:
    for key in value:
        if not isinstance(key, str):
            raise StoreLikeError(
                f"a dict to be opened as a store has keys of text, not {type(key).__name__}.", key=repr(key)
            )
        break


def _from_text(text: str, mode: AccessModeLiteral | None, options: dict[str, Any] | None) -> Store:
    if not text:
        raise StoreLikeError("an empty text names no place.", cure="Use '.' for the current folder.")
    scheme = _scheme(text)
    if scheme in ("", "file") and "::" not in text:
        if options:
            raise StoreLikeError(
                f"storage_options were given, but {text!r} is a path: nothing would use them.",
                cure="Drop them, or give a URL.",
            )
        return _from_path(_local_path(text) if scheme else text, mode)
    return _from_url(text, mode, options)


def _scheme(text: str) -> str:
    """Scheme of a URL; empty for a path (a single letter is a drive of Windows)."""
    head, mark, _ = text.partition("://")
    if mark and len(head) > 1 and "/" not in head:
        return head.rpartition("::")[2] if "::" in head else head.lower()
    head, mark, _ = text.partition("::")
    return head if mark and head.isidentifier() else ""


def _local_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise StoreLikeError(
            f"{url!r} names the host {parts.netloc!r}.",
            cure="A file URL has three slashes: file:///folder/data.zarr",
        )
    if parts.query or parts.fragment:
        raise StoreLikeError(f"{url!r} has a query or a fragment.", cure="Write %3F for '?' and %23 for '#'.")
    return unquote(parts.path)


def _from_path(path: str, mode: AccessModeLiteral | None) -> Store:
    if not isinstance(path, str) or not path:
        raise StoreLikeError(f"{path!r} is no folder's path.")
    if os.path.isfile(path):
        with open(path, "rb") as file:
            start = file.read(4)
        if start in _ZIP_STARTS:
            from zarrstore.storage._zip import ZipStore

            return ZipStore(path, mode="r" if mode in (None, "r") else "a")
        raise StoreLikeError(
            f"{path!r} is a file, and not a zip archive.",
            cure="A store's root is a folder, or a zip archive (which starts with 'PK').",
        )
    if path.endswith(".zip") and not os.path.exists(path) and mode in ("w", "w-", "a"):
        from zarrstore.storage._zip import ZipStore

        return ZipStore(path, mode="x" if mode == "w-" else mode)
    return LocalStore(path)


def _from_url(url: str, mode: AccessModeLiteral | None, options: dict[str, Any] | None) -> Store:
    return cast("Store", _fsspec_store().from_url(url, storage_options=options))


def _fsspec_store() -> Any:
    try:
        from zarrstore.storage import _fsspec
    except ImportError as error:
        raise MissingDependencyError(
            "URLs and fsspec file systems need the package fsspec.", cure="pip install 'zarrstore[fsspec]'"
        ) from error
    return _fsspec.FsspecStore
