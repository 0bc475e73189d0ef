"""How `FsspecStore` makes calls, what their errors mean, and how it reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from zarrstore._async.io_loop import await_on_io
from zarrstore._core.keys import check_azure_key
from zarrstore._core.requests import RangeByteRequest, SuffixByteRequest, span
from zarrstore._core.secrets import safe_cause
from zarrstore._core.urls import AZURE
from zarrstore._core.verbs import Entry
from zarrstore._os.temporary import is_temporary
from zarrstore.errors import ByteRequestError, InvalidKeyError, TruncatedError
from zarrstore.storage._fsspec import errors, http
from zarrstore.storage._fsspec.parts import told_versions
from zarrstore.storage._remote.answers import no_container
from zarrstore.storage._remote.store import Found, RemoteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, Data
    from zarrstore.errors import StoreError
    from zarrstore.storage._fsspec.calls import Files
    from zarrstore.storage._fsspec.protocol import Untyped

T = TypeVar("T")

# Protocols whose `mv` replaces a file in the same directory atomically.
RENAMES = frozenset(("file", "local", "sftp", "ssh"))


class ReadingStore(RemoteStore, abstract=True):
    """The part of `FsspecStore` that makes calls and reads."""

    _files: Files
    _base: str
    _prefix: str
    _protocol: str
    _http: bool
    _asks_http: bool  # whether web servers are asked by our own requests
    allowed_exceptions: tuple[type[Exception], ...]

    # -- calls ------------------------------------------------------------------------------------
    # `_call` calls a file system's method by name; `_send` calls a function of ours with the file system.
    # Those with `_write` have side effects: once sent, they are awaited to their end, even if cancelled.

    async def _on_client(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await (coroutine if self._files.blocks else await_on_io(coroutine))

    def _call(self, name: str, *args: Untyped, **kwargs: Untyped) -> Awaitable[Untyped]:
        return self._dispatcher.dispatch(self._files.method(name, args, kwargs, abandon=True))

    def _call_write(self, name: str, *args: Untyped, **kwargs: Untyped) -> Awaitable[Untyped]:
        return self._dispatcher.dispatch_write(self._files.method(name, args, kwargs, abandon=False))

    def _send(self, call: Callable[..., Awaitable[T]], *args: object) -> Awaitable[T]:
        return self._dispatcher.dispatch(partial(call, self._files.client, *args))

    def _send_write(self, call: Callable[..., Awaitable[T]], *args: object) -> Awaitable[T]:
        return self._dispatcher.dispatch_write(partial(call, self._files.client, *args))

    async def _info(self, path: str) -> dict[str, Untyped]:
        self._forget(path)
        info: dict[str, Untyped] = await self._call("info", path)
        return info

    def _forget(self, path: str) -> None:
        """Clear a blocking file system's cache of listings; our copy of an async one has none."""
        if self._files.blocks:
            self._files.client.invalidate_cache(path)

    # -- paths ------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        """Return a key's path in the file system; refuse keys that would be stored elsewhere."""
        if self._http:
            return http.join(self._base, key)
        if self._protocol in AZURE:
            check_azure_key(key, self)
        path = self._prefix + key
        inside = self._files.inside
        if self._protocol in RENAMES and any(map(is_temporary, key.split("/"))):
            raise InvalidKeyError(
                "names like this are kept for temporary files.",
                store=self,
                key=key,
                hint="Choose another name.",
            )
        moved = inside._strip_protocol(path) not in (path, path.lstrip("/"))
        if hasattr(inside, "split_path"):
            # s3fs interprets '?versionId=' as a version of another key, and gcsfs '#' as a generation.
            moved = moved or "/".join(inside.split_path(path)[:2]).rstrip("/") != path
        if moved:
            raise InvalidKeyError(
                "this file system would put such a key elsewhere.",
                store=self,
                key=key,
                hint="Choose another name.",
            )
        return path

    def _directory(self, prefix: str) -> str:
        if self._http:
            return http.join(self._base, prefix) if prefix else self._base
        return self._prefix + prefix.removesuffix("/") if prefix else self._base

    # -- errors -----------------------------------------------------------------------------------

    def _failed(self, error: Exception, action: str, key: str) -> StoreError:
        return errors.translated(error, action, self, key)

    def _failed_at(self, error: Exception, action: str, key: str) -> StoreError:
        if self._files.direct is not None and self._is_absent(error):
            # Without folders, nothing else can be missing.
            return no_container(action, self, key)
        return self._failed(error, action, key)

    def _is_absent(self, error: Exception) -> bool:
        return errors.proves_absence(error, self.allowed_exceptions)

    async def _is_unseen(self, error: Exception, action: str, key: str) -> bool:
        """Whether an error of a read or a lookup means that the value is missing."""
        return errors.is_missing(error, self.missing_on) or await self._proves_missing(error, action, key)

    async def _proves_missing(self, error: Exception, action: str, key: str) -> bool:
        """Whether a value is missing; raise if the bucket is."""
        if not self._is_absent(error):
            return False
        if not errors.names_key(error):
            await self._prove(action, key)
        self._proven = True
        return True

    async def _prove(self, action: str, key: str) -> None:
        """Raise if the bucket doesn't exist; checked once, by listing one key."""
        if self._files.direct is None or self._proven or not self._base:
            return
        try:
            await self._send(self._files.direct.page, self._prefix, "", True, None, 1)
        except Exception as error:
            if not errors.is_missing(error, self.missing_on):
                raise self._failed_at(error, action, key) from safe_cause(error)
        self._proven = True

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        return await self._on_client(self._read_once(key, request))

    def _read_once(self, key: str, request: ByteRequest | None) -> Coroutine[Any, Any, Data | None]:
        return self._dispatcher.single_flight((key, request), partial(self._fetch, key, request))

    def _read_told(self, key: str, request: ByteRequest | None) -> Coroutine[Any, Any, Found | None]:
        fetch = partial(self._fetch_told, key, request)
        return self._dispatcher.single_flight((key, request, "and its version"), fetch)

    async def _fetch_told(self, key: str, request: ByteRequest | None) -> Found | None:
        with told_versions() as versions:
            value = await self._fetch(key, request)
        return None if value is None else Found(value, versions[-1] if versions else None)

    async def _fetch(self, key: str, request: ByteRequest | None) -> Data | None:
        path = self._path(key)
        try:
            if _is_void(request):
                value: Data = b""
            elif self._asks_http:
                return await self._send(http.fetch, path, request)
            elif self._files.direct is not None:
                value = await self._send(self._files.direct.fetch, path, *_bounds(request))
                if value or request is None:  # Azure's client returns nothing for a range past the end
                    return value
            else:
                start, end = _bounds(request)
                value = await self._call("cat_file", path, start=start, end=end)
                if request is None and self._protocol != "reference":
                    return value
        except ByteRequestError as error:
            raise error.about(self, key) from None
        except Exception as error:
            if await self._is_unseen(error, "read", key):
                return None
            if request is None or not errors.is_past_the_end(error):
                raise self._failed(error, "read", key) from safe_cause(error)
            value = b""
        return await self._check_length(key, request, value)

    async def _check_length(self, key: str, request: ByteRequest | None, value: Data) -> Data | None:
        """Check the length of an answer, which hasn't been checked yet, against the value's size."""
        entry = await self._look(key)
        if entry is None:
            return None
        size = entry.size or 0
        start, stop = span(request, size)
        if len(value) == stop - start:
            return value
        if len(value) == size:
            return value[start:stop]  # the server doesn't support ranges
        raise TruncatedError(
            f"{len(value)} bytes arrived for {request!r} of a value of {size} bytes.",
            store=self,
            key=key,
            hint="Read it again; if that doesn't help, it was written incompletely.",
        )

    async def _look(self, key: str) -> Entry | None:
        path = self._path(key)
        try:
            if self._files.direct is not None:
                return Entry(key, *await self._send(self._files.direct.look, path))
            if self._asks_http:
                found = await self._send(http.look, path)
                return None if found is None else Entry(key, found)
            info = await self._info(path)
            if info["type"] == "directory":
                return None
            size = info.get("size")
            if size is None:
                size = len(await self._call("cat_file", path))
            return Entry(key, size)
        except Exception as error:
            if await self._is_unseen(error, "look up", key):
                return None
            raise self._failed(error, "look up", key) from safe_cause(error)


def _bounds(request: ByteRequest | None) -> tuple[int | None, int | None]:
    """Convert a request to ``start`` and ``end`` of fsspec's ``cat_file``."""
    if isinstance(request, RangeByteRequest):
        return request.start, request.end
    if isinstance(request, SuffixByteRequest):
        return -request.suffix, None
    return getattr(request, "offset", None), None


def _is_void(request: ByteRequest | None) -> bool:
    """Whether a lenient request is for no bytes at all, which HTTP can't express."""
    if isinstance(request, RangeByteRequest):
        return request.end <= request.start
    return getattr(request, "suffix", None) == 0
