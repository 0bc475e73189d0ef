"""One digest for all that is below a directory, as DANDI computes its zarrsum: a tree of MD5s.

A directory's digest is the MD5 of a JSON text that has name, size and digest of each file and directory in
it, followed by the number of all files below and the sum of their sizes.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from hashlib import md5
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from zarrstore._check.manifest import line_of
from zarrstore._copy.running import Job
from zarrstore._copy.value import StoppedError, read_in_turn
from zarrstore._core.composites import scan_sized
from zarrstore._core.listing import closing_pages
from zarrstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from zarrstore._check.place import Place
    from zarrstore._core.verbs import Entry, Verbs

T = TypeVar("T")

# So many values are read at once, at most, and of so many bytes.
_VALUES = 64
BYTES = 64 << 20
# An ETag that S3 makes of a value that was written in one piece, unless it encrypts with a key of its own.
_MD5 = re.compile('"([0-9a-f]{32})"')


class Sum(NamedTuple):
    """A key, its size in bytes, and the MD5 of its value."""

    key: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class StoreDigest:
    """A digest of all that is below a directory.

    Attributes
    ----------
    digest : str
        DANDI's zarrsum: the MD5 of a tree, the number of values, and the sum of their sizes.
    count : int
        Number of values.
    bytes : int
        Sum of their sizes in bytes.
    values_read : int
        How many of them were read; of the others a listing told the MD5.
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
        return f"{_hashed(text.encode())}-{self.count}--{self.size}"

    def take(self, other: _Directory) -> None:
        self.directories.append({"digest": other.digest(), "name": other.name, "size": other.size})
        self.count += other.count
        self.size += other.size


class Tree:
    """Folds sums into the digest of their root; what is in one directory comes together, as if sorted."""

    def __init__(self) -> None:
        self._open = [_Directory("")]

    def add(self, found: Sum) -> None:
        """Take the next value."""
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


def _hashed(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()


class Sums:
    """The MD5s of all values below a directory.

    Parameters
    ----------
    place : Place
        The directory.
    etags : bool
        Whether to take them from ETags that look like one; the smallest such value of the first page is read
        to see whether they are.
    entries : callable, optional
        Lists the directory.
    failed : callable, optional
        Takes keys that can't be read, and why, which are errors else.
    """

    def __init__(
        self,
        place: Place,
        *,
        etags: bool,
        entries: Callable[[Verbs], AsyncIterator[list[Entry]]] | None = None,
        failed: Callable[[str, Exception], object] | None = None,
    ) -> None:
        self.store, self.prefix = place.store, place.prefix
        self.etags: bool | None = None if etags else False
        self.entries = entries or partial(scan_sized, prefix=self.prefix)
        self.failed = failed
        self.values_read = 0
        self.stopped = threading.Event()

    async def pages(self, verbs: Verbs) -> AsyncIterator[list[Sum]]:
        """Yield sums as they are found, in the order of the listing."""
        async with closing_pages(self.entries(verbs)) as pages:
            async for page in pages:
                await self._try_etags(verbs, page)
                for batch in batches(page, self._weigh):
                    sums = await verbs.for_each(partial(self._sum_or_fail, verbs), batch)
                    yield [found for found in sums if found is not None]

    async def _try_etags(self, verbs: Verbs, page: list[Entry]) -> None:
        told = [entry for entry in page if _MD5.fullmatch(entry.version or "")]
        if self.etags is None and told:
            self.etags = False
            smallest = min(told, key=lambda entry: entry.size or 0)
            self.etags = f'"{(await self._sum(verbs, smallest)).md5}"' == smallest.version

    def _told(self, entry: Entry) -> str | None:
        found = _MD5.fullmatch(entry.version or "") if self.etags else None
        return found and found[1]

    def _weigh(self, entry: Entry) -> int | None:
        return (entry.size or 0) if self._told(entry) is None else None

    async def _sum_or_fail(self, verbs: Verbs, entry: Entry) -> Sum | None:
        try:
            return await self._sum(verbs, entry)
        except (StoreError, OSError) as error:
            if self.failed is None:
                raise
            self.failed(entry.key[len(self.prefix) :], error)
            return None

    async def _sum(self, verbs: Verbs, entry: Entry) -> Sum:
        key = entry.key[len(self.prefix) :]
        if (told := self._told(entry)) is not None:
            return Sum(key, entry.size or 0, told)
        self.values_read += 1
        found = md5(usedforsecurity=False)
        async with closing_pages(read_in_turn(verbs, self.store, entry, self.stopped)) as pieces:
            async for piece in pieces:
                if self.stopped.is_set():
                    raise StoppedError
                await verbs.call(found.update, piece)
        return Sum(key, entry.size or 0, found.hexdigest())


def batches(items: Iterable[T], weigh: Callable[[T], int | None]) -> Iterator[list[T]]:
    """Cut into what is read at once; ``weigh`` tells sizes in bytes, None for what takes no reading."""
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
        As `Sums` takes it.
    write : callable or None
        Takes the manifest's lines.
    """

    def __init__(self, place: Place, *, etags: bool, write: Callable[[Iterable[str]], object] | None) -> None:
        self.sums = Sums(place, etags=etags)
        self.stopped = self.sums.stopped
        self.store = place.store
        self.write = write

    @property
    def blocks(self) -> bool:
        """Whether the store blocks."""
        return self.store._blocks

    async def _run(self, *, sync: bool) -> StoreDigest:
        verbs = self.store._verbs_for_wrapper(sync=sync)
        began = time.perf_counter()
        tree = Tree()
        held: list[Sum] = []
        async with closing_pages(self.sums.pages(verbs)) as pages:
            async for page in pages:
                if self.store._lists_in_order:
                    self._take(tree, page)
                else:
                    held += page
        held.sort(key=lambda found: found.key.split("/"))
        self._take(tree, held)
        digest, count, size = tree.digest()
        return StoreDigest(digest, count, size, self.sums.values_read, time.perf_counter() - began)

    def _take(self, tree: Tree, sums: list[Sum]) -> None:
        for found in sums:
            tree.add(found)
        if self.write is not None:
            self.write(line_of(found.md5, found.key) for found in sums)
