"""One check of a hierarchy: first its documents, then all keys as they are listed, and their values."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zarrstore._check.digest import BYTES, Sums, batches, hashed
from zarrstore._check.place import Place
from zarrstore._check.report import CheckReport, Problem
from zarrstore._check.surroundings import around, litter
from zarrstore._check.values import examined, examined_in_parts, is_wrapped
from zarrstore._copy.cluster import Pieces, refuse_unreachable
from zarrstore._copy.meter import Meter
from zarrstore._copy.pipeline import Here, closing_workers
from zarrstore._copy.plan import total_size
from zarrstore._copy.running import Job
from zarrstore._copy.value import StoppedError, changed
from zarrstore._core.composites import scan_sized
from zarrstore._core.listing import closing_pages
from zarrstore._core.verbs import host_memory
from zarrstore._hierarchy import documents as docs
from zarrstore._hierarchy.codecs import UnknownCodecError, stored_size
from zarrstore._hierarchy.names import judged, spelt
from zarrstore._hierarchy.shards import shards_in
from zarrstore._hierarchy.sweep import swept
from zarrstore.errors import StoreError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import numpy.typing as npt

    from zarrstore._check.report import Kind
    from zarrstore._copy.cluster import Client
    from zarrstore._copy.meter import Progress
    from zarrstore._copy.pipeline import Workers
    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Entry, Verbs
    from zarrstore._hierarchy.documents import Array, Document
    from zarrstore._hierarchy.sweep import Found, Sweep
    from zarrstore.abc.store import Store

# Missing chunks are reported for arrays with at most this many chunks.
_MOST_CHUNKS = 1 << 28


class Value(NamedTuple):
    """A value to read: a chunk or a shard; without an array, only its MD5 is needed."""

    entry: Entry
    path: str = ""
    array: Array | None = None
    place: tuple[int, ...] = ()
    is_hashed: bool = False


class Options(NamedTuple):
    """Arguments of a check: see `check_store`."""

    quick: bool = False
    complete: bool = False
    ignore: frozenset[str] = frozenset()
    found: Callable[[Problem], object] | None = None
    against: dict[str, str] | None = None
    progress: Progress = None
    client: Client | None = None


class Examined(NamedTuple):
    """What an examination of some values found, and the MD5s of hashed values, by key."""

    problems: list[Problem]
    unchecked: Counter[str]
    md5s: dict[str, str | None]
    read: int
    keys: int
    bytes: int


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
        self.unknown: set[str] = set()  # directories of nodes with a damaged document
        self.unreadable: set[str] = set()
        self.wanted = dict(options.against or {})
        self.sums = Sums(place, etags=True)
        self.stopped = self.sums.stopped
        self.meter = Meter(options.progress)
        if options.client is not None:
            refuse_unreachable(self.store)

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
        workers = self._workers(verbs, sync=sync)
        async with closing_pages(self._entries(verbs)) as pages, closing_workers(workers):
            async for page in pages:
                self.meter.expect(len(page), total_size(page))
                if self.options.against is not None and not self.options.quick:
                    await self.sums.try_etags(verbs, page)
                values = [value for entry in page if (value := self._to_be_read(entry)) is not None]
                self.meter.count(len(page) - len(values), total_size(page) - sum(map(_size, values)))
                await workers.put(values)
            self.meter.listed = True
            await workers.drain()
        self.meter.count(0, 0)
        self._tell_missing()
        self._tell_lost()
        return self._report(began)

    def _report(self, began: float) -> CheckReport:
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

    def _workers(self, verbs: Verbs, *, sync: bool) -> Workers[Value]:
        options = self.options
        if options.client is None:
            return Here(partial(self._examine, verbs))
        run = partial(_examined, self.store, self.prefix, options.quick, options.complete)
        return Pieces(options.client, run, self._take, _size, self.stopped, sync=sync)

    def _take(self, found: Examined) -> None:
        """Report what a worker of a cluster has found."""
        for problem in found.problems:
            self._tell(problem)
        for key, md5 in found.md5s.items():
            self._hold(key, md5)
        self.unchecked += found.unchecked
        self.values_read += found.read
        self.meter.count(found.keys, found.bytes)

    def _around(self) -> list[Problem]:
        return list(around(self.store, self.prefix))

    def _tell(self, problem: Problem) -> None:
        if problem.kind == "unreadable":
            self.unreadable.add(problem.key)
        if problem.kind in self.options.ignore:
            return
        self.problems.append(problem)
        if self.options.found is not None:
            self.options.found(problem)

    def _unreadable(self, key: str, error: Exception) -> None:
        """Report a value that can't be read; a temporary error is raised, since the check has failed."""
        if isinstance(error, TransientError):
            raise error
        if self.prefix + key not in self.broken and key not in self.unreadable:
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
        """Compare consolidated metadata with the documents."""
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
                if held[inner] and not known:  # a broken one is reported already; empty attributes are none
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
        """List keys if there are broken links, which have no size."""

        async def stat(key: str) -> Entry | None:
            try:
                return None if key in self.broken else await verbs.stat(key)
            except (StoreError, OSError) as error:
                self._unreadable(key[len(self.prefix) :], error)
                return None

        async with closing_pages(verbs.keys(self.prefix)) as pages:
            async for page in pages:
                yield [entry for entry in await verbs.for_each(stat, page) if entry is not None]

    def _to_be_read(self, entry: Entry) -> Value | None:
        """Check a key, and return the value to read, if any."""
        value = self._sorted(entry)
        if self.options.against is None:
            return value
        told = None if self.options.quick else self.sums.told(entry)
        if self.options.quick or told is not None:
            self._hold(entry.key[len(self.prefix) :], told)
            return value
        return (value or Value(entry))._replace(is_hashed=True)

    def _sorted(self, entry: Entry) -> Value | None:
        """Check what a key is; return its value if it is a chunk that must be read."""
        self.bytes += entry.size or 0
        key = entry.key[len(self.prefix) :]
        if (found := litter(key)) is not None:
            self._tell(found)
            return None
        path = self._array_above(key)
        if path is not None:
            return self._chunk(entry, key, path)
        if _is_numbered(key) and not self._is_below_unknown(key):
            self._tell(Problem("orphan", key, "it is named as a chunk, and no array's document is above it"))
        return None

    def _is_below_unknown(self, key: str) -> bool:
        return any(not path or key.startswith(f"{path}/") for path in self.unknown)

    def _array_above(self, key: str) -> str | None:
        """Return the path of the array that contains a key."""
        path = key
        while path:
            path = path.rpartition("/")[0]
            if path in self.arrays:
                return path
        return None

    def _chunk(self, entry: Entry, key: str, path: str) -> Value | None:
        name = key[len(path) :].lstrip("/")
        if name in docs.NAMES or name in docs.BESIDE:
            return None
        judgements = [(array, *judged(array, name)) for array in self.arrays[path]]
        array, verdict, place = min(judgements, key=lambda found: _ORDER.index(found[1]))
        problem = _of_verdict(array, verdict, place)
        if problem is not None:
            self._tell(Problem(problem[0], key, problem[1], path, place or None))
            return None
        self.chunks += 1
        self._note(path, array, place)
        wrong = self._wrong_size(array, entry.size or 0)
        if wrong is not None:
            self._tell(Problem("size", key, wrong, path, place))
            return None
        return None if self.options.quick else Value(entry, path, array, place)

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

    def _hold(self, key: str, md5: str | None) -> None:
        """Compare a key with the manifest, and its MD5 if known."""
        told = self.wanted.pop(key, None)
        if told is None:
            self._tell(Problem("manifest", key, "the manifest doesn't have it"))
        elif md5 is not None and told != md5:
            self._tell(Problem("manifest", key, f"its MD5 is {md5}, and {told} in the manifest"))

    def _tell_lost(self) -> None:
        """Report keys that only the manifest has; unreadable ones are already reported."""
        for key in self.wanted:
            if key not in self.unreadable and self.prefix + key not in self.broken:
                self._tell(Problem("manifest", key, "the manifest has it, and it isn't stored"))

    # -- values -----------------------------------------------------------------------------------

    async def _examine(self, verbs: Verbs, values: list[Value]) -> None:
        for batch in batches(values, _size):
            if self.stopped.is_set():
                raise StoppedError
            await verbs.for_each(partial(self._examine_one, verbs), batch)
            self.meter.count(len(batch), sum(map(_size, batch)))

    async def _examine_one(self, verbs: Verbs, value: Value) -> None:
        """Read a value once, to hash and examine it; one that is too large is read twice, in parts."""
        key = value.entry.key[len(self.prefix) :]
        found = None
        self.values_read += value.array is not None
        try:
            whole = None if self._goes_in_parts(value) else await self._reader(verbs, value.entry)(None)
            if value.is_hashed:
                found = await self._md5(verbs, value.entry, whole)
            if value.array is not None:
                await self._look_into(verbs, value, value.array, whole)
        except (StoreError, OSError) as error:
            self._unreadable(key, error)
        if value.is_hashed:
            self._hold(key, found)

    def _goes_in_parts(self, value: Value) -> bool:
        """Whether a value is too large for memory, and can be examined in parts."""
        array = value.array
        if _size(value) <= BYTES or (array is not None and self._is_misdescribed(array)):
            return False
        return array is None or (shards_in(array) is not None and not is_wrapped(array))

    async def _md5(self, verbs: Verbs, entry: Entry, whole: Data | None) -> str:
        if whole is None:
            return (await self.sums.one(verbs, entry)).md5
        return await verbs.call(hashed, whole)

    async def _look_into(self, verbs: Verbs, value: Value, array: Array, whole: Data | None) -> None:
        complete = self.options.complete
        try:
            if whole is None:
                read = self._reader(verbs, value.entry)
                found = await examined_in_parts(array, read, _size(value), complete)
                if found:  # look again: the value may have been replaced between two parts
                    now = await verbs.stat(value.entry.key)
                    size = _size(value) if now is None else now.size or 0
                    found = await examined_in_parts(array, read, size, complete)
            else:
                found = await verbs.call(examined, array, whole, complete)
        except UnknownCodecError as unknown:
            self.unchecked[str(unknown)] += 1
            return
        except docs.FormatError:
            return  # in the description of its shards, already reported
        key = value.entry.key[len(self.prefix) :]
        for kind, text, inner in found:
            self._tell(Problem(kind, key, text, value.path, _within(array, value.place, inner)))

    def _reader(self, verbs: Verbs, entry: Entry) -> Callable[[ByteRequest | None], Awaitable[Data]]:
        async def read(request: ByteRequest | None) -> Data:
            data = await verbs.read(entry.key, request, host_memory)
            if data is None:
                raise changed("the value was removed", self.store, entry.key)
            return data

        return read


class _Piece(Check):
    """Some values of a check that runs elsewhere."""

    def __init__(self, place: Place, options: Options, values: list[Value]) -> None:
        super().__init__(place, options)
        self.values = values
        self.md5s: dict[str, str | None] = {}

    def _hold(self, key: str, md5: str | None) -> None:
        self.md5s[key] = md5

    async def _run(self, *, sync: bool) -> CheckReport:
        await self._examine(self.store._verbs_for_wrapper(sync=sync), self.values)
        return self._report(0)


def _examined(store: Store, prefix: str, quick: bool, complete: bool, values: list[Value]) -> Examined:
    """Examine values in a worker of a cluster."""
    piece = _Piece(Place(store, prefix), Options(quick, complete), values)
    report = piece.run_blocking()
    meter = piece.meter
    return Examined(
        list(report.problems),
        piece.unchecked,
        piece.md5s,
        report.values_read,
        meter.keys_done,
        meter.bytes_done,
    )


def _size(value: Value) -> int:
    return value.entry.size or 0


_ORDER = ("chunk", "outside", "misspelt", "other")


def _of_verdict(array: Array, verdict: str, place: tuple[int, ...]) -> tuple[Kind, str] | None:
    if verdict == "outside":
        return "outside", f"the array has {' x '.join(map(str, array.grid))} chunks"
    if verdict == "misspelt":
        return "misspelt", f"keys of this array's chunks look like {spelt(array, (0,) * len(array.shape))!r}"
    return None if verdict == "chunk" else ("stray", "it is no chunk of the array that it is in")


def _within(array: Array, place: tuple[int, ...], inner: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return a chunk's place in the array's grid, of inner chunks if ``inner`` is given."""
    shards = shards_in(array) if inner is not None else None
    if inner is None or shards is None:
        return place
    return tuple(at * count + within for at, count, within in zip(place, shards.grid, inner, strict=True))


def _is_numbered(key: str) -> bool:
    """Whether a key ends like that of a chunk."""
    return key.rpartition("/")[2].replace(".", "").isdecimal()
