"""Syncs files and folders to the medium; callers that wait for the same folder share a sync."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from zarrstore._core.forks import in_forked_child
from zarrstore._os.files import FOLDER, UNABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

MODES = ("none", "data", "full")

# For how many folders to remember the last sync. A forgotten one is synced once more than necessary.
_REMEMBERED = 1000


class _Turn:
    """A folder's lock: the thread that holds it syncs the folder."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class FolderSync:
    """Syncs folders; callers that ask while a folder is being synced share the next sync.

    A sync certainly covers a rename only if it begins after it. So each caller waits for a sync that began
    after the caller took its ticket. Only one sync of a folder runs at a time. An interrupted caller holds up
    nobody: the next one syncs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0  # how many syncs have begun, over all folders
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        # The number of the last sync, and why it failed, by folder. A retry after a failure proves nothing:
        # the system reports a failed write only once.
        self._last: dict[str, tuple[int, OSError | None]] = {}
        # Folders whose names are on the medium; and folders made here whose names may not be, each with a
        # token of its creation.
        self._durable: dict[str, None] = {}
        self._made: dict[str, object] = {}

    def ticket(self) -> int:
        """Return a ticket for `sync`, which then waits for a sync that begins after this call."""
        return self._begun

    def sync(self, folder: str, ticket: int | None = None) -> None:
        """Wait for a sync of the folder that begins after the ticket was taken.

        Parameters
        ----------
        folder : str
            Its path.
        ticket : int, optional
            From `ticket`; taken now by default.
        """
        with self._lock:
            first = self._begun if ticket is None else ticket
            turn = self._turns.get(folder)
            if turn is None:
                turn = self._turns[folder] = _Turn()
        with turn.lock:
            with self._lock:
                number, error = self._last.get(folder, (-1, None))
                if number < first:
                    number, self._begun = self._begun, self._begun + 1
                    error = None
                elif error is None:
                    return
            if error is None:
                try:
                    sync_folder(folder)
                except OSError as failure:
                    error = failure
                with self._lock:
                    _remember(self._last, folder, (number, error))
            if error is not None:
                raise error

    def sync_name(self, folder: str, root: str, ticket: int) -> None:
        """Sync a folder that has a new name in it, and its parents whose own names may be new.

        These are the parents made by this process and, up to the root, those that it hasn't synced yet:
        another process may have just made them.

        Parameters
        ----------
        folder : str
            Its path, at or below the root's.
        root : str
            Path of the topmost folder that others may have made.
        ticket : int
            From `ticket`, taken once the file had its new name.
        """
        self.sync(folder, ticket)
        synced = []
        while folder not in self._durable and (folder in self._made or len(folder) >= len(root)):
            above = os.path.dirname(folder)
            if above == folder:
                break
            made = self._made.get(folder)
            self.sync(above, ticket)
            synced.append((folder, made))
            folder = above
        with self._lock:
            for name, made in synced:
                if self._made.get(name) is made:  # otherwise it was made again meanwhile
                    self._made.pop(name, None)
                    _remember(self._durable, name, None)

    def sync_removal(self, folder: str, ticket: int) -> None:
        """Sync a folder that a name was removed from; if it is gone, its nearest parent that exists."""
        while True:
            try:
                self.sync(folder, ticket)
                return
            except (FileNotFoundError, NotADirectoryError):
                folder = os.path.dirname(folder)

    def forget(self, folder: str, *, made: bool = False) -> None:
        """Record that a folder is about to be removed or made: its name isn't known to be on the medium.

        Parameters
        ----------
        folder : str
            Its path as `sync_name` gets it, not one through a descriptor.
        made : bool
            Whether it is made.
        """
        with self._lock:
            for name in [name for name in self._durable if (name + os.sep).startswith(folder + os.sep)]:
                del self._durable[name]
            if made:
                self._made[folder] = object()


def _remember(known: dict[str, T], folder: str, what: T) -> None:
    """Add a folder as the latest, and drop the oldest if there are too many."""
    known.pop(folder, None)
    known[folder] = what
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]


FOLDERS = FolderSync()


@in_forked_child
def _forget() -> None:
    """Start afresh in a forked child, which lacks the threads that were syncing."""
    global FOLDERS
    FOLDERS = FolderSync()


def make_folder(folder: str, mode: str) -> None:
    """Create a folder and its missing parents.

    Parameters
    ----------
    folder : str
        Its path.
    mode : {"none", "data", "full"}
        With "full", `FolderSync.sync_name` will sync the names of all new ones.

    Raises
    ------
    FileNotFoundError
        If another process removes one of them meanwhile.
    """
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        FOLDERS.forget(path, made=mode == "full")  # first, so that whoever finds it knows that it is new
        try:
            os.mkdir(path)
        except FileExistsError:
            # A single stat, since the folder may be removed between two.
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise


@contextmanager
def required(is_required: bool) -> Iterator[None]:
    """Ignore errors of a file system that doesn't support the block's syncs, unless they are required."""
    try:
        yield
    except OSError as error:
        if is_required or error.errno not in UNABLE:
            raise


def sync_folder(folder: str) -> None:
    """Sync a folder, so that names in it survive a crash of the machine.

    Windows has no such call.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(descriptor: int, mode: str) -> None:
    """Sync a file as one of `MODES` requires.

    Parameters
    ----------
    descriptor : int
        The file.
    mode : {"none", "data", "full"}
        What to sync: nothing, its bytes, or its bytes and its metadata.
    """
    if mode == "full" or not hasattr(os, "fdatasync"):
        os.fsync(descriptor)
    elif mode == "data":
        os.fdatasync(descriptor)
