"""What `FsspecStore` asks of an object store's file system directly, for few requests without a cache.

Their public methods answer from a cache, look twice for what is missing, list level by level and delete
one by one. For those that are known here the requests are sent by the file system's own client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from zarrstore.storage._fsspec import azure, gcs, s3
from zarrstore.storage._remote.store import comes_from

if TYPE_CHECKING:
    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Entry

# fsspec, its file systems and their clients have no types: what they return is one of these, too.
FileSystem: TypeAlias = Any
Untyped: TypeAlias = Any


class Direct(Protocol):
    """A module about one kind of object store; paths are ``bucket/key``, errors those of its client."""

    PACKAGE: str  # whose file systems it knows
    NEEDS: tuple[str, ...]  # private attributes of a file system that it uses
    BATCH: int  # how many values a bulk delete takes
    IN_PARTS: bool  # whether `zarrstore.storage._fsspec.uploads` sends values in parts, and servers copy

    async def fetch(self, fs: FileSystem, path: str, start: int | None, end: int | None) -> Data:
        """Read a value, or part of it, as ``_cat_file`` does."""

    async def look(self, fs: FileSystem, path: str) -> tuple[int, str | None]:
        """Size of a value in bytes, and its version."""

    async def create(self, fs: FileSystem, path: str, value: bytes, token: str) -> None:
        """Write a value that isn't there, in one step; it carries the token."""

    async def was_written(self, fs: FileSystem, path: str, token: str) -> bool:
        """Whether a value carries this token."""

    async def page(
        self, fs: FileSystem, root: str, prefix: str, deep: bool, token: str | None, most: int | None
    ) -> tuple[list[Entry], str | None]:
        """List a page of what is below ``root + prefix``; returns the next page's token, too.

        Everything is listed, valid keys or not, by its key in the bucket; what has no size is no value.
        ``most`` is how many entries suffice.
        """

    async def delete(self, fs: FileSystem, path: str) -> None:
        """Remove a value; one that isn't there may be an error of the client's."""

    async def remove(self, fs: FileSystem, paths: list[str], store: object) -> None:
        """Remove up to ``BATCH`` values of one bucket by one request; missing ones are no error."""


def find(fs: FileSystem) -> Direct | None:
    """Return the module that knows a file system; none knows one with ``version_aware``."""
    modules: tuple[Direct, ...] = (s3, azure, gcs)
    for module in modules:
        if comes_from(fs, module.PACKAGE) and all(hasattr(fs, name) for name in module.NEEDS):
            return None if fs.version_aware else module
    return None
