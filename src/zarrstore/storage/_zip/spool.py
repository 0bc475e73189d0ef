"""An archive for an open file object, kept in a temporary file until it is closed."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from typing import TYPE_CHECKING, BinaryIO

from zarrstore.errors import UnsupportedOperationError
from zarrstore.storage._zip.source import BLOCK

if TYPE_CHECKING:
    from zarrstore._core.types import Data


class Spool:
    """The temporary file of an archive that is written into a file object.

    Parameters
    ----------
    file : binary file
        Where the archive is written, from the file's position on; a write-only object is enough.
    keep : bool
        Whether to start with the archive that is in the file.

    Attributes
    ----------
    path : str
        Path of the temporary file.
    """

    def __init__(self, file: BinaryIO, *, keep: bool) -> None:
        self._file = file
        self._can_seek = _can_seek(file)
        self._is_done = False
        if keep and not self._can_seek:
            raise UnsupportedOperationError(
                f"{type(file).__name__} can't seek, so no archive in it can be added to.",
                hint="Use mode='w'.",
            )
        self._start = file.tell() if self._can_seek and not keep else 0
        folder = tempfile.mkdtemp(prefix="zarrstore-")
        self.path = os.path.join(folder, "archive.zip")
        weakref.finalize(self, _remove, folder, os.getpid())
        if keep:
            self._fetch()

    def _fetch(self) -> None:
        """Copy what is in the file, if there is anything."""
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(0)
            with open(self.path, "wb") as copy:
                shutil.copyfileobj(self._file, copy, BLOCK)

    def check(self) -> None:
        """Raise if what is written now could no longer reach the file."""
        if self._is_done and not self._can_seek:
            raise UnsupportedOperationError(
                f"the archive was closed, and so went into {type(self._file).__name__}, which can't seek.",
                hint="Write all values before you close the store.",
            )

    def deliver(self) -> None:
        """Write the archive into the file, after the bytes that preceded it."""
        if self._can_seek:
            self._file.seek(self._start)
        with open(self.path, "rb") as archive:
            while block := archive.read(BLOCK):
                _write_all(self._file, block)
        if self._can_seek:
            self._file.truncate()
        if hasattr(self._file, "flush"):
            self._file.flush()
        self._is_done = True


def _can_seek(file: BinaryIO) -> bool:
    seekable = getattr(file, "seekable", None)
    return hasattr(file, "seek") if seekable is None else bool(seekable())


def _write_all(file: BinaryIO, block: Data) -> None:
    """Write a block; unbuffered files may take only part of it at a time."""
    rest = memoryview(block)
    while len(rest):
        taken = file.write(rest)
        rest = rest[len(rest) if taken is None else taken :]


def _remove(folder: str, process: int) -> None:
    """Remove the temporary file; a forked child leaves its parent's alone."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
