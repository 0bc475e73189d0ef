"""Copying: keys and values from one store to another, in bounded memory and in a safe order.

`report` has what callers see, `job` one copy from its plan (`plan`) to its end, `value` reads one value,
`pipeline` runs the workers, which send their events to an `inbox`; `places` compares source and target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._async import io_loop, threads
from zarrstore._copy.bar import shower
from zarrstore._copy.job import Copy
from zarrstore._copy.report import CopyProgress, CopyReport
from zarrstore._core.verbs import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarrstore._copy.plan import IfExists

__all__ = ["CopyProgress", "CopyReport", "copy_store", "copy_store_sync"]


async def copy_store(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    if_exists: IfExists = "raise",
    verify: bool = False,
    dry_run: bool = False,
    progress: Callable[[CopyProgress], object] | bool | None = None,
    concurrency: int = 8,
) -> CopyReport:
    """Copy all keys below a directory of one store to a directory of another.

    Metadata documents are written after all chunks, the root's last, so that a reader finds a hierarchy
    only once it is complete. A value is written whole or not at all. ``if_exists="skip"`` continues an
    interrupted copy.

    Parameters
    ----------
    source, target : StoreLike
        What to copy, and where to. A store path names a directory of its store. Whatever isn't a store
        is opened here, and closed at the end.
    prefix, target_prefix : str
        Directory to copy from, and directory to copy to; the roots by default. Keys keep their names
        relative to it.
    if_exists : {"raise", "skip", "replace"}
        What to do with keys that the target has: fail before anything is written, keep them, or replace
        them. Keys that only the target has are never touched.
    verify : bool
        Whether to read every value back and compare it with the source's, including values that were
        skipped. Large values of a source without versions are read twice, so that one which was replaced
        meanwhile is noticed.
    dry_run : bool
        Whether to write nothing: only to look, and with ``verify`` to compare the values that would be
        skipped.
    progress : callable or bool, optional
        Called with a `CopyProgress` at the start and after each piece and value, never concurrently: on
        the event loop, or in the thread that calls `copy_store_sync` if both stores block. True draws a
        bar on the standard error.
    concurrency : int
        How many values are copied at once, at most. Each takes up to 32 MiB of memory, unless the target
        needs values whole. If both stores block, fewer are copied at once as long as both are fast.

    Returns
    -------
    CopyReport
        What was done.

    Raises
    ------
    KeyConflictError
        If the target has some of the keys and ``if_exists`` is ``"raise"``; or if a key would be below
        another one in a target that keeps folders.
    ChangedError
        If a value of the source was replaced, truncated or removed during the copy.
    CorruptError
        If a value that is read back differs from the one written.
    KeyNotFoundError
        If the source is a path or URL, and has no key.
    RefusedError
        If source and target overlap.
    ValueError
        If ``if_exists`` or ``concurrency`` is out of range.
    """
    show, done = shower(progress)
    copy = Copy(source, target, prefix, target_prefix, if_exists, verify, dry_run, show, concurrency)
    try:
        with copy.told():
            return await copy.run(sync=False)
    finally:
        done()
        for store in copy.opened:
            if store._blocks:
                await threads.to_thread(store.close)
            else:
                store.close()


def copy_store_sync(
    source: object,
    target: object,
    *,
    prefix: str = "",
    target_prefix: str = "",
    if_exists: IfExists = "raise",
    verify: bool = False,
    dry_run: bool = False,
    progress: Callable[[CopyProgress], object] | bool | None = None,
    concurrency: int = 8,
) -> CopyReport:
    """Blocking form of `copy_store`."""
    show, done = shower(progress)
    copy = Copy(source, target, prefix, target_prefix, if_exists, verify, dry_run, show, concurrency)
    try:
        with copy.told():
            if copy.blocks:
                return drive(copy.run(sync=True))
            return io_loop.run_on_io(copy.run(sync=False))
    finally:
        done()
        for store in copy.opened:
            store.close()
