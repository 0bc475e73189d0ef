"""Copies one value under any name, such as a zip archive stored as one object in a bucket."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from zarrstore._copy.job import Piece
from zarrstore._copy.places import Directory, Ends
from zarrstore._copy.plan import Act, Plan, entry_size
from zarrstore._core.keys import check_key
from zarrstore.errors import KeyConflictError, KeyNotFoundError

if TYPE_CHECKING:
    from zarrstore._copy.options import Options
    from zarrstore._copy.report import CopyReport
    from zarrstore.abc.store import Store


@dataclass
class Single(Piece):
    """One such copy. Its ends have keys instead of directories."""

    async def _run(self, *, sync: bool) -> CopyReport:
        self._bind(sync=sync)
        ours = await self.reader.stat(self.source.prefix)
        if ours is None:
            raise KeyNotFoundError(
                "there is no such value to copy.",
                store=self.source.store,
                key=self.source.prefix,
                hint="Is it spelt right?",
            )
        theirs = await self.writer.stat(self.target.prefix)
        options = self.options
        if theirs is not None and options.if_exists == "raise":
            raise KeyConflictError(
                "the target has this value already; nothing was written.",
                store=self.target.store,
                key=theirs.key,
                hint="Decide by if_exists='update', if_exists='skip' or if_exists='replace'.",
            )
        async with Plan(
            self.ends, self.reader, self.writer, options.if_exists, checksum=options.checksum
        ) as plan:
            todo = plan.decide(ours, theirs)
        assert todo is not None  # there is something to copy
        self.todos = [todo] if self._needs_work(todo) else []
        self.skipped += todo.act is Act.KEEP
        if options.dry_run and todo.act in (Act.NEW, Act.REPLACE):
            self._count_dry([todo])
        self.meter.expect(len(self.todos), len(self.todos) * entry_size(ours))
        self.meter.listed = True
        report = await super()._run(sync=sync)
        return replace(report, differing=tuple(plan.differing))


def copy_value_sync(source: Store, key: str, target: Store, target_key: str, options: Options) -> CopyReport:
    """Copy a value from one store to another, in pieces if it is large."""
    ends = Ends(source, target, "", "", writes=True)
    for store, name in ((source, key), (target, target_key)):
        check_key(name, store)
    ends.source, ends.target = Directory(source, key), Directory(target, target_key)
    job = Single(ends, options, is_named=True)
    with job.told():
        return job.run_blocking()
