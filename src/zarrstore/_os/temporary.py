"""Temporary names beside the values of a local store: how they look, and when one is litter.

A file or folder on its way in or out of a store bears a short name of its own, which no listing
shows and no key may have. Its maker holds ``flock`` on it, which the kernel lets go when the maker
dies, wherever it ran: so whoever meets such a name and gets the lock knows that nobody will finish
it, and removes it. A process id would prove nothing across hosts and containers.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import stat
import time

from zarrstore._os.files import READ, lock

_PREFIX = ".zarrstore-"
_NAME = re.compile(r"\.zarrstore-[0-9a-f]{16}\.tmp")

# A name this young, in seconds, may belong to a maker who hasn't got the lock yet.
_FRESH = 5.0

# Where locks don't work, only age speaks: no write takes a week, in seconds.
_STALE = 7 * 24 * 3600


_serial = itertools.count()
_process = os.urandom(4).hex()


def make_name() -> str:
    """Return a new temporary name of 31 bytes, whatever the length of the name that it stands for."""
    return f"{_PREFIX}{_process}{next(_serial) & 0xFFFFFFFF:08x}.tmp"


def _rename_process() -> None:
    """After a fork parent and child must not choose the same names."""
    global _process
    _process = os.urandom(4).hex()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_rename_process)


def is_temporary(name: str) -> bool:
    """Whether a name is one of ours."""
    return name.startswith(_PREFIX) and _NAME.fullmatch(name) is not None


def claim(descriptor: int) -> None:
    """Tell others that the maker of this file or folder is alive, until the descriptor is closed."""
    try:
        lock(descriptor)
    except BlockingIOError:
        pass  # `reap` has just looked at it


def reap(path: str) -> bool:
    """Remove a temporary file or folder if its maker is dead; whether it was."""
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
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
