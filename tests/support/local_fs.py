"""fsspec's local file system as a store that doesn't know it as that."""

from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.local import LocalFileSystem

from zarrstore.storage import FsspecStore


class OtherLocalFileSystem(LocalFileSystem):
    """Not fsspec's own class, so the store may not assume that it works as that one does."""


def through_fsspec(fs, path, **options):
    """Make a store of a file system that blocks."""
    return FsspecStore(AsyncFileSystemWrapper(fs, asynchronous=True), path=str(path), **options)
