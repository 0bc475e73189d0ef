"""Copies, mirrors, moves and compares the keys and values of two stores, in bounded memory.

`report` has the results, `options` the arguments. A copy is a `job`. Its `plan` decides what to do, from
listings that `compare` pairs and a `spool` keeps. The workers of a `pipeline`, or of a `cluster`, do it, and
read each `value`. `places` opens source and target, and checks whether they overlap; `selection` has the
globs; a `meter` counts for progress and its `bar`. `diff`, `move` and `single` are built from these.
`running` starts them all, in the calling thread or on an event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._copy.cluster import refuse_own_loop
from zarrstore._copy.diff import Diff
from zarrstore._copy.job import Copy, is_named
from zarrstore._copy.move import Move
from zarrstore._copy.options import Options
from zarrstore._copy.places import Ends
from zarrstore._copy.report import CopyProgress, CopyReport, Difference, DiffReport
from zarrstore._copy.selection import selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zarrstore._copy.cluster import Client
    from zarrstore._copy.meter import Progress
    from zarrstore._copy.plan import IfExists

__all__ = [
    "CopyProgress",
    "CopyReport",
    "DiffReport",
    "Difference",
    "copy_store",
    "copy_store_sync",
    "diff_stores",
    "diff_stores_sync",
    "move_store",
    "move_store_sync",
    "sync_store",
    "sync_store_sync",
]


async def copy_store(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    if_exists: IfExists = "raise",
    checksum: bool = False,
    verify: bool = False,
    delete: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    exclude_litter: bool = False,
    dry_run: bool = False,
    progress: Progress = None,
    concurrency: int | tuple[int, int] | None = None,
    client: Client | None = None,
) -> CopyReport:
    """Copy all keys below a directory of one store to a directory of another.

    Values are copied while the source is listed. Metadata documents are written after all chunks, the root's
    last, so that a reader finds a hierarchy only once it is complete. In a store that is committed as a
    whole, they are written first. A value is written whole or not at all. ``if_exists="resume"`` continues an
    interrupted copy.

    Parameters
    ----------
    source, target : StoreLike
        What to copy, and where to. A store path names a directory of its store. Anything that isn't a store
        is opened here and closed at the end.
    prefix, target_prefix : str
        Directories to copy from and to; the roots by default. Keys keep their names relative to them.
    if_exists : {"raise", "skip", "replace", "update", "resume"}
        What to do with keys that the target has: fail before anything is written, keep them, or replace them.
        ``"update"`` replaces values that differ in size, in a checksum that both listings have or, without
        one, that are older than the source's (if times don't decide, their bytes are compared). ``"resume"``
        replaces values of another size. Keys that only the target has aren't touched, unless ``delete`` is
        set.
    checksum : bool
        Whether ``"update"`` compares values by their bytes, or by checksums from listings, and doesn't trust
        times.
    verify : bool
        Whether to read every value back and compare it with the source's, including skipped values. Large
        values of a source without versions are read twice, to notice if one was replaced meanwhile.
    delete : bool
        Whether to remove, at the end, keys below the target's directory that the source doesn't have.
    include, exclude : iterable of str
        Globs that select keys, relative to the directories: keys that match one of ``include``, if given, and
        none of ``exclude``. ``*`` and ``?`` stop at slashes, ``**`` doesn't. A glob without a slash matches a
        name at any depth; everything below a matching directory matches, too.
    exclude_litter : bool
        Whether to leave out files that operating systems add: ``.DS_Store``, ``._*``, ``.nfs*``,
        ``Thumbs.db``, ``desktop.ini``, ``__MACOSX``.
    dry_run : bool
        Whether to write nothing and only look; with ``verify`` also to compare the values that would be
        skipped.
    progress : callable or bool, optional
        Called with a `CopyProgress` at the start, and after each batch of values and each piece of a large
        one. Calls are never concurrent: they are made on the event loop or, if both stores block, in the
        thread that calls the blocking form. True draws a bar on standard error.
    concurrency : int or (int, int), optional
        The most values to copy at once; two numbers limit reads and writes. By default 64 if one of the
        stores is reached over a network, otherwise 8. On an event loop, at most 64 MiB of values are in
        flight at once. If both stores block, values are copied one by one as long as that is fast.
    client : distributed.Client, optional
        Has a Dask cluster copy the values, in pieces of up to 1,000 keys and 256 MiB. Stores are pickled, and
        each worker opens them. Listings and decisions stay in this process. ``concurrency`` applies to each
        piece.

    Returns
    -------
    CopyReport
        What was done.

    Raises
    ------
    KeyConflictError
        If the target has some of the keys and ``if_exists`` is ``"raise"``; or if a key would be below
        another one in a target that keeps folders. The latter is raised before anything is written if the
        source has at most 10,000 keys.
    ChangedError
        If a value of the source was replaced, truncated or removed during the copy.
    CorruptError
        If a value read back differs from the one written.
    KeyNotFoundError
        If the source has no key, and is a path or URL or ``delete`` is set.
    RefusedError
        If source and target overlap, or a cluster's workers can't open one of them.
    ValueError
        If ``if_exists`` or ``concurrency`` is out of range.
    """
    selected = selection(include, exclude, exclude_litter=exclude_litter)
    options = Options(if_exists, checksum, verify, delete, dry_run, progress, concurrency, client, selected)
    return await _run(Copy, source, Ends(source, target, prefix, target_prefix, writes=True), options)


def copy_store_sync(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    if_exists: IfExists = "raise",
    checksum: bool = False,
    verify: bool = False,
    delete: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    exclude_litter: bool = False,
    dry_run: bool = False,
    progress: Progress = None,
    concurrency: int | tuple[int, int] | None = None,
    client: Client | None = None,
) -> CopyReport:
    """Blocking form of `copy_store`."""
    selected = selection(include, exclude, exclude_litter=exclude_litter)
    options = Options(if_exists, checksum, verify, delete, dry_run, progress, concurrency, client, selected)
    return _run_sync(Copy, source, Ends(source, target, prefix, target_prefix, writes=True), options)


async def sync_store(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    checksum: bool = False,
    verify: bool = False,
    delete: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    exclude_litter: bool = False,
    dry_run: bool = False,
    progress: Progress = None,
    concurrency: int | tuple[int, int] | None = None,
    client: Client | None = None,
) -> CopyReport:
    """Bring a directory of one store up to date with another's: `copy_store` with ``if_exists="update"``.

    Only values that are new or differ are written. So a second call only lists, and a call after an
    interruption continues.

    Parameters
    ----------
    source, target : StoreLike
        What to copy, and where to. A store path names a directory of its store. Anything that isn't a store
        is opened here and closed at the end.
    prefix, target_prefix : str
        Directories to copy from and to; the roots by default. Keys keep their names relative to them.
    checksum : bool
        Whether to compare values by their bytes, or by checksums from listings, and not to trust times.
    verify : bool
        Whether to read every value back and compare it with the source's, including those that are up to
        date.
    delete : bool
        Whether to remove, at the end, keys below the target's directory that the source doesn't have.
    include, exclude : iterable of str
        Globs that select keys, relative to the directories: see `copy_store`.
    exclude_litter : bool
        Whether to leave out files that operating systems add, such as ``.DS_Store``.
    dry_run : bool
        Whether to write and remove nothing.
    progress : callable or bool, optional
        Called with a `CopyProgress` now and then: see `copy_store`. True draws a bar on standard error.
    concurrency : int or (int, int), optional
        The most values to copy at once; two numbers limit reads and writes: see `copy_store`.
    client : distributed.Client, optional
        Has a Dask cluster copy the values: see `copy_store`.

    Returns
    -------
    CopyReport
        What was done.

    Raises
    ------
    ChangedError
        If a value of the source was replaced, truncated or removed during the copy.
    CorruptError
        If a value read back differs from the one written.
    KeyNotFoundError
        If the source has no key, and is a path or URL or ``delete`` is set.
    RefusedError
        If source and target overlap, or a cluster's workers can't open one of them.
    ValueError
        If ``concurrency`` is out of range.
    """
    selected = selection(include, exclude, exclude_litter=exclude_litter)
    options = Options("update", checksum, verify, delete, dry_run, progress, concurrency, client, selected)
    return await _run(Copy, source, Ends(source, target, prefix, target_prefix, writes=True), options)


def sync_store_sync(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    checksum: bool = False,
    verify: bool = False,
    delete: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    exclude_litter: bool = False,
    dry_run: bool = False,
    progress: Progress = None,
    concurrency: int | tuple[int, int] | None = None,
    client: Client | None = None,
) -> CopyReport:
    """Blocking form of `sync_store`."""
    selected = selection(include, exclude, exclude_litter=exclude_litter)
    options = Options("update", checksum, verify, delete, dry_run, progress, concurrency, client, selected)
    return _run_sync(Copy, source, Ends(source, target, prefix, target_prefix, writes=True), options)


async def move_store(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    if_exists: IfExists = "raise",
    checksum: bool = False,
    verify: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    exclude_litter: bool = False,
    dry_run: bool = False,
    progress: Progress = None,
    concurrency: int | tuple[int, int] | None = None,
) -> CopyReport:
    """Move all keys below a directory of one store to a directory of another.

    First comes a copy. Once it is complete, keys of the source are removed, documents first: those whose
    values the target has, if they are unchanged since they were copied. An interrupted move continues with
    ``if_exists="resume"``.

    Parameters
    ----------
    source, target : StoreLike
        What to move, and where to. A store path names a directory of its store. Anything that isn't a store
        is opened here and closed at the end.
    prefix, target_prefix : str
        Directories to move from and to; the roots by default. Keys keep their names relative to them.
    if_exists : {"raise", "skip", "replace", "update", "resume"}
        What to do with keys that the target has: see `copy_store`. Skipped keys stay in the source.
    checksum : bool
        Whether ``"update"`` compares values by their bytes, or by checksums from listings, and doesn't trust
        times.
    verify : bool
        Whether to read every value back and compare it before anything is removed.
    include, exclude : iterable of str
        Globs that select keys, relative to the directories: see `copy_store`.
    exclude_litter : bool
        Whether to leave out files that operating systems add, such as ``.DS_Store``.
    dry_run : bool
        Whether to write and remove nothing.
    progress : callable or bool, optional
        Called with a `CopyProgress` now and then: see `copy_store`. True draws a bar on standard error.
    concurrency : int or (int, int), optional
        The most values to copy at once; two numbers limit reads and writes: see `copy_store`.

    Returns
    -------
    CopyReport
        What was done; ``deleted`` is the number of keys removed from the source.

    Raises
    ------
    KeyConflictError
        If the target has some of the keys and ``if_exists`` is ``"raise"``.
    UnsupportedOperationError
        If the source can't remove values.
    ChangedError
        If a value of the source was replaced, truncated or removed during the copy.
    CorruptError
        If a value read back differs from the one written.
    KeyNotFoundError
        If the source has no key, and is a path or URL.
    RefusedError
        If source and target overlap.
    ValueError
        If ``if_exists`` or ``concurrency`` is out of range.
    """
    selected = selection(include, exclude, exclude_litter=exclude_litter)
    options = Options(if_exists, checksum, verify, False, dry_run, progress, concurrency, None, selected)
    ends = Ends(source, target, prefix, target_prefix, writes=True, empties=True)
    return await _run(Move, source, ends, options)


def move_store_sync(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    if_exists: IfExists = "raise",
    checksum: bool = False,
    verify: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    exclude_litter: bool = False,
    dry_run: bool = False,
    progress: Progress = None,
    concurrency: int | tuple[int, int] | None = None,
) -> CopyReport:
    """Blocking form of `move_store`."""
    selected = selection(include, exclude, exclude_litter=exclude_litter)
    options = Options(if_exists, checksum, verify, False, dry_run, progress, concurrency, None, selected)
    ends = Ends(source, target, prefix, target_prefix, writes=True, empties=True)
    return _run_sync(Move, source, ends, options)


async def _run(kind: type[Copy], source: object, ends: Ends, options: Options) -> CopyReport:
    try:
        job = kind(ends, options, is_named=is_named(source))
        with job.told():
            return await job.run_on_loop()
    finally:
        await ends.aclose()


def _run_sync(kind: type[Copy], source: object, ends: Ends, options: Options) -> CopyReport:
    try:
        refuse_own_loop(options.client)
        job = kind(ends, options, is_named=is_named(source))
        with job.told():
            return job.run_blocking()
    finally:
        ends.close()


async def diff_stores(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    checksum: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    exclude_litter: bool = False,
    found: Callable[[Difference], object] | None = None,
) -> DiffReport:
    """Compare a directory of one store with one of another, key by key.

    Parameters
    ----------
    source, target : StoreLike
        What to compare. Anything that isn't a store is opened here and closed at the end.
    prefix, target_prefix : str
        The directories; the roots by default.
    checksum : bool
        Whether to compare values of equal size by their bytes, or by checksums from listings, even if the
        target's isn't older.
    include, exclude : iterable of str
        Globs that select keys, relative to the directories: see `copy_store`.
    exclude_litter : bool
        Whether to leave out files that operating systems add, such as ``.DS_Store``.
    found : callable, optional
        Called with each `Difference` as it is found, in order, including equal keys.

    Returns
    -------
    DiffReport
        How they differ; true if they do.
    """
    selected = selection(include, exclude, exclude_litter=exclude_litter)
    ends = Ends(source, target, prefix, target_prefix, writes=False)
    try:
        return await Diff(ends, selected, found, checksum=checksum).run_on_loop()
    finally:
        await ends.aclose()


def diff_stores_sync(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    checksum: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    exclude_litter: bool = False,
    found: Callable[[Difference], object] | None = None,
) -> DiffReport:
    """Blocking form of `diff_stores`."""
    selected = selection(include, exclude, exclude_litter=exclude_litter)
    ends = Ends(source, target, prefix, target_prefix, writes=False)
    try:
        return Diff(ends, selected, found, checksum=checksum).run_blocking()
    finally:
        ends.close()
