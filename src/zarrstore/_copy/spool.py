"""Keeps rows of a listing for later: in memory, and in a temporary file once there are many."""

from __future__ import annotations

import marshal
import os
import tempfile
from heapq import merge
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from zarrstore._core.listing import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    # The fields of an entry, and further fields: texts, numbers and None, the key first.
    Row: TypeAlias = tuple[Any, ...]

# The most entries held in memory; one takes about 250 bytes.
_RUN = 50_000


def by_key(row: Row) -> str:
    """Sort rows by key, in the order of the UTF-8 bytes, as S3 lists them."""
    key: str = row[0]
    return key


class Spool:
    """Rows to iterate over later, in order, any number of times.

    Parameters
    ----------
    order : callable
        The sort key: called with a row.
    """

    def __init__(self, order: Callable[[Row], Any] = by_key) -> None:
        self._order = order
        self._rows: list[Row] = []
        # For each sorted run in the file: where its blocks of rows begin, and their lengths.
        self._runs: list[list[tuple[int, int]]] = []
        self._file: IO[bytes] | None = None

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows; not allowed any more once iteration has begun."""
        self._rows += rows
        if len(self._rows) >= _RUN:
            self._write_run()

    def _write_run(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="zarrstore-listing-")  # noqa: SIM115 - `close` does
        self._rows.sort(key=self._order)
        start = self._file.seek(0, os.SEEK_END)
        blocks = []
        for first in range(0, len(self._rows), PAGE_SIZE):
            block = marshal.dumps([tuple(row) for row in self._rows[first : first + PAGE_SIZE]])
            self._file.write(block)
            blocks.append((start, len(block)))
            start += len(block)
        self._file.flush()
        self._runs.append(blocks)
        self._rows = []

    def _read_run(self, blocks: list[tuple[int, int]]) -> Iterator[Row]:
        assert self._file is not None
        for start, size in blocks:
            yield from marshal.loads(os.pread(self._file.fileno(), size, start))

    def __iter__(self) -> Iterator[Row]:
        self._rows.sort(key=self._order)
        return iter(merge(*map(self._read_run, self._runs), self._rows, key=self._order))

    def pages(self) -> Iterator[list[Row]]:
        """Yield all rows in order, page by page."""
        rows = iter(self)
        while page := list(islice(rows, PAGE_SIZE)):
            yield page

    def close(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()
