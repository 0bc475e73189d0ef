"""Syncing files and folders to the medium; callers that wait for one folder at once share a sync."""

from __future__ import annotations

import os
import threading

from zarrstore._os.files import FOLDER

MODES = ("none", "data", "full")

# For how many folders the last sync is remembered. A forgotten one is synced once more than needed.
_REMEMBERED = 1000


class _Round:
    """One sync of a folder, which several callers wait for."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: OSError | None = None


class FolderSync:
    """Syncs folders; callers that ask while a folder is being synced share the next sync.

    A sync covers a rename for certain only if it begins after it. So each caller waits for a sync that
    began after it took its ticket; of a folder one runs at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0  # how many syncs have begun, of any folder
        self._last: dict[str, int] = {}  # number of the last one that ended well, by folder
        self._gathering: dict[str, _Round] = {}
        self._running: dict[str, _Round] = {}

    def ticket(self) -> int:
        """Return a number by which syncs that begin from now on are known."""
        return self._begun

    def sync(self, folder: str, ticket: int | None = None) -> None:
        """Wait for a sync of the folder that begins after the ticket was taken.

        Parameters
        ----------
        folder : str
            Its path.
        ticket : int, optional
            From `ticket`; now by default.
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
            del self._gathering[folder]  # later callers may be too late for this sync
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
    """Start anew in a forked child, which has none of the threads that were syncing."""
    global FOLDERS
    FOLDERS = FolderSync()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def sync_folder(folder: str) -> None:
    """Sync a folder, so that the names in it survive a crash of the machine."""
    descriptor = os.open(folder, FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(descriptor: int, mode: str) -> None:
    """Sync a file as a mode of `MODES` asks.

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
