"""Values in any of obstore's stores: S3, GCS, Azure, HTTP, and its own of folders and of memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from zarrstore._async.concurrency import batches, gather
from zarrstore._core.keys import check_azure_key, is_key
from zarrstore._core.requests import span
from zarrstore._core.retry import DEFAULT, RetryPolicy, listed
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, Capabilities, Entry, gather_pieces
from zarrstore.abc.store import Store
from zarrstore.errors import (
    ForkError,
    KeyNotFoundError,
    MissingDependencyError,
    StoreError,
    TruncatedError,
    UnsupportedOperationError,
)
from zarrstore.storage._local.store import LocalStore
from zarrstore.storage._obstore import errors
from zarrstore.storage._remote.answers import elsewhere, endless
from zarrstore.storage._remote.coalesce import MAX_COALESCED, MAX_GAP, read_coalesced
from zarrstore.storage._remote.dispatch import CONCURRENCY, TOKEN, Dispatcher

try:
    import obstore
except ImportError as error:
    raise MissingDependencyError(
        "stores over obstore need the package obstore.", hint="pip install 'zarrstore[obstore]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.verbs import Verbs

_PAGE = 1000
# Stores whose clients try again by themselves.
_CLIENTS = frozenset(("S3Store", "GCSStore", "AzureStore", "HTTPStore"))
# Stores that keep metadata with a value. Under this name a conditional write leaves word of itself there.
_MARKING = _CLIENTS - {"HTTPStore"}
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
    missing_on : iterable of int
        Statuses of a server's answer that mean, of a value that is read or looked up, that it is missing:
        ``{403}`` for a bucket that one may read and not list, which says so of what isn't there.
    retry : RetryPolicy or None
        When a request that failed is made again. None leaves that to obstore, and so does the default
        where the store was made with a ``retry_config``.
    concurrency : int
        How many requests may be under way at once on an event loop; fewer are while the server asks to
        slow down.
    max_gap_bytes, max_coalesced_bytes : int
        Ranges of one value that are asked for by one call are read as one if at most this many bytes lie
        between them, up to this size in bytes.

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

    def __init__(
        self,
        store: Any,
        *,
        read_only: bool = False,
        missing_on: Iterable[int] = (),
        retry: RetryPolicy | None = DEFAULT,
        concurrency: int = CONCURRENCY,
        max_gap_bytes: int = MAX_GAP,
        max_coalesced_bytes: int = MAX_COALESCED,
    ) -> None:
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
        self._marks = not names.isdisjoint(_MARKING)
        self.missing_on = frozenset(missing_on)
        told = getattr(store, "retry_config", None) is not None
        if retry is DEFAULT and told:
            retry = None
        # Its own retries would make ten of one, and hide from us that the server is busy.
        self._quiet = retry is not None and not told and type(store).__name__ in _CLIENTS
        self._dispatcher = Dispatcher(retry, concurrency, errors.is_slow_down, timed=not self._quiet)
        self._limits = max_gap_bytes, max_coalesced_bytes
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
    def _own_async_verbs(self) -> Verbs:
        return super()._own_async_verbs if self._local is None else self._local._own_async_verbs

    # -- calls ------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> Any:
        """The store that requests are made of: one like the user's, that tries nothing again by itself."""
        if not self._quiet:
            return self.store
        args, options = self.store.__getnewargs_ex__()
        retry = self._dispatcher.retry
        if retry is not None and retry.timeout is not None:
            own = {"timeout": timedelta(seconds=retry.timeout)}
            options["client_options"] = own | (options.get("client_options") or {})
        return type(self.store)(*args, **options, retry_config={"max_retries": 0})

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_client"}

    def _alive(self) -> Any:
        """Return obstore's store, unless a call of it would wait for threads that a fork left behind."""
        if _Runtime.dead:
            raise ForkError(
                "obstore was used before this process was forked off, and can't be used here.",
                store=self,
                hint="Start processes by 'spawn' or 'forkserver': "
                "multiprocessing.set_start_method('forkserver').",
            )
        _Runtime.used = True
        return self._client

    def _failed(self, error: Exception, action: str, key: str | None) -> StoreError:
        failure = errors.translated(error, action, self, key)
        failure.__cause__ = errors.without_secrets(error)
        return failure

    def _check(self, key: str) -> None:
        if self._azure:
            check_azure_key(key, self)

    def _is_absent(self, error: Exception, key: str | None) -> bool:
        return isinstance(error, FileNotFoundError) and not errors.lacks_container(error, key)

    def _is_unseen(self, error: Exception, key: str) -> bool:
        """Whether a value that is read or looked up counts as missing."""
        return self._is_absent(error, key) or errors.is_answered(error, self.missing_on)

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self, key: str, request: ByteRequest | None, allocate: Any) -> Any:
        found = await self._dispatcher.single_flight(
            (key, request), partial(self._fetch, key, request, False)
        )
        return found and found[0]

    async def _read_versioned(self, key: str, request: ByteRequest | None, allocate: Any) -> Any:
        fetch = partial(self._fetch, key, request, True)
        return await self._dispatcher.single_flight((key, request, "and its version"), fetch)

    async def _read_many(
        self, requests: Iterable[tuple[str, ByteRequest | None]], allocate: Any
    ) -> list[Any]:
        return await read_coalesced(
            requests, lambda key, request: self._read(key, request, allocate), *self._limits
        )

    async def _fetch(
        self, key: str, request: ByteRequest | None, versioned: bool
    ) -> tuple[Any, str | None] | None:
        """Read bytes, and their version, in one request, holding what arrived against what was asked."""
        self._check(key)
        store = self._alive()
        options: Any = None if request is None else {"range": _range_of(request)}
        if options and options["range"] in ((0, 0), {"suffix": 0}):
            return await self._nothing(key)

        async def arrive() -> tuple[Any, Any]:
            answer = await obstore.get_async(store, key, options=options)
            return answer, await answer.buffer_async()

        try:
            end = None if versioned else getattr(request, "end", None)
            if end is not None:
                # Bytes alone come by one way through obstore instead of two.
                start = request.start  # type: ignore[union-attr]
                ask = partial(obstore.get_range_async, store, key, start=start, end=end)
                value = await self._dispatcher.dispatch(ask)
                if len(value) == end - start:
                    self._proven = True
                    return memoryview(value), None
                # The value ends before, or the answer did: its length tells.
            answer, value = await self._dispatcher.dispatch(arrive)
            start, stop = answer.range
        except Exception as error:
            if self._is_unseen(error, key):
                return None
            if request is not None and (errors.is_past_the_end(error, key) or errors.is_unsupported(error)):
                return await self._explained(key, request, error)
            raise self._failed(error, "read", key) from error.__cause__
        self._proven = True
        # What else there is to know of a value takes obstore longer to tell than all that is done here.
        meta: Any = answer.meta if versioned or request is not None else {"size": stop, "e_tag": None}
        wanted = span(request, meta["size"])
        if (start, stop) != wanted or len(value) != stop - start:
            raise TruncatedError(
                f"asked for bytes {wanted[0]} to {wanted[1]}, the server announced {start} to {stop} "
                f"and sent {len(value)} bytes.",
                store=self,
                key=key,
            )
        return memoryview(value), meta["e_tag"]

    async def _nothing(self, key: str) -> tuple[Any, str | None] | None:
        """Answer a lenient request for no bytes at all: only whether there is such a value matters."""
        entry = await self._look(key)
        return entry and (b"", entry.version)

    async def _explained(
        self, key: str, request: ByteRequest, error: Exception
    ) -> tuple[Any, str | None] | None:
        """Say of a range that was refused why, or read it in the way that the server understands."""
        entry = await self._look(key)
        if entry is None:
            return None
        start, stop = span(request, entry.size or 0)
        if start >= stop:
            return b"", entry.version
        if not errors.is_unsupported(error):
            raise self._failed(error, "read", key)
        try:
            ask = partial(obstore.get_range_async, self._alive(), key, start=start, end=stop)
            value = await self._dispatcher.dispatch(ask)
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
        return await self._dispatcher.retry_call(lambda: self._look(key))

    async def _look(self, key: str) -> Entry | None:
        self._check(key)
        try:
            meta = await self._dispatcher.dispatch(partial(obstore.head_async, self._alive(), key))
        except Exception as error:
            if not self._is_unseen(error, key):
                raise self._failed(error, "look up", key) from error.__cause__
            return None if self._proven else await self._look_twice(key)
        self._proven = True
        return Entry(key, meta["size"], meta["e_tag"])

    async def _look_twice(self, key: str) -> Entry | None:
        """Ask for a value that HEAD didn't find: this answer has words, which tell key from bucket."""
        try:
            meta = (await self._dispatcher.dispatch(partial(obstore.get_async, self._alive(), key))).meta
        except Exception as error:
            if not self._is_unseen(error, key):
                raise self._failed(error, "look up", key) from error.__cause__
            self._proven = True
            return None
        return Entry(key, meta["size"], meta["e_tag"])

    # -- writing ----------------------------------------------------------------------------------

    async def _write(self, key: str, pieces: Any, condition: Any) -> Any:
        self._check(key)
        single = not hasattr(pieces, "__aiter__") and len(pieces := tuple(pieces)) == 1
        # obstore's memory would go on looking at the caller's.
        value = pieces[0] if single and not self._in_memory else await gather_pieces(pieces)
        if condition is ANY:
            return await self._dispatcher.retry_call(partial(self._put, key, value, ANY, None))
        token = os.urandom(16).hex()
        # A client that tries again by itself doesn't tell.
        tries = 1 if self._marks and not self._quiet else 0

        async def attempt() -> Any:
            nonlocal tries
            tries += 1
            answer = await self._put(key, value, condition, {TOKEN: token} if self._marks else None)
            # An attempt before this one may have done it, and its answer been lost.
            return await self._own(key, value, token) if answer is CONFLICT and tries > 1 else answer

        return await self._dispatcher.retry_call(attempt)

    async def _put(self, key: str, value: Any, condition: Any, attributes: Any) -> Any:
        own: dict[str, Any] = {"attributes": attributes}
        if condition is not ANY:
            own["mode"] = "create" if condition is ABSENT else {"e_tag": condition}
            own["use_multipart"] = False  # what is sent in parts can have no condition
        send = partial(obstore.put_async, self._alive(), key, value, **own)
        try:
            answer = await self._dispatcher.dispatch_write(send)
        except Exception as error:
            # "Conflict" answers nothing but a condition.
            if "mode" in own and errors.denies_condition(error, key):
                return CONFLICT
            raise self._failed(error, "write", key) from error.__cause__
        self._proven = True
        return answer["e_tag"]

    async def _own(self, key: str, value: Any, token: str) -> Any:
        """Return the version of what is there if an attempt of ours put it there, else `CONFLICT`."""
        if not self._marks:
            found = await self._fetch(key, None, True)
            return found[1] if found is not None and found[0] == memoryview(value) else CONFLICT
        look = partial(obstore.get_async, self._alive(), key, options={"head": True})
        try:
            answer = await self._dispatcher.dispatch(look)
        except Exception as error:
            if self._is_absent(error, key):
                return CONFLICT
            raise self._failed(error, "write", key) from error.__cause__
        return answer.meta["e_tag"] if answer.attributes.get(TOKEN) == token else CONFLICT

    async def _copy(self, source: str, target: str) -> None:
        self._check(source)
        self._check(target)
        await self._dispatcher.retry_call(lambda: self._copy_once(source, target))

    async def _copy_once(self, source: str, target: str) -> None:
        try:
            await self._dispatcher.dispatch_write(partial(obstore.copy_async, self._alive(), source, target))
        except Exception as error:
            if self._is_absent(error, source):
                raise KeyNotFoundError("there is no value to copy.", store=self, key=source) from None
            raise self._failed(error, "copy", source) from error.__cause__

    # -- removing ---------------------------------------------------------------------------------

    async def _remove(self, key: str, condition: Any = ANY) -> Any:
        self._check(key)
        if condition is ANY:
            await self._dispatcher.retry_call(lambda: self._delete(key, key))
            return None
        entry = await self._stat(key)
        if entry is None or entry.version != condition:
            return CONFLICT
        # Once only: a second attempt might remove what somebody wrote after the first.
        await self._delete(key, key)
        return None

    async def _remove_many(self, keys: Iterable[str]) -> None:
        paths = list(keys)
        for path in paths:
            self._check(path)
        again = self._dispatcher.retry_call
        await gather([again(partial(self._delete, part, None)) for part in batches(paths, _PAGE)])

    async def _delete(self, paths: Any, key: str | None) -> None:
        try:
            await self._dispatcher.dispatch_write(partial(obstore.delete_async, self._alive(), paths))
        except Exception as error:
            if not self._is_absent(error, key):
                raise self._failed(error, "delete", key) from error.__cause__
            if not isinstance(paths, str):
                # Some stop at the first that isn't there.
                await gather([self._delete(path, path) for path in paths])

    # -- listing ----------------------------------------------------------------------------------

    async def _is_empty(self, prefix: str) -> bool:
        async def look() -> bool:
            # The server may send a page; it is made into one entry after the other.
            async with aclosing(self._pages(prefix, 1)) as pages:
                async for page in pages:
                    if page:
                        return False
            return True

        return await self._dispatcher.retry_call(look)

    async def _scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        if not deep:
            level = await self._level(prefix)
            directories = filter(is_key, _directories(level, prefix))
            yield [
                *self._entries(level["objects"], prefix),
                *(Entry(f"{prefix}{name}/") for name in directories),
            ]
            return
        told = listed(self._dispatcher.retry, lambda: self._pages(prefix), asyncio.sleep)
        async with aclosing(told) as pages:
            async for page in pages:
                yield page

    async def _names(self, prefix: str) -> AsyncIterator[list[str]]:
        level = await self._level(prefix)
        skip = len(prefix)
        names = [meta["path"][skip:] for meta in level["objects"]]
        if level["common_prefixes"]:  # with one of which a key may share its name
            names = list(dict.fromkeys([*names, *_directories(level, prefix)]))
        # One look for them all: those that no key can have, as what marks a directory in some consoles' way,
        # are rare.
        yield names if is_key("/".join(names)) else [name for name in names if is_key(name)]

    async def _level(self, prefix: str) -> Any:
        """Return what obstore tells of one level of a directory."""
        return await self._dispatcher.retry_call(partial(self._ask_level, prefix))

    async def _ask_level(self, prefix: str) -> Any:
        self._alive()
        try:
            ask = partial(obstore.list_with_delimiter_async, self.store, prefix or None)
            level = await self._dispatcher.dispatch(ask)
        except Exception as error:
            if self._is_absent(error, prefix):
                return {"objects": (), "common_prefixes": ()}
            raise self._unlisted(error, prefix) from error.__cause__
        self._proven = True
        return level

    async def _pages(self, prefix: str, size: int = _PAGE) -> AsyncGenerator[list[Entry], None]:
        self._alive()
        try:
            # By the user's own store: obstore tells no page's name, so only its client can ask for one again.
            last = None
            async for page in obstore.list(self.store, prefix or None, chunk_size=size):
                entries = self._entries(page, prefix)
                if len(page) > 1:
                    # obstore follows a server that leads back to a page for ever.
                    paths = [meta["path"] for meta in page]
                    if paths[0] == last or len(set(paths)) < len(paths):
                        raise endless("the server leads back to a page that was told", self, prefix)
                    last = paths[0]
                yield entries
        except StoreError:
            raise
        except Exception as error:
            if self._is_absent(error, prefix):
                return
            raise self._unlisted(error, prefix) from error.__cause__

    def _entries(self, page: Any, prefix: str) -> list[Entry]:
        self._proven = True
        # What marks a directory, in some consoles' way, is listed by its name: no key of ours.
        return [
            Entry(path, meta["size"], meta["e_tag"])
            for meta in page
            if is_key(path := meta["path"]) and self._lies_below(path, prefix)
        ]

    def _lies_below(self, path: str, prefix: str) -> bool:
        if path.startswith(prefix):
            return True
        raise elsewhere(path, self, prefix)

    def _unlisted(self, error: Exception, prefix: str) -> StoreError:
        if self._http:
            failure: StoreError = UnsupportedOperationError(
                "this server doesn't list what it has.",
                store=self,
                hint="Give the keys, or consolidate the metadata where they are written.",
            )
            failure.__cause__ = errors.without_secrets(error)
            return failure
        return self._failed(error, "list", prefix)


def _directories(level: Any, prefix: str) -> list[str]:
    """Names of the directories of a level; there may be some that no key can have."""
    return [path[len(prefix) :].rstrip("/") for path in level["common_prefixes"]]


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
