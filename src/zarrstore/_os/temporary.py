"""Names of temporary files and folders, and their removal if their makers died.

A file or folder that is being written or removed has a short temporary name, which no listing shows and no
key may have. Its maker holds ``flock`` on it, which the kernel releases when the maker dies. So a process
that gets the lock knows that nobody will finish the work, and removes it. A process id would prove nothing
across hosts and containers.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import time

from zarrstore._core.forks import in_forked_child
from zarrstore._core.later import hashlib
from zarrstore._os.files import MOVES_OPEN, READ, lock

PREFIX = ".zarrstore-"
_NAME = re.compile(r"\.zarrstore-[0-9a-f]{16}\.tmp")

# A file younger than this, in seconds, may not have been locked by its maker yet.
_FRESH = 5.0

# Without locks, a file older than this, in seconds, counts as abandoned: no write takes a week.
_STALE = 7 * 24 * 3600


_serial = itertools.count()
_process = os.urandom(4).hex()


def make_name() -> str:
    """Return a new temporary name, 31 bytes long."""
    return f"{PREFIX}{_process}{next(_serial) & 0xFFFFFFFF:08x}.tmp"


def name_beside(path: str) -> str:
    """Return the temporary name for the replacement of a file, always the same for that file.

    So the next process that replaces it finds what a killed one left, without listing the whole folder.
    """
    return f"{PREFIX}{hashlib.blake2b(os.fsencode(os.path.basename(path)), digest_size=8).hexdigest()}.tmp"


@in_forked_child
def _rename_process() -> None:
    """Keep a forked child from choosing the same names as its parent."""
    global _process
    _process = os.urandom(4).hex()


def is_temporary(name: str) -> bool:
    """Whether a name is one of ours."""
    return name.startswith(PREFIX) and _NAME.fullmatch(name) is not None


def claim(descriptor: int) -> None:
    """Lock a temporary file or folder for as long as the descriptor is open, so that `reap` spares it."""
    try:
        lock(descriptor)
    except BlockingIOError:
        pass  # `reap` holds the lock for a moment; it spares new files


def reap(path: str) -> bool:
    """Remove a temporary file or folder if its maker is dead; return whether it was removed."""
    try:
        descriptor = os.open(path, READ | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        if abs(time.time() - found.st_mtime) < _FRESH:
            return False
        if not lock(descriptor) and time.time() - found.st_mtime < _STALE:
            return False
        if not MOVES_OPEN:
            os.close(descriptor)
            descriptor = -1
        if stat.S_ISDIR(found.st_mode):
            import shutil

            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    except OSError:
        return False
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return True
