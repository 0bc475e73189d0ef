"""How the parts of `FsspecStore` make calls and name keys, and what the errors of calls mean."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from zarrstore._async.io_loop import await_on_io
from zarrstore._core.keys import check_azure_key
from zarrstore._core.secrets import safe_cause
from zarrstore._os.temporary import is_temporary
from zarrstore.errors import InvalidKeyError
from zarrstore.storage._fsspec import errors, http
from zarrstore.storage._remote.answers import no_container
from zarrstore.storage._remote.store import RemoteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from zarrstore.errors import StoreError
    from zarrstore.storage._fsspec.calls import Files
    from zarrstore.storage._fsspec.protocol import Untyped

T = TypeVar("T")

# Protocols of Azure's client.
AZURE = frozenset(("abfs", "abfss", "az"))
# Protocols whose `mv` replaces a file in the same directory atomically.
RENAMES = frozenset(("file", "local", "sftp", "ssh"))


class CallingStore(RemoteStore, abstract=True):
    """The part of `FsspecStore` that makes calls."""

    _files: Files
    _base: str
    _prefix: str
    _protocol: str
    _http: bool
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
