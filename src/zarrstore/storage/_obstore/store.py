"""Stores values in any of obstore's stores: S3, GCS, Azure, HTTP, local folders and memory."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from weakref import WeakValueDictionary

from zarrstore._async.bindings import is_stream
from zarrstore._async.concurrency import batches, gather
from zarrstore._core.keys import check_azure_key
from zarrstore._core.requests import OffsetByteRequest, RangeByteRequest, SuffixByteRequest, span
from zarrstore._core.retry import DEFAULT, RetryPolicy
from zarrstore._core.secrets import safe_cause, without_secrets
from zarrstore._core.verbs import (
    ABSENT,
    ANY,
    CONFLICT,
    Capabilities,
    Condition,
    Entry,
    gather_pieces,
    known_size,
)
from zarrstore.errors import BackendError, ForkError, KeyNotFoundError, StoreError, TruncatedError
from zarrstore.storage._local.store import LocalStore
from zarrstore.storage._obstore import calls, errors
from zarrstore.storage._obstore.listing import ListingStore
from zarrstore.storage._obstore.recipes import Recipe
from zarrstore.storage._obstore.within import server_copies
from zarrstore.storage._remote.answers import is_encoded
from zarrstore.storage._remote.dispatch import CONCURRENCY, Dispatcher
from zarrstore.storage._remote.place import of_obstore
from zarrstore.storage._remote.store import MAX_COALESCED, MAX_GAP, TOKEN, Found, begun, comes_from, part_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
    from typing import Self

    from obstore import Attributes, GetOptions, GetResult, ObjectMeta, PutMode
    from obstore.store import BackoffConfig, RetryConfig, S3Store
    from obstore.store import ObjectStore as ObstoreStore

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data, ServerCopies
    from zarrstore._core.verbs import Conflict, Precondition
    from zarrstore.abc.store import Store

# The class of the underlying obstore store.
T_Upstream = TypeVar("T_Upstream", bound="ObstoreStore")

# Stores in obstore's memory by their text form, which contains only an address.
in_memory: WeakValueDictionary[str, Store] = WeakValueDictionary()

_BATCH = 1000  # the limit of a bulk delete on S3
_PARTS = 2  # how many parts of a value are sent at once
# Stores whose clients retry by themselves.
_RETRYING = frozenset(("S3Store", "GCSStore", "AzureStore", "HTTPStore"))
# Stores in buckets. These keep metadata with a value, so a conditional write can leave its token there.
_BUCKETS = _RETRYING - {"HTTPStore"}


class _Runtime:
    """Whether obstore's runtime was started before a fork, in which case its threads don't exist here."""

    used = False
    dead = False

    @classmethod
    def before_fork(cls) -> None:
        """Check whether obstore's threads are running, whoever started them."""
        if not cls.used:
            with suppress(OSError):  # there is no /proc
                for thread in os.listdir("/proc/self/task"):
                    with suppress(OSError), open(f"/proc/self/task/{thread}/comm") as name:
                        cls.used = cls.used or name.read().startswith("tokio")

    @classmethod
    def after_fork(cls) -> None:
        """Mark the runtime as unusable in the child."""
        cls.dead = cls.used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_Runtime.before_fork, after_in_child=_Runtime.after_fork)


class _TakenError(Exception):
    """Ends an upload because the key has a value by now."""


class ObjectStore(ListingStore, Generic[T_Upstream]):
    """A store based on one of obstore's stores.

    Parameters
    ----------
    store : obstore.store.ObjectStore
        Any of obstore's stores: S3, GCS, Azure, HTTP, local folders, memory. If it was made with a prefix,
        that is this store's root.
    read_only : bool
        Whether to refuse every call that changes the store.
    missing_on : iterable of int
        Statuses that mean that a value is missing, when it is read or looked up. An example is ``{403}`` for
        a bucket that one may read but not list, where S3 answers this for a missing key.
    retry : RetryPolicy or None
        When to retry a failed request. None leaves retries to obstore, and so does the default if the store
        was made with a ``retry_config``.
    concurrency : int
        How many requests may run at once on an event loop; fewer while the server asks to slow down.
    max_gap_bytes, max_coalesced_bytes : int
        Ranges of one value requested in one call are read as one if they are at most this many bytes apart,
        up to this size in bytes.
    fallback : callable, optional
        Makes another store for the same place, which lists and removes objects whose names obstore can't
        represent: ``lambda: FsspecStore.from_url(...)``. `make_store` passes one.

    Raises
    ------
    TypeError
        If the object isn't one of obstore's stores.

    Notes
    -----
    Reads return obstore's own memory, not a copy. obstore's local folders are served by `LocalStore`.
    obstore's threads don't survive ``os.fork``: in a forked child of a process that used obstore, every call
    raises `ForkError`.

    A value's version is its etag. On S3 this is a digest of the bytes, so a value that was changed and
    changed back counts as unchanged. ``delete_if_unchanged`` looks the value up and then deletes it, since
    obstore has no conditional delete.
    """

    def __init__(
        self,
        store: T_Upstream,
        *,
        read_only: bool = False,
        missing_on: Iterable[int] = (),
        retry: RetryPolicy | None = DEFAULT,
        concurrency: int = CONCURRENCY,
        max_gap_bytes: int = MAX_GAP,
        max_coalesced_bytes: int = MAX_COALESCED,
        fallback: Callable[[], Store] | None = None,
    ) -> None:
        if not comes_from(store, "obstore"):
            raise TypeError(f"expected ObjectStore class, got {store!r}")
        retry_config = getattr(store, "retry_config", None)
        if retry is DEFAULT and retry_config is not None:
            retry = None
        # Whether to disable obstore's own retries, which would multiply ours and hide that the server is
        # busy.
        self._no_client_retries = (
            retry is not None and retry_config is None and type(store).__name__ in _RETRYING
        )
        dispatcher = Dispatcher(retry, concurrency, errors.is_throttled, timed=not self._no_client_retries)
        limits = max_gap_bytes, max_coalesced_bytes
        super().__init__(dispatcher, limits, missing_on, read_only=read_only)
        self.store: T_Upstream = store
        self.fallback = fallback
        names = {cls.__name__ for cls in type(store).__mro__}
        # Folders are handled by our own store, which knows about empty folders and conflicts.
        if "LocalStore" in names:
            self._local = LocalStore(getattr(store, "prefix", None) or "/")
        self._http = "HTTPStore" in names
        self._in_memory = "MemoryStore" in names
        if self._in_memory:
            in_memory[self._location] = self
        self._azure = "AzureStore" in names
        self._gcs = "GCSStore" in names
        self._leaves_token = self._has_marks = not names.isdisjoint(_BUCKETS)
        # S3's directory buckets can't be listed from a name on, so the end of their listings can't be
        # verified.
        express = getattr(store, "config", {}).get("s3_express")
        self._is_lenient = not names.isdisjoint(("S3Store", "GCSStore")) and not express
        # An answer to HEAD doesn't say whether the key or the bucket is missing.
        self._proven = self._http or self._in_memory

    # -- identity ---------------------------------------------------------------------------------

    @property
    def _location(self) -> str:
        return f"object_store://{without_secrets(str(self.store))}"

    def _place(self, prefix: str) -> str:
        return of_obstore(self.store, prefix) if self._local is None else self._local._place(prefix)

    def _identity(self) -> object:
        return self.store

    def _digest(self) -> object:
        if self._in_memory:
            return id(self.store)
        options = _in_order(getattr(self.store, "__getnewargs_ex__", tuple)())
        return hashlib.sha256(repr(options).encode()).hexdigest()

    @property
    def _takes_pieces(self) -> bool:
        return self._leaves_token or self._local is not None

    @property
    def _lists_in_order(self) -> bool:
        return self._is_lenient  # S3's and Google's listings, which can be continued from a name

    @property
    def capabilities(self) -> Capabilities:
        """What this store guarantees, which depends on the service behind obstore."""
        if self._local is not None:
            return self._local.capabilities
        # On Google's servers a conditional write needs a generation, which listings don't have, not an ETag.
        versions = not self._http and not self._gcs
        return Capabilities(atomic_create=not self._http, versions=versions, shared=not self._in_memory)

    def _copies_from(self, source: Store) -> ServerCopies | None:
        if not isinstance(source, ObjectStore) or self._overridden or source._overridden:
            return None
        return server_copies(source, cast("ObjectStore[ObstoreStore]", self))

    # -- calls ------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> ObstoreStore:
        """The store that sends requests: like the user's, with a client that never retries."""
        return self._like({"max_retries": 0})

    @cached_property
    def _lister(self) -> ObstoreStore:
        """The store for listings: it retries, since only obstore's client can retry a page."""
        retry = self._dispatcher.retry
        if retry is None:
            return self.store
        first = max(retry.base, 0.001)
        wait: BackoffConfig = {
            "init_backoff": timedelta(seconds=first),
            "max_backoff": timedelta(seconds=max(retry.cap, first)),
            "base": retry.factor,
        }
        return self._like(
            {"max_retries": retry.attempts - 1, "backoff": wait, "retry_timeout": timedelta(days=1)}
        )

    def _like(self, retry_config: RetryConfig) -> ObstoreStore:
        """Make a store like the user's, or return that one if its client keeps its own retries."""
        if not self._no_client_retries:
            return self.store
        theirs = cast("S3Store", self.store)  # or another class of `_RETRYING`
        args, options = theirs.__getnewargs_ex__()  # type: ignore[no-untyped-call]
        retry = self._dispatcher.retry
        if retry is not None and retry.timeout is not None:
            own = {"timeout": timedelta(seconds=retry.timeout)}
            options["client_options"] = own | (options.get("client_options") or {})
        return Recipe(type(theirs), args, {**options, "retry_config": retry_config}).made()

    def __getstate__(self) -> dict[str, object]:
        made = ("_client", "_lister", "_other_store")
        state = {name: value for name, value in super().__getstate__().items() if name not in made}
        if type(self.store).__name__ in _RETRYING:
            theirs = cast("S3Store", self.store)  # or another class of those
            state["store"] = Recipe(type(theirs), *theirs.__getnewargs_ex__())  # type: ignore[no-untyped-call]
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        recipe = state["store"]
        if isinstance(recipe, Recipe):
            state = {**state, "store": recipe.made()}
        self.__dict__.update(state)

    def __copy__(self) -> Self:
        return self._share()

    def _alive(self) -> ObstoreStore:
        """Return obstore's store; raise if its threads were lost in a fork, since calls would hang."""
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
        return errors.translated(error, action, self, key)

    def _check(self, key: str) -> None:
        if self._azure:
            check_azure_key(key, self)

    def _is_absent(self, error: Exception, key: str | None) -> bool:
        return errors.proves_absence(error, key)

    def _is_unseen(self, error: Exception, key: str) -> bool:
        """Whether an error of a read or a lookup means that the value is missing."""
        return self._is_absent(error, key) or errors.is_missing(error, self.missing_on)

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        return await self._read_once(key, request)

    async def _read_once(self, key: str, request: ByteRequest | None) -> Data | None:
        found = await self._dispatcher.single_flight(
            (key, request), partial(self._fetch, key, request, False)
        )
        return found and found.value

    async def _read_versioned(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        return await self._read_told(key, request)

    async def _read_told(self, key: str, request: ByteRequest | None) -> Found | None:
        fetch = partial(self._fetch, key, request, True)
        return await self._dispatcher.single_flight((key, request, "and its version"), fetch)

    async def _fetch(self, key: str, request: ByteRequest | None, versioned: bool) -> Found | None:
        """Read bytes, and their version, in one request; check that what arrived is what was requested."""
        self._check(key)
        store = self._alive()
        options = None if request is None else _options(request)
        if options and options["range"] in ((0, 0), {"suffix": 0}):
            return await self._read_nothing(key)

        async def get() -> tuple[GetResult, Data]:
            answer = await calls.get(store, key, options=options)
            self._check_encoding(answer)
            return answer, memoryview(await calls.buffer(answer))

        try:
            if isinstance(request, RangeByteRequest) and not versioned and not self._http:
                # For bytes alone, obstore needs one call instead of two.
                size = request.end - request.start
                ask = partial(calls.get_range, store, key, start=request.start, end=request.end)
                part = await self._dispatcher.dispatch(ask)
                if len(part) == size:
                    self._proven = True
                    return Found(memoryview(part), None)
                # The value ends before the range, or the answer was truncated: the next request also gives
                # the size.
            answer, value = await self._dispatcher.dispatch(get)
            start, stop = answer.range
        except StoreError as error:
            raise error.about(self, key) from None
        except Exception as error:
            if self._is_unseen(error, key):
                return None
            if request is not None and (errors.is_past_the_end(error, key) or errors.is_unsupported(error)):
                return await self._read_refused(key, request, error)
            raise self._failed(error, "read", key) from safe_cause(error)
        self._proven = True
        # `answer.meta` takes obstore longer than everything else here, so read it only if needed.
        size, version = stop, None
        if versioned or request is not None:
            size, version = answer.meta["size"], answer.meta["e_tag"]
        wanted = span(request, size)
        if (start, stop) != wanted or len(value) != stop - start:
            raise TruncatedError(
                f"asked for bytes {wanted[0]} to {wanted[1]}, the server announced {start} to {stop} "
                f"and sent {len(value)} bytes.",
                store=self,
                key=key,
            )
        return Found(value, version)

    async def _read_nothing(self, key: str) -> Found | None:
        """Answer a lenient request for no bytes: only whether the value exists matters."""
        entry = await self._look(key)
        return entry and Found(b"", entry.version)

    async def _read_refused(self, key: str, request: ByteRequest, error: Exception) -> Found | None:
        """Raise the reason for a refused range, or read it by start and end, which every server supports."""
        entry = await self._look(key)
        if entry is None:
            return None
        start, stop = span(request, entry.size or 0)
        if start >= stop:
            return Found(b"", entry.version)
        if not errors.is_unsupported(error):
            raise self._failed(error, "read", key) from safe_cause(error)
        if self._http:
            whole = await self._fetch(key, None, True)
            if whole is None:
                return None
            value: Data = whole.value
            if len(value) == entry.size:  # otherwise it isn't the value: obstore accepts any success status
                value = value[start:stop]
        else:
            try:
                ask = partial(calls.get_range, self._alive(), key, start=start, end=stop)
                value = memoryview(await self._dispatcher.dispatch(ask))
            except Exception as failure:
                raise self._failed(failure, "read", key) from None
        if len(value) != stop - start:
            raise TruncatedError(
                f"{len(value)} bytes arrived for {request!r} of a value of {entry.size} bytes.",
                store=self,
                key=key,
            )
        return Found(value, entry.version)

    def _check_encoding(self, answer: GetResult) -> None:
        """Raise if a web server encoded the value; object stores send values as they were stored."""
        if self._http and is_encoded(name := str(answer.attributes.get("Content-Encoding", ""))):
            raise BackendError(
                f"the server sends the value encoded as {name!r}, and obstore doesn't decode it.",
                hint="FsspecStore does.",
            )

    async def _head(self, key: str) -> ObjectMeta:
        if not self._http:
            return await calls.head(self._alive(), key)
        answer = await calls.get(self._alive(), key, options={"head": True})
        self._check_encoding(answer)
        return answer.meta

    async def _look(self, key: str) -> Entry | None:
        self._check(key)
        try:
            meta = await self._dispatcher.dispatch(partial(self._head, key))
        except StoreError as error:
            raise error.about(self, key) from None
        except Exception as error:
            if self._proven and self._is_absent(error, key):
                return None
            if errors.is_denied(error) or self._is_unseen(error, key):
                return await self._look_twice(key)
            raise self._failed(error, "look up", key) from safe_cause(error)
        self._proven = True
        return Entry(key, meta["size"], meta["e_tag"])

    async def _look_twice(self, key: str) -> Entry | None:
        """GET what HEAD didn't find: the answer says whether key, bucket or caller is the reason."""
        try:
            meta = (await self._dispatcher.dispatch(partial(calls.get, self._alive(), key))).meta
        except Exception as error:
            if not self._is_unseen(error, key):
                raise self._failed(error, "look up", key) from safe_cause(error)
            self._proven = True
            return None
        return Entry(key, meta["size"], meta["e_tag"])

    # -- writing ----------------------------------------------------------------------------------

    async def _write(self, key: str, pieces: AnyPieces, condition: Precondition) -> str | Conflict | None:
        self._check(key)
        if self._takes_pieces and is_stream(pieces) and isinstance(condition, Condition):
            part = part_size(known_size(pieces))
            pieces = await begun(aiter(pieces))
            if is_stream(pieces):
                return await self._upload(key, pieces, condition, part)
        if isinstance(pieces, tuple) and len(pieces) == 1 and not self._in_memory:
            value: Data = pieces[0]
        else:  # a copy: otherwise obstore's memory store would keep the caller's memory
            value = await gather_pieces(pieces)
        if condition is ANY:
            return await self._dispatcher.retry_call(partial(self._put, key, value, ANY, None))
        token = os.urandom(16).hex()
        attributes: Attributes | None = {TOKEN: token} if self._leaves_token else None
        return await self._write_if(
            partial(self._put, key, value, condition, attributes),
            partial(self._find_own, key, value, token),
            client_retries=self._leaves_token and not self._no_client_retries,
        )

    async def _put(
        self, key: str, value: Data, condition: Precondition, attributes: Attributes | None
    ) -> str | Conflict | None:
        mode: PutMode | None = None
        if condition is not ANY:
            mode = "create" if isinstance(condition, Condition) else {"e_tag": condition}
        # obstore doesn't support conditions for multipart uploads.
        multipart = None if mode is None else False
        put = partial(calls.put, attributes=attributes, mode=mode, use_multipart=multipart)
        send = partial(put, self._alive(), key, value, chunk_size=part_size(len(value)))
        try:
            answer = await self._dispatcher.dispatch_write(send)
        except Exception as error:
            if condition is not ANY and errors.denies_condition(error, key):
                return CONFLICT
            raise self._failed(error, "write", key) from safe_cause(error)
        self._proven = True
        return answer["e_tag"]

    async def _upload(
        self, key: str, pieces: AsyncIterable[Data], condition: Condition, part: int
    ) -> str | Conflict | None:
        """Send a value in parts of so many bytes as its pieces arrive.

        obstore doesn't support a condition for that. So the key is looked up first, and again before the
        server joins the parts.
        """
        if condition is ABSENT and await self._look_again(key) is not None:
            return CONFLICT
        failures: list[BaseException] = []

        async def checked() -> AsyncIterator[Data]:
            try:
                async for piece in pieces:
                    yield piece
                    del piece  # frees the memory while the next one arrives
                if condition is ABSENT and await self._is_there(key):
                    raise _TakenError
            except BaseException as error:
                failures.append(error)
                raise

        # Uses the user's own store, or one like it: only its client can resend a lost part.
        put = partial(calls.put, self._lister, key, checked(), use_multipart=True)
        try:
            send = partial(put, chunk_size=part, max_concurrency=_PARTS)
            answer = await self._dispatcher.send_stream(send)
        except BaseException as error:
            for failure in failures:
                if isinstance(failure, _TakenError):
                    return CONFLICT
                raise failure from None
            if not isinstance(error, Exception):
                raise
            raise self._failed(error, "write", key) from safe_cause(error)
        self._proven = True
        return answer["e_tag"]

    async def _is_there(self, key: str) -> bool:
        try:
            await self._head(key)
        except Exception as error:
            if self._is_absent(error, key):
                return False
            raise self._failed(error, "write", key) from safe_cause(error)
        return True

    async def _find_own(self, key: str, value: Data, token: str) -> str | Conflict | None:
        """Return the value's version if it has our token, or without tokens our bytes; else `CONFLICT`."""
        if not self._leaves_token:
            found = await self._fetch(key, None, True)
            return found.version if found is not None and found.value == memoryview(value) else CONFLICT
        look = partial(calls.get, self._alive(), key, options={"head": True})
        try:
            answer = await self._dispatcher.dispatch(look)
        except Exception as error:
            if self._is_absent(error, key):
                return CONFLICT
            raise self._failed(error, "write", key) from safe_cause(error)
        return answer.meta["e_tag"] if answer.attributes.get(TOKEN) == token else CONFLICT

    async def _copy(self, source: str, target: str) -> None:
        self._check(source)
        self._check(target)
        await self._dispatcher.retry_call(lambda: self._copy_once(source, target))

    async def _copy_once(self, source: str, target: str) -> None:
        try:
            await self._dispatcher.dispatch_write(partial(calls.copy, self._alive(), source, target))
        except Exception as error:
            if self._is_absent(error, source):
                raise KeyNotFoundError("there is no value to copy.", store=self, key=source) from None
            raise self._failed(error, "copy", source) from safe_cause(error)

    # -- removing ---------------------------------------------------------------------------------

    async def _remove(self, key: str, condition: Precondition = ANY) -> Conflict | None:
        self._check(key)
        if condition is ANY:
            await self._dispatcher.retry_call(lambda: self._delete(key, key))
            return None
        entry = await self._stat(key)
        if entry is None or entry.version != condition:
            return CONFLICT
        # Only once: a second attempt might remove what was written after the first.
        await self._delete(key, key)
        return None

    async def _remove_many(self, keys: Iterable[str]) -> None:
        paths = list(keys)
        for path in paths:
            self._check(path)
        again = self._dispatcher.retry_call
        await gather([again(partial(self._delete, part, None)) for part in batches(paths, _BATCH)])

    async def _delete(self, paths: str | list[str], key: str | None) -> None:
        try:
            await self._dispatcher.dispatch_write(partial(calls.delete, self._alive(), paths))
        except Exception as error:
            if not self._is_absent(error, key):
                raise self._failed(error, "delete", key) from safe_cause(error)
            if not isinstance(paths, str):
                # Some stores stop at the first key that is missing.
                await gather([self._delete(path, path) for path in paths])


def _in_order(value: object) -> object:
    """Put what a store was made from into a canonical order, for a digest."""
    if isinstance(value, dict):
        return sorted((str(name), _in_order(inner)) for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return [_in_order(inner) for inner in value]
    if isinstance(value, (str, bytes, int, float, timedelta, type(None))):
        return repr(value)
    return type(value).__qualname__  # credential providers, for example, don't affect the place


def _options(request: ByteRequest) -> GetOptions:
    """Convert a request to obstore's options."""
    if isinstance(request, OffsetByteRequest):
        return {"range": {"offset": request.offset}}
    if isinstance(request, SuffixByteRequest):
        return {"range": {"suffix": request.suffix}}
    return {"range": (request.start, request.end) if request.end > request.start else (0, 0)}


__all__ = ["ObjectStore"]
