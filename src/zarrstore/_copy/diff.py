"""Compares two directories key by key: by their listings and, if these don't suffice, by bytes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from zarrstore._copy import value
from zarrstore._copy.compare import is_same, told_equal
from zarrstore._copy.meter import Meter
from zarrstore._copy.plan import Plan
from zarrstore._copy.report import Difference, DiffReport
from zarrstore._copy.running import Job
from zarrstore._core.listing import closing_pages
from zarrstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from zarrstore._copy.compare import How, Pair
    from zarrstore._copy.places import Ends
    from zarrstore._copy.report import Mark
    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Entry, Verbs
    from zarrstore.abc.store import Store

# How many values are compared at once if each waits for a server; a large one takes 16 MiB of memory.
_AT_ONCE = 8


class Diff(Job[DiffReport]):
    """One comparison.

    Parameters
    ----------
    ends : Ends
        The two directories.
    selected : callable or None
        Returns whether the key of a name takes part.
    found : callable or None
        Called with each `Difference`.
    checksum : bool
        Whether times aren't trusted to show that values are equal.
    """

    def __init__(
        self,
        ends: Ends,
        selected: Callable[[str], bool] | None,
        found: Callable[[Difference], object] | None,
        *,
        checksum: bool,
    ) -> None:
        self.ends = ends
        self.selected = selected
        self.found = found
        self.how: How = "bytes" if checksum else "time"
        self.equal = 0
        self.differences: list[Difference] = []
        self.stopped = threading.Event()
        self.meter = Meter()

    @property
    def blocks(self) -> bool:
        """Whether both stores block."""
        return self.ends.blocks

    async def _run(self, *, sync: bool) -> DiffReport:
        began = time.perf_counter()
        ends = self.ends
        self.reader = ends.source.store._verbs_for_wrapper(sync=sync)
        self.writer = ends.target.store._verbs_for_wrapper(sync=sync)
        plan = Plan(
            ends,
            self.reader,
            self.writer,
            "update",
            checksum=self.how == "bytes",
            delete=True,
            selected=self.selected,
        )
        async with plan, closing_pages(plan.pairs()) as pages:
            async for pairs in pages:
                for first in range(0, len(pairs), _AT_ONCE):
                    if self.stopped.is_set():
                        raise value.StoppedError
                    some = pairs[first : first + _AT_ONCE]
                    for pair, mark in zip(some, await self.reader.for_each(self._mark, some), strict=True):
                        self._tell(pair, mark)
        return DiffReport(self.equal, tuple(self.differences), time.perf_counter() - began)

    def _tell(self, pair: Pair, mark: Mark) -> None:
        ours, theirs = pair
        name = self.ends.source.name(ours) if ours is not None else ""
        if theirs is not None and ours is None:
            name = self.ends.target.name(theirs)
        difference = Difference(mark, name)
        if mark == "=":
            self.equal += 1
        else:
            self.differences.append(difference)
        if self.found is not None:
            self.found(difference)

    async def _mark(self, pair: Pair) -> Mark:
        ours, theirs = pair
        if ours is None or theirs is None:
            return "-" if ours is None else "+"
        equal = told_equal(ours, theirs, self.how)
        if equal is None:
            try:
                equal = await self._has_equal_bytes(ours, theirs)
            except (StoreError, OSError):
                return "!"
        return "=" if equal else "*"

    async def _has_equal_bytes(self, ours: Entry, theirs: Entry) -> bool:
        source = self._pieces(self.reader, self.ends.source.store, ours)
        target = self._pieces(self.writer, self.ends.target.store, theirs)
        async with closing_pages(source), closing_pages(target):
            async for piece in source:
                if not is_same(piece, await anext(target, b"")):
                    return False
            async for _ in target:
                return False
        return True

    def _pieces(self, verbs: Verbs, store: Store, entry: Entry) -> AsyncIterator[Data]:
        return value.read_in_turn(verbs, store, entry, self.stopped)
