"""What a listing tells in pages, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from typing import Any

T = TypeVar("T")


class Flattened(Generic[T]):
    """An asynchronous iterator over what is in pages.

    An async generator would say the same in four lines, but since Python 3.12 each of its steps takes
    0.16 to 0.22 µs, and one of these 0.12; listing a large directory consists of nothing else.

    Parameters
    ----------
    pages : callable
        Starts the listing; called with the first step, as a generator's body is.
    """

    __slots__ = ("_page", "_pages", "_start")

    def __init__(self, pages: Callable[[], AsyncIterator[Iterable[T]]]) -> None:
        self._start = pages
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
        """End the listing here, as an async generator's method of that name does."""
        self._page = iter(())
        if self._pages is None:
            self._start = _nothing
        elif (close := getattr(self._pages, "aclose", None)) is not None:
            await close()


async def _nothing() -> AsyncIterator[Any]:
    return
    yield
