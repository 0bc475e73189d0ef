"""Copying: keys and values from one store to another, in bounded memory and in an order that is safe.

May import: errors, keys, requests, verbs, threads, the stores. Only the command line imports this.

One body serves every pair of stores. Where both block, threads of the copy's own each drive it in
place, value by value; a thread of the common pool is never used, because it could come to wait for
another one of them. Everywhere else tasks of an event loop run it. Whoever works, the caller's
thread or loop looks on: it counts, calls ``progress`` and stops the others when something fails.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from zarrstore._async import io_loop
from zarrstore._async import threads as _threads
from zarrstore._copy.inbox import Inbox, LoopInbox
from zarrstore._copy.places import joined, place_of, refuse_overlap
from zarrstore._core.keys import check_prefix
from zarrstore._core.requests import RangeByteRequest
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, Entry, drive, host_memory, refused_write
from zarrstore._core.zarr_compat import is_zarr_path
from zarrstore.abc.store import Store
from zarrstore.errors import (
    ByteRequestError,
    ChangedError,
    CorruptError,
    KeyConflictError,
    RefusedError,
    StoreError,
    TruncatedError,
    from_os_error,
)
from zarrstore.storage._path import StorePath
from zarrstore.storage._places.like import make_store_sync

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence

    from zarrstore._copy.inbox import Tell
    from zarrstore._core.verbs import Verbs

    # Called with each piece of a value on its way.
    Watch: TypeAlias = Callable[[Any], object]

T = TypeVar("T")
IfExists = Literal["raise", "skip", "replace"]

# Larger values are moved in pieces of this size, in bytes.
PIECE = 8 << 20
# How many threads a copy begins with; every _LOOK seconds they are doubled if a value has taken one of
# them longer than _SLOW seconds on average: then it is the medium that they wait for.
_THREADS = 2
_LOOK = 0.1
_SLOW = 0.002
# How many conflicts an error names.
_NAMED = 3
# With more names than this at the top of a source, the target is listed whole and not name by name.
_FEW = 16

# Documents that make chunks an array, in the order in which a node's are written: the one that a
# reader looks for comes last, so that nobody opens a node whose attributes aren't there yet.
_DOCUMENTS = {".zattrs": 0, ".zmetadata": 1, ".zarray": 2, ".zgroup": 2, "zarr.json": 3}


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a copy has come.

    Attributes
    ----------
    keys_done, keys_total : int
        Number of values.
    bytes_done, bytes_total : int
        Their bytes; those of a large value count as they are moved.
    """

    keys_done: int
    keys_total: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did, or what it would do if it was a dry run.

    Attributes
    ----------
    keys : int
        Number of values that were written.
    bytes : int
        Their size.
    skipped : int
        Number of values that were left alone because the target had the key.
    verified : int
        Number of values that were read back and found equal, skipped ones included.
    seconds : float
        How long it took.
    """

    keys: int
    bytes: int
    skipped: int
    verified: int
    seconds: float


async def copy_store(
    source: Any,
    target: Any,
    *,
    prefix: str = "",
    target_prefix: str = "",
    if_exists: IfExists = "raise",
    verify: bool = False,
    dry_run: bool = False,
    progress: Callable[[CopyProgress], object] | None = None,
    concurrency: int = 8,
) -> CopyReport:
    """Copy what lies below a directory of one store to a directory of another.

    Metadata documents are written after all chunks and the root's own last of all, so that a reader
    finds a hierarchy only once it is whole. No value is ever half written; what was interrupted goes
    on with ``if_exists="skip"``.

    Parameters
    ----------
    source, target : StoreLike
        Where from and where to. A store path stands for the directory that it names. What isn't a
        store yet is opened here, and closed at the end.
    prefix, target_prefix : str
        Directory to copy from, and the one to copy to; the roots by default. Keys are taken over
        relative to them.
    if_exists : {"raise", "skip", "replace"}
        What to do about keys that the target has: fail before anything is written, leave them alone,
        or write them anew. Keys that only the target has are never touched.
    verify : bool
        Whether to read every value back and hold it against what was read from the source. Values
        that were skipped are compared too.
    dry_run : bool
        Whether to stop after the checks, before anything is written.
    progress : callable, optional
        Called with a `CopyProgress` at the start and whenever something was moved, never twice at once;
        on the loop, or in the calling thread of `copy_store_sync` where both stores block.
    concurrency : int
        How many values may be under way at once. Each takes at most 32 MiB, unless the target needs
        values whole. Where both stores block, fewer are while the media are quick.

    Returns
    -------
    CopyReport
        What was done.

    Raises
    ------
    KeyConflictError
        If the target has some of the keys and ``if_exists`` is ``"raise"``; or if it keeps folders and
        a key is to lie below another one.
    ChangedError
        If a value of the source was changed, cut or removed meanwhile.
    CorruptError
        If a value that is read back isn't what was written.
    RefusedError
        If source and target overlap.
    """
    copy = _Copy(source, target, prefix, target_prefix, if_exists, verify, dry_run, progress, concurrency)
    try:
        return await copy.run(sync=False)
    finally:
        for store in copy.opened:
            if store._blocks:
                await _threads.to_thread(store.close)
            else:
                store.close()


def copy_store_sync(
    source: Any,
    target: Any,
    *,
    prefix: str = "",
    target_prefix: str = "",
    if_exists: IfExists = "raise",
    verify: bool = False,
    dry_run: bool = False,
    progress: Callable[[CopyProgress], object] | None = None,
    concurrency: int = 8,
) -> CopyReport:
    """Blocking form of `copy_store`."""
    copy = _Copy(source, target, prefix, target_prefix, if_exists, verify, dry_run, progress, concurrency)
    try:
        if copy.blocks:
            return drive(copy.run(sync=True))
        return io_loop.run_on_io(copy.run(sync=False))
    finally:
        for store in copy.opened:
            store.close()


class _Stopped(Exception):
    """Ends a worker in the middle of a large value, once another one has failed."""


class _Copy:
    """One copy: what was asked, and how far it has come."""

    def __init__(
        self,
        source: Any,
        target: Any,
        prefix: str,
        target_prefix: str,
        if_exists: IfExists,
        verify: bool,
        dry_run: bool,
        progress: Callable[[CopyProgress], object] | None,
        concurrency: int,
    ) -> None:
        if if_exists not in ("raise", "skip", "replace"):
            raise ValueError(f"if_exists is 'raise', 'skip' or 'replace', not {if_exists!r}")
        if concurrency < 1:
            raise ValueError(f"concurrency is at least 1, not {concurrency!r}")
        self.opened: list[Store] = []
        try:
            self.source, above = self._open(source, "r")
            self.prefix = self.source._listed(joined(above, prefix, self.source))
            self.target, above = self._open(target, "a")
            self.target_prefix = check_prefix(joined(above, target_prefix, self.target), self.target)
            self.target._is_open = True
            if not dry_run:
                self.target._check_writable()
            refuse_overlap(self.source, self.prefix, self.target, self.target_prefix)
        except BaseException:
            for store in self.opened:
                store.close()
            raise
        self.if_exists = if_exists
        self.verify = verify
        self.dry_run = dry_run
        self.progress = progress
        self.concurrency = concurrency
        self.blocks = self.source._blocks and self.target._blocks
        # Threads call verbs in place; so does `drive`. Tasks await them.
        self.reader: Verbs = self.source._verbs_for_wrapper(sync=self.blocks)
        self.writer: Verbs = self.target._verbs_for_wrapper(sync=self.blocks)
        # Where the store can, a key that somebody makes meanwhile isn't overwritten unasked.
        careful = if_exists != "replace" and self.target.capabilities.atomic_create
        self.condition = ABSENT if careful else ANY
        self.stopped = False
        self.existing: set[str] = set()
        self.keys_total = self.bytes_total = 0
        self.keys_done = self.bytes_done = 0
        self.copied = self.copied_bytes = self.skipped = self.verified = 0
        self.lock = threading.Lock()

    def _open(self, place: Any, mode: Literal["r", "a"]) -> tuple[Store, str]:
        """Return the store behind a store-like, and the path in it that is meant."""
        path = place.path if isinstance(place, StorePath) or is_zarr_path(place) else ""
        if isinstance(place, Store):
            return place, ""
        store = make_store_sync(place, mode=None if path else mode)
        if isinstance(place, (str, os.PathLike)):
            self.opened.append(store)
        return store, path

    async def run(self, *, sync: bool) -> CopyReport:
        """Plan and move; ``inline`` if nobody but threads of our own is to be waited for."""
        began = time.perf_counter()
        # The plan is made where we are: on a loop by its verbs, in a thread by the others. What only
        # computes would hold a loop for long if there are many keys, so it is done beside it.
        reader = self.source._verbs_for_wrapper(sync=sync)
        writer = self.target._verbs_for_wrapper(sync=sync)
        aside = _in_place if sync else _threads.to_thread
        entries = await self._entries(reader)
        names, tops = await aside(self._names, entries)
        there = await self._found(writer, names, tops) if self.if_exists != "replace" else set()
        phases = await aside(self._judge, entries, names, there)
        if self.dry_run:
            return self._report(began)
        self.copied = self.copied_bytes = 0
        self._count(0, 0)
        try:
            for phase, concurrency in zip(phases, (self.concurrency, self.concurrency, 1), strict=True):
                await self._each(phase, concurrency, sync)
        except BaseException as error:
            self.stopped = True  # Ctrl-C may have come while workers were being started
            if self.copied:
                error.add_note(
                    f"{self.copied} of {self.keys_total} values are in the target, whole; "
                    "if_exists='skip' copies the rest."
                )
            raise
        return self._report(began)

    def _report(self, began: float) -> CopyReport:
        seconds = time.perf_counter() - began
        return CopyReport(self.copied, self.copied_bytes, self.skipped, self.verified, seconds)

    # -- what there is to do ----------------------------------------------------------------------

    def _to(self, entry: Entry) -> str:
        """Key in the target of an entry of the source."""
        return self.target_prefix + entry.key[len(self.prefix) :]

    async def _entries(self, reader: Verbs) -> list[Entry]:
        """List the source, with sizes."""
        entries: list[Entry] = []
        async with aclosing(reader.scan(self.prefix, True, True)) as pages:  # type: ignore[type-var]
            async for page in pages:
                for entry in page:
                    found = entry if entry.size is not None else await reader.stat(entry.key)
                    if found is not None:
                        entries.append(found)
        return entries

    def _names(self, entries: list[Entry]) -> tuple[set[str], set[str]]:
        """Keys that are to be written, and the first segments of their names."""
        names = {self._to(entry) for entry in entries}
        self._refuse_own_keys(entries, names)
        skip = len(self.target_prefix)
        return names, {name[skip:].partition("/")[0] for name in names}

    def _judge(self, entries: list[Entry], names: set[str], there: set[str]) -> tuple[list[Entry], ...]:
        """Hold what is to be written against what is there; returns what to do, in its order."""
        if self.target.capabilities.folders:
            self._refuse_nesting(names, there)
        self.existing = names & there
        if self.existing and self.if_exists == "raise":
            self._refuse_existing(len(names))
        new = [entry for entry in entries if self._to(entry) not in self.existing]
        self.skipped = len(self.existing)
        self.copied = len(new)  # what a dry run reports
        self.copied_bytes = sum(entry.size or 0 for entry in new)
        work = entries if self.verify else new
        self.keys_total = len(work)
        self.bytes_total = sum(entry.size or 0 for entry in work)
        return self._in_order(work)

    async def _found(self, writer: Verbs, names: set[str], tops: set[str]) -> set[str]:
        """Keys of the target that may be in the way of new ones."""
        if not self.target.supports_listing:
            return {name for name in names if await writer.stat(name) is not None}
        there: set[str] = set()
        places = [self.target_prefix]
        if len(tops) <= _FEW:
            # A few names in a large store: look at those and not at all that lies beside them.
            places = [f"{self.target_prefix}{top}/" for top in tops]
            keys = [self.target_prefix + top for top in tops]
            there = {key for key in keys if await writer.stat(key) is not None}
        for place in places:
            async with aclosing(writer.scan(place, True, False)) as pages:  # type: ignore[type-var]
                async for page in pages:
                    there.update(entry.key for entry in page)
        return there

    def _refuse_existing(self, count: int) -> None:
        first = sorted(self.existing)[:_NAMED]
        more = ", ..." if len(self.existing) > _NAMED else ""
        raise KeyConflictError(
            f"the target has {len(self.existing)} of the {count} keys already "
            f"({', '.join(map(repr, first))}{more}); nothing was written.",
            store=self.target,
            key=first[0],
            hint="Copy to an empty place, or use if_exists='skip' or if_exists='replace'.",
        )

    def _refuse_nesting(self, names: set[str], there: set[str]) -> None:
        """Refuse a key below another one where the target can't hold both."""
        keys = names | there
        folders = set()
        for name in keys:
            end = name.rfind("/")
            while end > 0 and name[:end] not in folders:
                folders.add(name[:end])
                end = name.rfind("/", 0, end)
        for name in sorted(folders & keys):
            raise KeyConflictError(
                "this key is a value with keys below it, which a store of folders can't hold; "
                "nothing was written.",
                store=self.target,
                key=name,
                hint="Use a target without folders (MemoryStore, ZipStore), or copy the two apart.",
            )

    def _refuse_own_keys(self, entries: Iterable[Entry], names: set[str]) -> None:
        """Refuse to overwrite, in one and the same store, what is still to be read."""
        here, there = place_of(self.source, self.prefix), place_of(self.target, self.target_prefix)
        if not here.startswith(there):
            return
        inside = self.target_prefix + here[len(there) :]
        for entry in entries:
            if inside + entry.key[len(self.prefix) :] in names:
                raise RefusedError(
                    "source and target overlap: this key would be overwritten before it is read.",
                    store=self.target,
                    key=self._to(entry),
                    hint="Copy to a place beside the source.",
                )

    def _in_order(self, entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry], list[Entry]]:
        """Chunks, documents from the leaves up, and the root's documents."""
        chunks: list[Entry] = []
        documents: list[tuple[int, int, Entry]] = []
        for entry in entries:
            name = entry.key[len(self.prefix) :]
            rank = _DOCUMENTS.get(name.rpartition("/")[2])
            if rank is None:
                chunks.append(entry)
            else:
                documents.append((-name.count("/"), rank, entry))
        documents.sort(key=lambda item: item[:2])
        inner = [entry for depth, _, entry in documents if depth]
        return chunks, inner, [entry for depth, _, entry in documents if not depth]

    # -- who does it ------------------------------------------------------------------------------

    async def _each(self, entries: Sequence[Entry], concurrency: int, sync: bool) -> None:
        """Move entries, some at once, and look on until the last worker has ended."""
        inbox = Inbox() if sync else LoopInbox()
        todo = iter(entries)

        async def work() -> None:
            while not self.stopped:
                with self.lock:
                    entry = next(todo, None)
                if entry is None:
                    return
                await self._move(entry, inbox.put)

        most = min(concurrency, len(entries))
        # Tasks only wait. Threads hand the interpreter's lock around, and the loop is one of those who
        # want it: so there are few of them, unless it is the medium that takes the time.
        running = workers = min(_THREADS, most) if self.blocks else most
        cancel = self._start(work, workers, inbox.put)
        began, moved = time.perf_counter(), 0
        failure: BaseException | None = None
        while running:
            try:
                event = await inbox.get()
                if event is None:
                    running -= 1
                elif isinstance(event, BaseException):
                    raise event
                elif failure is None:
                    self._count(*event)
                    moved += event[0]
                    passed = time.perf_counter() - began
                    if workers < most and passed > _LOOK:
                        if moved * _SLOW < passed * workers:
                            more = min(workers, most - workers)
                            self._start(work, more, inbox.put)
                            running += more
                            workers += more
                        began, moved = time.perf_counter(), 0
            except BaseException as error:
                if failure is None:
                    failure = error
                    self.stopped = True
                    cancel()
                elif isinstance(error, KeyboardInterrupt):
                    raise  # asked twice: don't insist on waiting
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame, and so all that workers had in hand

    def _start(
        self, work: Callable[[], Coroutine[Any, Any, None]], count: int, tell: Tell
    ) -> Callable[[], None]:
        """Start workers, which tell their failure and then their end; returns what cuts them short."""
        if self.blocks:

            def run() -> None:
                try:
                    drive(work())
                except BaseException as error:
                    tell(error)
                finally:
                    tell(None)

            for index in range(count):
                try:
                    threading.Thread(target=run, name=f"zarrstore-copy-{index}").start()
                except RuntimeError:  # no threads here, or none left
                    run()
            return lambda: None

        def ended(task: asyncio.Future[None]) -> None:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                tell(error)
            tell(None)

        tasks = [asyncio.ensure_future(work()) for _ in range(count)]
        for task in tasks:
            task.add_done_callback(ended)

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        return cancel

    def _count(self, keys: int, size: int) -> None:
        self.keys_done += keys
        self.bytes_done += size
        if self.progress is not None:
            self.progress(CopyProgress(self.keys_done, self.keys_total, self.bytes_done, self.bytes_total))

    # -- one value --------------------------------------------------------------------------------

    async def _move(self, entry: Entry, tell: Tell) -> None:
        """Copy one value, and verify it."""
        key = self._to(entry)
        digest = blake2b(digest_size=20)
        watch = self._watch(tell, digest if self.verify else None)
        written = key not in self.existing and await self._write(entry, key, watch)
        if self.verify:
            if not written:
                digest = blake2b(digest_size=20)
                again = self._watch(tell, digest) if key in self.existing else digest.update
                await self._exhaust(self.reader, self.source, entry, again)
            await self._compare(entry, key, digest.digest(), written)
        with self.lock:
            self.copied += written
            self.copied_bytes += (entry.size or 0) if written else 0
            self.verified += self.verify
        tell((1, 0))

    async def _write(self, entry: Entry, key: str, watch: Watch) -> bool:
        """Write one value unless somebody made the key meanwhile; whether it was written."""
        async with aclosing(self._pieces(self.reader, self.source, entry, watch)) as pieces:
            small = (entry.size or 0) <= PIECE
            value = [piece async for piece in pieces] if small else pieces
            answer = await self.writer.write(key, value, self.condition)
        if answer is not CONFLICT:
            return True
        if self.condition is ANY:
            raise refused_write(key, self.target)
        if self.if_exists == "raise":
            raise KeyConflictError(
                "somebody else made this key while the copy was under way.",
                store=self.target,
                key=key,
                hint="See who writes there; if_exists='skip' or if_exists='replace' decides about it.",
            )
        with self.lock:
            self.skipped += 1
        return False

    def _watch(self, tell: Tell, digest: Any) -> Watch:
        """Return what is called with each piece of a source's value."""

        def watch(piece: Any) -> None:
            if digest is not None:
                digest.update(piece)
            tell((0, len(piece)))

        return watch

    async def _pieces(
        self, verbs: Verbs, store: Store, entry: Entry, watch: Watch
    ) -> AsyncGenerator[Any, None]:
        """Read a value piece by piece, making sure that it is one and the same value all the while."""
        key, size, version = entry.key, entry.size or 0, entry.version
        try:
            if size <= PIECE:
                if version is None:
                    value = await verbs.read(key, None, host_memory)
                else:
                    answer = await verbs.read_versioned(key, None, host_memory)
                    value, version = answer if answer is not None else (None, None)
                self._check_same(store, entry, None if value is None else Entry(key, len(value), version))
                watch(value)
                yield value
                return
            before = await verbs.stat(key)
            self._check_same(store, entry, before)
            assert before is not None
            # Where each piece can tell the version it is of, none of another one gets in.
            tells = before.version is not None and store.capabilities.versions
            for start in range(0, size, PIECE):
                if self.stopped:
                    raise _Stopped
                end = min(start + PIECE, size)
                part = RangeByteRequest(start, end)
                if tells:
                    value, version = await verbs.read_versioned(key, part, host_memory) or (None, None)
                    if value is not None:
                        self._check_same(store, before, Entry(key, size, version))
                else:
                    value = await verbs.read(key, part, host_memory)
                if value is None or len(value) != end - start:
                    self._check_same(store, entry, await verbs.stat(key))
                    raise TruncatedError(
                        f"asked for {end - start} bytes from byte {start} on, the store gave "
                        f"{'none' if value is None else len(value)}.",
                        store=store,
                        key=key,
                    )
                watch(value)
                yield value
            self._check_same(store, before, await verbs.stat(key))
        except ByteRequestError as error:
            raise ChangedError(
                "the value became shorter while it was read.", store=store, key=key, hint=_AGAIN
            ) from error
        except StoreError:
            raise
        except OSError as error:
            # Told here: inside the target's write it would pass for a failure of the target.
            raise from_os_error(error, action="read", store=store, key=key) from error

    def _check_same(self, store: Store, expected: Entry, found: Entry | None) -> None:
        if found is None:
            reason = "the value was removed"
        elif found.size != expected.size:
            reason = f"the value had {expected.size} bytes and now has {found.size}: it was changed"
        elif None not in (found.version, expected.version) and found.version != expected.version:
            reason = "the value was replaced"
        else:
            return
        raise ChangedError(
            f"{reason} while the copy was under way.", store=store, key=expected.key, hint=_AGAIN
        )

    async def _exhaust(self, verbs: Verbs, store: Store, entry: Entry, watch: Watch) -> None:
        async with aclosing(self._pieces(verbs, store, entry, watch)) as pieces:
            async for _ in pieces:
                pass

    async def _compare(self, entry: Entry, key: str, digest: bytes, written: bool) -> None:
        """Read a value back and hold it against what the source had."""
        back = blake2b(digest_size=20)
        cause = None
        try:
            await self._exhaust(self.writer, self.target, Entry(key, entry.size), back.update)
            if back.digest() == digest:
                return
        except ChangedError as error:
            cause = error
        raise CorruptError(
            "the value that is read back isn't the one that was written."
            if written
            else "the value was there before, and isn't the source's.",
            store=self.target,
            key=key,
            hint="Somebody else writes there, or the medium is failing."
            if written
            else "if_exists='replace' writes it anew.",
        ) from cause


async def _in_place(function: Callable[..., T], *args: Any) -> T:
    return function(*args)


_AGAIN = "Copy again once nobody writes to the source."
