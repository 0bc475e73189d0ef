"""What `FsspecStore` asks of an object store's file system directly, for few requests and plain answers.

Their public calls answer from a cache, look twice at what is missing, list level by level and delete
one by one. For those that are known here the requests are made by the file system's own connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from zarrstore.storage._fsspec import azure as _fsspec_azure
from zarrstore.storage._fsspec import gcs as _fsspec_gcs
from zarrstore.storage._fsspec import s3 as _fsspec_s3

if TYPE_CHECKING:
    from zarrstore._core.verbs import Entry


class Direct(Protocol):
    """A module about one kind of object store; paths are ``bucket/key``, errors those of its client."""

    BATCH: int  # how many values a bulk delete takes

    def serves(self, fs: Any) -> bool:
        """Whether a file system is one of this kind."""

    async def fetch(self, fs: Any, path: str, start: int | None, end: int | None) -> Any:
        """Read a value, or part of it, as ``_cat_file`` does."""

    async def look(self, fs: Any, path: str) -> tuple[int, str | None]:
        """Size of a value in bytes, and its version."""

    async def create(self, fs: Any, path: str, value: bytes, token: str) -> None:
        """Write a value that isn't there, in one step; it carries the token."""

    async def was_written(self, fs: Any, path: str, token: str) -> bool:
        """Whether a value carries this token."""

    async def page(
        self, fs: Any, root: str, prefix: str, deep: bool, token: str | None, most: int | None
    ) -> tuple[list[Entry], str | None]:
        """List a page of what lies below ``root + prefix``, and what the next one is asked for by.

        All of it, keys of ours or not, by their keys in the bucket; what has no size is no value. ``most``
        is how much a page need hold.
        """

    async def delete(self, fs: Any, path: str) -> None:
        """Remove a value; one that isn't there may be an error of the client's."""

    async def remove(self, fs: Any, paths: list[str], store: object) -> None:
        """Remove up to ``BATCH`` values of one bucket by one request; those that aren't there don't count."""


def find(fs: Any) -> Direct | None:
    """Return the module that knows a file system, if any does."""
    modules: tuple[Direct, ...] = (_fsspec_s3, _fsspec_azure, _fsspec_gcs)
    return next((module for module in modules if module.serves(fs)), None)
