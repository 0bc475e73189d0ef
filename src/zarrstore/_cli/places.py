"""What the commands share: opening a URL, listing it, and showing names and sizes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

import click

from zarrstore._core.composites import scan_sized
from zarrstore._core.requests import RangeByteRequest
from zarrstore._core.secrets import without_secrets
from zarrstore._core.verbs import host_memory
from zarrstore.errors import KeyNotFoundError, MissingDependencyError
from zarrstore.storage._local.store import LocalStore
from zarrstore.storage._places.archives import folder_hint
from zarrstore.storage._places.like import open_place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from zarrstore._copy.cluster import Client
    from zarrstore._core.types import Allocate, Data
    from zarrstore._core.verbs import Entry, Verbs
    from zarrstore.abc.store import Store

url_argument = click.argument("url")
prefix_argument = click.argument("prefix", default="")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
dask_option = click.option(
    "--dask", metavar="ADDRESS", help="Let the workers of a dask cluster do it; ADDRESS is its scheduler's."
)


@contextmanager
def cluster_at(address: str | None) -> Iterator[Client | None]:
    """Connect to a Dask cluster for a block, if an address is given."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependencyError(
            "a Dask cluster needs the package distributed.", hint="Install it: pip install 'zarrstore[dask]'."
        ) from error
    with Client(address) as client:
        yield client


@contextmanager
def opened(text: str, mode: Literal["r", "a"] | None = "r") -> Iterator[Store]:
    """Open the store at a URL, and close it at the end; without a mode nothing is created.

    If the hierarchy is deeper in an archive, a hint says so.
    """
    store = open_place(text, mode=mode)
    try:
        if mode != "a" and "|zip:" not in text and (hint := folder_hint(store, text)):
            click.echo(f"hint: {hint}", err=True)
        yield store
    finally:
        store.close()


def entries(store: Store, url: str, prefix: str, *, deep: bool, sizes: bool) -> Iterator[Entry]:
    """List what is below a directory of the store at a URL; raise an error if nothing is.

    To a store, an empty directory and none are the same, and a mistyped URL is likelier than an empty store.
    """
    empty = True

    def pages(verbs: Verbs, directory: str) -> AsyncIterator[list[Entry]]:
        return scan_sized(verbs, directory, deep=deep) if sizes else verbs.scan(directory, deep, False)

    for entry in store._iterate(pages, prefix):
        empty = False
        yield entry
    if empty:
        hint = _what_lies_there(store, url, prefix.strip("/")) or "Is the URL spelt right?"
        raise KeyNotFoundError("no key is here.", store=store, key=prefix or None, hint=hint)


def documents(store: Store, keys: Iterable[str]) -> list[bytes | None]:
    """Read small values, all at once; None for each that isn't there.

    From a folder they are read without NumPy, which takes as long to import as everything else.
    """
    asked = [(key, None) for key in keys]
    allocate = cast("Allocate", bytearray) if isinstance(store, LocalStore) else host_memory

    async def values(verbs: Verbs) -> AsyncIterator[list[Data | None]]:
        yield await verbs.read_many(asked, allocate)

    return [None if value is None else bytes(value) for value in store._each(values)]


def _what_lies_there(store: Store, url: str, key: str) -> str | None:
    """Return a hint about a place with nothing below it, if it is a value or an archive."""
    try:
        if key:
            return _what_is(store, url, key)
        if "://" not in url:
            return None
        url, _, key = url.rstrip("/").rpartition("/")  # as seen from the directory above
        with open_place(url, mode="r") as above:
            return _what_is(above, url, key)
    except Exception:
        return None  # only a hint was wanted


def _what_is(store: Store, url: str, key: str) -> str | None:
    """Return a hint about a value from its first bytes, since it may be large."""
    if not store.exists_sync(key):
        return None
    start = store.get_sync(key, byte_range=RangeByteRequest(0, 2)) if store.getsize_sync(key) else None
    if start is not None and start.to_bytes() == b"PK":
        return f"A zip archive is there: open {without_secrets(url)}/{key}|zip:"
    return f"A single value is there: zarrstore cat {without_secrets(url)} {key}"


def echo_row(*cells: object) -> None:
    """Print a table row: cells are right-aligned, except the last."""
    click.echo("  ".join([*(f"{cell:>10}" for cell in cells[:-1]), str(cells[-1])]))
