"""Lists with obstore, which hides directory markers, fails on some names, and accepts any answer."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from zarrstore._async.concurrency import gather
from zarrstore._core.keys import is_key
from zarrstore._core.listing import PAGE_SIZE, closing_pages
from zarrstore._core.retry import RetryPolicy, list_with_retries
from zarrstore._core.secrets import safe_cause
from zarrstore._core.verbs import Entry
from zarrstore.errors import AccessDeniedError, BackendError, MissingDependencyError, StoreError
from zarrstore.storage._obstore import calls, errors
from zarrstore.storage._remote.answers import (
    cut_listing,
    elsewhere,
    endless,
    failed,
    no_listing,
    undeleted,
    unlistable,
)
from zarrstore.storage._remote.store import RemoteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from obstore import ObjectMeta
    from obstore.store import ObjectStore as ObstoreStore

    from zarrstore._core.verbs import Verbs
    from zarrstore.abc.store import Store

# Sorts after everything in a directory.
_BEHIND_ALL = "\U0010ffff"


class ForeignNameError(BackendError):
    """A listing met a name that obstore can't represent; the fallback store can."""


# Continues with the fallback store if a foreign name ended obstore's listing.
_BY_FALLBACK = RetryPolicy(attempts=2, base=0, errors=(ForeignNameError,))


@dataclass
class _Met:
    """What a listing has met: the greatest path, and whether some entries were markers or foreign names."""

    greatest: str | None = None
    marks: bool = False


class ListingStore(RemoteStore, abstract=True):
    """The lower half of `ObjectStore`: listings, and the removal of everything they name."""

    store: ObstoreStore
    fallback: Callable[[], Store] | None
    # Whether there may be directory markers. obstore drops the slash at the end of their names, so they look
    # like empty values.
    _has_marks: bool
    # Whether obstore accepts any answer as a listing, and a truncated listing as a complete one.
    _is_lenient: bool
    _http: bool

    if TYPE_CHECKING:
        # Attributes that `ObjectStore` defines.
        @property
        def _lister(self) -> ObstoreStore: ...
        def _alive(self) -> ObstoreStore: ...
        def _failed(self, error: Exception, action: str, key: str | None) -> StoreError: ...
        def _is_absent(self, error: Exception, key: str | None) -> bool: ...
        async def _remove_many(self, keys: Iterable[str]) -> None: ...

    async def _is_empty(self, prefix: str) -> bool:
        async def look() -> bool:
            # The server may send a whole page, but obstore converts one entry at a time.
            async with closing_pages(self._pages(prefix, 1)) as pages:
                async for page in pages:
                    if page:
                        return False
            return True

        try:
            return await self._dispatcher.retry_call(look)
        except ForeignNameError:
            return await self._others.is_empty(prefix)

    async def _scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        if not deep:
            yield await self._level(prefix)
            return
        make = partial(self._pages_or_fallback, prefix)
        found = list_with_retries(self._dispatcher.retry, make, asyncio.sleep)
        async with closing_pages(found) as pages:
            async for page in pages:
                yield page

    async def _remove_below(self, prefix: str) -> None:
        met = _Met()
        try:
            await self._remove_listed(prefix, met)
        except ForeignNameError:
            met.marks = True
        if met.marks and self.fallback is not None:  # obstore can't name them
            with suppress(MissingDependencyError):  # markers aren't keys, so they may stay
                await self._others.remove_below(prefix)

    async def _remove_listed(self, prefix: str, met: _Met) -> None:
        """Remove keys until none is listed, since obstore accepts a bulk delete that skipped some."""
        before: Entry | None = None
        while True:
            first: Entry | None = None
            make = partial(self._pages_from, prefix, None, PAGE_SIZE, met)
            found = list_with_retries(self._dispatcher.retry, make, asyncio.sleep)
            async with closing_pages(found) as pages:
                async for page in pages:
                    first = first or next(iter(page), None)
                    await self._remove_many([entry.key for entry in page])
            if first is None and before is None and self._is_lenient and met.greatest is None:
                await self._prove_listing(prefix)
            if first is None or not self._has_marks:
                return
            if first == before:
                raise undeleted(self, first.key)
            before = first

    # -- one level --------------------------------------------------------------------------------

    async def _level(self, prefix: str) -> list[Entry]:
        try:
            return await self._dispatcher.retry_call(partial(self._ask_level, prefix))
        except ForeignNameError:
            async with closing_pages(self._others.scan(prefix, False, True)) as pages:
                return [entry async for page in pages for entry in page]

    async def _ask_level(self, prefix: str) -> list[Entry]:
        self._alive()
        try:
            ask = partial(calls.list_level, self._lister, prefix or None)
            level = await self._dispatcher.dispatch(ask)
        except Exception as error:
            if not self._has_marks and self._is_absent(error, prefix):
                return []
            raise self._unlisted(error, prefix) from safe_cause(error)
        directories = [path.rstrip("/") + "/" for path in level["common_prefixes"]]
        if self._is_lenient:
            ends = [meta["path"] for meta in level["objects"]] + [path + _BEHIND_ALL for path in directories]
            await self._prove_end(prefix, max(ends, default=None))
        below = [Entry(path) for path in directories if is_key(path[:-1])]
        return self._entries(level["objects"], prefix) + below

    async def _prove_end(self, prefix: str, last: str | None) -> None:
        """Raise if the server lists more after the last name that it returned."""
        if last is None:
            await self._prove_listing(prefix)
            return
        async with closing_pages(self._ask_pages(prefix, last, 1)) as pages:
            async for _ in pages:
                raise cut_listing(self, prefix)

    async def _prove_listing(self, prefix: str) -> None:
        """Raise if a server lists nothing but claims to have any key: it isn't a bucket."""
        self._proven = True
        with suppress(AccessDeniedError):
            if await self._look_again(f"{prefix}{os.urandom(8).hex()}") is not None:
                raise no_listing(self, prefix)

    # -- all levels -------------------------------------------------------------------------------

    def _pages_or_fallback(self, prefix: str) -> AsyncIterator[list[Entry]]:
        if self.fallback is None:
            return self._pages(prefix)
        ways = iter((self._pages, lambda prefix: self._others.scan(prefix, True, True)))
        return list_with_retries(_BY_FALLBACK, lambda: next(ways)(prefix), asyncio.sleep)

    async def _pages(self, prefix: str, size: int = PAGE_SIZE) -> AsyncIterator[list[Entry]]:
        """Yield pages of keys until nothing is listed after the greatest."""
        met = _Met()
        while True:
            start = met.greatest
            async with closing_pages(self._pages_from(prefix, start, size, met)) as pages:
                async for page in pages:
                    yield page
            if not self._is_lenient:
                return
            if met.greatest == start:
                break
        if start is None:
            await self._prove_listing(prefix)

    async def _pages_from(
        self, prefix: str, start: str | None, size: int, met: _Met
    ) -> AsyncIterator[list[Entry]]:
        """Yield pages of the keys after a path; record what else is met."""
        shared: set[str] = set()  # keys that later markers may repeat, since those begin with them
        async for page in self._ask_pages(prefix, start, size):
            entries = self._entries(page, prefix)
            if self._has_marks:
                entries = await self._without_marks(entries, shared)
                met.marks = met.marks or len(entries) < len(page)
                last = page[-1]["path"]
                shared = {key for key in (*shared, *(e.key for e in entries)) if last.startswith(key)}
            met.greatest = max(met.greatest or "", *(meta["path"] for meta in page))
            yield entries

    async def _ask_pages(
        self, prefix: str, start: str | None, size: int
    ) -> AsyncIterator[Sequence[ObjectMeta]]:
        """Yield obstore's pages of what comes after a path."""
        self._alive()
        count, anchor = 0, None
        try:
            # Uses `_lister`: obstore has no page tokens, so only its own client can retry a page.
            async for page in calls.Pages(self._lister, prefix or None, start or None, size):
                # obstore would follow for ever a server that repeats pages. Wherever the repetition begins,
                # it returns to a page that was the last of the first 1, 2, 4, 8 and so on.
                sized = [meta["path"] for meta in page if meta["size"]]
                if page[0] == anchor or len(set(sized)) < len(sized):
                    raise endless("the server repeats a page", self, prefix)
                count += 1
                if count & (count - 1) == 0:
                    anchor = page[0]
                # Not every server honours the path to start after.
                behind = page if start is None else [meta for meta in page if meta["path"] > start]
                if not behind:
                    return
                yield behind
        except StoreError:
            raise
        except Exception as error:
            if self._has_marks or not self._is_absent(error, prefix):
                raise self._unlisted(error, prefix) from safe_cause(error)

    async def _without_marks(self, entries: list[Entry], listed: set[str]) -> list[Entry]:
        """Look up entries listed with no bytes: they may be directory markers, which aren't keys."""
        doubtful = {entry.key for entry in entries if not entry.size}
        if not doubtful:
            return entries
        asked = list(doubtful - listed - {entry.key for entry in entries if entry.size})
        there = dict(zip(asked, await gather([self._look_again(key) for key in asked]), strict=True))
        kept = [entry if entry.size else there.pop(entry.key, None) for entry in entries]
        return [entry for entry in kept if entry is not None]

    def _entries(self, page: Sequence[ObjectMeta], prefix: str) -> list[Entry]:
        self._proven = True
        version = _quoted if self._has_marks else _as_it_is
        return [
            Entry(path, meta["size"], version(meta["e_tag"]), meta["last_modified"].timestamp())
            for meta in page
            if is_key(path := meta["path"]) and self._lies_below(path, prefix)
        ]

    def _lies_below(self, path: str, prefix: str) -> bool:
        """Whether a path is below a directory, rather than its marker."""
        if path.startswith(prefix):
            return True
        if path + "/" == prefix:
            return False
        raise elsewhere(path, self, prefix)

    def _unlisted(self, error: Exception, prefix: str) -> StoreError:
        if self._http:
            return unlistable(self)
        name = errors.foreign_name(error)
        if name is None:
            return self._failed(error, "list", prefix)
        kind, remedy = BackendError, "make a store over fsspec there, or give one as fallback"
        if self.fallback is not None:
            try:
                self._other_store  # noqa: B018 - checks whether it can be made
                kind = ForeignNameError
            except MissingDependencyError as failure:
                remedy = str(failure.hint)
        why = f"there is an object {name!r}, a name that obstore can't take"
        return failed(kind, "list", why, self, prefix, f"Rename or remove it, or {remedy}.")

    @cached_property
    def _other_store(self) -> Store:
        assert self.fallback is not None
        return self.fallback()

    @property
    def _others(self) -> Verbs:
        """The fallback store's verbs."""
        return self._other_store._verbs_for_wrapper(sync=False)


def _quoted(etag: str | None) -> str | None:
    """Return an etag as in a server's headers; Azure's listings omit the quotes."""
    return etag if not etag or etag[-1] == '"' else f'"{etag}"'


def _as_it_is(etag: str | None) -> str | None:
    return etag
