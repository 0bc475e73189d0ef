"""A directory of a store, as a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._core.keys import check_prefix
from zarrstore._core.listing import closing_pages
from zarrstore._core.verbs import ANY
from zarrstore.storage._wrappers.wrapper import T_Store, WrapperStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from typing import Self

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data
    from zarrstore._core.verbs import Conflict, Entry, Precondition, Request, Verbs


class SubStore(WrapperStore[T_Store]):
    """What is below a directory of a store, as a store whose keys are relative to that directory.

    It can't reach anything outside the directory. ``store.sub(path)`` makes one.

    Parameters
    ----------
    store : Store
        The store that contains the directory.
    path : str
        The directory; it need not exist yet.

    Attributes
    ----------
    path : str
        The directory, without a trailing slash.
    """

    path: str

    def __init__(self, store: T_Store, path: str) -> None:
        super().__init__(store)
        self.path = check_prefix(path, store).removesuffix("/")

    @property
    def _prefix(self) -> str:
        return f"{self.path}/" if self.path else ""

    @property
    def _location(self) -> str:
        return f"{self._below._location.rstrip('/')}/{self.path}"

    def _place(self, prefix: str) -> str:
        return self._below._place(self._prefix + prefix)

    def __str__(self) -> str:
        return f"{str(self._below).rstrip('/')}/{self.path}"

    @property
    def _lists_in_order(self) -> bool:
        return self._below._lists_in_order

    @property
    def _takes_pieces(self) -> bool:
        return self._below._takes_pieces

    def sub(self, path: str) -> Self:
        """Return a store of a directory below this one; it wraps the underlying store, not this view.

        Parameters
        ----------
        path : str
            The directory, relative to this one.
        """
        other = self._around(self._store)
        other.path = (self._prefix + check_prefix(path, self)).removesuffix("/")
        return other

    # All verbs are defined here, so that none bypasses the prefix.

    async def _read(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | None:
        return await below.read(self._prefix + key, request, allocate)

    async def _read_many(
        self, below: Verbs, requests: Iterable[Request], allocate: Allocate
    ) -> list[Data | None]:
        prefix = self._prefix
        return await below.read_many([(prefix + key, request) for key, request in requests], allocate)

    async def _read_ranges(
        self, below: Verbs, key: str, requests: Sequence[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        return await below.read_ranges(self._prefix + key, requests, allocate)

    async def _read_versioned(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        return await below.read_versioned(self._prefix + key, request, allocate)

    async def _stat(self, below: Verbs, key: str) -> Entry | None:
        entry = await below.stat(self._prefix + key)
        return None if entry is None else entry._replace(key=key)

    async def _write(
        self, below: Verbs, key: str, pieces: AnyPieces, condition: Precondition
    ) -> str | Conflict | None:
        return await below.write(self._prefix + key, pieces, condition)

    async def _patch(self, below: Verbs, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        await below.patch(self._prefix + key, parts)

    async def _copy(self, below: Verbs, source: str, target: str) -> None:
        await below.copy(self._prefix + source, self._prefix + target)

    async def _remove(self, below: Verbs, key: str, condition: Precondition = ANY) -> Conflict | None:
        return await below.remove(self._prefix + key, condition)

    async def _remove_many(self, below: Verbs, keys: Iterable[str]) -> None:
        prefix = self._prefix
        await below.remove_many([prefix + key for key in keys])

    async def _remove_below(self, below: Verbs, prefix: str) -> None:
        await below.remove_below(self._prefix + prefix)

    async def _is_empty(self, below: Verbs, prefix: str) -> bool:
        return await below.is_empty(self._prefix + prefix)

    def _names(self, below: Verbs, prefix: str) -> AsyncIterator[list[str]]:
        return below.names(self._prefix + prefix)

    async def _keys(self, below: Verbs, prefix: str) -> AsyncIterator[list[str]]:
        skip = len(self._prefix)
        async with closing_pages(below.keys(self._prefix + prefix)) as pages:
            async for page in pages:
                yield [key[skip:] for key in page]

    async def _scan(self, below: Verbs, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        skip = len(self._prefix)
        async with closing_pages(below.scan(self._prefix + prefix, deep, sizes)) as pages:
            async for page in pages:
                yield [entry._replace(key=entry.key[skip:]) for entry in page]
