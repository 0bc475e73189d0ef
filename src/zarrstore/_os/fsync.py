"""Making writes last: syncing files and folders, where many that wait at once share their waiting."""

from __future__ import annotations

import os
import threading

from zarrstore._os.files import FOLDER

MODES = ("none", "data", "full")

# Of how many folders the last sync is remembered; one that is forgotten is synced once more than needed.
_REMEMBERED = 1000


class _Round:
    """One sync of a folder, and those who wait for it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: OSError | None = None


class FolderSync:
    """Syncs folders; whoever asks while a sync of the same folder runs shares the next one.

    A sync that began before a rename needn't have seen it; one that begins after it has. So each
    caller waits for a sync that began after it took its ticket, and of those there is one at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0  # how many syncs have begun, of any folder
        self._last: dict[str, int] = {}  # number of the last one that ended well, by folder
        self._gathering: dict[str, _Round] = {}
        self._running: dict[str, _Round] = {}

    def ticket(self) -> int:
        """Return what tells syncs that begin from now on from earlier ones."""
        return self._begun

    def sync(self, folder: str, ticket: int | None = None) -> None:
        """Return once a sync of the folder that began after the ticket was taken has ended.

        Parameters
        ----------
        folder : str
            Its path.
        ticket : int, optional
            From `ticket`; this very moment by default.
        """
        with self._lock:
            if ticket is not None and self._last.get(folder, -1) >= ticket:
                return
            mine = self._gathering.get(folder)
            if mine is not None:
                ahead = None
            else:
                mine = self._gathering[folder] = _Round()
                ahead = mine
                before = self._running.get(folder)
        if ahead is None:
            mine.ended.wait()
            if mine.error is not None:
                raise mine.error
            return
        if before is not None:
            before.ended.wait()
        with self._lock:
            del self._gathering[folder]  # who comes from here on may have come too late for this one
            self._running[folder] = mine
            number, self._begun = self._begun, self._begun + 1
        try:
            sync_folder(folder)
        except BaseException as error:
            mine.error = error if isinstance(error, OSError) else OSError("the sync was interrupted")
            raise
        else:
            with self._lock:
                self._last.pop(folder, None)
                self._last[folder] = number
                if len(self._last) > _REMEMBERED:
                    del self._last[next(iter(self._last))]
        finally:
            with self._lock:
                del self._running[folder]
            mine.ended.set()


FOLDERS = FolderSync()


def _forget() -> None:
    """After a fork nobody else is at work here."""
    global FOLDERS
    FOLDERS = FolderSync()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def sync_folder(folder: str) -> None:
    """Make a folder's names last."""
    descriptor = os.open(folder, FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(descriptor: int, mode: str) -> None:
    """Make a file's bytes last, before it gets its name."""
    if mode == "full" or not hasattr(os, "fdatasync"):
        os.fsync(descriptor)
    elif mode == "data":
        os.fdatasync(descriptor)
