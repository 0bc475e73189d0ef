"""Adapts one of zarr-python's stores to our base class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._core.listing import PAGE_SIZE, closing_pages
from zarrstore._core.requests import span
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, Capabilities, Entry, gather_pieces
from zarrstore._core.zarr_compat import zarr_buffer, zarr_prototype, zarr_request
from zarrstore.abc.store import Store
from zarrstore.errors import UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Self

    from zarr.abc.store import Store as TheirStore

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data
    from zarrstore._core.verbs import Conflict, Precondition


class ZarrStoreAdapter(Store):
    """Verbs that call the public methods of one of zarr-python's stores.

    It converts requests, prototypes and buffers. zarr-python's stores slice where ours refuse a range, so a
    request is first checked against the value's size.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store to adapt.
    """

    def __init__(self, store: TheirStore) -> None:
        super().__init__(read_only=store.read_only)
        self._store = store

    @property
    def _location(self) -> str:
        return str(self._store)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrStoreAdapter) and self._store == other._store

    __hash__ = Store.__hash__

    @property
    def read_only(self) -> bool:
        """Whether the adapted store is read-only."""
        return self._store.read_only

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return an adapter around what the adapted store's own ``with_read_only`` returns."""
        other = super().with_read_only(read_only)
        other._store = self._store.with_read_only(read_only)
        return other

    async def _open(self) -> None:
        await super()._open()
        if self._store._is_open:
            return
        try:
            await self._store._open()
        except BaseException:
            self._is_open = False
            raise

    def close(self) -> None:
        """Close the adapted store."""
        self._store.close()
        self._is_open = False

    @property
    def capabilities(self) -> Capabilities:
        """What the adapted store guarantees, as far as that is known."""
        package = type(self._store).__module__.partition(".")[0]
        return Capabilities(transactional=package == "icechunk")

    @property
    def supports_writes(self) -> bool:
        """As the adapted store declares."""
        return self._store.supports_writes

    @property
    def supports_deletes(self) -> bool:
        """As the adapted store declares."""
        return self._store.supports_deletes

    @property
    def supports_listing(self) -> bool:
        """As the adapted store declares."""
        return self._store.supports_listing

    @property
    def supports_consolidated_metadata(self) -> bool:
        """As the adapted store declares."""
        return bool(getattr(self._store, "supports_consolidated_metadata", True))

    # -- verbs ------------------------------------------------------------------------------------

    async def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        if request is not None:
            entry = await self._stat(key)
            if entry is None:
                return None
            start, stop = span(request, entry.size or 0)
            if start == stop:
                return b""
        value = await self._store.get(key, zarr_prototype(), zarr_request(request))
        return None if value is None else value.as_numpy_array()

    async def _stat(self, key: str) -> Entry | None:
        if not await self._store.exists(key):
            return None
        try:
            return Entry(key, await self._store.getsize(key))
        except FileNotFoundError:
            return None

    async def _write(self, key: str, pieces: AnyPieces, condition: Precondition) -> Conflict | None:
        if condition is ABSENT and await self._store.exists(key):
            return CONFLICT
        if condition not in (ANY, ABSENT):
            raise UnsupportedOperationError("zarr-python's stores keep no versions.", store=self, key=key)
        await self._store.set(key, zarr_buffer(await gather_pieces(pieces)))
        return None

    async def _remove(self, key: str, condition: Precondition = ANY) -> None:
        await self._store.delete(key)

    async def _remove_below(self, prefix: str) -> None:
        if prefix:
            await self._store.delete_dir(prefix.removesuffix("/"))
        else:
            await self._store.clear()

    async def _scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        listing = self._store.list_prefix(prefix) if deep else self._store.list_dir(prefix.removesuffix("/"))
        page: list[Entry] = []
        async with closing_pages(listing) as names:
            async for name in names:
                if not deep:
                    below = prefix + name
                    page.append(Entry(below if await self._store.exists(below) else below + "/"))
                else:
                    page.append(Entry(name, await self._store.getsize(name) if sizes else None))
                if len(page) >= PAGE_SIZE:
                    yield page
                    page = []
        if page:
            yield page
