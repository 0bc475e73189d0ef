"""Removes trees of folders while others may read, write or remove in them.

A folder is first renamed to a temporary name and then emptied. So no reader sees half of it, and a process
that dies in between leaves no keys behind.
"""

from __future__ import annotations

import errno
import os

from zarrstore._os import fsync
from zarrstore._os.files import FOLDER
from zarrstore._os.temporary import claim, is_temporary, make_name, reap

# How often to retry when others change what is being removed.
_PATIENCE = 100
# Errors that occur when others remove or rename things in the same folder.
_OTHERS = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)


def remove_folder(path: str, *, atomic: bool = True) -> None:
    """Remove a folder and everything in it.

    Parameters
    ----------
    path : str
        The folder.
    atomic : bool
        Whether to rename it first, in one step.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotADirectoryError
        If a file has taken the name meanwhile.
    """
    if not atomic:
        _remove_tree(path)
        return
    aside = os.path.join(os.path.dirname(path), make_name())
    os.rename(path + os.sep, aside)  # the separator protects a file that has taken the name
    descriptor = -1
    try:
        descriptor = os.open(aside, FOLDER)
        claim(descriptor)
    except OSError:
        pass  # not readable: rmtree raises the error
    try:
        _remove_tree(aside)
    except BaseException:
        try:
            os.rename(aside, path)  # otherwise what is left would be hidden
        except OSError:
            pass  # others have created a new one
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _remove_tree(path: str) -> None:
    """Remove a folder and everything in it, while others may add to it."""
    import shutil

    for _ in range(_PATIENCE):
        try:
            shutil.rmtree(path)
            return
        except OSError as error:
            if error.errno not in _OTHERS:
                raise
            if not os.path.lexists(path):
                return
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)


def empty_folder(path: str, *, atomic: bool = True) -> None:
    """Remove everything in a folder, but not the folder; links are removed, not followed."""
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if is_temporary(entry.name):
                reap(entry.path)  # one in use stays
            elif entry.is_dir(follow_symlinks=False):
                remove_folder(entry.path, atomic=atomic)
            else:
                os.unlink(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone, or a value has taken its name meanwhile


def prune(folder: str, root: str) -> str:
    """Remove a folder, and its parents up to the root, while empty; return the first that stays."""
    while folder.startswith(root + os.sep):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass  # others were faster, but may have left its parents
        except OSError:
            break
        fsync.FOLDERS.forget(folder)
        folder = os.path.dirname(folder)
    return folder


def remove_hollow(path: str) -> bool:
    """Remove a tree of folders if its only files are abandoned temporary ones; return whether it did."""
    for parent, _, names in os.walk(path, topdown=False):
        for name in names:
            if is_temporary(name):
                reap(os.path.join(parent, name))
        try:
            os.rmdir(parent)
        except OSError:
            return False
    return True
