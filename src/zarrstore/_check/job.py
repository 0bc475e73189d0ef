"""One check of a hierarchy: documents first, then all keys as they are listed, and the values among them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zarrstore._check.digest import BYTES, Sums, batches
from zarrstore._check.report import CheckReport, Problem
from zarrstore._check.surroundings import around, litter
from zarrstore._check.values import examined, examined_in_parts, is_wrapped, shards_in
from zarrstore._copy.running import Job
from zarrstore._copy.value import StoppedError
from zarrstore._core.checksum import Checksum
from zarrstore._core.composites import scan_sized
from zarrstore._core.listing import closing_pages
from zarrstore._core.verbs import host_memory
from zarrstore._hierarchy import documents as docs
from zarrstore._hierarchy.codecs import UnknownCodecError, stored_size
from zarrstore._hierarchy.names import judged, spelt
from zarrstore._hierarchy.sweep import swept
from zarrstore.errors import StoreError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    import numpy.typing as npt

    from zarrstore._check.place import Place
    from zarrstore._check.report import Kind
    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Entry, Verbs
    from zarrstore._hierarchy.documents import Array, Document
    from zarrstore._hierarchy.sweep import Found, Sweep

# Chunks that aren't stored are told of arrays with at most so many.
_MOST_CHUNKS = 1 << 28


class Chunk(NamedTuple):
    """A stored chunk or shard."""

    entry: Entry
    path: str
    array: Array
    place: tuple[int, ...]


class Options(NamedTuple):
    """What a check is asked to do: see `check_store`."""

    quick: bool = False
    complete: bool = False
    ignore: frozenset[str] = frozenset()
    found: Callable[[Problem], object] | None = None
    against: dict[str, str] | None = None


class Check(Job[CheckReport]):
    """One check.

    Parameters
    ----------
    place : Place
        The directory.
    options : Options
        What to do.
    """

    def __init__(self, place: Place, options: Options) -> None:
        self.place = place
        self.store, self.prefix = place.store, place.prefix
        self.options = options
        self.problems: list[Problem] = []
        self.unchecked: Counter[str] = Counter()
        self.arrays: dict[str, list[Array]] = {}
        self.groups: set[str] = set()
        self.stored: dict[str, npt.NDArray[np.bool_]] = {}
        self.chunks = self.bytes = self.values_read = 0
        self.broken: set[str] = set()
        self.unknown: set[str] = set()  # directories of nodes whose document is damaged
        self.stopped = threading.Event()

    @property
    def blocks(self) -> bool:
        """Whether the store blocks."""
        return self.store._blocks

    async def _run(self, *, sync: bool) -> CheckReport:
        verbs = self.store._verbs_for_wrapper(sync=sync)
        began = time.perf_counter()
        for problem in await verbs.call(self._around):
            self._tell(problem)
            if problem.kind == "link":
                self.broken.add(self.prefix + problem.key)
        await self._read_documents(verbs)
        async with closing_pages(self._entries(verbs)) as pages:
            async for page in pages:
                found = (chunk for entry in page for chunk in self._sorted(entry))
                for chunks in batches(found, lambda chunk: chunk.entry.size or 0):
                    if self.stopped.is_set():
                        raise StoppedError
                    await verbs.for_each(partial(self._examine_one, verbs), chunks)
        self._tell_missing()
        await self._hold_against(verbs)
        return CheckReport(
            tuple(self.problems),
            dict(self.unchecked),
            len(self.groups),
            len(self.arrays),
            self.chunks,
            self.bytes,
            self.values_read,
            time.perf_counter() - began,
        )

    def _around(self) -> list[Problem]:
        return list(around(self.store, self.prefix))

    def _tell(self, problem: Problem) -> None:
        if problem.kind in self.options.ignore:
            return
        self.problems.append(problem)
        if self.options.found is not None:
            self.options.found(problem)

    def _unreadable(self, key: str, error: Exception) -> None:
        """Tell of a value that can't be read, unless that may pass: then the check couldn't be made."""
        if isinstance(error, TransientError):
            raise error
        if self.prefix + key not in self.broken:
            text = error.message if isinstance(error, StoreError) else str(error)
            self._tell(Problem("unreadable", key, text.rstrip(".")))

    # -- documents --------------------------------------------------------------------------------

    async def _read_documents(self, verbs: Verbs) -> None:
        async def read(key: str) -> Found | None:
            try:
                value = await verbs.read(key, None, host_memory)
                return None if value is None else (value, None)
            except (StoreError, OSError) as error:
                self._unreadable(key[skip:], error)
                return None

        skip = len(self.prefix)
        sweep = await swept(verbs, self.prefix, read)
        parsed: dict[str, Document] = {}
        for key, (value, _) in sweep.documents.items():
            try:
                parsed[key[skip:]] = docs.parsed(value)
                self._read_document(key[skip:], parsed[key[skip:]])
            except docs.FormatError as error:
                path, _, name = key[skip:].rpartition("/")
                self.unknown.update([path] if name in docs.OF_NODES else [])
                self._tell(Problem("document", key[skip:], str(error), path if name == ".zarray" else None))
        for key, document in parsed.items():
            self._compare(key, document, parsed, sweep)
        if not any(key.rpartition("/")[2] in docs.OF_NODES for key in sweep.documents):
            self._tell(Problem("document", "", "there is no metadata document of a hierarchy here"))

    def _read_document(self, key: str, document: Document) -> None:
        path, _, name = key.rpartition("/")
        if name not in docs.OF_NODES:
            return
        if docs.kind_of(name, document) == "group":
            docs.check_group(name, document)
            self.groups.add(path)
            return
        array = docs.array_of(name, document)
        try:
            shards_in(array)
        finally:
            self.arrays.setdefault(path, []).append(array)

    def _compare(self, key: str, document: Document, parsed: dict[str, Document], sweep: Sweep) -> None:
        """Hold what consolidated metadata says against the documents."""
        path, _, name = key.rpartition("/")
        inside = f"{path}/" if path else ""
        if name not in (docs.V3, docs.CONSOLIDATED):
            return
        try:
            held = dict(docs.consolidated_in(name, document))
        except docs.FormatError as error:
            self._tell(Problem("consolidated", key, str(error)))
            return
        if name == docs.V3 and document.get("consolidated_metadata") is None:
            return
        for inner in held:
            if (one := parsed.get(inside + inner)) is None:
                known = self.prefix + inside + inner in sweep.documents
                if held[inner] and not known:  # a broken one is told already; empty attributes are none
                    self._tell(Problem("consolidated", key, f"it has {inside + inner}, which isn't stored"))
            elif not docs.same(held[inner], one):
                self._tell(Problem("consolidated", key, f"it has another {inside + inner} than is stored"))
        kinds = (docs.V3,) if name == docs.V3 else docs.V2
        for other in parsed:
            is_inside = other.startswith(inside) and other.rpartition("/")[2] in kinds and other != key
            if is_inside and other[len(inside) :] not in held and parsed[other]:
                self._tell(Problem("consolidated", key, f"it lacks {other}, which is stored"))

    # -- keys -------------------------------------------------------------------------------------

    def _entries(self, verbs: Verbs) -> AsyncIterator[list[Entry]]:
        return self._sized_one_by_one(verbs) if self.broken else scan_sized(verbs, self.prefix)

    async def _sized_one_by_one(self, verbs: Verbs) -> AsyncIterator[list[Entry]]:
        """List where there are broken links, which have no size."""

        async def stat(key: str) -> Entry | None:
            try:
                return None if key in self.broken else await verbs.stat(key)
            except (StoreError, OSError) as error:
                self._unreadable(key[len(self.prefix) :], error)
                return None

        async with closing_pages(verbs.keys(self.prefix)) as pages:
            async for page in pages:
                yield [entry for entry in await verbs.for_each(stat, page) if entry is not None]

    def _sorted(self, entry: Entry) -> Iterable[Chunk]:
        """Tell what a key is; a chunk whose value is to be read is returned."""
        self.bytes += entry.size or 0
        key = entry.key[len(self.prefix) :]
        if (found := litter(key)) is not None:
            self._tell(found)
            return ()
        path = self._array_above(key)
        if path is not None:
            return self._chunk(entry, key, path)
        if _is_numbered(key) and not self._is_below_unknown(key):
            self._tell(Problem("orphan", key, "it is named as a chunk, and no array's document is above it"))
        return ()

    def _is_below_unknown(self, key: str) -> bool:
        return any(not path or key.startswith(f"{path}/") for path in self.unknown)

    def _array_above(self, key: str) -> str | None:
        """Return the path of the array that a key is in."""
        path = key
        while path:
            path = path.rpartition("/")[0]
            if path in self.arrays:
                return path
        return None

    def _chunk(self, entry: Entry, key: str, path: str) -> Iterable[Chunk]:
        name = key[len(path) :].lstrip("/")
        if name in docs.NAMES or name in docs.BESIDE:
            return ()
        judgements = [(array, *judged(array, name)) for array in self.arrays[path]]
        array, verdict, place = min(judgements, key=lambda found: _ORDER.index(found[1]))
        problem = _of_verdict(array, verdict, place)
        if problem is not None:
            self._tell(Problem(problem[0], key, problem[1], path, place or None))
            return ()
        self.chunks += 1
        self._note(path, array, place)
        wrong = self._wrong_size(array, entry.size or 0)
        if wrong is not None:
            self._tell(Problem("size", key, wrong, path, place))
            return ()
        return () if self.options.quick else (Chunk(entry, path, array, place),)

    def _wrong_size(self, array: Array, size: int) -> str | None:
        wanted = stored_size(array)
        if wanted is not None and size != wanted:
            return f"it has {size:,} bytes, and every chunk of this array has {wanted:,}"
        shards = None if self._is_misdescribed(array) else shards_in(array)
        if shards is not None and not is_wrapped(array) and size < shards.index_size:
            return f"it has {size:,} bytes, and the index alone of its shards has {shards.index_size:,}"
        return "it is empty" if not size and array.item_size else None

    def _is_misdescribed(self, array: Array) -> bool:
        try:
            shards_in(array)
        except docs.FormatError:
            return True
        return False

    def _note(self, path: str, array: Array, place: tuple[int, ...]) -> None:
        count = array.chunk_count
        if self.options.complete and count is not None and count <= _MOST_CHUNKS:
            self.stored.setdefault(path, np.zeros(array.grid, bool))[place] = True

    def _tell_missing(self) -> None:
        if not self.options.complete:
            return
        for path, (array, *_) in self.arrays.items():
            count = array.chunk_count
            if not count or count > _MOST_CHUNKS:
                continue
            stored = self.stored.get(path, np.zeros(array.grid, bool))
            missing = count - int(stored.sum())
            if missing:
                first = tuple(int(at) for at in np.unravel_index(int(np.argmin(stored)), stored.shape))
                key = f"{path}/{spelt(array, first)}".lstrip("/")
                self._tell(
                    Problem("missing", key, f"{missing:,} of {count:,} chunks aren't stored", path, first)
                )

    # -- a manifest -------------------------------------------------------------------------------

    async def _hold_against(self, verbs: Verbs) -> None:
        """Compare with a manifest: names, and unless the check is quick, values."""
        if self.options.against is None:
            return
        wanted = dict(self.options.against)
        async with closing_pages(self._found_md5s(verbs)) as pages:
            async for page in pages:
                for key, found in page:
                    told = wanted.pop(key, None)
                    if told is None:
                        self._tell(Problem("manifest", key, "the manifest doesn't have it"))
                    elif found is not None and told != found:
                        self._tell(
                            Problem("manifest", key, f"its MD5 is {found}, and {told} in the manifest")
                        )
        for key in wanted:
            self._tell(Problem("manifest", key, "the manifest has it, and it isn't stored"))

    async def _found_md5s(self, verbs: Verbs) -> AsyncIterator[list[tuple[str, str | None]]]:
        if self.options.quick:
            async with closing_pages(verbs.keys(self.prefix)) as keys:
                async for names in keys:
                    yield [(key[len(self.prefix) :], None) for key in names]
            return
        failed: list[str] = []
        sums = Sums(self.place, etags=True, entries=self._entries, failed=lambda key, _: failed.append(key))
        async with closing_pages(sums.pages(verbs)) as pages:
            async for page in pages:
                yield [(found.key, found.md5) for found in page]
        links = [key[len(self.prefix) :] for key in self.broken]
        yield [(key, None) for key in (*failed, *links)]  # which are told already

    # -- values -----------------------------------------------------------------------------------

    async def _examine_one(self, verbs: Verbs, chunk: Chunk) -> None:
        key = chunk.entry.key[len(self.prefix) :]
        self.values_read += 1
        try:
            found = await self._findings(verbs, chunk)
        except UnknownCodecError as unknown:
            self.unchecked[str(unknown)] += 1
            return
        except docs.FormatError:
            return  # of the description of its shards, which is told already
        except (StoreError, OSError) as error:
            self._unreadable(key, error)
            return
        for kind, text, inner in found:
            self._tell(Problem(kind, key, text, chunk.path, _within(chunk, inner)))

    async def _findings(self, verbs: Verbs, chunk: Chunk) -> list[tuple[Kind, str, tuple[int, ...] | None]]:
        array, complete = chunk.array, self.options.complete
        size = chunk.entry.size or 0
        if size > BYTES and shards_in(array) is not None and not is_wrapped(array):
            return await examined_in_parts(array, self._reader(verbs, chunk), size, complete)
        data = await self._reader(verbs, chunk)(None)
        checksum = Checksum(chunk.entry.version)
        checksum.update(data)
        checksum.check()
        return await verbs.call(examined, array, data, complete)

    def _reader(self, verbs: Verbs, chunk: Chunk) -> Callable[[ByteRequest | None], Awaitable[Data]]:
        async def read(request: ByteRequest | None) -> Data:
            data = await verbs.read(chunk.entry.key, request, host_memory)
            return b"" if data is None else data

        return read


_ORDER = ("chunk", "outside", "misspelt", "other")


def _of_verdict(array: Array, verdict: str, place: tuple[int, ...]) -> tuple[Kind, str] | None:
    if verdict == "outside":
        return "outside", f"the array has {' x '.join(map(str, array.grid))} chunks"
    if verdict == "misspelt":
        return "misspelt", f"keys of this array's chunks look like {spelt(array, (0,) * len(array.shape))!r}"
    return None if verdict == "chunk" else ("stray", "it is no chunk of the array that it is in")


def _within(chunk: Chunk, inner: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the place of a chunk in the whole array's grid of inner chunks, or that of a stored one."""
    shards = shards_in(chunk.array) if inner is not None else None
    if inner is None or shards is None:
        return chunk.place
    return tuple(place * count + at for place, count, at in zip(chunk.place, shards.grid, inner, strict=True))


def _is_numbered(key: str) -> bool:
    """Whether a key ends as a chunk's does."""
    return key.rpartition("/")[2].replace(".", "").isdecimal()
