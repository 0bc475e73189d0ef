"""The blocking face of a store: each operation under its name with ``_sync`` behind it.

The bodies are the ones of the awaited face. Over blocking verbs they run in the calling thread, in
the middle of a running event loop too; over awaited ones on the process's private I/O thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from zarrstore._async import threads as _threads
from zarrstore._core import composites as _composites
from zarrstore._core.keys import check_key
from zarrstore._core.requests import as_request
from zarrstore._core.verbs import ANY, drive, host_memory
from zarrstore._faces.to_device import HOST_BUFFERS, to_device, wants_device
from zarrstore._faces.values import parse_parts, wrap, wrap_each
from zarrstore.errors import ByteRequestError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
    from functools import cached_property

    from zarrstore._core.requests import ByteRequest, ByteRequestLike
    from zarrstore._core.verbs import Verbs

T = TypeVar("T")


class SyncFace:
    """Blocking twins of a store's methods."""

    if TYPE_CHECKING:
        # What `zarrstore.abc.store.Store` has and these bodies use.
        _blocks: bool
        _direct: ClassVar[bool]
        _is_open: bool
        _overridden: ClassVar[frozenset[str]]

        @cached_property
        def _sync_verbs(self) -> Verbs: ...
        @cached_property
        def _async_verbs(self) -> Verbs: ...
        @cached_property
        def _own_sync_verbs(self) -> Verbs: ...
        @cached_property
        def _own_async_verbs(self) -> Verbs: ...

        _ready: Callable[[str, Any], tuple[Any, ...]]
        _about: Callable[[ByteRequestError, str | None], ByteRequestError]
        _check_writable: Callable[[], None]
        _do_create: Callable[..., Coroutine[Any, Any, bool]]
        _do_delete_dir: Callable[..., Coroutine[Any, Any, None]]
        _do_delete_if_unchanged: Callable[..., Coroutine[Any, Any, bool]]
        _do_getsize_prefix: Callable[..., Coroutine[Any, Any, int]]
        _do_is_empty: Callable[..., Coroutine[Any, Any, bool]]
        _do_patch: Callable[..., Coroutine[Any, Any, None]]
        _do_set_if_unchanged: Callable[..., Coroutine[Any, Any, str | None]]
        _do_set_partial_values: Callable[..., Coroutine[Any, Any, None]]
        _do_stat: Callable[..., Coroutine[Any, Any, Any]]
        _read: Callable[..., Any]
        _write: Callable[..., Any]
        _remove: Callable[..., Any]
        _listed: Callable[[str], str]
        _parse_requests: Callable[..., list[tuple[str, ByteRequest | None]]]
        _size: Callable[..., int]
        _do_get_versioned: Callable[..., Coroutine[Any, Any, Any]]

    def _run(
        self, name: str, body: Callable[..., Coroutine[Any, Any, T]], *args: Any, prototype: Any = None
    ) -> T:
        """Run a body that takes verbs first; an awaited method that a subclass overrides is asked instead.

        The verbs read into the memory that ``prototype`` names.
        """
        if name in self._overridden:
            answer: T = _threads.run_on_io(getattr(self, name)(*args))
            return answer
        if self._blocks:
            return drive(body(to_device(self._sync_verbs, prototype), *args))
        return _threads.run_on_io(body(to_device(self._async_verbs, prototype), *args))

    def get_sync(self, key: str, prototype: Any = None, byte_range: ByteRequestLike | None = None) -> Any:
        """Blocking form of `get`."""
        if "get" in self._overridden:
            return _threads.run_on_io(self.get(key, prototype, byte_range))  # type: ignore[attr-defined]
        check_key(key, self)
        if byte_range is not None:
            byte_range = as_request(byte_range, self, key)
        self._is_open = True
        try:
            if prototype is not None and prototype.buffer not in HOST_BUFFERS and wants_device(prototype):
                value = self._run("", _composites.read_value, key, byte_range, prototype=prototype)
            elif self._direct:
                value = self._read(key, byte_range, host_memory)
            elif self._blocks:
                value = drive(self._own_sync_verbs.read(key, byte_range, host_memory))
            else:
                value = _threads.run_on_io(self._own_async_verbs.read(key, byte_range, host_memory))
        except ByteRequestError as error:
            raise self._about(error, key) from None
        return None if value is None else wrap(value, prototype)

    def get_partial_values_sync(
        self, prototype: Any, key_ranges: Iterable[tuple[str, ByteRequestLike | None]]
    ) -> list[Any]:
        """Blocking form of `get_partial_values`."""
        if "get_partial_values" in self._overridden:
            return _threads.run_on_io(self.get_partial_values(prototype, key_ranges))  # type: ignore[attr-defined]
        requests = self._parse_requests(key_ranges)
        try:
            values = self._run("", _composites.read_values, requests, prototype=prototype)
        except ByteRequestError as error:
            raise self._about(error, None) from None
        return wrap_each(values, prototype)

    def get_ranges_sync(
        self,
        key: str,
        byte_ranges: Sequence[ByteRequestLike | None],
        *,
        prototype: Any = None,
        max_gap_bytes: int = 1 << 20,
        max_coalesced_bytes: int = 16 << 20,
    ) -> list[tuple[int, Any]]:
        """Blocking form of `get_ranges`; returns one list."""
        check_key(key, self)
        requests = [None if r is None else as_request(r, self, key) for r in byte_ranges]
        self._is_open = True

        async def collect(verbs: Verbs) -> list[tuple[int, Any]]:
            batches = _composites.read_ranges(
                verbs,
                key,
                requests,
                host_memory,
                max_concurrency=64,
                max_gap_bytes=max_gap_bytes,
                max_coalesced_bytes=max_coalesced_bytes,
            )
            return [(index, wrap(value, prototype)) async for batch in batches for index, value in batch]

        if "get_ranges" in self._overridden:

            async def ask() -> list[tuple[int, Any]]:
                batches = self.get_ranges(  # type: ignore[attr-defined]
                    key,
                    byte_ranges,
                    prototype=prototype,
                    max_gap_bytes=max_gap_bytes,
                    max_coalesced_bytes=max_coalesced_bytes,
                )
                return [pair async for batch in batches for pair in batch]

            return _threads.run_on_io(ask())
        return self._run("", collect, prototype=prototype)

    def get_versioned_sync(
        self, key: str, prototype: Any = None, byte_range: ByteRequestLike | None = None
    ) -> tuple[Any, str] | None:
        """Blocking form of `get_versioned`."""
        found: tuple[Any, str] | None = self._run(
            "get_versioned", self._do_get_versioned, key, prototype, byte_range, prototype=prototype
        )
        return found

    def exists_sync(self, key: str) -> bool:
        """Blocking form of `exists`."""
        if "exists" in self._overridden:
            return _threads.run_on_io(self.exists(key))  # type: ignore[attr-defined, no-any-return]
        return self._run("", self._do_stat, key) is not None

    def getsize_sync(self, key: str) -> int:
        """Blocking form of `getsize`."""
        if "getsize" in self._overridden:
            return _threads.run_on_io(self.getsize(key))  # type: ignore[attr-defined, no-any-return]
        return self._size(self._run("", self._do_stat, key), key)

    def getsize_prefix_sync(self, prefix: str) -> int:
        """Blocking form of `getsize_prefix`."""
        return self._run("getsize_prefix", self._do_getsize_prefix, prefix)

    def set_sync(self, key: str, value: Any, *, byte_range: tuple[int, int] | None = None) -> None:
        """Blocking form of `set`."""
        if "set" in self._overridden:
            # An override with zarr-python's signature knows no byte_range: it is passed if there is one.
            part = {} if byte_range is None else {"byte_range": byte_range}
            return _threads.run_on_io(self.set(key, value, **part))  # type: ignore[attr-defined, no-any-return]
        pieces = self._ready(key, value)
        if byte_range is not None:
            self._run("", self._do_patch, [parse_parts(key, byte_range, pieces, self)])
        elif self._direct:
            self._write(key, pieces, ANY)
        elif self._blocks:
            drive(self._own_sync_verbs.write(key, pieces, ANY))
        else:
            _threads.run_on_io(self._own_async_verbs.write(key, pieces, ANY))
        return None

    def set_if_not_exists_sync(self, key: str, value: Any) -> None:
        """Blocking form of `set_if_not_exists`."""
        self._run("set_if_not_exists", self._do_create, key, value)

    def create_sync(self, key: str, value: Any) -> bool:
        """Blocking form of `create`."""
        return self._run("create", self._do_create, key, value)

    def set_if_unchanged_sync(self, key: str, value: Any, version: str) -> str | None:
        """Blocking form of `set_if_unchanged`."""
        return self._run("set_if_unchanged", self._do_set_if_unchanged, key, value, version)

    def set_partial_values_sync(self, key_start_values: Iterable[tuple[str, int, Any]]) -> None:
        """Blocking form of `set_partial_values`."""
        self._run("set_partial_values", self._do_set_partial_values, key_start_values)

    def delete_sync(self, key: str) -> None:
        """Blocking form of `delete`."""
        if "delete" in self._overridden:
            return _threads.run_on_io(self.delete(key))  # type: ignore[attr-defined, no-any-return]
        self._check_writable()
        check_key(key, self)
        self._is_open = True
        if self._direct:
            self._remove(key, ANY)
        elif self._blocks:
            drive(self._own_sync_verbs.remove(key, ANY))
        else:
            _threads.run_on_io(self._own_async_verbs.remove(key, ANY))
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
            return _threads.run_on_io(self.clear())  # type: ignore[attr-defined, no-any-return]
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
        verbs = self._sync_verbs if self._blocks else self._async_verbs
        run = drive if self._blocks else _threads.run_on_io
        return _pull(self, listing(verbs, directory), run)

    def _get_bytes_sync(
        self, key: str = "", *, prototype: Any = None, byte_range: ByteRequestLike | None = None
    ) -> bytes:
        value = self.get_sync(key, prototype=prototype, byte_range=byte_range)
        if value is None:
            raise KeyNotFoundError("there is no such value.", store=self, key=key)
        return bytes(value.to_bytes())

    def _get_json_sync(
        self, key: str = "", *, prototype: Any = None, byte_range: ByteRequestLike | None = None
    ) -> Any:
        import json

        return json.loads(self._get_bytes_sync(key, prototype=prototype, byte_range=byte_range))


def _pull(store: object, pages: AsyncIterator[list[T]], run: Callable[..., Any]) -> Iterator[T]:
    """Iterate over a store's listing in pages from blocking code; leaving early closes it."""
    try:
        while (page := run(_next(pages))) is not None:
            yield from page
    finally:
        if (close := getattr(pages, "aclose", None)) is not None:
            run(close())


async def _next(pages: AsyncIterator[list[T]]) -> list[T] | None:
    return await anext(pages, None)
