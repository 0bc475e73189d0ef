"""Lists fsspec's file systems: by an object store's pages, a web server's links, or level by level."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from zarrstore._async.concurrency import gather
from zarrstore._core.keys import is_key
from zarrstore._core.listing import PAGE_SIZE
from zarrstore._core.secrets import safe_cause
from zarrstore._core.verbs import Entry, Verbs
from zarrstore._os.temporary import is_temporary
from zarrstore.errors import AccessDeniedError
from zarrstore.storage._fsspec.reading import RENAMES, ReadingStore
from zarrstore.storage._remote.answers import elsewhere, endless, unlistable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarrstore.storage._fsspec.protocol import Direct, Untyped

# How many empty pages in a row are accepted: servers send some after many removals.
_EMPTY_PAGES = 1000


class _Child(NamedTuple):
    """A file or directory one level below a directory."""

    name: str
    path: str
    is_directory: bool
    size: int | None
    is_link: bool = False


class ListingStore(ReadingStore, abstract=True):
    """The part of `FsspecStore` that lists."""

    async def _scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        if self._files.direct is not None and self._base:
            async for found in self._pages(self._files.direct, prefix, deep):
                yield [entry for entry in found if _is_listed(entry, deep)]
            return
        # Level by level, since fsspec's `find` and `walk` skip what they can't list.
        pending = [(self._directory(prefix), prefix)]
        while pending:
            batch = [pending.pop() for _ in range(min(len(pending), self._dispatcher.concurrency))]
            levels = await self._on_client(gather(self._level(path) for path, _ in batch))
            page: list[Entry] = []
            for (_, above), level in zip(batch, levels, strict=True):
                for child in level:
                    if not self._lists(child.name):
                        continue
                    if not child.is_directory:
                        page.append(Entry(above + child.name, child.size))
                    elif deep:
                        pending.append((child.path, f"{above}{child.name}/"))
                    elif not self._files.blocks or await self._holds_key(child.path):
                        page.append(Entry(f"{above}{child.name}/"))
            for first in range(0, len(page), PAGE_SIZE):
                yield page[first : first + PAGE_SIZE]

    async def _pages(self, kind: Direct, prefix: str, deep: bool) -> AsyncIterator[list[Entry]]:
        """Yield everything that a server lists, page by page."""
        token: str | None = None
        seen: set[str | None] = set()
        empty = 0
        while token not in seen and empty < _EMPTY_PAGES:
            seen.add(token)
            ask = partial(self._page, kind, prefix, deep, token)
            page, token = await self._on_client(self._dispatcher.retry_call(ask))
            yield page
            if token is None:
                return
            empty = 0 if page else empty + 1
        repeats = "the server repeats a page"
        raise endless(repeats if token in seen else f"{empty} pages in a row hold no key", self, prefix)

    async def _is_empty(self, prefix: str) -> bool:
        if self._files.direct is not None and self._base:
            ask = partial(self._page, self._files.direct, prefix, True, None, 2)
            page, more = await self._on_client(self._dispatcher.retry_call(ask))
            if any(_is_listed(entry, True) for entry in page):
                return False
            if more is None:
                return True
            # The first entries aren't valid keys: a program's folder marker, for example.
        return await Verbs.is_empty(self._own_async_verbs, prefix)

    async def _page(
        self, kind: Direct, prefix: str, deep: bool, token: str | None, most: int | None = None
    ) -> tuple[list[Entry], str | None]:
        try:
            found = await self._send(kind.page, self._prefix, prefix, deep, token, most)
        except Exception as error:
            raise self._failed_at(error, "list", prefix) from safe_cause(error)
        root = self._prefix.partition("/")[2]
        for entry in found[0]:
            if not entry.key.startswith(root + prefix):
                raise elsewhere(entry.key, self, prefix)
        self._proven = True
        skip = len(root)
        return [entry._replace(key=entry.key[skip:]) for entry in found[0]], found[1]

    def _lists(self, name: str) -> bool:
        return is_key(name) and not (self._protocol in RENAMES and is_temporary(name))

    async def _holds_key(self, directory: str) -> bool:
        pending = [directory]
        while pending:
            for child in await self._level(pending.pop()):
                if not self._lists(child.name):
                    continue
                if not child.is_directory:
                    return True
                pending.append(child.path)
        return False

    async def _level(self, directory: str) -> list[_Child]:
        """List one level below a directory; empty if it doesn't exist."""
        ask = self._level_of_links if self._http else self._level_once
        return await self._dispatcher.retry_call(lambda: ask(directory))

    async def _level_once(self, directory: str) -> list[_Child]:
        try:
            self._forget(directory)
            infos = await self._call("ls", directory, detail=True)
        except Exception as error:
            if self._is_absent(error):
                return []
            raise self._failed(error, "list", self._key_of(directory)) from safe_cause(error)
        start = directory if directory.endswith("/") or not directory else directory + "/"
        found = []
        for info in infos:
            path = info["name"]
            if path.rstrip("/") == directory.rstrip("/"):
                continue  # a value, which some file systems list as if it were a directory
            if not path.startswith(start):
                raise elsewhere(path, self, self._key_of(directory))
            name = path[len(start) :].rstrip("/")
            is_link = bool(info.get("islink")) or info["type"] not in ("file", "directory")
            if is_link:
                info = await self._follow_link(path, info)
            found.append(_Child(name, path, info["type"] == "directory", info.get("size"), is_link))
        return found

    async def _follow_link(self, path: str, info: dict[str, Untyped]) -> dict[str, Untyped]:
        """Look up a link's target; a broken link stays a file that can't be read."""
        try:
            return await self._info(path)
        except Exception as error:
            if self._is_absent(error):
                return info
            raise self._failed(error, "list", self._key_of(path)) from safe_cause(error)

    def _key_of(self, path: str) -> str:
        return path.removeprefix(self._base).strip("/")

    async def _level_of_links(self, directory: str) -> list[_Child]:
        """List the links on a web server's page for a directory, if the server makes such pages."""
        refusal = None
        try:
            if found := await self._links(directory):
                return found
        except AccessDeniedError as error:
            refusal = error
        # No page, or one without links, means an empty directory only if the root has a page with links.
        try:
            lists = directory != self._base and bool(await self._links(self._base))
        except AccessDeniedError:
            lists = False
        if not lists:
            raise unlistable(self) from refusal
        if refusal is not None:
            raise refusal
        return []

    async def _links(self, directory: str) -> list[_Child]:
        start = directory.partition("?")[0].rstrip("/") + "/"
        try:
            infos = await self._call("ls", start, detail=True)
        except Exception as error:
            if self._is_absent(error):
                return []
            raise self._failed(error, "list", self._key_of(directory)) from safe_cause(error)
        found = {}
        for info in infos:
            path = info["name"]
            name = path.removeprefix(start).removeprefix("./")
            segment = name.rstrip("/")
            if not path.startswith(start) or "?" in name or "#" in name or "/" in segment or not segment:
                continue
            found[segment] = _Child(unquote(segment), start + segment, name.endswith("/"), info.get("size"))
        return list(found.values())


def _is_listed(entry: Entry, deep: bool) -> bool:
    """Whether an entry of a server's listing is a valid key or, in a listing of one level, a directory."""
    if entry.size is None:
        return not deep and entry.key.endswith("/") and is_key(entry.key[:-1])
    return is_key(entry.key)
