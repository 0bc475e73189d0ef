"""Moves a file or a folder so that a power failure loses nothing."""

from __future__ import annotations

import errno
import os

from zarrstore._os.files import READ, UNABLE
from zarrstore._os.fsync import FOLDERS, make_folder, required, sync_file, sync_folder


def move(source: str, target: str, mode: str) -> None:
    """Move a file or folder to an unused path; if it can't be renamed, it is copied.

    Parameters
    ----------
    source, target : str
        Absolute paths.
    mode : {"none", "data", "full"}
        What to sync. Unless it is "none", new parents of the target are on the medium before the move, and a
        copy is before the original is removed. With "full", the changes of both names are on the medium when
        this returns.
    """
    above = os.path.dirname(target)
    if not os.path.isdir(above):
        make_folder(above, "none" if mode == "none" else "full")
        _sync(os.path.dirname(above), mode)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in UNABLE - {errno.EINVAL}:  # EINVAL means that the target is within the source
            raise
        _copy(source, target, mode)
        _sync(above, mode)
        _remove(source)
    FOLDERS.forget(source)
    if mode == "full":
        FOLDERS.sync(above)
        FOLDERS.sync_removal(os.path.dirname(source), FOLDERS.ticket())


def _sync(folder: str, mode: str) -> None:
    """Sync a folder and the names of its new parents; with "data" only if the file system can."""
    if mode != "none":
        with required(mode == "full"):
            FOLDERS.sync_name(folder, folder, FOLDERS.ticket())


def _copy(source: str, target: str, mode: str) -> None:
    import shutil

    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)
    if mode != "none":
        _sync_all(target, mode)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        import shutil

        shutil.rmtree(path)
    else:
        os.unlink(path)


def _sync_all(path: str, mode: str) -> None:
    """Sync a file, or all files in a folder; with "full" also the folder and those in it."""
    if not os.path.isdir(path):
        _sync_path(path, mode)
    for place, _, names in os.walk(path):
        for name in names:
            file = os.path.join(place, name)
            if not os.path.islink(file):
                _sync_path(file, mode)
        if mode == "full":
            sync_folder(place)


def _sync_path(path: str, mode: str) -> None:
    descriptor = os.open(path, READ)
    try:
        sync_file(descriptor, mode)
    finally:
        os.close(descriptor)
