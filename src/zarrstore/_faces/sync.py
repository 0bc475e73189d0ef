"""The blocking face of a store: each operation under its own name followed by ``_sync``.

Both faces share the bodies. Over blocking verbs these run in the calling thread, even inside a running
event loop; over awaiting verbs they run on the process's private I/O thread.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from zarrstore._async.bindings import drive_each
from zarrstore._async.io_loop import run_on_io
from zarrstore._core import composites
from zarrstore._core.keys import check_key
from zarrstore._core.listing import close
from zarrstore._core.requests import as_request
from zarrstore._core.verbs import ANY, CONFLICT, drive, host_memory, refused_write
from zarrstore._faces.bodies import Bodies
from zarrstore._faces.to_device import HOST_BUFFERS, to_device, wants_device
from zarrstore._faces.values import parse_parts, wrap, wrap_each
from zarrstore.errors import ByteRequestError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
    from functools import cached_property

    from zarrstore._core.requests import ByteRequestLike
    from zarrstore._core.types import Prototype, Value
    from zarrstore._core.verbs import Verbs
    from zarrstore.buffer import Buffer

    Pages = AsyncIterator[Sequence[tuple[int, Buffer | None]]]

T = TypeVar("T")


class _Awaited(Protocol):
    """Public methods of the awaited face, for calls to a subclass's overrides."""

    async def get(
        self, key: str, prototype: Prototype | None, byte_range: ByteRequestLike | None
    ) -> Buffer | None: ...
    async def get_partial_values(
        self, prototype: Prototype | None, key_ranges: Iterable[tuple[str, ByteRequestLike | None]]
    ) -> list[Buffer | None]: ...
    def get_ranges(
        self,
        key: str,
        byte_ranges: Sequence[ByteRequestLike | None],
        *,
        prototype: Prototype | None,
        max_gap_bytes: int,
        max_coalesced_bytes: int,
    ) -> Pages: ...
    async def exists(self, key: str) -> bool: ...
    async def getsize(self, key: str) -> int: ...
    async def set(self, key: str, value: Value, **part: tuple[int, int]) -> None: ...
    async def delete(self, key: str) -> None: ...
    async def clear(self) -> None: ...


class SyncFace(Bodies):
    """Blocking twins of a store's methods."""

    if TYPE_CHECKING:
        # Attributes of `zarrstore.abc.store.Store` that these methods use.
        _direct: ClassVar[bool]
        _overridden: ClassVar[frozenset[str]]

        @cached_property
        def _sync_verbs(self) -> Verbs: ...
        @cached_property
        def _async_verbs(self) -> Verbs: ...

    def _overrides(self) -> _Awaited:
        """Return this store, typed as having the methods that its class overrides."""
        return self  # type: ignore[return-value]  # every store has the awaited face

    def _run(
        self,
        name: str,
        body: Callable[..., Coroutine[object, object, T]],
        *args: object,
        prototype: Prototype | None = None,
    ) -> T:
        """Run a body whose first argument is the verbs, or the awaited method if a subclass overrides it.

        The verbs read into the kind of memory that ``prototype`` names.
        """
        if name in self._overridden:
            answer: T = run_on_io(getattr(self, name)(*args))
            return answer
        if self._blocks:
            return drive(body(to_device(self._sync_verbs, prototype), *args))
        return run_on_io(body(to_device(self._async_verbs, prototype), *args))

    def get_sync(
        self, key: str, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Blocking form of `get`."""
        if "get" in self._overridden:
            return run_on_io(self._overrides().get(key, prototype, byte_range))
        check_key(key, self)
        request = None if byte_range is None else as_request(byte_range, self, key)
        self._is_open = True
        try:
            if prototype is not None and prototype.buffer not in HOST_BUFFERS and wants_device(prototype):
                value = self._run("", composites.read_value, key, request, prototype=prototype)
            elif self._direct:
                value = self._read(key, request, host_memory)  # type: ignore[call-arg, arg-type, assignment]
            elif self._blocks:
                value = drive(self._own_sync_verbs.read(key, request, host_memory))
            else:
                value = run_on_io(_awaited(self._own_async_verbs.read(key, request, host_memory)))
        except ByteRequestError as error:
            raise error.about(self, key) from None
        return None if value is None else wrap(value, prototype)

    def get_partial_values_sync(
        self, prototype: Prototype | None, key_ranges: Iterable[tuple[str, ByteRequestLike | None]]
    ) -> list[Buffer | None]:
        """Blocking form of `get_partial_values`."""
        if "get_partial_values" in self._overridden:
            return run_on_io(self._overrides().get_partial_values(prototype, key_ranges))
        requests = self._parse_requests(key_ranges)
        try:
            values = self._run("", composites.read_values, requests, prototype=prototype)
        except ByteRequestError as error:
            raise error.about(self, None) from None
        return wrap_each(values, prototype)

    def get_ranges_sync(
        self,
        key: str,
        byte_ranges: Sequence[ByteRequestLike | None],
        *,
        prototype: Prototype | None = None,
        max_gap_bytes: int = 1 << 20,
        max_coalesced_bytes: int = 16 << 20,
    ) -> list[tuple[int, Buffer | None]]:
        """Blocking form of `get_ranges`; returns a single list."""
        check_key(key, self)
        requests = [None if r is None else as_request(r, self, key) for r in byte_ranges]
        self._is_open = True
        limits = {"max_gap_bytes": max_gap_bytes, "max_coalesced_bytes": max_coalesced_bytes}

        async def collect(verbs: Verbs) -> list[tuple[int, Buffer | None]]:
            batches = composites.read_ranges(verbs, key, requests, host_memory, max_concurrency=64, **limits)
            return [(index, wrap(value, prototype)) async for batch in batches for index, value in batch]

        if "get_ranges" in self._overridden:

            async def ask() -> list[tuple[int, Buffer | None]]:
                batches = self._overrides().get_ranges(key, byte_ranges, prototype=prototype, **limits)
                return [pair async for batch in batches for pair in batch]

            return run_on_io(ask())
        return self._run("", collect, prototype=prototype)

    def get_versioned_sync(
        self, key: str, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> tuple[Buffer, str] | None:
        """Blocking form of `get_versioned`."""
        return self._run(
            "get_versioned", self._do_get_versioned, key, prototype, byte_range, prototype=prototype
        )

    def exists_sync(self, key: str) -> bool:
        """Blocking form of `exists`."""
        if "exists" in self._overridden:
            return run_on_io(self._overrides().exists(key))
        return self._run("", self._do_stat, key) is not None

    def getsize_sync(self, key: str) -> int:
        """Blocking form of `getsize`."""
        if "getsize" in self._overridden:
            return run_on_io(self._overrides().getsize(key))
        return self._size(self._run("", self._do_stat, key), key)

    def getsize_prefix_sync(self, prefix: str) -> int:
        """Blocking form of `getsize_prefix`."""
        return self._run("getsize_prefix", self._do_getsize_prefix, prefix)

    def set_sync(self, key: str, value: Value, *, byte_range: tuple[int, int] | None = None) -> None:
        """Blocking form of `set`."""
        if "set" in self._overridden:
            # An override with zarr-python's signature takes no byte_range, so pass it only if there is one.
            part = {} if byte_range is None else {"byte_range": byte_range}
            return run_on_io(self._overrides().set(key, value, **part))
        pieces = self._ready(key, value)
        if byte_range is not None:
            self._run("", self._do_patch, [parse_parts(key, byte_range, pieces, self)])
            return None
        if self._direct:
            answer = self._write(key, pieces, ANY)  # type: ignore[call-arg, arg-type]
        elif self._blocks:
            answer = drive(self._own_sync_verbs.write(key, pieces, ANY))
        else:
            answer = run_on_io(_awaited(self._own_async_verbs.write(key, pieces, ANY)))
        if answer is CONFLICT:
            raise refused_write(key, self)
        return None

    def set_if_not_exists_sync(self, key: str, value: Value) -> None:
        """Blocking form of `set_if_not_exists`."""
        self._run("set_if_not_exists", self._do_create, key, value)

    def create_sync(self, key: str, value: Value) -> bool:
        """Blocking form of `create`."""
        return self._run("create", self._do_create, key, value)

    def set_if_unchanged_sync(self, key: str, value: Value, version: str) -> str | None:
        """Blocking form of `set_if_unchanged`."""
        return self._run("set_if_unchanged", self._do_set_if_unchanged, key, value, version)

    def set_partial_values_sync(self, key_start_values: Iterable[tuple[str, int, Value]]) -> None:
        """Blocking form of `set_partial_values`."""
        self._run("set_partial_values", self._do_set_partial_values, key_start_values)

    def delete_sync(self, key: str) -> None:
        """Blocking form of `delete`."""
        if "delete" in self._overridden:
            return run_on_io(self._overrides().delete(key))
        self._check_writable(key)
        check_key(key, self)
        self._is_open = True
        if not self.supports_deletes:
            self._run("", self._do_refuse_delete, key)
        elif self._direct:
            self._remove(key, ANY)  # type: ignore[call-arg, arg-type]
        elif self._blocks:
            drive(self._own_sync_verbs.remove(key, ANY))
        else:
            run_on_io(_awaited(self._own_async_verbs.remove(key, ANY)))
        return None

    def delete_if_unchanged_sync(self, key: str, version: str) -> bool:
        """Blocking form of `delete_if_unchanged`."""
        return self._run("delete_if_unchanged", self._do_delete_if_unchanged, key, version)

    def delete_dir_sync(self, prefix: str) -> None:
        """Blocking form of `delete_dir`."""
        self._run("delete_dir", self._do_delete_dir, prefix)

    def clear_sync(self) -> None:
        """Blocking form of `clear`."""
        if "clear" in self._overridden:
            return run_on_io(self._overrides().clear())
        self._run("", self._do_delete_dir, "")
        return None

    def is_empty_sync(self, prefix: str = "") -> bool:
        """Blocking form of `is_empty`."""
        return self._run("is_empty", self._do_is_empty, prefix)

    def list_sync(self) -> Iterator[str]:
        """Blocking form of `list`: an iterator that lists as it is consumed."""
        return self._iterate(lambda verbs, directory: verbs.keys(directory), "")

    def list_prefix_sync(self, prefix: str) -> Iterator[str]:
        """Blocking form of `list_prefix`: an iterator that lists as it is consumed."""
        return self._iterate(lambda verbs, directory: verbs.keys(directory), prefix)

    def list_dir_sync(self, prefix: str) -> Iterator[str]:
        """Blocking form of `list_dir`: an iterator that lists as it is consumed."""
        return self._iterate(lambda verbs, directory: verbs.names(directory), prefix)

    def _iterate(self, listing: Callable[[Verbs, str], AsyncIterator[list[T]]], prefix: str) -> Iterator[T]:
        directory = self._listed(prefix)
        return self._each(lambda verbs: listing(verbs, directory))

    def _each(self, pages: Callable[[Verbs], AsyncIterator[list[T]]]) -> Iterator[T]:
        """Iterate over the items in pages, in blocking code, as they are consumed."""
        if self._blocks:
            return _flattened(self, drive_each(pages(self._sync_verbs)))
        return _flattened(self, _pages_from_io(pages(self._async_verbs)))

    def _get_bytes_sync(
        self, key: str = "", *, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> bytes:
        value = self.get_sync(key, prototype=prototype, byte_range=byte_range)
        if value is None:
            raise KeyNotFoundError("there is no such value.", store=self, key=key)
        return bytes(value.to_bytes())

    def _get_json_sync(
        self, key: str = "", *, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> object:
        import json

        return json.loads(self._get_bytes_sync(key, prototype=prototype, byte_range=byte_range))


def _flattened(store: object, pages: Iterator[list[T]]) -> Iterator[T]:
    """Iterate over the items in the pages of a listing; keeps a reference to the store meanwhile."""
    for page in pages:
        yield from page


def _pages_from_io(pages: AsyncIterator[list[T]]) -> Iterator[list[T]]:
    """Iterate in blocking code over pages listed on the I/O thread; leaving early closes the listing."""
    try:
        while (page := run_on_io(_next(pages))) is not None:
            yield page
    finally:
        # At interpreter exit no loop runs any more, and the listing's resources are freed anyway.
        if not sys.is_finalizing():
            run_on_io(close(pages))


async def _next(pages: AsyncIterator[list[T]]) -> list[T] | None:
    return await anext(pages, None)


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
