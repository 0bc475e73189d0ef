"""Paths confined to a folder: no link can lead out of it, whatever others rename meanwhile.

Linux checks and opens in one call (``openat2`` with RESOLVE_BENEATH). A folder opened this way is addressed
by its descriptor, as ``/proc/self/fd/N``, so that calls on its content can't be led elsewhere either. On
other systems each path is first resolved and then used, and others can change it in between.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zarrstore._os import files, fsync

if TYPE_CHECKING:
    from collections.abc import Iterator


# How often to retry when others rename links on the path.
_ATTEMPTS = 100


class LedOutError(OSError):
    """A link leads out of the folder."""


class Confined:
    """A folder, and what is in it.

    Parameters
    ----------
    root : str
        Its real path.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._base = root if root.endswith(os.sep) else root + os.sep

    def open(self, path: str, flags: int) -> int:
        """Open a path.

        Raises
        ------
        LedOutError
            If a link on it leads out.
        """
        if not files.CAN_CONFINE:
            return files.open_patiently(self._resolved(path), flags)
        folder = files.open_patiently(self._root, files.PLACE)
        try:
            try:
                return files.open_beneath(folder, path or ".", flags)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            # An absolute link may lead back in. Its resolved path must have no links.
            inside = self._resolved(path)[len(self._base) :]
            try:
                return files.open_beneath(folder, inside or ".", flags)
            except OSError as error:
                if error.errno == errno.EXDEV:
                    raise LedOutError(errno.EXDEV, os.strerror(errno.EXDEV), path) from None
                raise
        finally:
            files.close_quietly(folder)

    def _resolved(self, path: str) -> str:
        for _ in range(_ATTEMPTS):
            try:
                real = os.path.realpath(self._base + path)
                break
            except OSError as error:
                if error.errno != errno.EINVAL:  # what was a link a moment ago no longer is
                    raise
        else:
            raise LedOutError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        if not (real + os.sep).startswith(self._base):
            raise LedOutError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        return real

    def stat(self, path: str) -> os.stat_result:
        """Like `os.stat`, but confined."""
        if not files.CAN_CONFINE:
            return os.stat(self._resolved(path))
        descriptor = self.open(path, files.PLACE & ~getattr(os, "O_DIRECTORY", 0))
        try:
            return os.fstat(descriptor)
        finally:
            files.close_quietly(descriptor)

    @contextmanager
    def folder(self, path: str) -> Iterator[str]:
        """Yield a path that keeps meaning this folder, whatever is renamed."""
        if not files.CAN_CONFINE:
            real = self._resolved(path)
            if not stat.S_ISDIR(os.stat(real).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            yield real
            return
        descriptor = self.open(path, files.PLACE)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            files.close_quietly(descriptor)

    def make(self, path: str, mode: str) -> None:
        """Create a folder and its parents, including the root, as `fsync.make_folder` does."""
        fsync.make_folder(self._root, mode)
        if not path:
            return
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            with self.folder("/".join(parts[: end - 1])) as above:
                if not os.path.isdir(f"{above}/{parts[end - 1]}"):
                    fsync.FOLDERS.forget(self._base + "/".join(parts[:end]), made=mode == "full")
                try:
                    os.mkdir(f"{above}/{parts[end - 1]}")
                except FileExistsError:
                    pass

    def prune(self, path: str) -> str:
        """Remove a folder, and its parents up to the root, while empty; return the first that stays."""
        while path:
            above, _, name = path.rpartition("/")
            try:
                with self.folder(above) as place:
                    os.rmdir(f"{place}/{name}")
            except FileNotFoundError:
                pass  # others were faster, but may have left its parents
            except OSError:
                break
            fsync.FOLDERS.forget(self._base + path)
            path = above
        return path

    @contextmanager
    def listing(self, path: str) -> Iterator[Iterator[Item]]:
        """Yield the content of a folder; links are followed if they stay inside the root."""
        with self.folder(path) as place, os.scandir(place) as found:
            yield (Item(self, f"{path}{entry.name}", entry) for entry in found)


class Item:
    """Like `os.DirEntry`, with links that can't lead out."""

    def __init__(self, confined: Confined, path: str, entry: os.DirEntry[str]) -> None:
        self.name = entry.name
        self.path = entry.path
        self._entry = entry
        self.error: OSError | None = None
        self._found: os.stat_result | None = None
        if entry.is_symlink():
            try:
                self._found = confined.stat(path)
            except OSError as error:
                self.error = error

    def is_symlink(self) -> bool:
        """Whether it is a link."""
        return self._entry.is_symlink()

    def is_file(self) -> bool:
        """Whether it is a file, or a link to one inside."""
        if self.is_symlink():
            return self._found is not None and stat.S_ISREG(self._found.st_mode)
        return self._entry.is_file(follow_symlinks=False)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder, or a link to one inside."""
        if self.is_symlink():
            return follow_symlinks and self._found is not None and stat.S_ISDIR(self._found.st_mode)
        return self._entry.is_dir(follow_symlinks=False)

    def stat(self) -> os.stat_result:
        """Return its stat result."""
        return self._found or self._entry.stat(follow_symlinks=False)
