"""Plans a copy: which values to copy, what the target has, in which order, and what is refused.

Only the current pages of a long listing are held in memory. To compare two listings, both are read in order:
directly if the store lists in order, otherwise from a `Spool`.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple

from zarrstore._copy.compare import paired, told_equal
from zarrstore._copy.spool import Spool
from zarrstore._core.composites import scan_sized
from zarrstore._core.listing import PAGE_SIZE, closing_pages
from zarrstore._core.verbs import Entry
from zarrstore.errors import KeyConflictError, RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from zarrstore._copy.compare import How, Pages, Pair
    from zarrstore._copy.places import Directory, Ends
    from zarrstore._copy.spool import Row
    from zarrstore._core.verbs import Verbs

IfExists = Literal["raise", "skip", "replace", "update", "resume"]

# How many conflicting keys an error names.
_NAMED = 3
# Up to this many top-level names of the source are looked up one by one in the target; with more, it is
# listed.
_FEW = 16
# A source of up to this many keys is listed completely before anything is written.
WINDOW = 10_000
# Metadata documents in the order in which those of one node are written. The one that readers open first
# comes last, so that they find the node complete.
_DOCUMENTS = {".zattrs": 0, ".zmetadata": 1, ".zarray": 2, ".zgroup": 2, "zarr.json": 3}


class Act(Enum):
    """What to do with a key."""

    NEW = "write it; the target hasn't it"
    REPLACE = "write it over what the target has"
    CHECK = "write it unless the target's bytes are the same"
    KEEP = "leave it as it is"
    DELETE = "remove it"


class Todo(NamedTuple):
    """What to do with one entry: of the source or, for `Act.DELETE`, of the target."""

    act: Act
    entry: Entry


class Plan:
    """Goes through source and target, and decides what to do.

    Parameters
    ----------
    ends : Ends
        The two directories.
    reader, writer : Verbs
        The verbs of their stores, in the form (blocking or awaited) that the job uses.
    if_exists : str
        See `copy_store`.
    checksum : bool
        Whether times aren't trusted to show that values are equal.
    delete : bool
        Whether to look for keys that only the target has.
    selected : callable, optional
        Returns whether the key of a name takes part.
    """

    def __init__(
        self,
        ends: Ends,
        reader: Verbs,
        writer: Verbs,
        if_exists: IfExists,
        *,
        checksum: bool = False,
        delete: bool = False,
        selected: Callable[[str], bool] | None = None,
    ) -> None:
        self.source, self.target = ends.source, ends.target
        self._reader, self._writer = reader, writer
        self._if_exists = if_exists
        self._how: How = "bytes" if checksum else "size" if if_exists == "resume" else "time"
        self._delete = delete
        self._selected = selected
        self._spools = ExitStack()
        self._seen: list[Entry] = []
        self._pages: Pages = self._listed(reader, ends.source)
        self._compares = True  # whether the target may have some of the keys
        # The names of a small source and their folders, if the target keeps folders.
        self._names: set[str] = set()
        self._tops: set[str] = set()
        self._folders: set[str] = set()
        # Whether all keys of the source are known already.
        self.is_small = False
        # Keys that are skipped although the target's value has another size.
        self.differing: list[str] = []

    async def __aenter__(self) -> Plan:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._spools.close()
        async with closing_pages(self._pages):
            pass

    async def begin(self) -> bool:
        """Look at the source's first keys, and whether the target has any; False if the source has none.

        Raises
        ------
        RefusedError
            If a value would be overwritten before it is read.
        KeyConflictError
            If the target can't hold all of the keys.
        """
        await self._refuse_own_keys()
        keeps_folders = self.target.store.capabilities.folders
        window = WINDOW if keeps_folders and not self.source.store.capabilities.folders else PAGE_SIZE
        self.is_small = True
        async for page in self._pages:
            self._seen += page
            if len(self._seen) > window:
                self.is_small = False
                break
        if self._if_exists == "replace" and not self._delete:
            self._compares = False
        elif self.target.store.supports_listing:
            self._compares = not await self._writer.is_empty(self.target.prefix)
        await self._find_tops()
        if keeps_folders and self.is_small:
            self._names = {self.source.name(entry) for entry in self._seen}
            for name in self._names:
                _add_folders(name, self._folders)
            self._refuse_nesting(self._folders & self._names)
        return bool(self._seen)

    async def todos(self) -> AsyncIterator[list[Todo]]:
        """Yield what to do, page by page.

        Raises
        ------
        KeyConflictError
            Before anything is yielded, if the target has some of the keys and must have none.
        """
        if not self._compares:
            async for page in self._ours():
                yield [Todo(Act.NEW, entry) for entry in page]
        elif self._if_exists == "raise":
            spool = await self._spooled(self._ours(), self._reader)
            await self._refuse_existing(spool)
            for rows in spool.pages():
                yield [Todo(Act.NEW, Entry._make(row)) for row in rows]
        else:
            async for pairs in self.pairs():
                yield [todo for pair in pairs if (todo := self.decide(*pair)) is not None]

    async def pairs(self) -> AsyncIterator[list[Pair]]:
        """Yield the entries of source and target under each name, in order."""
        ours = await self._sorted(self._ours(), self.source, self._reader)
        async for pairs in self._paired(ours):
            yield pairs

    def decide(self, ours: Entry | None, theirs: Entry | None) -> Todo | None:
        """Decide what to do with the entries of source and target under one name."""
        if ours is None:
            return Todo(Act.DELETE, theirs) if self._delete and theirs is not None else None
        if theirs is None:
            return Todo(Act.NEW, ours)
        if self._if_exists == "replace":
            return Todo(Act.REPLACE, ours)
        if self._if_exists == "skip":
            if theirs.size not in (None, ours.size):
                self.differing.append(theirs.key)
            return Todo(Act.KEEP, ours)
        equal = told_equal(ours, theirs, self._how)
        return Todo(Act.CHECK if equal is None else Act.KEEP if equal else Act.REPLACE, ours)

    # -- listings ---------------------------------------------------------------------------------

    async def _listed(self, verbs: Verbs, where: Directory) -> AsyncIterator[list[Entry]]:
        """Yield pages of the selected entries, with sizes."""
        async with closing_pages(scan_sized(verbs, where.prefix)) as pages:
            async for page in pages:
                if self._selected is not None:
                    page = [entry for entry in page if self._selected(where.name(entry))]
                if page:
                    yield page

    async def _ours(self) -> AsyncIterator[list[Entry]]:
        """Yield the entries of the source that were seen already, and then the rest."""
        seen, self._seen = self._seen, []
        if seen:
            yield seen
        async for page in self._pages:
            yield page

    async def _spooled(self, pages: Pages, verbs: Verbs) -> Spool:
        spool = self._spools.enter_context(closing(Spool()))
        async with closing_pages(pages):
            async for page in pages:
                await verbs.call(spool.add, page)
        return spool

    async def _sorted(self, pages: Pages, where: Directory, verbs: Verbs) -> Pages:
        """Return pages in order: as they are, if the store lists in order."""
        if where.store._lists_in_order:
            return pages
        return _entries(await self._spooled(pages, verbs))

    async def _paired(self, ours: Pages) -> AsyncIterator[list[Pair]]:
        """Pair the ordered entries of the source with those of the target."""
        if not self.target.store.supports_listing:
            async with closing_pages(ours):
                async for page in ours:
                    keys = [self.target.prefix + self.source.name(entry) for entry in page]
                    found = await self._writer.for_each(self._writer.stat, keys)
                    yield list(zip(page, found, strict=True))
            return
        # A store of only documents and chunks may not accept a top-level name.
        plain = not self.target.store.capabilities.transactional
        few = plain and not self._delete and len(self._tops) <= _FEW
        pages = self._below(self._tops) if few else self._listed(self._writer, self.target)
        theirs = await self._sorted(pages, self.target, self._writer)
        async for pairs in paired(self.source, ours, self.target, theirs):
            self._check_folders([self.target.name(entry) for _, entry in pairs if entry is not None])
            yield pairs

    async def _find_tops(self) -> None:
        """Find the top-level names of the source, while they are few."""
        self._tops = {self.source.name(entry).partition("/")[0] for entry in self._seen}
        if self.is_small or not self._compares or self._delete or len(self._tops) > _FEW:
            return
        async with closing_pages(self._reader.names(self.source.prefix)) as pages:
            async for names in pages:
                self._tops.update(names)
                if len(self._tops) > _FEW:
                    return

    async def _below(self, tops: Iterable[str]) -> AsyncIterator[list[Entry]]:
        """Yield the target's entries below top-level names, in order if it lists in order."""
        for name in sorted(place for top in tops for place in (top, f"{top}/")):
            if name[-1] != "/":
                if (entry := await self._writer.stat(self.target.prefix + name)) is not None:
                    yield [entry]
                continue
            async with closing_pages(scan_sized(self._writer, self.target.prefix + name)) as pages:
                async for page in pages:
                    yield page

    # -- what is refused --------------------------------------------------------------------------

    async def _refuse_existing(self, spool: Spool) -> None:
        """Refuse to continue if the target has some of the keys."""
        count = total = 0
        named: list[str] = []
        async for pairs in self._paired(_entries(spool)):
            total += sum(ours is not None for ours, _ in pairs)
            found = [theirs.key for ours, theirs in pairs if ours is not None and theirs is not None]
            count += len(found)
            named += found[: _NAMED - len(named)]
        if count:
            more = ", ..." if count > _NAMED else ""
            raise KeyConflictError(
                f"the target has {count} of the {total} keys already "
                f"({', '.join(map(repr, named))}{more}); nothing was written.",
                store=self.target.store,
                key=named[0],
                hint="Copy to an empty place, or decide by if_exists='update', if_exists='skip' "
                "or if_exists='replace'.",
            )

    def _check_folders(self, names: list[str]) -> None:
        """For a small source, refuse new keys below values of the target or at its folders."""
        if not self._names:
            return
        folders: set[str] = set()
        for name in names:
            _add_folders(name, folders)
        self._refuse_nesting(self._folders.intersection(names) | (self._names & folders))

    def _refuse_nesting(self, names: set[str]) -> None:
        """Refuse values with keys below them, since the target can't hold both."""
        for name in sorted(names):
            raise KeyConflictError(
                "this key is a value with keys below it, which a store of folders can't hold; "
                "nothing was written.",
                store=self.target.store,
                key=self.target.prefix + name,
                hint="Use a target without folders (MemoryStore, ZipStore), or copy the two apart.",
            )

    async def _refuse_own_keys(self) -> None:
        """Refuse to write into the source, if both are in one store."""
        here, there = self.source.place(), self.target.place()
        if not here.startswith(there):
            return
        inside = here[len(there) :]  # the path from the target to the source
        async with closing_pages(self._reader.scan(self.source.prefix + inside, True, False)) as pages:
            async for page in pages:
                for entry in page:
                    raise RefusedError(
                        "source and target overlap: the copy of this key would be written into the source, "
                        "and could overwrite a value before it is read.",
                        store=self.target.store,
                        key=self.target.prefix + self.source.name(entry),
                        hint="Copy to a place beside the source.",
                    )


def document_rank(name: str) -> int | None:
    """Return a metadata document's rank among those of its node; None for a chunk."""
    return _DOCUMENTS.get(name.rpartition("/")[2])


def leaves_first(row: Row) -> tuple[int, int, str]:
    """Sort key with which readers find a hierarchy only once it is complete."""
    return -row[0].count("/"), document_rank(row[0]) or 0, row[0]


def root_first(row: Row) -> tuple[int, int, str]:
    """Sort key with which each document is written into an existing group."""
    return row[0].count("/"), -(document_rank(row[0]) or 0), row[0]


def entry_size(entry: Entry) -> int:
    """Return an entry's size in bytes."""
    return entry.size or 0


def total_size(entries: Iterable[Entry]) -> int:
    """Return the sum of sizes in bytes."""
    return sum([entry.size or 0 for entry in entries])


def _add_folders(name: str, folders: set[str]) -> None:
    end = name.rfind("/")
    while end > 0 and name[:end] not in folders:
        folders.add(name[:end])
        end = name.rfind("/", 0, end)


async def _entries(spool: Spool) -> AsyncIterator[list[Entry]]:
    for rows in spool.pages():
        yield [Entry._make(row) for row in rows]
