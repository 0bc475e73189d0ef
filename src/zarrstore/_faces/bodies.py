"""The bodies of public methods, which both faces share: coroutines over whichever verbs they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zarrstore._core import composites
from zarrstore._core.keys import check_key, check_prefix
from zarrstore._core.requests import as_request
from zarrstore._core.verbs import CONFLICT, Verbs, host_memory
from zarrstore._faces.declared import StoreVerbs
from zarrstore._faces.values import as_pieces, parse_parts, wrap
from zarrstore.errors import (
    BackendError,
    ByteRequestError,
    KeyNotFoundError,
    ReadOnlyError,
    UnsupportedOperationError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarrstore._core.requests import ByteRequest, ByteRequestLike
    from zarrstore._core.types import Data, Prototype, Value
    from zarrstore._core.verbs import Capabilities, Entry
    from zarrstore.buffer import Buffer


class Bodies(StoreVerbs):
    """What a store's public methods do, once their verbs are chosen."""

    # Whether values are kept in GPU memory.
    _on_device: ClassVar[bool] = False

    if TYPE_CHECKING:
        # Attributes of `zarrstore.abc.store.Store` that these bodies use.
        _is_open: bool

        @property
        def read_only(self) -> bool: ...
        @property
        def capabilities(self) -> Capabilities: ...
        @property
        def supports_deletes(self) -> bool: ...
        @property
        def supports_listing(self) -> bool: ...
        @property
        def supports_partial_writes(self) -> Any: ...  # bool here, False in zarr-python
        @property
        def _clears_anyway(self) -> bool: ...

    def _check_writable(self, key: str | None = None) -> None:
        if self.read_only:
            raise ReadOnlyError(
                "store was opened in read-only mode and does not support writing.",
                store=self,
                key=key,
                hint="Use with_read_only(False) if you may write.",
            )

    def _ready(self, key: str, value: Value) -> tuple[Data, ...]:
        """Check the key and the value before a write; return the value's pieces."""
        self._check_writable(key)
        check_key(key, self)
        pieces = as_pieces(value, self, on_device=self._on_device)
        self._is_open = True
        return pieces

    def _listed(self, prefix: str) -> str:
        directory = check_prefix(prefix, self)
        if not self.supports_listing:
            raise UnsupportedOperationError("this store can't be listed.", store=self, key=prefix or None)
        self._is_open = True
        return directory

    def _check_versions(self, key: str) -> None:
        if not self.capabilities.versions:
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)

    def _check_version(self, key: str, version: str | None) -> None:
        self._check_versions(key)
        if not version:
            raise UnsupportedOperationError(
                "the value has no version: the server gives no ETag.",
                store=self,
                key=key,
                hint="Use a server, or a proxy before it, that gives ETags.",
            )

    def _parse_requests(
        self, key_ranges: Iterable[tuple[str, ByteRequestLike | None]]
    ) -> list[tuple[str, ByteRequest | None]]:
        requests: list[tuple[str, ByteRequest | None]] = []
        for key, byte_range in key_ranges:
            check_key(key, self)
            requests.append((key, None if byte_range is None else as_request(byte_range, self, key)))
        self._is_open = True
        return requests

    def _size(self, entry: Entry | None, key: str) -> int:
        if entry is None or entry.size is None:
            raise KeyNotFoundError("there is no such value.", store=self, key=key)
        return entry.size

    async def _do_stat(self, verbs: Verbs, key: str) -> Entry | None:
        check_key(key, self)
        self._is_open = True
        return await verbs.stat(key)

    async def _do_getsize_prefix(self, verbs: Verbs, prefix: str) -> int:
        return await composites.size_below(verbs, self._listed(prefix))

    async def _do_is_empty(self, verbs: Verbs, prefix: str) -> bool:
        return await verbs.is_empty(self._listed(prefix))

    async def _do_create(self, verbs: Verbs, key: str, value: Value) -> bool:
        pieces = self._ready(key, value)
        return await composites.create(verbs, key, pieces, atomic=self.capabilities.atomic_create)

    async def _do_get_versioned(
        self, verbs: Verbs, key: str, prototype: Prototype | None, byte_range: ByteRequestLike | None
    ) -> tuple[Buffer, str] | None:
        check_key(key, self)
        self._check_versions(key)
        request = None if byte_range is None else as_request(byte_range, self, key)
        self._is_open = True
        try:
            found = await verbs.read_versioned(key, request, host_memory)
        except ByteRequestError as error:
            raise error.about(self, key) from None
        if found is None:
            return None
        value, version = found
        self._check_version(key, version)
        return wrap(value, prototype), version or ""

    async def _do_set_if_unchanged(self, verbs: Verbs, key: str, value: Value, version: str) -> str | None:
        self._check_writable(key)
        check_key(key, self)
        self._check_version(key, version)
        self._is_open = True
        answer = await verbs.write(key, as_pieces(value, self), version)
        if answer is CONFLICT:
            return None
        if not answer:
            raise BackendError(
                "the value was written, and the server gives no version of it.", store=self, key=key
            )
        return answer

    async def _do_delete_if_unchanged(self, verbs: Verbs, key: str, version: str) -> bool:
        self._check_writable(key)
        check_key(key, self)
        self._check_version(key, version)
        self._is_open = True
        return await verbs.remove(key, version) is not CONFLICT

    async def _do_set_partial_values(self, verbs: Verbs, parts: Iterable[tuple[str, int, Value]]) -> None:
        parts = list(parts)
        self._check_writable(parts[0][0] if parts else None)
        parsed = []
        for key, start, value in parts:
            check_key(key, self)
            parsed.append(parse_parts(key, (start, None), as_pieces(value, self), self))
        self._is_open = True
        await self._do_patch(verbs, parsed)

    async def _do_patch(self, verbs: Verbs, parts: list[tuple[str, int, Data]]) -> None:
        if not self.supports_partial_writes:
            raise UnsupportedOperationError(
                "this store can't overwrite part of a value.",
                store=self,
                key=parts[0][0] if parts else None,
                hint="Write the whole value.",
            )
        try:
            await composites.patch_many(verbs, parts, self)
        except ByteRequestError as error:
            raise error.about(self, None) from None

    async def _do_delete_dir(self, verbs: Verbs, prefix: str, *, one_by_one: bool = False) -> None:
        self._check_writable(prefix)
        directory = check_prefix(prefix, self)
        self._is_open = True
        if not (self.supports_deletes or (self._clears_anyway and not directory)):
            if not await verbs.is_empty(directory):
                raise self._refused_delete(directory)
            return
        await (Verbs.remove_below(verbs, directory) if one_by_one else verbs.remove_below(directory))

    async def _do_refuse_delete(self, verbs: Verbs, key: str) -> None:
        if await verbs.stat(key) is not None or (
            self.capabilities.recursive_delete and not await verbs.is_empty(f"{key}/")
        ):
            raise self._refused_delete(key)

    def _refused_delete(self, key: str) -> UnsupportedOperationError:
        """Return the error for a removal from a store that can't delete."""
        return UnsupportedOperationError("this store can't delete.", store=self, key=key or None)
