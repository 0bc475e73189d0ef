"""One copy, from its arguments to its report. One body serves every pair of stores."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, get_args

from zarrstore._copy import value
from zarrstore._copy.pipeline import run_workers
from zarrstore._copy.places import Directory, joined, keep_comment, refuse_overlap
from zarrstore._copy.plan import IfExists, Plan, make_plan, target_key, total_size
from zarrstore._copy.report import CopyProgress, CopyReport
from zarrstore._core.keys import check_prefix
from zarrstore._core.listing import closing_pages
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, Entry, refused_write
from zarrstore._core.zarr_compat import is_zarr_path
from zarrstore.abc.store import Store
from zarrstore.errors import ChangedError, CorruptError, KeyConflictError, KeyNotFoundError
from zarrstore.storage._path import StorePath
from zarrstore.storage._places.like import open_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zarrstore._copy.inbox import Send
    from zarrstore._copy.value import Watch
    from zarrstore._core.types import Data

_digest = partial(blake2b, digest_size=20)


@dataclass
class Copy:
    """One copy: what was asked for, and how far it is."""

    source_like: object
    target_like: object
    prefix: str
    target_prefix: str
    if_exists: IfExists
    verify: bool
    dry_run: bool
    progress: Callable[[CopyProgress], object] | None
    concurrency: int

    def __post_init__(self) -> None:
        if self.if_exists not in get_args(IfExists):
            raise ValueError(f"if_exists is 'raise', 'skip' or 'replace', not {self.if_exists!r}")
        if self.concurrency < 1:
            raise ValueError(f"concurrency is at least 1, not {self.concurrency!r}")
        self.opened: list[Store] = []
        try:
            store, above = self._open(self.source_like, "r")
            self.source = Directory(store, store._listed(joined(above, self.prefix, store)))
            store, above = self._open(self.target_like, "a")
            self.target = Directory(store, check_prefix(joined(above, self.target_prefix, store), store))
            if not self.dry_run:
                store._check_writable()
            refuse_overlap(self.source, self.target)
        except BaseException:
            for store in self.opened:
                store.close()
            raise
        self.blocks = self.source.store._blocks and self.target.store._blocks
        # The workers' verbs.
        self.reader = self.source.store._verbs_for_wrapper(sync=self.blocks)
        self.writer = self.target.store._verbs_for_wrapper(sync=self.blocks)
        # Where the store can, a key that another writer makes meanwhile isn't overwritten.
        careful = self.if_exists != "replace" and self.target.store.capabilities.atomic_create
        self.condition = ABSENT if careful else ANY
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.existing: set[str] = set()
        self.keys_total = self.bytes_total = 0
        self.keys_done = self.bytes_done = 0
        self.copied = self.copied_bytes = self.skipped = self.verified = 0

    def _open(self, place: object, mode: Literal["r", "a"]) -> tuple[Store, str]:
        """Return the store of a store-like object, and the path in it."""
        if isinstance(place, Store):
            return place, ""
        path = place.path if isinstance(place, StorePath) or is_zarr_path(place) else ""
        store = open_place(place, mode=None if path else mode)
        if isinstance(place, (str, os.PathLike)):
            self.opened.append(store)
        return store, path

    async def run(self, *, sync: bool) -> CopyReport:
        """Plan and copy: driven in the calling thread (``sync``, if both stores block), or on a loop."""
        began = time.perf_counter()
        # The workers may be threads even where this runs on a loop, so it binds verbs of its own.
        plan = await make_plan(
            self.source.store._verbs_for_wrapper(sync=sync),
            self.target.store._verbs_for_wrapper(sync=sync),
            self.source,
            self.target,
            self.if_exists,
            verify=self.verify,
        )
        self._refuse_nothing(plan)
        self.existing = plan.existing
        self.skipped = len(plan.existing)
        phases = list(plan.phases)
        if self.dry_run:  # then what is there already is all that can be verified
            phases = [list(filter(self._is_existing, phase)) for phase in phases] if self.verify else []
        else:
            await self.writer.call(keep_comment, self.source, self.target)
        await self._move_all(phases, sync=sync)
        keys, size = (plan.keys, plan.bytes) if self.dry_run else (self.copied, self.copied_bytes)
        seconds = time.perf_counter() - began
        return CopyReport(keys, size, self.skipped, self.verified, seconds, plan.differing)

    def _refuse_nothing(self, plan: Plan) -> None:
        """Refuse a source that was named, by a path or URL, if it has no key: it may be mistyped."""
        if isinstance(self.source_like, (str, os.PathLike)) and not (plan.existing or any(plan.phases)):
            raise KeyNotFoundError(
                "no key is here, so there is nothing to copy.",
                store=self.source.store,
                key=self.source.prefix or None,
                hint="Is the source spelt right?",
            )

    def _is_existing(self, entry: Entry) -> bool:
        return target_key(entry, self.source, self.target) in self.existing

    async def _move_all(self, phases: list[list[Entry]], *, sync: bool) -> None:
        self.keys_total = sum(map(len, phases))
        self.bytes_total = sum(map(total_size, phases))
        if not self.dry_run:
            self._count(0, 0)
        for phase, concurrency in zip(phases, (self.concurrency, self.concurrency, 1), strict=False):
            await run_workers(
                phase,
                self._move,
                self._count,
                concurrency=concurrency,
                in_threads=self.blocks,
                sync=sync,
                stopped=self.stopped,
            )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say in any error how far the copy came; Ctrl-C doesn't pass through what runs on a loop."""
        try:
            yield
        except BaseException as error:
            self.stopped.set()  # Ctrl-C may have come while workers were being started
            if self.copied:
                error.add_note(
                    f"{self.copied} of {self.keys_total} values are in the target, whole; "
                    "if_exists='skip' copies the rest."
                )
            raise

    def _count(self, keys: int, size: int) -> None:
        self.keys_done += keys
        self.bytes_done += size
        if self.progress is not None:
            self.progress(CopyProgress(self.keys_done, self.keys_total, self.bytes_done, self.bytes_total))

    # -- one value --------------------------------------------------------------------------------

    async def _move(self, entry: Entry, send: Send) -> None:
        """Copy one value, and verify it."""
        key = target_key(entry, self.source, self.target)
        digest = _digest()

        def watch(piece: Data) -> None:
            if self.verify:
                digest.update(piece)
            send((0, len(piece)))

        written = key not in self.existing and await self._write(entry, key, watch)
        if self.verify:
            if not written:
                digest = _digest()  # a write that met a conflict may have read some of the value
                again = watch if key in self.existing else digest.update
                await value.read_through(self.reader, self.source.store, entry, again, self.stopped)
            elif value.may_be_torn(self.source.store, entry):
                await self._read_again(entry, digest.digest())
            await self._compare(entry, key, digest.digest(), written)
        with self.lock:
            self.copied += written
            self.copied_bytes += (entry.size or 0) if written else 0
            self.verified += self.verify
        send((1, 0))

    async def _write(self, entry: Entry, key: str, watch: Watch) -> bool:
        """Write one value unless another writer has made the key; whether it was written."""
        store = self.source.store
        if (entry.size or 0) <= value.PIECE:
            whole = await value.read_whole(self.reader, store, entry, watch)
            answer = await self.writer.write(key, [whole], self.condition)
        else:
            async with closing_pages(
                value.read_pieces(self.reader, store, entry, watch, self.stopped)
            ) as pieces:
                answer = await self.writer.write(key, pieces, self.condition)
        if answer is not CONFLICT:
            return True
        if self.condition is ANY:
            raise refused_write(key, self.target.store)
        if self.if_exists == "raise":
            raise KeyConflictError(
                "another writer made this key while the copy was under way.",
                store=self.target.store,
                key=key,
                hint="See who writes there; if_exists='skip' or if_exists='replace' decides about it.",
            )
        with self.lock:
            self.skipped += 1
        return False

    async def _read_again(self, entry: Entry, digest: bytes) -> None:
        """Read a value of the source once more: pieces of two values, one after the other, are no value."""
        again = _digest()
        await value.read_through(self.reader, self.source.store, entry, again.update, self.stopped)
        if again.digest() != digest:
            raise value.changed("the value was replaced", self.source.store, entry.key)

    async def _compare(self, entry: Entry, key: str, digest: bytes, written: bool) -> None:
        """Read a value back and compare it with the source's."""
        back = _digest()
        cause = None
        try:
            store = self.target.store
            await value.read_through(self.writer, store, Entry(key, entry.size), back.update, self.stopped)
            if back.digest() == digest:
                return
        except ChangedError as error:
            cause = error
        raise CorruptError(
            "the value that is read back isn't the one that was written."
            if written
            else "the value was there before, and isn't the source's.",
            store=self.target.store,
            key=key,
            hint="Another writer is at work there, or the medium is failing."
            if written
            else "if_exists='replace' writes it anew.",
        ) from cause
