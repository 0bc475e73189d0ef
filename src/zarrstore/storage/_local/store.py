"""A store in a folder, with one file per value."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict, Unpack

from zarrstore._async.threads import to_thread
from zarrstore._core.modes import check_mode
from zarrstore._core.urls import check_path
from zarrstore._core.verbs import ANY, Capabilities
from zarrstore._os import fsync as syncing
from zarrstore._os.moving import move
from zarrstore.errors import (
    KeyConflictError,
    KeyNotFoundError,
    RefusedError,
    StoreError,
    UnsupportedOperationError,
)
from zarrstore.storage._local import rmtree as removal
from zarrstore.storage._local.confined import Confined
from zarrstore.storage._local.reading import UNSURVEYED, anew
from zarrstore.storage._local.writing import CANNOT_RENAME, WritingFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from zarrstore._core.modes import AccessModeLiteral
    from zarrstore._core.verbs import Precondition


class _Options(TypedDict, total=False):
    """Arguments of `LocalStore` besides its root."""

    fsync: Literal["none", "data", "full"]
    mmap: bool
    follow_symlinks: bool
    atomic: bool


_CANNOT_SYNC_REMOVALS = "It is deleted. If this file system can't sync folders, use fsync='data'."


class LocalStore(WritingFolder):
    """A store whose keys are the files below a folder.

    A write creates a temporary file beside its target and renames it. So readers, also after a crash, see
    either the old value or the new one, complete. The first write creates the folder.

    Parameters
    ----------
    root : str or Path
        The store's root folder. It is resolved once, here, so that neither ``os.chdir`` nor a changed
        link moves the store.
    read_only : bool
        Whether to refuse all changes.
    fsync : {"none", "data", "full"}
        What a write waits for: ``"none"`` for nothing (a value then survives a crash of the process, but
        perhaps not of the machine), ``"data"`` for its bytes to reach the medium, ``"full"`` for its name as
        well.
    mmap : bool
        Whether to map values into memory instead of reading them. A process that has mapped a file is killed
        (SIGBUS) if another one truncates it or the disk fails. This store never truncates a file unless
        ``atomic`` is False.
    follow_symlinks : bool
        Whether to follow links that lead out of the root, for example to chunks on a scratch disk. If not,
        listings stop at such links, and reading or writing there raises `RefusedError`.
    atomic : bool
        Whether writes, creates and removals of folders are one step. If not, files are written in place, and
        folders emptied in place, for file systems that can't rename (such as mounted buckets). Others may
        then see half a value or half a folder, and a write that fails or is killed loses the old value.

    Notes
    -----
    ``delete`` of a key that is a folder removes the whole folder. A key can't be a value and a
    folder at once (`KeyConflictError`). Links are followed, by reads and by listings.
    """

    _capabilities: ClassVar[Capabilities] = Capabilities(
        atomic_create=True, folders=True, recursive_delete=True
    )

    _takes_pieces = True

    def __init__(
        self,
        root: Path | str,
        *,
        read_only: bool = False,
        fsync: Literal["none", "data", "full"] = "none",
        mmap: bool = False,
        follow_symlinks: bool = True,
        atomic: bool = True,
    ) -> None:
        super().__init__(read_only=read_only)
        if fsync not in syncing.MODES:
            raise ValueError(f"fsync is one of {', '.join(map(repr, syncing.MODES))}, not {fsync!r}")
        self.fsync: Literal["none", "data", "full"] = fsync
        self.mmap = mmap
        self.follow_symlinks = follow_symlinks
        self.atomic = atomic
        if not isinstance(root, (str, os.PathLike)):
            raise TypeError(f"a LocalStore's root is a str or a Path, not {type(root).__name__}")
        text = os.fspath(root)
        if not isinstance(text, str) or not text:
            raise ValueError(f"a LocalStore's root is a folder's path, not {text!r}")
        check_path(text, "folder")
        self._root = os.path.realpath(text)
        self.root: Path = Path(self._root)
        self._base = self._root if self._root.endswith(os.sep) else self._root + os.sep
        self._confined = None if follow_symlinks else Confined(self._root)
        self._ahead = 0
        self._forget_survey()

    @classmethod
    async def open(
        cls,
        root: Path | str,
        *,
        read_only: bool = False,
        mode: AccessModeLiteral | None = None,
        **options: Unpack[_Options],
    ) -> Self:
        """Create a store and open it.

        Parameters
        ----------
        root : str or Path
            The store's root folder.
        read_only : bool
            Whether to refuse all changes.
        mode : str, optional
            ``"r"`` and ``"r+"`` require that the folder exists. No mode changes anything; only ``read_only``
            decides what the store may do.
        **options
            Further arguments of the constructor.

        Raises
        ------
        ValueError
            If there is no such mode.
        FileNotFoundError
            If the folder must exist and doesn't.
        """
        check_mode(mode)
        store = await super().open(root, **options, **({"read_only": True} if read_only else {}))
        if mode in ("r", "r+") and not await to_thread(os.path.isdir, store._root):
            raise KeyNotFoundError(
                f"the folder does not exist, and mode {mode!r} opens one that is there.",
                store=store,
                hint="Use mode='a'.",
            )
        return store

    @property
    def capabilities(self) -> Capabilities:
        """What the store can promise."""
        return self._capabilities if self.atomic else replace(self._capabilities, atomic_create=False)

    # -- removing ---------------------------------------------------------------------------------

    def _remove(self, key: str, condition: Precondition = ANY) -> None:
        anew(self._remove_once, key, condition)

    def _remove_once(self, key: str, condition: Precondition) -> None:
        if condition is not ANY:
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        try:
            with self._path_within(key) as path:
                os.unlink(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                self._sync_absence(key)
                return
            if error.errno in (errno.EISDIR, errno.EPERM, errno.EACCES) and self._is_folder(key):
                self._remove_below(key + "/")
                return
            raise self._error(error, "delete", key) from error
        self._tidy(key)

    @contextmanager
    def _path_within(self, key: str) -> Iterator[str]:
        """Yield the path of a key's file; unless links may lead out, it can't be led out of the root."""
        path = self._target(key)
        if self._confined is None:
            yield path
            return
        folder, _, name = key.rpartition("/")
        with self._confined.folder(folder) as place:
            yield f"{place}/{name}"

    def _tidy(self, key: str) -> None:
        """Remove the folder of a removed name, and its parents, while they are empty."""
        if self._confined is None:
            left = removal.prune(os.path.dirname(self._base + key), self._root)
        else:
            left = self._base + self._confined.prune(key.rpartition("/")[0])
        self._sync_removal(left.rstrip(os.sep) or os.sep, key)

    def _sync_absence(self, key: str) -> None:
        """Sync the folder of a missing name: the process that removed it may not have synced yet."""
        self._sync_removal(os.path.dirname(self._base + key), key)

    def _sync_removal(self, folder: str, key: str) -> None:
        """Sync a folder that a name was removed from, with ``fsync="full"``."""
        if self.fsync == "full":
            try:
                syncing.FOLDERS.sync_removal(folder, syncing.FOLDERS.ticket())
            except OSError as error:
                raise self._unable(error, key, _CANNOT_SYNC_REMOVALS, "delete") from error

    def _remove_below(self, prefix: str) -> None:
        anew(self._remove_below_once, prefix)

    def _remove_below_once(self, prefix: str) -> None:
        syncing.FOLDERS.forget((self._base + prefix).rstrip(os.sep))
        try:
            if not prefix:
                self._refuse_machine()
                removal.empty_folder(self._root, atomic=self.atomic)
                self._sync_removal(self._root, "")
                return
            with self._path_within(prefix[:-1]) as path:
                if os.path.islink(path):
                    # Removing the link removes its keys; its target may belong to others.
                    if os.path.isdir(path):
                        os.unlink(path)
                elif stat.S_ISDIR(os.lstat(path).st_mode):
                    removal.remove_folder(path, atomic=self.atomic)
        except StoreError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                self._sync_absence(prefix[:-1])
                return
            raise self._unable(error, prefix, CANNOT_RENAME, "delete all of") from error
        self._tidy(prefix[:-1])

    def _refuse_machine(self) -> None:
        if os.path.dirname(self._root) == self._root:
            raise RefusedError(
                "this store's root is the root of the whole file system: clearing it would delete all files.",
                store=self,
                hint="Make a store on the folder to clear.",
            )
        self._check_root()

    # -- moving -----------------------------------------------------------------------------------

    async def move(self, dest_root: Path | str) -> None:
        """Move the store to another folder, which must not exist.

        Parameters
        ----------
        dest_root : str or Path
            The new root.

        Raises
        ------
        FileExistsError
            If the new root exists.
        """
        self._check_writable()
        await to_thread(self._move, os.fspath(dest_root))

    def _move(self, destination: str) -> None:
        target = os.path.realpath(destination)
        if os.path.lexists(target):
            raise KeyConflictError(f"{target!r} exists already.", store=self, hint="Move to a new path.")
        try:
            move(self._root, target, self.fsync)
        except OSError as error:
            raise self._error(error, "move", "") from error
        self._root = target
        self.root = Path(target)
        self._base = target + os.sep
        self._confined = None if self.follow_symlinks else Confined(target)
        self._forget_survey()

    def __getstate__(self) -> dict[str, object]:
        state = super().__getstate__()
        # Another host may have a different file system there.
        return {**state, **UNSURVEYED}
