"""A copy, from its arguments to its report. The same code serves every pair of stores."""

from __future__ import annotations

import os
import threading
import time
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING
from zlib import crc32

from zarrstore._copy import value
from zarrstore._copy.cluster import Pieces, refuse_unreachable
from zarrstore._copy.compare import is_same
from zarrstore._copy.meter import Meter
from zarrstore._copy.pipeline import Room, Tasks, Threads, closing_workers
from zarrstore._copy.places import Ends, keep_comment, refuse_overlap
from zarrstore._copy.plan import Act, Plan, Todo, document_rank, leaves_first, root_first, total_size
from zarrstore._copy.report import CopyReport
from zarrstore._copy.running import Job
from zarrstore._copy.spool import Spool
from zarrstore._core.listing import closing_pages
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, Entry, SizedPieces, host_memory, refused_write
from zarrstore.errors import ChangedError, CorruptError, KeyConflictError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from zarrstore._copy.cluster import Client
    from zarrstore._copy.options import Options
    from zarrstore._copy.pipeline import Tell, Workers
    from zarrstore._copy.places import Directory
    from zarrstore._copy.spool import Row
    from zarrstore._core.types import Data, ServerCopies
    from zarrstore._core.verbs import Condition, Write

# How many values are copied at once by default: if each waits for a server, and otherwise.
_FAR, _NEAR = 64, 8
# How many bytes of values are in flight at once on an event loop.
_MEMORY = 64 << 20
# Up to this size in bytes, servers copy values themselves.
_SERVER_MOST = 5 << 30


@dataclass
class Copy(Job[CopyReport]):
    """One copy: its arguments and its progress."""

    ends: Ends
    options: Options
    # Whether the source was given as a path or URL, which may be mistyped.
    is_named: bool

    copied: int = 0
    copied_bytes: int = 0
    skipped: int = 0
    verified: int = 0
    replaced: int = 0
    deleted: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.source, self.target = self.ends.source, self.ends.target
        if not self.options.dry_run:
            self.target.store._check_writable()
        refuse_overlap(self.source, self.target)
        if self.options.client is not None:
            refuse_unreachable(self.source.store)
            refuse_unreachable(self.target.store, writes=True)
        capabilities = self.target.store.capabilities
        # If the store supports it, a key that another writer creates meanwhile isn't overwritten.
        careful = self.options.if_exists != "replace" and capabilities.atomic_create
        self.new: Condition = ABSENT if careful else ANY
        self.meter = Meter(self.options.progress)
        # Set if one server has both stores, and values needn't be read here.
        self.there = None if self.options.verify else self.target.store._copies_from(self.source.store)
        # Set if reads and writes are limited separately.
        self.reads: Room | None = None
        self.writes: Room | None = None

    # -- running ----------------------------------------------------------------------------------

    @property
    def blocks(self) -> bool:
        """Whether both stores block."""
        return self.ends.blocks

    @asynccontextmanager
    async def _room(self, room: Room | None, size: int) -> AsyncIterator[None]:
        """Wait until there is room for this many reads or writes."""
        if room is None:
            yield
            return
        size = await room.enter(size)
        try:
            yield
        finally:
            room.leave(size)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Add to any error how far the copy got, also if Ctrl-C bypasses the coroutines of a loop."""
        try:
            yield
        except BaseException as error:
            self.stopped.set()
            if self.copied:
                total = f"{'' if self.meter.listed else 'at least '}{self.meter.keys_total}"
                error.add_note(
                    f"{self.copied} of {total} values are in the target, whole; "
                    "if_exists='resume' copies the rest."
                )
            raise

    async def _run(self, *, sync: bool) -> CopyReport:
        """Plan and copy: in a thread (``sync``, if both stores block), or on a loop."""
        began = time.perf_counter()
        options = self.options
        self._bind(sync=sync)
        plan = Plan(
            self.ends,
            self.reader,
            self.writer,
            options.if_exists,
            checksum=options.checksum,
            delete=options.delete,
            selected=options.selected,
        )
        async with plan:
            if not await plan.begin():
                self._refuse_nothing()
            if not options.dry_run:
                await self.writer.call(keep_comment, self.source, self.target)
            workers = self._workers(sync=sync)
            async with closing_workers(workers):
                await self._copy_all(plan, workers)
            return self._report(began, plan.differing)

    def _bind(self, *, sync: bool) -> None:
        self.reader = self.source.store._verbs_for_wrapper(sync=sync)
        self.writer = self.target.store._verbs_for_wrapper(sync=sync)

    def _report(self, began: float, differing: Iterable[str] = ()) -> CopyReport:
        return CopyReport(
            self.copied,
            self.copied_bytes,
            self.skipped,
            self.verified,
            time.perf_counter() - began,
            tuple(sorted(differing)),
            self.replaced,
            self.deleted,
        )

    def _refuse_nothing(self) -> None:
        """Refuse an empty source if it was given as a path or URL, or is to be mirrored."""
        if self.is_named or self.options.delete:
            raise KeyNotFoundError(
                "no key is here, so there is nothing to copy"
                f"{', and mirroring it would delete all of the target' if self.options.delete else ''}.",
                store=self.source.store,
                key=self.source.prefix or None,
                hint="Is the source spelt right?",
            )

    def _workers(self, *, sync: bool) -> Workers[Todo]:
        if self.options.client is not None:
            return self._cluster(self.options.client, sync=sync)
        far = self.reader.sends_requests or self.writer.sends_requests
        given = self.options.concurrency or (_FAR if far else _NEAR)
        if isinstance(given, tuple) and not sync:
            self.reads, self.writes = map(Room, given)
        concurrency = given if isinstance(given, int) else max(given) if sync else sum(given)
        if sync:
            return Threads(self._copy, self.meter.count, concurrency, value.PIECE, self.stopped)
        return Tasks(
            self._copy,
            self.meter.count,
            concurrency,
            value.PIECE,
            self.stopped,
            memory=_MEMORY,
            weigh=self._weigh,
        )

    def _cluster(self, client: Client, *, sync: bool) -> Workers[Todo]:
        options = replace(self.options, progress=None, selected=None, client=None, is_repeated=True)
        run = partial(_copied, self.source, self.target, options)
        return Pieces(client, run, self._take, lambda todo: todo.entry.size or 0, self.stopped, sync=sync)

    def _take(self, done: tuple[CopyReport, int, int]) -> None:
        """Count what a worker of a cluster has done."""
        report, keys, size = done
        self.copied += report.keys
        self.copied_bytes += report.bytes
        self.skipped += report.skipped
        self.verified += report.verified
        self.replaced += report.replaced
        self.meter.count(keys, size)

    def _weigh(self, batch: list[Todo]) -> int:
        """Return how many bytes of memory a batch takes."""
        if self.there is not None:
            return 0
        size = total_size(todo.entry for todo in batch)
        return size if size <= value.PIECE or not self.target.store._takes_pieces else 4 * value.PIECE

    # -- the order of things ----------------------------------------------------------------------

    async def _copy_all(self, plan: Plan, workers: Workers[Todo]) -> None:
        """Copy chunks as they are listed, and documents after them (before them if the target needs it)."""
        early = self.target.store.capabilities.transactional
        with (
            closing(Spool(root_first if early else leaves_first)) as documents,
            closing(Spool()) as chunks,
            closing(Spool(leaves_first)) as doomed,
        ):
            async for todos in self._sorted_out(plan, doomed):
                now = [todo for todo in todos if document_rank(todo.entry.key) is None]
                later = [todo for todo in todos if document_rank(todo.entry.key) is not None]
                documents.add(list(map(_row, later)))
                if early:
                    chunks.add(list(map(_row, now)))
                else:
                    await workers.put(now)
            await workers.drain()
            for group in self._groups(documents, early=early):
                await workers.put(group)
                await workers.drain()
            for page in chunks.pages():
                await workers.put(list(map(_todo, page)))
            await workers.drain()
            await self._delete_all(doomed)

    def _groups(self, documents: Spool, *, early: bool) -> Iterator[list[Todo]]:
        """Yield groups of documents that may be written at once: of one depth, or all but the root's."""
        root = self.source.prefix.count("/")
        for page in documents.pages():
            for depth, rows in groupby(
                page, lambda row: row[0].count("/") if early else row[0].count("/") > root
            ):
                todos = list(map(_todo, rows))
                yield from [[todo] for todo in todos] if depth == (root if early else False) else [todos]

    async def _sorted_out(self, plan: Plan, doomed: Spool) -> AsyncIterator[list[Todo]]:
        """Yield what needs work; count the rest, and collect what will be deleted."""
        started = False
        async for todos in self._planned(plan):
            doomed.add([todo.entry for todo in todos if todo.act is Act.DELETE])
            kept = [todo.entry for todo in todos if todo.act is Act.KEEP]
            with self.lock:
                self.skipped += len(kept)
            if not self.options.verify and self.options.if_exists != "skip":
                self._note(kept)
            work = [todo for todo in todos if self._needs_work(todo)]
            if self.options.dry_run:
                self._count_dry([todo for todo in todos if todo.act in (Act.NEW, Act.REPLACE)])
            self.meter.expect(len(work), total_size(todo.entry for todo in work))
            if work and not started:
                started = True
                self.meter.count(0, 0)
            yield work
        self.meter.listed = True
        if not started:
            self.meter.count(0, 0)

    async def _planned(self, plan: Plan) -> AsyncIterator[list[Todo]]:
        """Yield what to do; for a small source all at once, so that a refusal comes before any write."""
        async with closing_pages(plan.todos()) as pages:
            if not plan.is_small:
                async for todos in pages:
                    yield todos
                return
            whole: list[Todo] = []
            async for todos in pages:
                whole += [todo for todo in todos if todo.act is not Act.DELETE]
                yield [todo for todo in todos if todo.act is Act.DELETE]  # there may be many
        self.meter.listed = True
        yield whole

    def _needs_work(self, todo: Todo) -> bool:
        if todo.act is Act.KEEP:
            return self.options.verify
        return todo.act is Act.CHECK or (todo.act is not Act.DELETE and not self.options.dry_run)

    def _count_dry(self, todos: list[Todo]) -> None:
        with self.lock:
            self.copied += len(todos)
            self.copied_bytes += total_size(todo.entry for todo in todos)
            self.replaced += sum(todo.act is not Act.NEW for todo in todos)

    async def _delete_all(self, doomed: Spool) -> None:
        """Remove what only the target has, documents first: no reader finds one whose chunks are gone."""
        for wanted in (True, False):
            for page in doomed.pages():
                keys = [row[0] for row in page if (document_rank(row[0]) is not None) is wanted]
                if keys and not self.options.dry_run:
                    await self.writer.remove_many(keys)
                self.deleted += len(keys)

    # -- values -----------------------------------------------------------------------------------

    def _key(self, entry: Entry) -> str:
        return self.target.prefix + self.source.name(entry)

    async def _copy(self, batch: list[Todo], tell: Tell) -> None:
        """Copy a batch: through the server if possible, else small values together, a large one in pieces."""
        if self.there is not None:
            batch = await self._copy_on_server(self.there, batch, tell)
        if not batch:
            return
        if (batch[0].entry.size or 0) > value.PIECE:
            await self._copy_large(batch[0], tell)
        else:
            await self._copy_small(batch, tell)

    async def _copy_on_server(self, there: ServerCopies, batch: list[Todo], tell: Tell) -> list[Todo]:
        """Have the server copy what it can; return the rest."""
        acts = (Act.NEW, Act.REPLACE)
        work = [todo for todo in batch if todo.act in acts and (todo.entry.size or 0) <= _SERVER_MOST]

        async def copy(todo: Todo) -> None:
            entry = todo.entry
            try:
                answer = await there.copy(entry.key, self._key(entry), self._condition(todo))
            except KeyNotFoundError:
                raise value.changed("the value was removed", self.source.store, entry.key) from None
            if self._written(todo, await self._settled(todo, answer)):
                self._note([entry])
            tell(1, entry.size or 0)

        await self.writer.for_each(copy, work)
        return [todo for todo in batch if todo not in work]

    async def _copy_small(self, batch: list[Todo], tell: Tell) -> None:
        async with self._room(self.reads, len(batch)):
            values = await value.read_small(self.reader, self.source.store, [todo.entry for todo in batch])
        found = list(zip(batch, values, strict=True))
        there = [pair for pair in found if pair[0].act in (Act.KEEP, Act.CHECK)]
        writes = [pair for pair in found if pair[0].act in (Act.NEW, Act.REPLACE)]
        whole: list[tuple[Todo, Data]] = []
        for pair, same in zip(there, await self._are_equal(there), strict=True):
            (whole if self._settle(pair[0], same) else writes).append(pair)
        if self.options.dry_run:
            self._count_dry([todo for todo, _ in writes])
        elif writes:
            written = await self._write_small(writes)
            whole += written
        if self.options.verify:
            if not self.options.dry_run:
                for pair, same in zip(writes, await self._are_equal(writes), strict=True):
                    if not same:
                        raise self._unequal(pair[0].entry, written=any(pair is other for other in written))
            with self.lock:
                self.verified += len(batch) - (len(writes) if self.options.dry_run else 0)
        self._note([todo.entry for todo, _ in whole])
        tell(len(batch), sum(map(len, values)))

    def _settle(self, todo: Todo, same: bool) -> bool:
        """Record the result of a comparison with the target's value."""
        if same and todo.act is Act.CHECK:
            with self.lock:
                self.skipped += 1
        elif not same and todo.act is Act.KEEP:
            raise self._unequal(todo.entry, written=False)
        return same

    async def _are_equal(self, pairs: list[tuple[Todo, Data]]) -> list[bool]:
        """Read values of the target, and compare them with those read from the source."""
        if not pairs:
            return []
        requests = [(self._key(todo.entry), None) for todo, _ in pairs]
        found = await self.writer.read_many(requests, host_memory)
        return [
            back is not None and is_same(ours, back) for (_, ours), back in zip(pairs, found, strict=True)
        ]

    async def _write_small(self, pairs: list[tuple[Todo, Data]]) -> list[tuple[Todo, Data]]:
        """Write values; return those that were written."""
        writes: list[Write] = [
            (self._key(todo.entry), (found,), self._condition(todo)) for todo, found in pairs
        ]
        async with self._room(self.writes, len(writes)):
            answers = await self.writer.write_many(writes)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        written = []
        for pair, answer in zip(pairs, answers, strict=False):  # fewer answers than writes after a failure
            if isinstance(answer, BaseException):
                continue
            if self._written(pair[0], await self._settled(pair[0], answer)):
                written.append(pair)
        for failure in failures:
            raise failure
        return written

    def _condition(self, todo: Todo) -> Condition:
        return self.new if todo.act is Act.NEW else ANY

    def _written(self, todo: Todo, answer: object) -> bool:
        """Count a value as written, or as skipped if another writer created it; return whether written."""
        if answer is CONFLICT:
            self._refuse_conflict(self._key(todo.entry), self._condition(todo))
        with self.lock:
            if answer is CONFLICT:
                self.skipped += 1
            else:
                self.copied += 1
                self.copied_bytes += todo.entry.size or 0
                self.replaced += todo.act is not Act.NEW
        return answer is not CONFLICT

    async def _settled(self, todo: Todo, answer: object) -> object:
        """Treat a conflict as success if an interrupted run of the same piece wrote the value."""
        is_ours = answer is CONFLICT and self.options.is_repeated and await self._is_equal(todo.entry, len)
        return None if is_ours else answer

    def _refuse_conflict(self, key: str, condition: Condition) -> None:
        if condition is ANY:
            raise refused_write(key, self.target.store)
        if self.options.if_exists == "raise":
            raise KeyConflictError(
                "another writer made this key while the copy was under way.",
                store=self.target.store,
                key=key,
                hint="See who writes there; if_exists='skip' or if_exists='replace' decides about it.",
            )

    def _note(self, entries: list[Entry]) -> None:
        """Called with entries that are now the same in the target as in the source."""

    # -- large values -----------------------------------------------------------------------------

    async def _copy_large(self, todo: Todo, tell: Tell) -> None:
        entry, store = todo.entry, self.source.store
        if todo.act in (Act.KEEP, Act.CHECK):
            same = self._settle(todo, await self._is_equal(entry, lambda piece: tell(0, len(piece))))
            if same or self.options.dry_run:
                if not same:
                    self._count_dry([todo])
                with self.lock:
                    self.verified += self.options.verify and same
                if same:
                    self._note([entry])
                tell(1, 0)
                return
        sums: list[int] = []

        def watch(piece: Data) -> None:
            if self.options.verify:
                sums.append(crc32(piece))
            if todo.act is not Act.CHECK:
                tell(0, len(piece))

        key = self._key(entry)
        async with (
            self._room(self.reads, 1),
            self._room(self.writes, 1),
            closing_pages(self._pieces(entry, watch)) as pieces,
        ):
            sized = SizedPieces(pieces, entry.size or 0)
            answer = await self.writer.write(key, sized, self._condition(todo))
        written = self._written(todo, await self._settled(todo, answer))
        if self.options.verify:
            if written and value.may_be_torn(store, entry):
                await self._read_again(entry, sums)
            if not await (self._has_sums(entry, sums) if written else self._is_equal(entry, len)):
                raise self._unequal(entry, written=written)
            with self.lock:
                self.verified += 1
        if written:
            self._note([entry])
        tell(1, 0)

    async def _is_equal(self, entry: Entry, watch: value.Watch) -> bool:
        """Read a value on both sides, and compare the two."""
        if not entry.size:
            there = await self.writer.stat(self._key(entry))
            return there is not None and not there.size
        back = self._back(entry)
        async with closing_pages(self._pieces(entry, watch)) as ours, closing_pages(back):
            async for piece in ours:
                try:
                    other = await anext(back, b"")
                except ChangedError:
                    return False
                if not is_same(piece, other):
                    return False
        return True

    async def _read_again(self, entry: Entry, sums: list[int]) -> None:
        """Read a value of the source again, to notice if the pieces came from two values."""
        if sums != [crc32(piece) async for piece in self._pieces(entry)]:
            raise value.changed("the value was replaced", self.source.store, entry.key)

    def _pieces(self, entry: Entry, watch: value.Watch = len) -> AsyncIterator[Data]:
        return value.read_pieces(self.reader, self.source.store, entry, watch, self.stopped)

    def _back(self, entry: Entry) -> AsyncIterator[Data]:
        """Yield the pieces of the target's value."""
        there = Entry(self._key(entry), entry.size)
        return value.read_pieces(self.writer, self.target.store, there, len, self.stopped)

    async def _has_sums(self, entry: Entry, sums: list[int]) -> bool:
        """Whether the pieces of the target's value have these checksums."""
        try:
            return sums == [crc32(piece) async for piece in self._back(entry)]
        except ChangedError:
            return False

    def _unequal(self, entry: Entry, *, written: bool) -> CorruptError:
        return CorruptError(
            "the value that is read back isn't the one that was written."
            if written
            else "the value was there before, and isn't the source's.",
            store=self.target.store,
            key=self._key(entry),
            hint="Another writer is at work there, or the medium is failing."
            if written
            else "if_exists='replace' writes it anew.",
        )


@dataclass
class Piece(Copy):
    """A piece of a copy that was planned elsewhere."""

    todos: list[Todo] = field(default_factory=list)

    async def _run(self, *, sync: bool) -> CopyReport:
        began = time.perf_counter()
        self._bind(sync=sync)
        workers = self._workers(sync=sync)
        async with closing_workers(workers):
            await workers.put(self.todos)
            await workers.drain()
        return self._report(began)


def _copied(
    source: Directory, target: Directory, options: Options, todos: list[Todo]
) -> tuple[CopyReport, int, int]:
    """Copy a piece in a worker of a cluster; return the report, and the keys and bytes done."""
    ends = Ends(source.store, target.store, source.prefix, target.prefix, writes=True)
    piece = Piece(ends, options, is_named=False, todos=todos)
    return piece.run_blocking(), piece.meter.keys_done, piece.meter.bytes_done


def _row(todo: Todo) -> Row:
    return (*todo.entry, todo.act.name)


def _todo(row: Row) -> Todo:
    return Todo(Act[row[4]], Entry._make(row[:4]))


def is_named(place: object) -> bool:
    """Whether a place was given as a path or URL."""
    return isinstance(place, (str, os.PathLike))
