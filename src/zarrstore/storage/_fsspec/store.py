"""Stores values in any of fsspec's file systems."""

from __future__ import annotations

import inspect
import os
import warnings
from functools import partial
from typing import TYPE_CHECKING

from zarrstore._async.bindings import is_stream
from zarrstore._core.retry import DEFAULT, RetryPolicy
from zarrstore._core.secrets import safe_cause, without_secrets
from zarrstore._core.urls import AZURE, GCS, S3, bucket_place, check_directory, file_path, with_lower_scheme
from zarrstore._core.verbs import (
    ABSENT,
    ANY,
    CONFLICT,
    Capabilities,
    SizedPieces,
    gather_pieces,
    known_size,
)
from zarrstore._faces.overrides import own_face
from zarrstore._os.temporary import make_name
from zarrstore.errors import KeyNotFoundError, UnsupportedOperationError
from zarrstore.storage._fsspec import errors, s3
from zarrstore.storage._fsspec.calls import Files, LocalFileSystem, as_awaiting, identity, tokenize, url_to_fs
from zarrstore.storage._fsspec.errors import ALLOWED_EXCEPTIONS
from zarrstore.storage._fsspec.reading import RENAMES
from zarrstore.storage._fsspec.removing import RemovingStore
from zarrstore.storage._fsspec.uploads import WHOLE, Upload, slices
from zarrstore.storage._local.store import LocalStore
from zarrstore.storage._remote.copies import StoreCopies
from zarrstore.storage._remote.dispatch import CONCURRENCY, Dispatcher
from zarrstore.storage._remote.place import of_fsspec
from zarrstore.storage._remote.store import MAX_COALESCED, MAX_GAP, begun, part_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zarrstore._core.types import AnyPieces, Mapper, ServerCopies, UniversalPath, Value
    from zarrstore._core.verbs import Condition, Conflict, Precondition
    from zarrstore.abc.store import Store
    from zarrstore.storage._fsspec.protocol import FileSystem

# Protocols whose servers can atomically refuse to create an existing key, if fsspec requests it.
_CREATES = S3 | GCS | AZURE
# Protocols whose clients retry by themselves, which can't be disabled.
_RETRYING = GCS | AZURE | {"adl"}


class FsspecStore(RemovingStore):
    """A store based on one of fsspec's file systems.

    Parameters
    ----------
    fs : AsyncFileSystem
        The file system. Calls are made on a copy of it, which belongs to the library's own I/O thread. So one
        store works in any thread, in any event loop and, after a fork, in the child.
    read_only : bool
        Whether to refuse every call that changes the store.
    path : str
        The store's root in the file system, without a scheme. It is a whole URL only if the file system's own
        paths are URLs, as with HTTP.
    allowed_exceptions : tuple of exception types
        What a file system may raise for a missing value. An exception that hides another reason (a missing
        bucket, a refused request) is still raised.
    missing_on : iterable of int
        Statuses that mean that a value is missing, when it is read or looked up. An example is ``{403}`` for
        a bucket that one may read but not list, where S3 answers this for a missing key.
    retry : RetryPolicy or None
        When to retry a failed request. None leaves retries to the file system's client, and so does the
        default if that client's own retries can't be disabled.
    concurrency : int
        How many requests may run at once; fewer while the server asks to slow down.
    max_gap_bytes, max_coalesced_bytes : int
        Ranges of one value requested in one call are read as one if they are at most this many bytes apart,
        up to this size in bytes.

    Raises
    ------
    TypeError
        If the file system has no async operations; the classmethods wrap a blocking one.
    ValueError
        If the path has a scheme.

    Warns
    -----
    UserWarning
        If the file system was not made with ``asynchronous=True``.

    Notes
    -----
    Values are written atomically. fsspec's local file system, and a view of a directory in it, is served by
    `LocalStore`. Listings never come from fsspec's cache. A removal removes a link itself, where the file
    system reports links; what it leads to stays.
    """

    def __init__(
        self,
        fs: object,
        read_only: bool = False,
        path: str = "/",
        allowed_exceptions: tuple[type[Exception], ...] = ALLOWED_EXCEPTIONS,
        *,
        missing_on: Iterable[int] = (),
        retry: RetryPolicy | None = DEFAULT,
        concurrency: int = CONCURRENCY,
        max_gap_bytes: int = MAX_GAP,
        max_coalesced_bytes: int = MAX_COALESCED,
    ) -> None:
        given: FileSystem = fs
        if not getattr(given, "async_impl", False):
            raise TypeError(
                f"Filesystem needs to support async operations, {type(given).__name__} doesn't. "
                "FsspecStore.from_url and from_upath wrap it so that it does."
            )
        self._files = files = Files(given)
        base = files.unwrapped._strip_protocol(path)
        scheme, mark, _ = path.partition("://")
        if mark and "://" not in base:
            raise ValueError(
                f"path argument to FsspecStore must not include scheme ({scheme}), "
                f"got {without_secrets(path)!r}; use FsspecStore.from_url for a URL"
            )
        if not given.asynchronous:
            warnings.warn(
                f"fs ({given}) was not created with `asynchronous=True`, "
                "this may lead to surprising behavior",
                UserWarning,
                stacklevel=2,
            )
        inside, kind = files.inside, files.direct
        protocol = inside.protocol
        self._protocol: str = protocol if isinstance(protocol, str) else protocol[0]
        self._http = self._protocol == "http"
        is_s3 = kind is not None and kind.PACKAGE == s3.PACKAGE
        keeps_retries = s3.retries(given) if is_s3 else self._protocol in _RETRYING
        if retry is DEFAULT and keeps_retries:
            retry = None
        files.quiet = is_s3 and retry is not None and not keeps_retries
        self._asks_http = self._http and not files.blocks
        dispatcher = Dispatcher(retry, concurrency, errors.is_throttled, timed=not files.blocks)
        limits = max_gap_bytes, max_coalesced_bytes
        super().__init__(dispatcher, limits, missing_on, read_only=read_only)
        self.fs = given
        self.path = path
        self.allowed_exceptions: tuple[type[Exception], ...] = tuple(allowed_exceptions)
        # Resolved here, so that os.chdir doesn't change the meaning of a relative path.
        self._base: str = inside._strip_protocol(files.path_inside(base)) or inside.root_marker
        if isinstance(inside, LocalFileSystem):
            self._base = os.path.realpath(self._base)
            if type(inside) is LocalFileSystem and self.allowed_exceptions == ALLOWED_EXCEPTIONS:
                self._local = LocalStore(self._base)
        if kind is not None:
            check_directory(self._protocol, self._base.partition("/")[2].removesuffix("/"))
        self._prefix = self._base if self._base.endswith("/") or not self._base else self._base + "/"

    @classmethod
    def from_upath(
        cls,
        upath: UniversalPath,
        read_only: bool = False,
        allowed_exceptions: tuple[type[Exception], ...] = ALLOWED_EXCEPTIONS,
    ) -> FsspecStore:
        """Make a store whose root is a universal path.

        Parameters
        ----------
        upath : UPath
            The root.
        read_only, allowed_exceptions
            See the class.
        """
        return cls(as_awaiting(upath.fs), read_only, upath.path.rstrip("/") or "/", allowed_exceptions)

    @classmethod
    def from_mapper(
        cls,
        fs_map: Mapper,
        read_only: bool = False,
        allowed_exceptions: tuple[type[Exception], ...] = ALLOWED_EXCEPTIONS,
    ) -> FsspecStore:
        """Make a store with the same root as one of fsspec's mappings.

        Parameters
        ----------
        fs_map : FSMap
            The mapping, as ``fsspec.get_mapper`` returns it.
        read_only, allowed_exceptions
            See the class.
        """
        return cls(as_awaiting(fs_map.fs), read_only, fs_map.root, allowed_exceptions)

    @classmethod
    def from_url(
        cls,
        url: str,
        storage_options: Mapping[str, object] | None = None,
        read_only: bool = False,
        allowed_exceptions: tuple[type[Exception], ...] = ALLOWED_EXCEPTIONS,
        *,
        missing_on: Iterable[int] = (),
        retry: RetryPolicy | None = DEFAULT,
        concurrency: int = CONCURRENCY,
        max_gap_bytes: int = MAX_GAP,
        max_coalesced_bytes: int = MAX_COALESCED,
    ) -> FsspecStore:
        """Make a store whose root is a URL of any of fsspec's protocols, or a chain of URLs.

        Parameters
        ----------
        url : str
            The root.
        storage_options : dict, optional
            Options for creating the file system.
        read_only, allowed_exceptions, missing_on, retry, concurrency, max_gap_bytes, max_coalesced_bytes
            See the class.
        """
        url = with_lower_scheme(url)
        bucket_place(url)  # refuses URLs that the backends would interpret differently
        if url.startswith("file://"):
            url = file_path(url)
        fs, path = url_to_fs(url, **(storage_options or {}))
        return cls(
            as_awaiting(fs),
            read_only,
            path,
            allowed_exceptions,
            missing_on=missing_on,
            retry=retry,
            concurrency=concurrency,
            max_gap_bytes=max_gap_bytes,
            max_coalesced_bytes=max_coalesced_bytes,
        )

    # -- identity ---------------------------------------------------------------------------------

    @property
    def _location(self) -> str:
        base = self._base
        return without_secrets(base if "://" in base else f"{self._protocol}://{base}")

    def _place(self, prefix: str) -> str:
        if self._local is not None:
            return self._local._place(prefix)
        return of_fsspec(self._files.inside, self._prefix + prefix, self._digest())

    def _identity(self) -> object:
        return identity(self.fs)

    def _digest(self) -> object:
        return tokenize(identity(self.fs))

    @property
    def capabilities(self) -> Capabilities:
        """What this store guarantees, which depends on its file system."""
        if self._local is not None:
            return self._local.capabilities
        return Capabilities(
            atomic_create=self._creates, folders=self._files.blocks, shared=self._protocol != "memory"
        )

    @property
    def _takes_pieces(self) -> bool:
        return self._local is not None or (self._files.direct is not None and self._files.direct.IN_PARTS)

    @property
    def _lists_in_order(self) -> bool:
        return self._files.direct is not None and self._protocol not in AZURE and bool(self._base)

    @property
    def supports_writes(self) -> bool:
        """Whether the file system can write; a web server can't."""
        return not self._http

    @property
    def supports_deletes(self) -> bool:
        """Whether the file system can remove values."""
        return not self._http

    @property
    def _creates(self) -> bool:
        if self._files.blocks or self._protocol not in _CREATES:
            return False
        if self._protocol in AZURE and self._files.direct is not None:
            return True
        return "mode" in inspect.signature(self.fs._pipe_file).parameters

    @own_face
    async def set(self, key: str, value: Value, byte_range: tuple[int, int] | None = None) -> None:
        """Replace a value.

        Parameters
        ----------
        key : str
            Which value.
        value : Buffer or bytes-like
            What to store.
        byte_range : (int, int), optional
            Must be None: these file systems only write whole values.

        Raises
        ------
        UnsupportedOperationError
            If ``byte_range`` is given (a `NotImplementedError`).
        """
        await super().set(key, value, byte_range=byte_range)

    def _copies_from(self, source: Store) -> ServerCopies | None:
        if not isinstance(source, FsspecStore) or not self._takes_pieces or self._local is not None:
            return None
        if self._overridden or source._overridden or self._identity() != source._identity():
            return None
        return StoreCopies(source, self, partial(self._copy_once, source), client_retries=True)

    async def _copy_once(
        self, source: FsspecStore, key: str, target_key: str, condition: Condition
    ) -> Conflict | None:
        """Make one attempt at a copy from another store, by the server."""
        try:
            await self._send_write(s3.copy, source._path(key), self._path(target_key), condition is ABSENT)
        except Exception as error:
            if condition is ABSENT and errors.denies_condition(error):
                return CONFLICT
            if self._is_absent(error) and errors.names_key(error):
                raise KeyNotFoundError("there is no value to copy.", store=source, key=key) from None
            raise self._failed_at(error, "copy", target_key) from safe_cause(error)
        return None

    # -- writing ----------------------------------------------------------------------------------

    async def _write(self, key: str, pieces: AnyPieces, condition: Precondition) -> Conflict | None:
        if condition not in (ANY, ABSENT):
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        at_once = 2  # of a value in pieces: it is one of many that a copy sends
        if not is_stream(pieces):
            pieces = tuple(pieces)
            if (size := sum(map(len, pieces))) > WHOLE and self._takes_pieces:
                pieces, at_once = SizedPieces(slices(pieces), size), 8
        if self._takes_pieces and is_stream(pieces):
            part = part_size(known_size(pieces))
            pieces = await begun(aiter(pieces))
            if is_stream(pieces):
                return await Upload(self, key, condition, part, at_once).run(pieces)
        value = await gather_pieces(pieces)  # an async iterator of pieces belongs to the caller's loop
        if condition is ABSENT:
            return await self._on_client(self._create(key, value))
        return await self._on_client(self._put(key, value))

    async def _put(self, key: str, value: bytes) -> None:
        await self._dispatcher.retry_call(lambda: self._put_once(key, value))

    async def _put_once(self, key: str, value: bytes) -> None:
        path = self._path(key)
        if self._files.blocks:
            await self._clear_way(path, key)
        for _ in range(3):
            try:
                await self._replace(path, value)
                return
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                if self._files.direct is not None:  # no folders can be in the way
                    raise self._failed(error, "write", key) from safe_cause(error)
                raise self._conflict(key) from safe_cause(error)
            except FileNotFoundError as error:
                if not self._files.blocks:
                    raise self._failed_at(error, "write", key) from safe_cause(error)
                missing = error
                await self._make_folder(path, key)
            except Exception as error:
                raise self._failed(error, "write", key) from safe_cause(error)
        raise self._failed(missing, "write", key) from safe_cause(missing)

    async def _replace(self, path: str, value: bytes) -> None:
        if self._protocol not in RENAMES:
            await self._call_write("pipe_file", path, value)
            return
        # A file written in place could be read, or left behind, half written.
        temporary = f"{path.rpartition('/')[0]}/{make_name()}"
        try:
            await self._call_write("pipe_file", temporary, value)
            await self._call_write("mv", temporary, path)
        except BaseException:
            try:
                await self._call_write("rm_file", temporary)
            except Exception:
                pass
            raise

    async def _create(self, key: str, value: bytes) -> Conflict | None:
        if not self._creates:
            if await self._look_again(key) is not None:
                return CONFLICT
            await self._put(key, value)
            return None
        path = self._path(key)
        token = os.urandom(16).hex()
        answer = await self._write_if(
            partial(self._create_once, path, key, value, token),
            partial(self._find_own, path, key, value, token),
            # s3fs, adlfs and gcsfs silently repeat a request whose connection was lost. Without a token only
            # the bytes could be compared, which others may have written too: so not after a first attempt.
            client_retries=self._files.direct is not None,
        )
        return None if answer is None else CONFLICT

    async def _create_once(self, path: str, key: str, value: bytes, token: str) -> Conflict | None:
        try:
            if self._files.direct is not None:
                await self._send_write(self._files.direct.create, path, value, token)
            else:
                await self._call_write("pipe_file", path, value, mode="create")
        except Exception as error:
            if errors.denies_condition(error):
                return CONFLICT
            raise self._failed_at(error, "create", key) from safe_cause(error)
        return None

    async def _find_own(self, path: str, key: str, value: bytes, token: str) -> Conflict | None:
        """Return None if the value has our token, or without tokens our bytes; otherwise `CONFLICT`."""
        try:
            if self._files.direct is not None:
                is_own = await self._send(self._files.direct.was_written, path, token)
            else:
                is_own = bytes(await self._call("cat_file", path)) == value
            return None if is_own else CONFLICT
        except Exception as error:
            if self._is_absent(error):
                return CONFLICT
            raise self._failed(error, "create", key) from safe_cause(error)

    async def _make_folder(self, path: str, key: str) -> None:
        try:
            await self._call_write("makedirs", path.rpartition("/")[0], exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._conflict(key) from safe_cause(error)
        except Exception as error:
            raise self._failed(error, "make a folder", key) from safe_cause(error)
