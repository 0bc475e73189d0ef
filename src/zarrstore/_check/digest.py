"""One digest for everything below a directory, as DANDI computes its zarrsum: a tree of MD5s.

A directory's digest is the MD5 of a JSON text with the name, size and digest of each file and directory in
it, followed by the number of all files below it and the sum of their sizes.
"""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import md5
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from zarrstore._check.manifest import line_of
from zarrstore._check.place import Place
from zarrstore._copy.cluster import Pieces, refuse_unreachable
from zarrstore._copy.meter import Meter
from zarrstore._copy.pipeline import Here, closing_workers
from zarrstore._copy.plan import entry_size, total_size
from zarrstore._copy.running import Job
from zarrstore._copy.spool import Spool
from zarrstore._copy.value import StoppedError, read_in_turn
from zarrstore._core.composites import scan_sized
from zarrstore._core.listing import closing_pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from zarrstore._copy.cluster import Client
    from zarrstore._copy.meter import Progress
    from zarrstore._copy.pipeline import Workers
    from zarrstore._copy.spool import Row
    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Entry, Verbs
    from zarrstore.abc.store import Store

T = TypeVar("T")

# The most values that are read at once, and their most bytes.
_VALUES = 64
BYTES = 64 << 20
# An ETag of a value that S3 stored in one piece: its MD5, unless S3 encrypts with a key of its own.
_MD5 = re.compile('"([0-9a-f]{32})"')


class Sum(NamedTuple):
    """A key, its size in bytes, and the MD5 of its value."""

    key: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class StoreDigest:
    """A digest of everything below a directory.

    Attributes
    ----------
    digest : str
        DANDI's zarrsum: the MD5 of a tree, the number of values, and the sum of their sizes.
    count : int
        Number of values.
    bytes : int
        Sum of their sizes in bytes.
    values_read : int
        How many of them were read; for the others a listing gave the MD5.
    seconds : float
        Duration in seconds.
    """

    digest: str
    count: int
    bytes: int
    values_read: int
    seconds: float

    def __str__(self) -> str:
        return self.digest


@dataclass
class _Directory:
    name: str
    count: int = 0
    size: int = 0
    directories: list[dict[str, str | int]] = field(default_factory=list)
    files: list[dict[str, str | int]] = field(default_factory=list)

    def digest(self) -> str:
        for listed in (self.directories, self.files):
            listed.sort(key=lambda item: str(item["name"]))
        text = json.dumps({"directories": self.directories, "files": self.files}, separators=(",", ":"))
        return f"{hashed(text.encode())}-{self.count}--{self.size}"

    def take(self, other: _Directory) -> None:
        self.directories.append({"digest": other.digest(), "name": other.name, "size": other.size})
        self.count += other.count
        self.size += other.size


class Tree:
    """Folds MD5s into the digest of their root; keys of one directory must come together, as if sorted."""

    def __init__(self) -> None:
        self._open = [_Directory("")]

    def add(self, found: Sum) -> None:
        """Add the next value."""
        *parents, name = found.key.split("/")
        here = [directory.name for directory in self._open[1:]]
        common = takewhile(lambda pair: pair[0] == pair[1], zip(here, parents, strict=False))
        self._close(len(list(common)))
        self._open += [_Directory(parent) for parent in parents[len(self._open) - 1 :]]
        directory = self._open[-1]
        directory.files.append({"digest": found.md5, "name": name, "size": found.size})
        directory.count += 1
        directory.size += found.size

    def _close(self, depth: int) -> None:
        while len(self._open) > depth + 1:
            done = self._open.pop()
            self._open[-1].take(done)

    def digest(self) -> tuple[str, int, int]:
        """Return the digest, the number of values, and their size."""
        self._close(0)
        (root,) = self._open
        return root.digest(), root.count, root.size


def hashed(data: Data) -> str:
    """Return an MD5."""
    return md5(data, usedforsecurity=False).hexdigest()


class Sums:
    """The MD5s of values below a directory.

    Parameters
    ----------
    place : Place
        The directory.
    etags : bool
        Whether to take them from ETags that look like MD5s; the smallest such value of the first page is read
        to check that they are.
    """

    def __init__(self, place: Place, *, etags: bool) -> None:
        self.store, self.prefix = place.store, place.prefix
        self.etags: bool | None = None if etags else False
        self.values_read = 0
        self.stopped = threading.Event()

    async def try_etags(self, verbs: Verbs, page: list[Entry]) -> None:
        """Check once whether ETags are MD5s."""
        told = [entry for entry in page if _MD5.fullmatch(entry.version or "")]
        if self.etags is None and told:
            self.etags = False
            smallest = min(told, key=lambda entry: entry.size or 0)
            self.etags = f'"{(await self.one(verbs, smallest)).md5}"' == smallest.version

    def told(self, entry: Entry) -> str | None:
        """Return the MD5 from a listing, if it has one."""
        found = _MD5.fullmatch(entry.version or "") if self.etags else None
        return found and found[1]

    def weigh(self, entry: Entry) -> int | None:
        """Return how many bytes must be read; None if nothing."""
        return (entry.size or 0) if self.told(entry) is None else None

    async def one(self, verbs: Verbs, entry: Entry) -> Sum:
        """Return the MD5 of a value."""
        key = entry.key[len(self.prefix) :]
        if (told := self.told(entry)) is not None:
            return Sum(key, entry.size or 0, told)
        self.values_read += 1
        found = md5(usedforsecurity=False)
        async with closing_pages(read_in_turn(verbs, self.store, entry, self.stopped)) as pieces:
            async for piece in pieces:
                if self.stopped.is_set():
                    raise StoppedError
                await verbs.call(found.update, piece)
        return Sum(key, entry.size or 0, found.hexdigest())

    async def many(self, verbs: Verbs, entries: list[Entry]) -> AsyncIterator[list[Sum]]:
        """Yield the MD5s of values, as many at once as memory allows."""
        for batch in batches(entries, self.weigh):
            yield await verbs.for_each(partial(self.one, verbs), batch)


def batches(items: Iterable[T], weigh: Callable[[T], int | None]) -> Iterator[list[T]]:
    """Split into batches to read at once; ``weigh`` returns sizes in bytes, None if nothing is read."""
    batch: list[T] = []
    count = size = 0
    for item in items:
        if (own := weigh(item)) is not None:
            count, size = count + 1, size + own
            if batch and (count > _VALUES or size > BYTES):
                yield batch
                batch, count, size = [], 1, own
        batch.append(item)
    if batch:
        yield batch


class Digest(Job[StoreDigest]):
    """The digest of a directory, and its manifest.

    Parameters
    ----------
    place : Place
        The directory.
    etags : bool
        See `Sums`.
    write : callable, optional
        Takes the manifest's lines.
    progress : callable or bool, optional
        See `Meter`.
    client : Client, optional
        Has a cluster's workers read the values.
    """

    def __init__(
        self,
        place: Place,
        *,
        etags: bool,
        write: Callable[[Iterable[str]], object] | None = None,
        progress: Progress = None,
        client: Client | None = None,
    ) -> None:
        self.sums = Sums(place, etags=etags)
        self.stopped = self.sums.stopped
        self.store = place.store
        self.write = write
        self.meter = Meter(progress)
        self.client = client
        if client is not None:
            refuse_unreachable(self.store)
        self.tree = Tree()

    @property
    def blocks(self) -> bool:
        """Whether the store blocks."""
        return self.store._blocks

    async def _run(self, *, sync: bool) -> StoreDigest:
        verbs = self.store._verbs_for_wrapper(sync=sync)
        began = time.perf_counter()
        with closing(Spool(_by_directory)) as spool:
            in_order = self.store._lists_in_order and self.client is None
            await self._sum_all(verbs, self._fold if in_order else spool.add, sync=sync)
            await verbs.call(self._fold_all, spool)
        digest, count, size = self.tree.digest()
        return StoreDigest(digest, count, size, self.sums.values_read, time.perf_counter() - began)

    async def _sum_all(self, verbs: Verbs, keep: Callable[[list[Sum]], object], *, sync: bool) -> None:
        """Compute the MD5s of all values, here or in the workers of a cluster."""

        def take(sums: list[Sum]) -> None:
            keep(sums)
            self.meter.count(len(sums), sum(found.size for found in sums))

        async def sum_here(entries: list[Entry]) -> None:
            async with closing_pages(self.sums.many(verbs, entries)) as found:
                async for sums in found:
                    take(sums)

        workers: Workers[Entry] = Here(sum_here)
        if self.client is not None:
            run = partial(_summed, self.store, self.sums.prefix)
            workers = Pieces(self.client, run, take, entry_size, self.stopped, sync=sync)
        async with closing_pages(scan_sized(verbs, self.sums.prefix)) as pages, closing_workers(workers):
            async for page in pages:
                self.meter.expect(len(page), total_size(page))
                await self.sums.try_etags(verbs, page)
                if self.client is not None:
                    await sum_here([entry for entry in page if self.sums.told(entry)])
                    page = [entry for entry in page if not self.sums.told(entry)]
                    self.sums.values_read += len(page)
                await workers.put(page)
            self.meter.listed = True
            await workers.drain()
        self.meter.count(0, 0)

    def _fold_all(self, spool: Spool) -> None:
        for rows in spool.pages():
            self._fold(list(map(Sum._make, rows)))

    def _fold(self, sums: list[Sum]) -> None:
        for found in sums:
            self.tree.add(found)
        if self.write is not None:
            self.write(line_of(found.md5, found.key) for found in sums)


class _Piece(Job[list[Sum]]):
    """Some values of a digest that is computed elsewhere."""

    def __init__(self, place: Place, entries: list[Entry]) -> None:
        self.place, self.entries = place, entries
        self.meter = Meter()
        self.sums = Sums(place, etags=False)
        self.stopped = self.sums.stopped

    @property
    def blocks(self) -> bool:
        """Whether the store blocks."""
        return self.place.store._blocks

    async def _run(self, *, sync: bool) -> list[Sum]:
        verbs = self.place.store._verbs_for_wrapper(sync=sync)
        return [found async for sums in self.sums.many(verbs, self.entries) for found in sums]


def _summed(store: Store, prefix: str, entries: list[Entry]) -> list[Sum]:
    """Return the MD5s of values, in a worker of a cluster."""
    return _Piece(Place(store, prefix), entries).run_blocking()


def _by_directory(row: Row) -> list[str]:
    """Sort key that keeps the keys of one directory together."""
    parts: list[str] = row[0].split("/")
    return parts
