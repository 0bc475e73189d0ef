"""Checking hierarchies: `check_store` tells what is wrong with one, `digest_store` gives it a digest.

`report` has what callers see, a `job` is one check of a `place`, `values` looks into chunks and shards, and
`surroundings` at what lies around them. `digest` sums values up, and a `manifest` keeps the sums. `facts` are
what documents say of a group or an array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from zarrstore._check import manifest as manifests
from zarrstore._check.digest import Digest, StoreDigest
from zarrstore._check.job import Check, Options
from zarrstore._check.place import Place
from zarrstore._check.report import CheckReport, Kind, Problem
from zarrstore._copy.cluster import refuse_own_loop

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from zarrstore._copy.cluster import Client
    from zarrstore._copy.meter import Progress

__all__ = [
    "CheckReport",
    "Problem",
    "StoreDigest",
    "check_store",
    "check_store_sync",
    "digest_store",
    "digest_store_sync",
]


async def check_store(
    place: object,
    *,
    prefix: str = "",
    quick: bool = False,
    complete: bool = False,
    ignore: Iterable[Kind] = (),
    against: str | os.PathLike[str] | None = None,
    found: Callable[[Problem], object] | None = None,
    progress: Progress = None,
    client: Client | None = None,
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
    against : path, optional
        A manifest that `digest_store` or the program ``md5sum`` wrote: what differs from it is a problem,
        too. ``quick`` compares names only.
    found : callable, optional
        Called with each `Problem` as soon as it is found.
    progress : callable or bool, optional
        Called with a `CopyProgress` after each batch of values, as `copy_store` calls it. True draws a bar on
        the standard error.
    client : distributed.Client, optional
        Has a cluster of Dask's read the values, piece by piece: of up to 1,000 keys and 256 MiB. The store is
        pickled, and opened by each worker.

    Returns
    -------
    CheckReport
        What was found; true if there is a problem.

    Raises
    ------
    UnsupportedOperationError
        If the store can't be listed.
    CorruptError
        If ``against`` is no manifest.
    RefusedError
        If a cluster's workers can't open the store.
    TransientError
        If the store fails in a way that may pass.
    """
    options = Options(quick, complete, _kinds(ignore), found, _manifest(against), progress, client)
    async with Place(place, prefix) as opened:
        return await Check(opened, options).run_on_loop()


def check_store_sync(
    place: object,
    *,
    prefix: str = "",
    quick: bool = False,
    complete: bool = False,
    ignore: Iterable[Kind] = (),
    against: str | os.PathLike[str] | None = None,
    found: Callable[[Problem], object] | None = None,
    progress: Progress = None,
    client: Client | None = None,
) -> CheckReport:
    """Blocking form of `check_store`."""
    refuse_own_loop(client)
    options = Options(quick, complete, _kinds(ignore), found, _manifest(against), progress, client)
    with Place(place, prefix) as opened:
        return Check(opened, options).run_blocking()


async def digest_store(
    place: object,
    *,
    prefix: str = "",
    etags: bool = True,
    manifest: str | os.PathLike[str] | None = None,
    progress: Progress = None,
    client: Client | None = None,
) -> StoreDigest:
    """Sum up all that is below a directory in one digest: the one that DANDI calls zarrsum.

    It is made of names, sizes and the MD5 of each value, so it is the same wherever the hierarchy is kept.

    Parameters
    ----------
    place : StoreLike
        Where the hierarchy is, as `check_store` takes it.
    prefix : str
        The directory; the store's root by default.
    etags : bool
        Whether ETags that a listing tells and that look like an MD5 are taken for one, so that values needn't
        be read. One value is read to see whether they are: where a server encrypts with a customer's key
        they aren't.
    manifest : path, optional
        A local file to write the MD5 of each key to, as the program ``md5sum`` does.
    progress : callable or bool, optional
        Called with a `CopyProgress` after each batch of values, as `copy_store` calls it. True draws a bar on
        the standard error.
    client : distributed.Client, optional
        Has a cluster of Dask's read the values, piece by piece: of up to 1,000 keys and 256 MiB. The store is
        pickled, and opened by each worker.

    Returns
    -------
    StoreDigest
        The digest, which is also its text.

    Raises
    ------
    UnsupportedOperationError
        If the store can't be listed.
    ChangedError
        If a value is changed meanwhile.
    RefusedError
        If a cluster's workers can't open the store.
    """
    async with Place(place, prefix) as opened:
        with manifests.written(manifest) as write:
            digest = Digest(opened, etags=etags, write=write, progress=progress, client=client)
            return await digest.run_on_loop()


def digest_store_sync(
    place: object,
    *,
    prefix: str = "",
    etags: bool = True,
    manifest: str | os.PathLike[str] | None = None,
    progress: Progress = None,
    client: Client | None = None,
) -> StoreDigest:
    """Blocking form of `digest_store`."""
    refuse_own_loop(client)
    with Place(place, prefix) as opened, manifests.written(manifest) as write:
        return Digest(opened, etags=etags, write=write, progress=progress, client=client).run_blocking()


def _manifest(path: str | os.PathLike[str] | None) -> dict[str, str] | None:
    return None if path is None else manifests.read(path)


def _kinds(ignore: Iterable[Kind]) -> frozenset[str]:
    kinds = frozenset((ignore,) if isinstance(ignore, str) else ignore)
    if unknown := kinds - set(get_args(Kind)):
        raise ValueError(f"no kind of problem is named {', '.join(map(repr, sorted(unknown)))}")
    return kinds
