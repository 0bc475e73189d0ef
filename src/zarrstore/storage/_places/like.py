"""Makes stores from paths, URLs, mappings and other objects that name a place."""

from __future__ import annotations

import os
import warnings
from collections.abc import MutableMapping
from functools import partial
from typing import TYPE_CHECKING, cast

from zarrstore._async.threads import to_thread
from zarrstore._core import urls
from zarrstore._core.modes import AccessModeLiteral, check_mode
from zarrstore._core.secrets import safe_cause, without_secrets
from zarrstore._core.types import UniversalPath
from zarrstore._core.zarr_compat import is_zarr_path, is_zarr_store
from zarrstore.abc.store import Store
from zarrstore.errors import (
    MissingDependencyError,
    ReadOnlyError,
    StoreError,
    StoreLikeError,
    UnsupportedOperationError,
)
from zarrstore.storage._local.store import LocalStore
from zarrstore.storage._path import StorePath
from zarrstore.storage._places.archives import folder_hint, is_archive, is_named_so
from zarrstore.storage._places.reach import Backend, reached
from zarrstore.storage._places.text_forms import from_text_form
from zarrstore.storage._wrappers.wrapper import as_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    from obstore.store import ObjectStore as ObstoreStore

    from zarrstore._core.types import Mapper
    from zarrstore.storage._fsspec.store import FsspecStore
    from zarrstore.storage._memory import MemoryStore
    from zarrstore.storage._zip.store import ZipStore

    # Options of a URL's file system.
    Options: TypeAlias = dict[str, object]


StoreLike: TypeAlias = (
    Store | StorePath | os.PathLike[str] | UniversalPath | str | MutableMapping[str, object] | None
)

_KINDS = (
    "a store, a store path, a path or URL as text, a pathlib.Path, a dict, an fsspec mapper, "
    "a universal path, an obstore store, or None"
)


async def make_store(
    store_like: object,
    *,
    mode: AccessModeLiteral | None = None,
    storage_options: Mapping[str, object] | None = None,
    backend: Backend | None = None,
) -> Store:
    """Turn anything that names a place into a store.

    Parameters
    ----------
    store_like : StoreLike or None
        A store is returned unchanged. A store path gives its store. None and a dict give a `MemoryStore`. A
        path gives a `ZipStore` if it is an archive file, or if it ends in ``.zip`` or ``.ozx`` and isn't a
        folder; otherwise it gives a `LocalStore`. A URL with such an ending is an archive, which is
        read-only. ``PLACE|zip:`` is a zip archive at any path or URL, and ``PLACE|zip:a/b`` a directory in
        it. fsspec's ``zip::PLACE`` and ``zip://a/b::PLACE`` mean the same.
    mode : str, optional
        ``"r"`` makes the result read-only.
    storage_options : mapping, optional
        Options for the URL's file system.
    backend : {"obstore", "fsspec"}, optional
        Which library opens a URL. By default obstore, if it is installed, for S3 (with a region or an
        endpoint) and Azure with credentials that are given, in the environment or not needed, and for public
        data on GCS (``token="anon"``). If an option has no equivalent there, and in all other cases, fsspec.
        ``"obstore"`` also accepts obstore's own options.

    Raises
    ------
    StoreLikeError
        If the object is none of the above, or if an option would be ignored.
    ReadOnlyError
        If the mode writes and the store is read-only.

    Warns
    -----
    UserWarning
        If a path to be read is an archive with a folder around the hierarchy, as ``zip -r`` creates.
    """
    store = open_place(store_like, mode=mode, storage_options=storage_options, backend=backend)
    place = _read_path(store_like, mode)
    if place and (hint := await to_thread(folder_hint, store, place)):
        warnings.warn(hint, stacklevel=2)
    return store


def make_store_sync(
    store_like: object,
    *,
    mode: AccessModeLiteral | None = None,
    storage_options: Mapping[str, object] | None = None,
    backend: Backend | None = None,
) -> Store:
    """Blocking form of `make_store`."""
    store = open_place(store_like, mode=mode, storage_options=storage_options, backend=backend)
    place = _read_path(store_like, mode)
    if place and (hint := folder_hint(store, place)):
        warnings.warn(hint, stacklevel=2)
    return store


def _read_path(store_like: object, mode: AccessModeLiteral | None) -> str | None:
    """Return a path that is opened for reading; None where a folder in an archive is no surprise."""
    if mode not in (None, "r", "r+") or not isinstance(store_like, (str, os.PathLike)):
        return None
    place = os.fspath(store_like)
    return place if isinstance(place, str) and _archive_in(place) is None else None


def open_place(
    store_like: object,
    *,
    mode: AccessModeLiteral | None = None,
    storage_options: Mapping[str, object] | None = None,
    backend: Backend | None = None,
) -> Store:
    """Do the same as `make_store_sync`, without warnings."""
    if not isinstance(store_like, str) and storage_options:
        raise StoreLikeError(
            f"storage_options go with a URL, not with {type(store_like).__name__}: nothing would use them.",
            hint="Drop them, or make the store yourself.",
        )
    check_mode(mode)
    options = None if storage_options is None else dict(storage_options)
    if isinstance(store_like, str) and (scheme := _reached_by(store_like)):
        options, backend = reached(scheme, storage_options, backend)
    store = _dispatch(store_like, mode, options, backend)
    if mode == "r" and not store.read_only:
        return store.with_read_only(True)
    if mode not in (None, "r") and store.read_only:
        raise ReadOnlyError(f"mode {mode!r} writes, and the store is read-only.", store=store)
    return store


def _reached_by(text: str) -> str | None:
    """Return the scheme of a URL; None for paths, and for chains, whose parts have their own options."""
    place = (_archive_in(text) or (text, ""))[0].partition("|")[0]
    scheme = _scheme(urls.with_lower_scheme(place))
    return None if scheme in ("", "file") or "::" in place else scheme


async def make_store_path(
    store_like: object,
    *,
    path: str | None = "",
    mode: AccessModeLiteral | None = None,
    storage_options: Mapping[str, object] | None = None,
    backend: Backend | None = None,
) -> StorePath:
    """Turn anything that names a place into a store path.

    Parameters
    ----------
    store_like : StoreLike or None
        As in `make_store`; a store path's own path is kept.
    path : str, optional
        Path below the place.
    mode : str, optional
        As in `StorePath.open`, except that ``"w"`` removes nothing.
    storage_options : mapping, optional
        Options for the URL's file system.
    backend : {"obstore", "fsspec"}, optional
        Which library opens a URL, as in `make_store`.
    """
    if path:  # a caller that names a path in an archive needs no hint
        store = open_place(store_like, mode=mode, storage_options=storage_options, backend=backend)
    else:
        store = await make_store(store_like, mode=mode, storage_options=storage_options, backend=backend)
    base = store_like.path if isinstance(store_like, StorePath) or is_zarr_path(store_like) else ""
    return await StorePath.open(store, f"{base}/{path or ''}", "a" if mode == "w" else mode)


def _dispatch(
    value: object, mode: AccessModeLiteral | None, options: Options | None, backend: Backend | None
) -> Store:
    if isinstance(value, Store):
        return value
    if isinstance(value, StorePath) or is_zarr_path(value):
        return as_store(value.store)
    if is_zarr_store(value):
        return as_store(value)
    if value is None:
        return _memory_store()()
    if isinstance(value, str):
        return _from_text(value, mode, options, backend)
    if isinstance(value, dict):
        _check_dict(value)
        return _memory_store()(value)
    if _comes_from(value, "upath"):
        place = cast("UniversalPath", value)
        if place.protocol in ("", "file", "local"):
            return _from_path(place.path, mode)
        if is_named_so(place.path):
            _check_read(mode, place.path)
            return _zip_store()(StorePath(_fsspec_store().from_upath(place.parent), place.name))
        return _fsspec_store().from_upath(place)
    if isinstance(value, os.PathLike):
        return _from_path(os.fspath(value), mode)
    if _comes_from(value, "obstore"):
        from zarrstore import storage

        return storage.ObjectStore(cast("ObstoreStore", value))
    if _comes_from(value, "fsspec"):
        if not isinstance(value, MutableMapping):
            raise StoreLikeError(
                f"{type(value).__name__} is a file system, which says nothing of where in it the data is.",
                hint="Use FsspecStore(fs, path=...), or give a URL with storage_options.",
            )
        return _fsspec_store().from_mapper(cast("Mapper", value))
    if isinstance(value, MutableMapping):
        _check_dict(value)
        return _memory_store()(value)
    raise StoreLikeError(f"{type(value).__name__} can't be opened as a store.", hint=f"Give {_KINDS}.")


def _comes_from(value: object, package: str) -> bool:
    """Whether a value's class, or one of its bases, is defined in a package."""
    return any(cls.__module__.partition(".")[0] == package for cls in type(value).__mro__)


def _check_dict(value: Iterable[object]) -> None:
    for key in value:
        if not isinstance(key, str):
            raise StoreLikeError(
                f"a dict to be opened as a store has keys of text, not {type(key).__name__}.", key=repr(key)
            )
        break


def _from_text(
    text: str, mode: AccessModeLiteral | None, options: Options | None, backend: Backend | None
) -> Store:
    if not text:
        raise StoreLikeError("an empty text names no place.", hint="Use '.' for the current folder.")
    _check_encodable(text)
    if backend not in (None, "obstore", "fsspec"):
        raise StoreLikeError(f"there is no backend {backend!r}.", hint="Choose 'obstore' or 'fsspec'.")
    store = from_text_form(
        text,
        lambda inner: _from_text(inner, mode, options, backend),
        lambda url, found: _from_text(url, mode, found | (options or {}) or None, backend),
        lambda path: _local_archive(path, mode),
    )
    if store is not None:
        return store
    found = _archive_in(text)
    if found is not None:
        return _from_archive(*found, mode, options, backend)
    text = urls.with_lower_scheme(text)
    scheme = _scheme(text)
    if scheme in ("", "file") and "::" not in text:
        _check_unused(options, text)
        return _from_path(_path_of(text) if scheme else text, mode)
    if scheme == "memory" and not options and backend is None:
        # A memory of this process with this name or text form; otherwise the URL is fsspec's.
        from zarrstore.storage._managed import ManagedMemoryStore

        managed = ManagedMemoryStore._find(text)
        if managed is not None:
            return managed
    if "::" not in text and is_named_so(text):
        return _from_archive(text, "", mode, options, backend)
    urls.bucket_place(text)  # refuses URLs that the backends would interpret differently
    if backend != "fsspec" and "::" not in text:
        store = _by_obstore(text, options, backend)
        if store is not None:
            return store
    return _from_url(text, options)


def _by_obstore(url: str, options: Options | None, backend: Backend | None) -> Store | None:
    """Open a URL with obstore if it was chosen or is equivalent; otherwise return None."""
    from zarrstore.storage._obstore.urls import open_url

    if backend is None and not _has_obstore():
        return None
    from zarrstore.storage._obstore.store import ObjectStore

    try:
        theirs, translated = open_url(url, options, sure=backend == "obstore")
    except Exception as error:
        if backend is None:
            return None  # fsspec's error will be about the options as they were given
        raise StoreLikeError(
            f"obstore can't open {without_secrets(url)!r}.", hint="Check the options, or let fsspec open it."
        ) from safe_cause(error)
    if theirs is None:
        return None
    return ObjectStore(theirs, fallback=partial(_from_url, url, options) if translated else None)


def _archive_in(text: str) -> tuple[str, str] | None:
    """Split text that names a zip archive into its place and a directory in it; None for other text."""
    place, mark, inside = text.rpartition("|zip:")
    if mark:
        return place, inside
    head, mark, place = text.partition("::")
    if mark and (head == "zip" or head.startswith("zip://")):
        return place, head[len("zip://") :]
    return None


def _from_archive(
    place: str, inside: str, mode: AccessModeLiteral | None, options: Options | None, backend: Backend | None
) -> Store:
    if not place or "|" in inside:
        raise StoreLikeError(
            f"{without_secrets(place or inside)!r} names no archive and directory.",
            hint="Write PLACE|zip: or PLACE|zip:directory; in front of the bar may be any path or URL.",
        )
    place = urls.with_lower_scheme(place)
    scheme = _scheme(place)
    outer = _archive_in(place)
    store: Store
    if outer is None and scheme in ("", "file") and "::" not in place:
        _check_unused(options, place)
        store = _local_archive(urls.file_path(place) if scheme else place, mode)
    else:
        _check_read(mode, place)
        if outer is not None:
            within, key = _from_archive(outer[0], "", "r", options, backend), outer[1]
        else:
            within, key = _parent_by_obstore(place, options, backend) or _parent_of(place, options)
        store = _zip_store()(StorePath(within, key))
    inside = inside.strip("/")
    return store.sub(inside) if inside else store


def _check_encodable(text: str) -> None:
    """Refuse text with a NUL or a lone surrogate, which can't name anything."""
    try:
        if "\0" not in text and os.fsencode(text):
            return
    except UnicodeEncodeError:
        pass
    shown = text.encode("utf-8", "backslashreplace").decode()
    raise StoreLikeError(f"no place can be named {shown!r}.", hint="Leave out NUL and lone surrogates.")


def _local_archive(path: str, mode: AccessModeLiteral | None) -> Store:
    """Open or create an archive in a local file; no mode removes existing data."""
    there = os.path.lexists(path)
    if mode in ("r", "r+") or (mode is None and there):
        return _zip_store()(path, read_only=mode != "r+")  # without creating a file
    return _zip_store()(path, mode="x" if mode == "w-" and not there else "a")


def _check_read(mode: AccessModeLiteral | None, place: str) -> None:
    """Refuse to write an archive that isn't a local file."""
    if mode not in (None, "r"):
        raise UnsupportedOperationError(
            f"mode {mode!r} writes, and the archive at {without_secrets(place)!r} can only be read: "
            "a zip archive is written in a local file.",
            hint="Write a local file, and upload that; a directory of this name ends in a slash.",
        )


def _parent_by_obstore(
    url: str, options: Options | None, backend: Backend | None
) -> tuple[Store, str] | None:
    """The same as `_parent_of` with obstore, if it was chosen or is equivalent; otherwise None."""
    if backend == "fsspec" or "::" in url:
        return None
    if backend is None and urls.bucket_place(url) is None:
        return None
    parent, _, name = url.rpartition("/")
    if not name or parent.endswith("/"):
        return None
    store = _by_obstore(parent, options, backend)
    return None if store is None else (store.with_read_only(True), name)


def _parent_of(url: str, options: Options | None) -> tuple[Store, str]:
    """Return a store of the folder that contains the file at a URL, and the file's key in it."""
    schemes = _schemes(url)
    if options and len(schemes) == 1 and set(options) == set(schemes):
        # For a chain, fsspec expects options by scheme; the part for the archive has been removed.
        options = cast("Options", options[schemes[0]])
    whole = _from_url(url, options)
    path = whole.path
    # On a web server paths are URLs: they include the signature, and special characters are quoted.
    is_web = path.startswith(("http://", "https://"))
    path, mark, query = path.partition("?") if is_web else (path, "", "")
    parent, _, name = path.rpartition("/")
    if not name:
        raise StoreLikeError(f"{without_secrets(url)!r} names a folder, not a zip archive.")
    from urllib.parse import unquote

    folder = _fsspec_store()(whole.fs, read_only=True, path=f"{parent}{mark}{query}")
    return folder, unquote(name) if is_web else name


def _check_unused(options: Options | None, text: str) -> None:
    if options:
        raise StoreLikeError(
            f"storage_options were given, but {without_secrets(text)!r} is a path: nothing would use them.",
            hint="Drop them, or give a URL.",
        )


def _scheme(text: str) -> str:
    """Return a URL's scheme; empty for a path (a single letter is a Windows drive)."""
    head, mark, _ = text.partition("://")
    if mark and len(head) > 1 and "/" not in head:
        return head.rpartition("::")[2] if "::" in head else head.lower()
    head, mark, _ = text.partition("::")
    return head if mark and head.isidentifier() else ""


def _from_path(path: str, mode: AccessModeLiteral | None) -> Store:
    if not isinstance(path, str) or not path:
        raise StoreLikeError(f"{path!r} is no folder's path.")
    urls.check_path(path, "folder")
    _check_encodable(path)
    is_file = os.path.isfile(path)
    if is_file and not is_archive(path):
        raise StoreLikeError(
            f"{path!r} is a file, and not a zip archive.",
            hint="A store's root is a folder, or a zip archive.",
        )
    if is_file or (is_named_so(path) and not os.path.isdir(path)):
        return _local_archive(path, mode)
    return LocalStore(path)


# Options that fsspec interprets as arguments of `fsspec.open` and silently drops.
_DROPPED = {"compression", "encoding", "errors", "expand", "mode", "name_function", "newline", "num"}
# Schemes whose file systems ignore all options.
_WITHOUT_OPTIONS = {"memory"}


def _from_url(url: str, options: Options | None) -> FsspecStore:
    store_class = _fsspec_store()
    schemes = _schemes(url)
    for scheme in schemes:
        _check_scheme(scheme, url)
    unused = _DROPPED.intersection(options or ())
    if len(schemes) == 1 and schemes[0] in _WITHOUT_OPTIONS:
        unused = set(options or ())
    if unused:
        raise StoreLikeError(
            f"nothing would use the storage_options {', '.join(map(repr, sorted(unused)))}.",
            hint="Drop them.",
        )
    try:
        return store_class.from_url(url, storage_options=options)
    except StoreError:
        raise
    except ImportError as error:
        hint = f"{error}.{_extra_for(schemes)}"
        if urls.bucket_place(url) is not None and _has_obstore():
            hint += " obstore is here, and wants credentials (or anon=True), and a region or an endpoint."
        raise MissingDependencyError(f"{'::'.join(schemes)} URLs need another package.", hint=hint) from error
    except Exception as error:
        raise StoreLikeError(
            f"{without_secrets(url)!r} can't be opened: {without_secrets(str(error))}",
            hint="Check the URL and the storage_options.",
        ) from safe_cause(error)


def _path_of(url: str) -> str:
    """Return the path that a file URL names. In a store's text form it is literal, without ``%20``."""
    literal = url.partition("://")[2]
    try:
        path = urls.file_path(url)
    except StoreLikeError:
        if os.path.isabs(literal) and os.path.exists(literal):
            return literal
        raise
    return literal if os.path.exists(literal) and not os.path.lexists(path) else path


def _extra_for(schemes: list[str]) -> str:
    """Return the hint for the extra that supports some schemes."""
    for extra, known in (("s3", urls.S3), ("gcs", urls.GCS), ("azure", urls.AZURE)):
        if any(scheme in known for scheme in schemes):
            return f" Install it: pip install 'zarrstore[{extra}]'."
    return ""


def _schemes(url: str) -> list[str]:
    """Return the scheme of a URL, or of each part of a chain."""
    found = []
    for part in url.split("::"):
        head, mark, _ = part.partition("://")
        if mark:
            found.append(head)
        elif part.isalpha() and part.islower():  # fsspec interprets a single word as a scheme
            found.append(part)
    return found


def _check_scheme(scheme: str, url: str) -> None:
    from fsspec import available_protocols
    from fsspec.registry import registry

    known = {*available_protocols(), *registry}
    if scheme in known:
        return
    from difflib import get_close_matches

    near = get_close_matches(scheme.lower(), known, n=3, cutoff=0.5)
    raise StoreLikeError(
        f"{scheme!r} in {without_secrets(url)!r} is no scheme that fsspec knows.",
        hint=f"Did you mean {' or '.join(map(repr, near))}?"
        if near
        else "fsspec.available_protocols() lists them; a path needs no scheme.",
    )


def _has_obstore() -> bool:
    from zarrstore.storage._obstore.urls import installed

    return installed()


def _memory_store() -> type[MemoryStore]:
    from zarrstore.storage._memory import MemoryStore

    return MemoryStore


def _zip_store() -> type[ZipStore]:
    from zarrstore.storage._zip.store import ZipStore

    return ZipStore


def _fsspec_store() -> type[FsspecStore]:
    from zarrstore.storage._fsspec.store import FsspecStore

    return FsspecStore
