"""Moving: copies, and then removes from the source what the target has, if it is unchanged."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from zarrstore._copy.job import Copy
from zarrstore._copy.plan import document_rank, leaves_first
from zarrstore._copy.spool import Spool
from zarrstore._copy.value import changed
from zarrstore._core.verbs import Entry
from zarrstore.errors import UnsupportedOperationError

if TYPE_CHECKING:
    from zarrstore._copy.report import CopyReport


@dataclass
class Move(Copy):
    """One move."""

    whole: Spool = field(default_factory=lambda: Spool(leaves_first))

    def __post_init__(self) -> None:
        super().__post_init__()
        store = self.source.store
        if not self.options.dry_run:
            store._check_writable()
        if not store.supports_deletes:
            raise UnsupportedOperationError(
                "this store can't remove values, so nothing can be moved out of it.",
                store=store,
                hint="Copy instead.",
            )

    def _note(self, entries: list[Entry]) -> None:
        with self.lock:
            self.whole.add(entries)

    async def _run(self, *, sync: bool) -> CopyReport:
        with closing(self.whole):
            report = await super()._run(sync=sync)
            deleted = await self._remove_source()
        return replace(report, deleted=deleted)

    async def _remove_source(self) -> int:
        """Remove what was copied, documents first, so that no reader finds one without its chunks."""
        remover = self.reader
        count = 0
        for wanted in (True, False):
            for page in self.whole.pages():
                entries = [Entry._make(row) for row in page if (document_rank(row[0]) is not None) is wanted]
                if not self.options.dry_run:
                    for entry, now in zip(entries, await self._now(entries), strict=True):
                        if now is None or _differ(entry, now):
                            raise changed(
                                "the value was changed after it had been copied", self.source.store, entry.key
                            )
                    await remover.remove_many([entry.key for entry in entries])
                count += len(entries)
        return count

    async def _now(self, entries: list[Entry]) -> list[Entry | None]:
        return await self.reader.for_each(self.reader.stat, [entry.key for entry in entries])


def _differ(one: Entry, other: Entry) -> bool:
    """Whether two entries of a key describe different values."""
    return any(
        None not in pair and pair[0] != pair[1]
        for pair in ((one.size, other.size), (one.version, other.version), (one.modified, other.modified))
    )
