"""Checks hierarchies: `check_store` finds what is wrong with one, `digest_store` computes a digest.

`report` has the results, a `job` is one check of a `place`, `values` examines chunks and shards, and
`surroundings` what lies around them. `digest` computes MD5s, and a `manifest` keeps them.
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
    """Find what is wrong with a hierarchy of Zarr 2 or 3.

    Documents, keys, stored sizes, chunks and shards are checked against the formats. Chunks are decoded with
    the standard library and, if installed, with numcodecs. Nothing is changed.

    Parameters
    ----------
    place : StoreLike
        Where the hierarchy is. A store path names a directory of its store. Anything that isn't a store is
        opened here and closed at the end.
    prefix : str
        The directory that is its root; the store's root by default.
    quick : bool
        Whether to check only documents, keys and sizes, without reading chunks.
    complete : bool
        Whether chunks that aren't stored are problems: readers take them as full of the fill value.
    ignore : iterable of str
        Kinds of problems to leave out, such as ``"litter"``: see `Problem`.
    against : path, optional
        A manifest written by `digest_store` or the program ``md5sum``: differences from it are problems, too.
        With ``quick`` only names are compared.
    found : callable, optional
        Called with each `Problem` as soon as it is found.
    progress : callable or bool, optional
        Called with a `CopyProgress` after each batch of values, as in `copy_store`. True draws a bar on
        standard error.
    client : distributed.Client, optional
        Has a Dask cluster read the values, in pieces of up to 1,000 keys and 256 MiB. The store is pickled,
        and each worker opens it.

    Returns
    -------
    CheckReport
        What was found; true if there is a problem.

    Raises
    ------
    UnsupportedOperationError
        If the store can't be listed.
    CorruptError
        If ``against`` isn't a manifest.
    RefusedError
        If a cluster's workers can't open the store.
    TransientError
        If the store fails temporarily.
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
    """Compute one digest of everything below a directory: the one that DANDI calls zarrsum.

    It depends on the names, sizes and MD5s of the values, so it is the same wherever the hierarchy is stored.

    Parameters
    ----------
    place : StoreLike
        Where the hierarchy is: see `check_store`.
    prefix : str
        The directory; the store's root by default.
    etags : bool
        Whether to use ETags from a listing that look like MD5s, so that values needn't be read. One value is
        read to check that they are MD5s: if a server encrypts with a customer's key, they aren't.
    manifest : path, optional
        A local file to write the MD5 of each key to, in the format of the program ``md5sum``.
    progress : callable or bool, optional
        Called with a `CopyProgress` after each batch of values, as in `copy_store`. True draws a bar on
        standard error.
    client : distributed.Client, optional
        Has a Dask cluster read the values: see `check_store`.

    Returns
    -------
    StoreDigest
        The digest, which is also its text.

    Raises
    ------
    UnsupportedOperationError
        If the store can't be listed.
    ChangedError
        If a value changes meanwhile.
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
