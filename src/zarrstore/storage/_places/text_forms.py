"""Makes stores from their own text forms, where those are neither paths nor URLs."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from zarrstore import storage
from zarrstore.errors import StoreLikeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarrstore.abc.store import Store
    from zarrstore.storage._wrappers.wrapper import WrapperStore

_WRAPPERS = {"wrapping-": "WrapperStore", "logging-": "LoggingStore"}
_FORM = re.compile(r"(wrapping-|logging-)*\w+://")
# The text form of one of obstore's own stores, followed by a directory in it.
_OBSTORE = re.compile(r"object_store://((?P<kind>\w+)(\((?P<options>.*?)\))?|<.*?>)(?P<below>/.*)?")
_OPTION = re.compile(r'(?:(\w+)=)?"(.*?)"')
_SCHEMES = {"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az"}


def from_text_form(
    text: str,
    open_text: Callable[[str], Store],
    open_url: Callable[[str, dict[str, object]], Store],
    open_archive: Callable[[str], Store],
) -> Store | None:
    """Open a store from its text form, if that is neither a path nor a URL; None for other text.

    Parameters
    ----------
    text : str
        The text.
    open_text, open_url, open_archive : callable
        Functions that open any text, a URL with options, and a zip archive in a file.
    """
    for prefix, name in _WRAPPERS.items():
        if text.startswith(prefix) and _FORM.match(text, len(prefix)):
            wrapper: type[WrapperStore[Store]] = getattr(storage, name)
            return wrapper(open_text(text[len(prefix) :]))
    scheme, mark, rest = text.partition("://")
    if mark and scheme == "zip" and "::" not in text:
        return _archive(text, rest, open_archive)
    if mark and scheme == "gpumemory":
        token, _, path = rest.partition("/")
        return _below(_gpu_memory(token) or _gone(text), path)
    if mark and scheme == "object_store":
        return _in_obstore(text, open_url)
    return None


def _archive(text: str, path: str, open_archive: Callable[[str], Store]) -> Store:
    """Open an archive from a path whose end may be a directory in the archive."""
    if not os.path.isabs(path):
        from zarrstore.storage._zip.store import in_files

        name, _, inside = path.partition("/")
        return _below(in_files.get(f"zip://{name}") or _gone(text), inside)
    place = path
    while place != os.path.dirname(place) and not os.path.isfile(place):
        place = os.path.dirname(place)
    if not os.path.isfile(place):
        place = path
    return _below(open_archive(place), path[len(place) :])


def _gpu_memory(token: str) -> Store | None:
    from zarrstore.storage._gpu import GpuMemoryStore
    from zarrstore.storage._memory import find_memory

    return find_memory(token, GpuMemoryStore)


def _in_obstore(text: str, open_url: Callable[[str, dict[str, object]], Store]) -> Store:
    from zarrstore.storage._obstore.store import ObjectStore, in_memory

    found = _OBSTORE.fullmatch(text)
    if found is None:
        raise StoreLikeError(f"{text!r} is no text form of a store.")
    kind, below = found["kind"], found["below"] or ""
    options = dict(_OPTION.findall(found["options"] or ""))
    if kind == "LocalStore":
        from obstore.store import LocalStore

        return _below(ObjectStore(LocalStore(options.get("")) if options else LocalStore()), below)
    if kind == "HTTPStore":
        return _below(open_url(_told(options, text, ""), {}), below)
    if kind in _SCHEMES:
        bucket = _told(options, text, "bucket", "container_name")
        url = f"{_SCHEMES[kind]}://{bucket}/{options.get('prefix', '')}".rstrip("/")
        return _below(
            open_url(url, {name: options[name] for name in ("account_name",) if name in options}), below
        )
    return _below(in_memory.get(text.removesuffix(below)) or _gone(text), below)


def _told(options: dict[str, str], text: str, *names: str) -> str:
    """Return what a text form tells under one of some names."""
    for name in names:
        if options.get(name):
            return options[name]
    raise StoreLikeError(f"{text!r} doesn't tell where its store is.")


def _below(store: Store, path: str) -> Store:
    path = path.strip("/")
    return store.sub(path) if path else store.with_read_only(store.read_only)


def _gone(text: str) -> Store:
    raise StoreLikeError(
        f"{text!r} is no longer in this process, or was in another one.", hint="Hold on to the store itself."
    )
