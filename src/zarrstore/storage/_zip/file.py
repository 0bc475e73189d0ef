"""An archive's file: opened and locked by its writer, and written anew beside it."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zarrstore._os.files import MAKE, UPDATE, lock, unlock_and_close
from zarrstore._os.temporary import make_name, name_beside, reap
from zarrstore.errors import LockedError, RootError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def new_file(target: str, mode: int) -> Iterator[tuple[int, str]]:
    """Create a locked temporary file, which is removed if the block fails.

    Parameters
    ----------
    target : str
        Path of the file that it will replace.
    mode : int
        Its mode.

    Yields
    ------
    descriptor : int
        The file, open for writing; the caller closes it.
    path : str
        Its path.
    """
    path = beside(target)
    if os.path.lexists(path) and not reap(path):
        path = os.path.join(os.path.dirname(target), make_name())
    descriptor = os.open(path, MAKE, 0o666)
    try:
        with closed_on_error(descriptor):
            lock_file(descriptor)
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != stat.S_IMODE(mode):
                os.chmod(path, stat.S_IMODE(mode))
            yield descriptor, path
    except BaseException:
        try:
            os.unlink(path)
        except OSError:
            pass
        raise


@contextmanager
def closed_on_error(descriptor: int) -> Iterator[None]:
    """Unlock and close a file if the block fails."""
    try:
        yield
    except BaseException:
        unlock_and_close(descriptor)
        raise


def beside(path: str) -> str:
    """Path of the temporary file that a process killed while replacing an archive leaves behind."""
    return os.path.join(os.path.dirname(path), name_beside(path))


def lock_file(descriptor: int) -> None:
    """Lock a file against other writers, if the file system has locks."""
    try:
        lock(descriptor)
    except BlockingIOError:
        raise locked_error("Close the store that does, or wait for its process to end.") from None


def locked_error(hint: str) -> LockedError:
    return LockedError("another writer has this archive open.", hint=hint)


def open_locked(path: str) -> int:
    """Open the file at a path for writing and lock it, so that no other writer replaces it."""
    while True:
        try:
            descriptor = os.open(path, UPDATE)
        except IsADirectoryError:
            raise _no_archive("a folder") from None
        with closed_on_error(descriptor):
            check_regular(descriptor)
            lock_file(descriptor)
            if is_at(descriptor, path):
                return descriptor
        unlock_and_close(descriptor)


def is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def check_regular(descriptor: int) -> None:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        raise _no_archive("a folder" if stat.S_ISDIR(mode) else "no regular file")


def _no_archive(what: str) -> RootError:
    return RootError(f"the path is {what}, not a zip archive.", hint="Open a folder with LocalStore.")
