"""Checking hierarchies: `check_store` tells what is wrong with one.

`report` has what callers see, a `job` is one check of a `place`, `values` looks into chunks and shards, and
`surroundings` at what lies around them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from zarrstore._async import io_loop
from zarrstore._check.job import Check, Options
from zarrstore._check.place import Place
from zarrstore._check.report import CheckReport, Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CheckReport", "Problem", "check_store", "check_store_sync"]


async def check_store(
    place: object,
    *,
    prefix: str = "",
    quick: bool = False,
    complete: bool = False,
    ignore: Iterable[Kind] = (),
    found: Callable[[Problem], object] | None = None,
) -> CheckReport:
    """Tell what is wrong with a hierarchy of Zarr 2 or 3.

    Documents, keys, stored sizes, chunks and shards are held against what the formats say. Chunks are
    decoded by the standard library, and by numcodecs where it is installed. Nothing is changed.

    Parameters
    ----------
    place : StoreLike
        Where the hierarchy is. A store path names a directory of its store. Whatever isn't a store is opened
        here, and closed at the end.
    prefix : str
        The directory that is its root; the store's root by default.
    quick : bool
        Whether to leave out what takes reading chunks: only documents, keys and sizes are looked at.
    complete : bool
        Whether chunks that aren't stored are problems: to a reader they are full of the fill value.
    ignore : iterable of str
        Kinds of problems that aren't told, such as ``"litter"``: see `Problem`.
    found : callable, optional
        Called with each `Problem` as soon as it is found.

    Returns
    -------
    CheckReport
        What was found; true if there is a problem.

    Raises
    ------
    UnsupportedOperationError
        If the store can't be listed.
    TransientError
        If the store fails in a way that may pass.
    """
    async with Place(place, prefix) as opened:
        return await Check(opened, Options(quick, complete, _kinds(ignore), found)).run_on_loop()


def check_store_sync(
    place: object,
    *,
    prefix: str = "",
    quick: bool = False,
    complete: bool = False,
    ignore: Iterable[Kind] = (),
    found: Callable[[Problem], object] | None = None,
) -> CheckReport:
    """Blocking form of `check_store`."""
    with Place(place, prefix) as opened:
        check = Check(opened, Options(quick, complete, _kinds(ignore), found))
        return check.run_here() if opened.store._blocks else io_loop.run_on_io(check.run_on_loop())


def _kinds(ignore: Iterable[Kind]) -> frozenset[str]:
    kinds = frozenset((ignore,) if isinstance(ignore, str) else ignore)
    if unknown := kinds - set(get_args(Kind)):
        raise ValueError(f"no kind of problem is named {', '.join(map(repr, sorted(unknown)))}")
    return kinds
