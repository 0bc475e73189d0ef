"""Pages of a listing: closing them when a caller leaves early, and flattening them into items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

T = TypeVar("T")

# Large enough to amortise the cost of a page, small enough not to block a loop for long.
PAGE_SIZE = 1000


class closing_pages(Generic[T]):
    """Close an async iterator at the end of a block, if it has ``aclose``: not all are generators."""

    __slots__ = ("_pages",)

    def __init__(self, pages: AsyncIterator[T]) -> None:
        self._pages = pages

    async def __aenter__(self) -> AsyncIterator[T]:
        return self._pages

    async def __aexit__(self, *error: object) -> None:
        await close(self._pages)


async def close(pages: AsyncIterator[object]) -> None:
    """Close a listing, if it can be closed."""
    if (aclose := getattr(pages, "aclose", None)) is not None:
        await aclose()


class Flattened(Generic[T]):
    """An asynchronous iterator over the items in pages.

    An async generator would do the same in four lines. But since Python 3.12 each of its steps takes 0.16 to
    0.22 µs, against 0.12 µs here, and listing a large directory consists of nothing else.

    Parameters
    ----------
    start : callable
        Starts the listing; called at the first step, when a generator's body would start.
    """

    __slots__ = ("_page", "_pages", "_start")

    def __init__(self, start: Callable[[], AsyncIterator[Iterable[T]]]) -> None:
        self._start = start
        self._pages: AsyncIterator[Iterable[T]] | None = None
        self._page: Iterator[T] = iter(())

    def __aiter__(self) -> Flattened[T]:
        return self

    async def __anext__(self) -> T:
        for item in self._page:
            return item
        if self._pages is None:
            self._pages = self._start()
        while True:
            self._page = iter(await self._pages.__anext__())
            for item in self._page:
                return item

    async def aclose(self) -> None:
        """Close the listing, as the method of this name does for an async generator."""
        self._page = iter(())
        if self._pages is None:
            self._start = _nothing
        else:
            await close(self._pages)


async def _nothing() -> AsyncIterator[Iterable[T]]:
    pages: tuple[Iterable[T], ...] = ()
    for page in pages:
        yield page
