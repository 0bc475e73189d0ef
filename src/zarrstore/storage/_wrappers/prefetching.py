"""A wrapper that reads all documents of a hierarchy at once and serves them from memory for some time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from zarrstore._core.keys import check_prefix
from zarrstore._core.requests import cut
from zarrstore._core.verbs import ANY, host_memory
from zarrstore._hierarchy.documents import NAMES
from zarrstore._hierarchy.sweep import swept
from zarrstore.storage._wrappers.wrapper import T_Store, WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data
    from zarrstore._core.verbs import Conflict, Precondition, Request, Verbs
    from zarrstore._hierarchy.sweep import Found, Sweep


class PrefetchStore(WrapperStore[T_Store]):
    """A wrapper that reads all metadata documents of a hierarchy at once, when the first is requested.

    A hierarchy without consolidated metadata is then opened in a few rounds of requests, rather than node by
    node. In each round all documents of one level are read, and the groups among them are listed. Everything
    else goes to the wrapped store: chunks, listings, sizes, and reads with versions.

    Parameters
    ----------
    store : Store
        The store to wrap. It must support listing.
    path : str
        The group whose documents are kept; the store's root by default.
    max_age : float
        How many seconds documents are served from memory. After that all are read again.

    Notes
    -----
    A document that is returned, or its absence, is at most ``max_age`` seconds old. Changes made through this
    store are seen at once; changes by others, and those made through the wrapped store itself, when that time
    is over. A change that requires a version never relies on kept documents.
    """

    path: str
    max_age: float

    def __init__(self, store: T_Store, path: str = "", *, max_age: float = 60.0) -> None:
        super().__init__(store)
        self._prefix_kept = check_prefix(path, store)
        self.path = self._prefix_kept.removesuffix("/")
        self.max_age = max_age
        self._kept = _Kept()

    def refresh(self) -> None:
        """Drop all documents; the next request for one reads all of them again."""
        self._kept.forget_below("")

    async def _read(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | None:
        if key.rpartition("/")[2] in NAMES and key.startswith(self._prefix_kept):
            if self._kept.begin(self.max_age):
                await self._sweep(below)
            if (found := self._kept.answer(key, self.max_age)) is not None:
                return None if found[0] is None else cut(found[0], request)
        return await below.read(key, request, allocate)

    async def _read_many(
        self, below: Verbs, requests: Iterable[Request], allocate: Allocate
    ) -> list[Data | None]:
        asked = list(requests)
        if not any(key.rpartition("/")[2] in NAMES for key, _ in asked):
            return await below.read_many(asked, allocate)
        return await below.for_each(lambda one: self._read(below, *one, allocate), asked)

    async def _read_versioned(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        return await below.read_versioned(key, request, allocate)

    async def _sweep(self, below: Verbs) -> None:
        """Read all documents. While one caller does this, others read from the store below."""

        async def read(key: str) -> Found | None:
            value = await below.read(key, None, host_memory)
            return None if value is None else (bytes(value), None)

        began, found = time.monotonic(), None
        try:
            found = await swept(below, self._prefix_kept, read)
        finally:
            self._kept.end(found, began)

    async def _write(
        self, below: Verbs, key: str, pieces: AnyPieces, condition: Precondition
    ) -> str | Conflict | None:
        try:
            return await below.write(key, pieces, condition)
        finally:
            self._kept.forget(key)

    async def _patch(self, below: Verbs, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        try:
            await below.patch(key, parts)
        finally:
            self._kept.forget(key)

    async def _copy(self, below: Verbs, source: str, target: str) -> None:
        try:
            await below.copy(source, target)
        finally:
            self._kept.forget(target)

    async def _remove(self, below: Verbs, key: str, condition: Precondition = ANY) -> Conflict | None:
        try:
            return await below.remove(key, condition)
        finally:
            self._kept.forget(key)

    async def _remove_many(self, below: Verbs, keys: Iterable[str]) -> None:
        removed = list(keys)
        try:
            await below.remove_many(removed)
        finally:
            for key in removed:
                self._kept.forget(key)

    async def _remove_below(self, below: Verbs, prefix: str) -> None:
        try:
            await below.remove_below(prefix)
        finally:
            self._kept.forget_below(prefix)


class _Kept:
    """Documents by key, None for absent ones; shared by threads, loops and copies of the store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents: dict[str, Data | None] = {}
        self._since: float | None = None  # when the sweep that found them began
        self._is_sweeping = False
        self._changed: list[str] = []  # keys and directories changed since a sweep began

    def __reduce__(self) -> tuple[type[_Kept], tuple[()]]:
        return _Kept, ()  # another process has its own

    def begin(self, max_age: float) -> bool:
        """Whether the caller should read all documents now."""
        if self._is_fresh(max_age):
            return False
        with self._lock:
            if self._is_sweeping or self._is_fresh(max_age):
                return False
            self._is_sweeping = True
            self._changed = []
            return True

    def end(self, found: Sweep | None, began: float) -> None:
        """Keep what was read, except what was changed meanwhile."""
        with self._lock:
            self._is_sweeping = False
            if found is None:
                return
            documents: dict[str, Data | None] = dict.fromkeys(found.absent)
            documents.update({key: value for key, (value, _) in found.documents.items()})
            self._documents, self._since = documents, began
            for changed in self._changed:
                self._drop(changed)

    def answer(self, key: str, max_age: float) -> tuple[Data | None] | None:
        """Return the kept document of a key; None if nothing is known."""
        if not self._is_fresh(max_age):
            return None
        try:
            return (self._documents[key],)
        except KeyError:
            return None

    def _is_fresh(self, max_age: float) -> bool:
        return self._since is not None and time.monotonic() - self._since < max_age

    def forget(self, key: str) -> None:
        """Drop the document of a key that was changed."""
        if key.rpartition("/")[2] in NAMES:
            with self._lock:
                self._changed.append(key)
                self._drop(key)

    def forget_below(self, prefix: str) -> None:
        """Drop the documents below a directory that was changed."""
        with self._lock:
            self._changed.append(prefix)
            self._drop(prefix)

    def _drop(self, changed: str) -> None:
        if changed and changed[-1] != "/":
            self._documents.pop(changed, None)
        elif changed:
            for key in [key for key in self._documents if key.startswith(changed)]:
                del self._documents[key]
        else:
            self._documents, self._since = {}, None
