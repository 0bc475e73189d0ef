"""Moving a folder with all that is in it, so that nothing that was on the medium is lost meanwhile."""

from __future__ import annotations

import errno
import os
import shutil

from zarrstore._os.files import READ, UNABLE
from zarrstore._os.fsync import FOLDERS, make_folder, sync_file, sync_folder


def move_folder(source: str, target: str, mode: str) -> None:
    """Move a folder to a path where there is nothing; it is copied where it can't be renamed.

    Parameters
    ----------
    source, target : str
        Absolute paths.
    mode : {"none", "data", "full"}
        What to sync. With "full", both names are on the medium when this returns. A copy is synced
        before the original is removed.
    """
    above = os.path.dirname(target)
    make_folder(above, mode)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in UNABLE - {errno.EINVAL}:  # which says that the target is within the source
            raise
        shutil.copytree(source, target, symlinks=True)
        if mode != "none":
            _sync_all(target, mode)
        _sync_name(above, mode)
        shutil.rmtree(source)
    FOLDERS.forget(source)
    _sync_name(above, mode)
    if mode == "full":
        FOLDERS.sync_removal(os.path.dirname(source), FOLDERS.ticket())


def _sync_name(folder: str, mode: str) -> None:
    if mode == "full":
        FOLDERS.sync_name(folder, folder, FOLDERS.ticket())


def _sync_all(folder: str, mode: str) -> None:
    """Sync the files in a folder, and with "full" it and the folders in it."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if os.path.islink(path):
                continue
            descriptor = os.open(path, READ)
            try:
                sync_file(descriptor, mode)
            finally:
                os.close(descriptor)
        if mode == "full":
            sync_folder(place)
