"""Values in any of obstore's stores: S3, GCS, Azure, HTTP, and its own of folders and of memory."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from zarrstore._keys import check_azure_key, is_key
from zarrstore._requests import span
from zarrstore._verbs import ABSENT, ANY, CONFLICT, Capabilities, Entry, gather_pieces
from zarrstore.abc.store import Store
from zarrstore.errors import (
    ForkError,
    KeyNotFoundError,
    MissingDependencyError,
    StoreError,
    TruncatedError,
    UnsupportedOperationError,
)
from zarrstore.storage import _obstore_errors as errors
from zarrstore.storage._concurrent import finished, gather
from zarrstore.storage._grouped import read_grouped
from zarrstore.storage._local import LocalStore

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError
except ImportError as error:
    raise MissingDependencyError(
        "stores over obstore need the package obstore.", cure="pip install 'zarrstore[obstore]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from zarrstore._requests import ByteRequest
    from zarrstore._verbs import Verbs

_PAGE = 1000
_URL_SECRETS = re.compile(r"(?<=://)[^/@\s\"]*@|\?[^\s\")]*")


class _Runtime:
    """Whether obstore's runtime, of which a process has one, is the parent's and dead here."""

    used = False
    dead = False

    @classmethod
    def before_fork(cls) -> None:
        """Look whether obstore's threads run, by whomever they were started."""
        if not cls.used:
            with suppress(OSError):  # no /proc here
                for thread in os.listdir("/proc/self/task"):
                    with suppress(OSError), open(f"/proc/self/task/{thread}/comm") as name:
                        cls.used = cls.used or name.read().startswith("tokio")

    @classmethod
    def after_fork(cls) -> None:
        """Remember in the child that it can't be used here."""
        cls.dead = cls.used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_Runtime.before_fork, after_in_child=_Runtime.after_fork)


class ObjectStore(Store):
    """A store in one of obstore's stores.

    Parameters
    ----------
    store : obstore.store.ObjectStore
        Any of obstore's stores: S3, GCS, Azure, HTTP, local folders, memory. A prefix that it was made
        with is this store's root.
    read_only : bool
        Whether to refuse every call that changes something.

    Raises
    ------
    TypeError
        If it is none of obstore's stores.

    Notes
    -----
    What is read is obstore's own memory, not a copy. On its local folders the work is done as by
    `LocalStore`. obstore runs its requests on threads that don't
    survive ``os.fork``: in a forked child of a process that used obstore every call raises `ForkError`.

    A value's version is its etag, which on S3 is a digest of the bytes: a value that was changed and changed
    back counts as unchanged there. ``delete_if_unchanged`` looks, and then deletes: no server offers it as
    one step through obstore.
    """

    supports_writes: bool = True
    supports_deletes: bool = True
    supports_partial_writes: bool = False
    supports_listing: bool = True

    store: Any

    def __init__(self, store: Any, *, read_only: bool = False) -> None:
        if not any(cls.__module__.partition(".")[0] == "obstore" for cls in type(store).__mro__):
            raise TypeError(f"expected ObjectStore class, got {store!r}")
        super().__init__(read_only=read_only)
        self.store = store
        names = {cls.__name__ for cls in type(store).__mro__}
        # Folders are folders: what our own store knows of them (empty ones, conflicts) holds.
        self._local = LocalStore(getattr(store, "prefix", None) or "/") if "LocalStore" in names else None
        self._http = "HTTPStore" in names
        self._in_memory = "MemoryStore" in names
        self._azure = "AzureStore" in names
        # Whether the bucket has answered: an answer to HEAD doesn't say whether key or bucket is missing.
        self._proven = self._http or self._in_memory

    # -- identity ---------------------------------------------------------------------------------

    @property
    def _location(self) -> str:
        return f"object_store://{_URL_SECRETS.sub('', str(self.store))}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectStore):
            return NotImplemented if not isinstance(other, Store) else False
        return bool(super().__eq__(other)) and bool(self.store == other.store)

    __hash__ = Store.__hash__

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        # Two servers may have buckets of the same name: what tells them apart goes in, as a digest.
        if self._in_memory:
            return (*super().__dask_tokenize__(), id(self.store))
        told = _settled(getattr(self.store, "__getnewargs_ex__", tuple)())
        return (*super().__dask_tokenize__(), hashlib.sha256(repr(told).encode()).hexdigest())

    @property
    def capabilities(self) -> Capabilities:
        """What this store can promise, which depends on what obstore has behind it."""
        if self._local is not None:
            return self._local.capabilities
        return Capabilities(atomic_create=not self._http, versions=not self._http, shared=not self._in_memory)

    @cached_property
    def _plain_loop(self) -> Verbs:
        return super()._plain_loop if self._local is None else self._local._plain_loop

    # -- calls ------------------------------------------------------------------------------------

    def _alive(self) -> Any:
        """Return obstore's store, unless a call of it would wait for threads that a fork left behind."""
        if _Runtime.dead:
            raise ForkError(
                "obstore was used before this process was forked off, and can't be used here.",
                store=self,
                cure="Start processes by 'spawn' or 'forkserver': "
                "multiprocessing.set_start_method('forkserver').",
            )
        _Runtime.used = True
        return self.store

    def _failed(self, error: Exception, action: str, key: str | None) -> StoreError:
        failure = errors.translated(error, action, self, key)
        failure.__cause__ = errors.without_secrets(error)
        return failure

    def _check(self, key: str) -> None:
        if self._azure:
            check_azure_key(key, self)

    def _is_absent(self, error: Exception, key: str | None) -> bool:
        return isinstance(error, FileNotFoundError) and not errors.lacks_container(error, key)

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self, key: str, request: ByteRequest | None, new: Any) -> Any:
        found = await self._fetch(key, request)
        return found and found[0]

    async def _read_versioned(self, key: str, request: ByteRequest | None, new: Any) -> Any:
        return await self._fetch(key, request)

    async def _read_many(self, requests: Iterable[tuple[str, ByteRequest | None]], new: Any) -> list[Any]:
        return await read_grouped(requests, lambda key, request: self._read(key, request, new))

    async def _fetch(self, key: str, request: ByteRequest | None) -> tuple[Any, str | None] | None:
        """Read bytes and their version in one request, holding what arrived against what was asked."""
        self._check(key)
        store = self._alive()
        options: Any = None if request is None else {"range": _range_of(request)}
        if options and options["range"] in ((0, 0), {"suffix": 0}):
            return await self._nothing(key, request)
        try:
            answer = await obstore.get_async(store, key, options=options)
            meta = answer.meta
            start, stop = answer.range
            value = memoryview(await answer.buffer_async())
        except Exception as error:
            if self._is_absent(error, key):
                return None
            if request is not None and (errors.is_past_the_end(error, key) or errors.is_unsupported(error)):
                return await self._explained(key, request, error)
            raise self._failed(error, "read", key) from error.__cause__
        self._proven = True
        wanted = span(request, meta["size"])
        if (start, stop) != wanted or len(value) != stop - start:
            raise TruncatedError(
                f"asked for bytes {wanted[0]} to {wanted[1]}, the server announced {start} to {stop} "
                f"and sent {len(value)} bytes.",
                store=self,
                key=key,
            )
        return value, meta["e_tag"]

    async def _nothing(self, key: str, request: ByteRequest | None) -> tuple[Any, str | None] | None:
        """Answer a lenient request for no bytes at all: only whether there is such a value matters."""
        entry = await self._stat(key)
        return entry and (b"", entry.version)

    async def _explained(
        self, key: str, request: ByteRequest, error: Exception
    ) -> tuple[Any, str | None] | None:
        """Say of a range that was refused why, or read it in the way that the server understands."""
        entry = await self._stat(key)
        if entry is None:
            return None
        start, stop = span(request, entry.size or 0)
        if start >= stop:
            return b"", entry.version
        if not errors.is_unsupported(error):
            raise self._failed(error, "read", key)
        try:
            value = await obstore.get_range_async(self._alive(), key, start=start, end=stop)
        except Exception as failure:
            raise self._failed(failure, "read", key) from None
        if len(value) != stop - start:
            raise TruncatedError(
                f"{len(value)} bytes arrived for {request!r} of a value of {entry.size} bytes.",
                store=self,
                key=key,
            )
        return memoryview(value), entry.version

    async def _stat(self, key: str) -> Entry | None:
        self._check(key)
        store = self._alive()
        try:
            meta = await obstore.head_async(store, key)
        except Exception as error:
            if not self._is_absent(error, key):
                raise self._failed(error, "look up", key) from error.__cause__
            return None if self._proven else await self._look_twice(key)
        self._proven = True
        return Entry(key, meta["size"], meta["e_tag"])

    async def _look_twice(self, key: str) -> Entry | None:
        """Ask for a value that HEAD didn't find: this answer has words, which tell key from bucket."""
        try:
            meta = (await obstore.get_async(self._alive(), key)).meta
        except Exception as error:
            if not self._is_absent(error, key):
                raise self._failed(error, "look up", key) from error.__cause__
            self._proven = True
            return None
        return Entry(key, meta["size"], meta["e_tag"])

    # -- writing ----------------------------------------------------------------------------------

    async def _write(self, key: str, pieces: Any, condition: Any) -> Any:
        self._check(key)
        store = self._alive()
        mode: Any = {ANY: "overwrite", ABSENT: "create"}.get(condition) or {"e_tag": condition}
        single = not hasattr(pieces, "__aiter__") and len(pieces := tuple(pieces)) == 1
        # obstore's memory would go on looking at the caller's.
        value = pieces[0] if single and not self._in_memory else await gather_pieces(pieces)
        try:
            # One request, whatever the size: what is sent in parts can have no condition.
            parts = None if mode == "overwrite" else False
            answer = await finished(obstore.put_async(store, key, value, mode=mode, use_multipart=parts))
        except (AlreadyExistsError, PreconditionError):
            return CONFLICT
        except Exception as error:
            if isinstance(mode, dict) and self._is_absent(error, key):
                return CONFLICT
            raise self._failed(error, "write", key) from error.__cause__
        self._proven = True
        return answer["e_tag"]

    async def _copy(self, source: str, target: str) -> None:
        self._check(source)
        self._check(target)
        try:
            await finished(obstore.copy_async(self._alive(), source, target))
        except Exception as error:
            if self._is_absent(error, source):
                raise KeyNotFoundError("there is no value to copy.", store=self, key=source) from None
            raise self._failed(error, "copy", source) from error.__cause__

    # -- removing ---------------------------------------------------------------------------------

    async def _remove(self, key: str, condition: Any = ANY) -> Any:
        self._check(key)
        if condition is not ANY:
            entry = await self._stat(key)
            if entry is None or entry.version != condition:
                return CONFLICT
        await self._delete(key, key)
        return None

    async def _delete(self, paths: Any, key: str | None) -> None:
        try:
            await finished(obstore.delete_async(self._alive(), paths))
        except Exception as error:
            if not self._is_absent(error, key):
                raise self._failed(error, "delete", key) from error.__cause__
            if not isinstance(paths, str):
                # Some stop at the first that isn't there.
                await gather([self._delete(path, path) for path in paths])

    async def _remove_many(self, keys: Iterable[str]) -> None:
        # obstore puts as many into a request as the server takes: 1,000 for S3.
        if paths := list(keys):
            for path in paths:
                self._check(path)
            await self._delete(paths, None)

    # -- listing ----------------------------------------------------------------------------------

    async def _scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        store = self._alive()
        try:
            if deep:
                async for page in obstore.list(store, prefix or None, chunk_size=_PAGE):
                    yield self._entries(page, prefix)
                return
            level = await obstore.list_with_delimiter_async(store, prefix or None)
        except Exception as error:
            if self._is_absent(error, prefix):
                return
            raise self._unlisted(error, prefix) from error.__cause__
        self._proven = True
        directories = (path.rstrip("/") for path in level["common_prefixes"])
        yield [
            *self._entries(level["objects"], prefix),
            *(Entry(path + "/") for path in directories if is_key(path)),
        ]

    def _entries(self, page: Any, prefix: str) -> list[Entry]:
        self._proven = True
        # What marks a directory, in some consoles' way, is listed by its name: no key of ours.
        return [
            Entry(path, meta["size"], meta["e_tag"])
            for meta in page
            if (path := meta["path"]).startswith(prefix) and is_key(path)
        ]

    def _unlisted(self, error: Exception, prefix: str) -> StoreError:
        if self._http:
            failure: StoreError = UnsupportedOperationError(
                "this server doesn't list what it has.",
                store=self,
                cure="Give the keys, or consolidate the metadata where they are written.",
            )
            failure.__cause__ = errors.without_secrets(error)
            return failure
        return self._failed(error, "list", prefix)


def _settled(value: Any) -> Any:
    """Bring what a store was made with into one order, for a digest."""
    if isinstance(value, dict):
        return sorted((str(name), _settled(inner)) for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return [_settled(inner) for inner in value]
    if isinstance(value, (str, bytes, int, float, timedelta, type(None))):
        return repr(value)
    return type(value).__qualname__  # what provides credentials, say: they are no place


def _range_of(request: ByteRequest) -> Any:
    """Say a request as obstore takes it."""
    if hasattr(request, "offset"):
        return {"offset": request.offset}
    if hasattr(request, "suffix"):
        return {"suffix": request.suffix}
    return (request.start, request.end) if request.end > request.start else (0, 0)


__all__ = ["ObjectStore"]
