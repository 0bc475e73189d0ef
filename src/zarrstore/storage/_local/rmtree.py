"""Removing trees of folders: at one stroke for readers, beside others who write or remove there too.

A folder is moved aside first, under a temporary name, and emptied then: no reader sees half of it,
and whoever dies in between leaves litter, not keys.
"""

from __future__ import annotations

import errno
import os
import shutil

from zarrstore._os.files import FOLDER
from zarrstore._os.temporary import claim, is_temporary, make_name, reap

# How often to try again when others remove what is being removed.
_PATIENCE = 100
# What the system says when others remove, or move aside, what lies in the same folder.
_OTHERS = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)


def remove_folder(path: str) -> None:
    """Remove a folder and all that lies in it.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    aside = os.path.join(os.path.dirname(path), make_name())
    os.rename(path, aside)
    descriptor = -1
    try:
        descriptor = os.open(aside, FOLDER)
        claim(descriptor)
    except OSError:
        pass  # not readable: what follows says why
    try:
        for _ in range(_PATIENCE):
            try:
                shutil.rmtree(aside)
                return
            except OSError as error:
                if error.errno not in _OTHERS:
                    raise
                if not os.path.lexists(aside):
                    return
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), aside)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def empty_folder(path: str) -> None:
    """Remove what lies in a folder, but not the folder; links are removed, not followed."""
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if is_temporary(entry.name):
                reap(entry.path)  # what somebody is at work on stays
            elif entry.is_dir(follow_symlinks=False):
                remove_folder(entry.path)
            else:
                os.unlink(entry.path)
        except FileNotFoundError:
            continue


def prune(folder: str, root: str) -> None:
    """Remove folders below a root that have become empty, from the inside out; never the root."""
    while folder.startswith(root + os.sep):
        try:
            os.rmdir(folder)
        except OSError:
            return
        folder = os.path.dirname(folder)


def remove_hollow(path: str) -> bool:
    """Remove a tree of folders that holds nothing but litter; whether it held nothing else."""
    for parent, _, names in os.walk(path, topdown=False):
        for name in names:
            if is_temporary(name):
                reap(os.path.join(parent, name))
        try:
            os.rmdir(parent)
        except OSError:
            return False
    return True
