"""What a copy has to do: which values, in which order, and what forbids it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from zarrstore._core.composites import scan_sized
from zarrstore._core.listing import closing_pages
from zarrstore.errors import KeyConflictError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarrstore._copy.places import Directory
    from zarrstore._core.verbs import Entry, Verbs

IfExists = Literal["raise", "skip", "replace"]

# How many conflicting keys an error names.
_NAMED = 3
# Up to this many names at the top of a source are looked up one by one in the target, which else is listed.
_FEW = 16
# Metadata documents, in the order in which those of one node are written: the one that readers open first
# comes last, so that they find the node complete.
_DOCUMENTS = {".zattrs": 0, ".zmetadata": 1, ".zarray": 2, ".zgroup": 2, "zarr.json": 3}


class Plan(NamedTuple):
    """The values to handle, in the order of writing, and how many of them are new to the target.

    Attributes
    ----------
    phases : (list, list, list) of Entry
        Chunks, documents from the leaves up, and the root's documents.
    existing : set of str
        Keys of the target that aren't written.
    differing : tuple of str
        Those of them whose values have another size than the source's.
    keys, bytes : int
        Number of values to write, and their size.
    """

    phases: tuple[list[Entry], list[Entry], list[Entry]]
    existing: set[str]
    differing: tuple[str, ...]
    keys: int
    bytes: int


async def make_plan(
    reader: Verbs, writer: Verbs, source: Directory, target: Directory, if_exists: IfExists, *, verify: bool
) -> Plan:
    """List source and target, and decide what to do.

    Raises
    ------
    KeyConflictError
        If the target has some of the keys and ``if_exists`` is ``"raise"``, or can't hold all of them.
    RefusedError
        If a value would be overwritten before it is read.
    """
    async with closing_pages(scan_sized(reader, source.prefix)) as pages:
        entries = [entry async for page in pages for entry in page]
    # What only computes could hold up a loop if there are many keys: `call` moves it to a thread there.
    names, tops = await reader.call(_names, entries, source, target)
    there: dict[str, int | None] = {}
    if if_exists != "replace":
        there = await _found(writer, target, names, tops, sizes=if_exists == "skip")
    return await reader.call(_decided, entries, names, there, source, target, if_exists, verify)


def target_key(entry: Entry, source: Directory, target: Directory) -> str:
    """Key in the target of an entry of the source."""
    return target.prefix + entry.key[len(source.prefix) :]


def _names(entries: list[Entry], source: Directory, target: Directory) -> tuple[set[str], set[str]]:
    """Keys to write, and the first segments of their names."""
    names = {target_key(entry, source, target) for entry in entries}
    _refuse_own_keys(entries, names, source, target)
    skip = len(target.prefix)
    return names, {name[skip:].partition("/")[0] for name in names}


async def _found(
    writer: Verbs, target: Directory, names: set[str], tops: set[str], *, sizes: bool
) -> dict[str, int | None]:
    """Keys of the target that may conflict with new ones, and the sizes of their values if wanted."""
    there: dict[str, int | None] = {}

    async def look_up(keys: Iterable[str]) -> None:
        for key in keys:
            if (entry := await writer.stat(key)) is not None:
                there[key] = entry.size

    if not target.store.supports_listing:
        await look_up(names)
        return there
    places = [target.prefix]
    if len(tops) <= _FEW:
        places = [f"{target.prefix}{top}/" for top in tops]
        await look_up(target.prefix + top for top in tops)
    for place in places:
        listing = scan_sized(writer, place) if sizes else writer.scan(place, True, False)
        async with closing_pages(listing) as pages:
            async for page in pages:
                there.update((entry.key, entry.size) for entry in page)
    return there


def _decided(
    entries: list[Entry],
    names: set[str],
    there: dict[str, int | None],
    source: Directory,
    target: Directory,
    if_exists: IfExists,
    verify: bool,
) -> Plan:
    if target.store.capabilities.folders:
        _refuse_nesting(names | there.keys(), target)
    existing = names & there.keys()
    if existing and if_exists == "raise":
        first = sorted(existing)[:_NAMED]
        more = ", ..." if len(existing) > _NAMED else ""
        raise KeyConflictError(
            f"the target has {len(existing)} of the {len(names)} keys already "
            f"({', '.join(map(repr, first))}{more}); nothing was written.",
            store=target.store,
            key=first[0],
            hint="Copy to an empty place, or use if_exists='skip' or if_exists='replace'.",
        )
    new: list[Entry] = []
    differing: list[str] = []
    for entry in entries:
        key = target_key(entry, source, target)
        if key not in existing:
            new.append(entry)
        elif there[key] not in (None, entry.size):
            differing.append(key)
    phases = _in_order(entries if verify else new, len(source.prefix))
    return Plan(phases, existing, tuple(sorted(differing)), len(new), total_size(new))


def total_size(entries: Iterable[Entry]) -> int:
    """Sum of sizes in bytes."""
    return sum(entry.size or 0 for entry in entries)


def _refuse_nesting(keys: set[str], target: Directory) -> None:
    """Refuse a key below another one where the target can't hold both."""
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
            store=target.store,
            key=name,
            hint="Use a target without folders (MemoryStore, ZipStore), or copy the two apart.",
        )


def _refuse_own_keys(entries: list[Entry], names: set[str], source: Directory, target: Directory) -> None:
    """Refuse to overwrite, within one store, what is still to be read."""
    here, there = source.place(), target.place()
    if not here.startswith(there):
        return
    inside = target.prefix + here[len(there) :]
    for entry in entries:
        if inside + entry.key[len(source.prefix) :] in names:
            raise RefusedError(
                "source and target overlap: this key would be overwritten before it is read.",
                store=target.store,
                key=target_key(entry, source, target),
                hint="Copy to a place beside the source.",
            )


def _in_order(entries: list[Entry], skip: int) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Chunks, documents from the leaves up, and the root's documents."""
    chunks: list[Entry] = []
    documents: list[tuple[int, int, Entry]] = []
    for entry in entries:
        name = entry.key[skip:]
        rank = _DOCUMENTS.get(name.rpartition("/")[2])
        if rank is None:
            chunks.append(entry)
        else:
            documents.append((-name.count("/"), rank, entry))
    documents.sort(key=lambda item: item[:2])
    inner = [entry for depth, _, entry in documents if depth]
    return chunks, inner, [entry for depth, _, entry in documents if not depth]
