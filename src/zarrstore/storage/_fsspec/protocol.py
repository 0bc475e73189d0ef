"""What `FsspecStore` requests directly from an object store's file system: few requests, no cache.

The file systems' public methods use a cache, look twice for what is missing, list level by level and delete
values one by one. For the file systems known here, their own clients send the requests instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from zarrstore.storage._fsspec import azure, gcs, s3
from zarrstore.storage._remote.store import comes_from

if TYPE_CHECKING:
    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Entry

# fsspec, its file systems and their clients are untyped, and so is what they return.
FileSystem: TypeAlias = Any
Untyped: TypeAlias = Any


class Direct(Protocol):
    """A module for one kind of object store; paths are ``bucket/key``, errors are those of its client."""

    PACKAGE: str  # the package of its file systems
    NEEDS: tuple[str, ...]  # private attributes of a file system that the module uses
    BATCH: int  # the limit of a bulk delete
    IN_PARTS: bool  # whether `zarrstore.storage._fsspec.uploads` can send parts, and servers copy

    async def fetch(self, fs: FileSystem, path: str, start: int | None, end: int | None) -> Data:
        """Read a value, or part of it, as ``_cat_file`` does."""

    async def look(self, fs: FileSystem, path: str) -> tuple[int, str | None]:
        """Return a value's size in bytes, and its version."""

    async def create(self, fs: FileSystem, path: str, value: bytes, token: str) -> None:
        """Create a value atomically, with the token in its metadata."""

    async def was_written(self, fs: FileSystem, path: str, token: str) -> bool:
        """Whether a value has this token."""

    async def page(
        self, fs: FileSystem, root: str, prefix: str, deep: bool, token: str | None, most: int | None
    ) -> tuple[list[Entry], str | None]:
        """List a page of what is below ``root + prefix``; also return the next page's token.

        Everything is listed by its key in the bucket, whether the key is valid or not; an entry without a
        size isn't a value. ``most`` is how many entries are enough.
        """

    async def delete(self, fs: FileSystem, path: str) -> None:
        """Remove a value; if there is none, the client may raise an error."""

    async def remove(self, fs: FileSystem, paths: list[str], store: object) -> None:
        """Remove up to ``BATCH`` values from one bucket with one request; missing ones are ignored."""


def find(fs: FileSystem) -> Direct | None:
    """Return the module for a file system; None for unknown ones and those with ``version_aware``."""
    modules: tuple[Direct, ...] = (s3, azure, gcs)
    for module in modules:
        if comes_from(fs, module.PACKAGE) and all(hasattr(fs, name) for name in module.NEEDS):
            return None if fs.version_aware else module
    return None
