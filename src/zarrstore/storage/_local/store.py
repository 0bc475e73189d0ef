"""A store in a folder, with a file for each value."""

from __future__ import annotations

import asyncio
import errno
import mmap as memory_maps
import os
import stat
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, ParamSpec, TypedDict, TypeVar, Unpack, cast

import numpy as np

from zarrstore._async.nowait import MAX_INLINE_SIZE
from zarrstore._async.threads import Continuation, to_thread
from zarrstore._core.modes import check_mode
from zarrstore._core.requests import RangeByteRequest, by_key, span
from zarrstore._core.urls import check_path
from zarrstore._core.verbs import (
    ABSENT,
    ANY,
    CONFLICT,
    WOULD_BLOCK,
    Capabilities,
    Entry,
    check_parts,
    host_memory,
)
from zarrstore._os import files
from zarrstore._os import fsync as syncing
from zarrstore._os.temporary import PREFIX, claim, is_temporary, make_name
from zarrstore.errors import (
    BackendError,
    ByteRequestError,
    InvalidKeyError,
    KeyConflictError,
    KeyNotFoundError,
    NoSpaceError,
    RefusedError,
    RootError,
    StoreError,
    TruncatedError,
    UnsupportedOperationError,
    from_os_error,
)
from zarrstore.storage._local import rmtree as removal
from zarrstore.storage._local.confined import Confined, LedOutError
from zarrstore.storage._local.moving import move_folder
from zarrstore.storage._local.walk import FolderWalk
from zarrstore.storage._nowait import NowaitStore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Self

    from zarrstore._core.modes import AccessModeLiteral
    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, Data, Pieces
    from zarrstore._core.verbs import Conflict, Precondition, Request, WouldBlock


class _Options(TypedDict, total=False):
    """What `LocalStore` takes beside its root."""

    fsync: Literal["none", "data", "full"]
    mmap: bool
    follow_symlinks: bool
    atomic: bool


P = ParamSpec("P")
T = TypeVar("T")

# Errors that mean that there is no such file, unless a link on its path leads nowhere.
_NOT_FOUND = frozenset((errno.ENOENT, errno.ENOTDIR))

# How often to try again when others make or remove what a call meets.
_PATIENCE = 100
# What to do where a file system can't do what a call needs.
_CANNOT_RENAME = (
    "If this file system can't rename, as mounts of buckets can't, use LocalStore(..., atomic=False), "
    "which works in place."
)
_CANNOT_CREATE = (
    "If this file system has neither hard links nor a rename that never replaces, use "
    "LocalStore(..., atomic=False), which works in place."
)
_CANNOT_SYNC = "If this file system can't sync files, use fsync='none'."
_CANNOT_SYNC_FOLDERS = "The value is written. If this file system can't sync folders, use fsync='data'."
_CANNOT_SYNC_REMOVALS = "It is deleted. If this file system can't sync folders, use fsync='data'."
# How many values may be on their way from the disk to the cache: fewer than fill a disk's queue, which would
# hold up the loop. How large each may be, in bytes, and how often the loop goes round before a thread waits.
_MOST_AHEAD = 32
_LARGEST_AHEAD = 128 << 10
_ROUNDS = 8
# No file is this large; the size that some file systems report for a folder is larger.
_ENDLESS = 1 << 62


# State before `_survey`, which blocks: nothing is read on the event loop yet.
_UNSURVEYED = {
    "_surveyed": False,
    "_can_nowait": False,
    "_in_memory": False,
    "_cached_opens": False,
    "_fails_late": True,
}


class LocalStore(NowaitStore):
    """A store whose keys are the files below a folder.

    A write makes a temporary file beside its target and renames it, so that readers and crashes see
    the old value or the new one, whole. The folder is made by the first write.

    Parameters
    ----------
    root : str or Path
        The store's root folder. It is resolved once, here, so that neither ``os.chdir`` nor a changed
        link moves the store.
    read_only : bool
        Whether to refuse every call that changes something.
    fsync : {"none", "data", "full"}
        What a write waits for: ``"none"`` for nothing (a value then survives a crash of the process,
        perhaps not of the machine), ``"data"`` for its bytes to be on the medium, ``"full"`` for its name
        as well.
    mmap : bool
        Map values into memory instead of reading them. A process that has mapped a file is killed
        (SIGBUS) if another one truncates it or the disk fails; this store never truncates a file, unless
        ``atomic`` is False.
    follow_symlinks : bool
        Whether to follow links that lead out of the root, as where chunks are on a scratch disk. If
        not, listings end at such links, and reading or writing there raises `RefusedError`.
    atomic : bool
        Whether writes, creates and removals of folders are one step. Without it files are written in place,
        and folders emptied in place, for file systems that can't rename (mounts of buckets, say): others may
        see half a value or half a folder then, and a write that fails or is killed loses the old value.

    Notes
    -----
    ``delete`` of a key that is a folder removes the whole folder. A key can't be a value and a
    folder at once (`KeyConflictError`). Links are followed, by reads and by listings.
    """

    supports_writes: bool = True
    supports_deletes: bool = True
    supports_partial_writes: bool = True
    supports_listing: bool = True

    _capabilities: ClassVar[Capabilities] = Capabilities(
        atomic_create=True, folders=True, recursive_delete=True
    )

    _takes_pieces = True

    root: Path
    _surveyed: bool
    _can_nowait: bool  # whether the page cache may be read on an event loop
    _in_memory: bool  # whether the file system is in memory, so that any read may
    _cached_opens: bool  # whether files are opened only if that needs no disk
    _fails_late: bool  # whether a failed write may show only when the file is closed

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
        self.fsync = fsync
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
        self.root = Path(self._root)
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
        """Make a store and open it.

        Parameters
        ----------
        root : str or Path
            The store's root folder.
        read_only : bool
            Whether to refuse every call that changes something.
        mode : str, optional
            ``"r"`` and ``"r+"`` require that the folder is there. No mode changes anything, and what the
            store may do is said by ``read_only``.
        **options
            Further arguments of the constructor.

        Raises
        ------
        ValueError
            If there is no such mode.
        FileNotFoundError
            If the folder must be there and isn't.
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

    def _forget_survey(self) -> None:
        """Use threads only, until a call in one of them surveys the file system."""
        self.__dict__.update(_UNSURVEYED)

    def _survey(self) -> None:
        kind = files.file_system(self._root)
        self._in_memory = files.is_memory(kind)
        self._can_nowait = self.follow_symlinks and (
            self._in_memory or (bool(files.NOWAIT) and not files.is_distant(kind))
        )
        self._cached_opens = files.CAN_OPEN_CACHED and not self._in_memory
        self._fails_late = not kind or files.is_distant(kind)
        self._surveyed = True

    @property
    def capabilities(self) -> Capabilities:
        """What the store can promise."""
        return self._capabilities if self.atomic else replace(self._capabilities, atomic_create=False)

    @property
    def _location(self) -> str:
        return f"file://{self.root.as_posix()}"

    def _error(self, error: OSError, action: str, key: str) -> StoreError:
        if isinstance(error, LedOutError):
            return RefusedError(
                "a link leads out of the store.",
                store=self,
                key=key,
                hint="Use follow_symlinks=True if you trust it.",
            )
        if error.errno == errno.ELOOP or error.errno in _NOT_FOUND:
            link = self._lowest(key.removesuffix("/"))
            if self._is_broken(link):
                return self._broken(link, key)
        return from_os_error(error, action=action, store=self, key=key)

    # -- what isn't there -------------------------------------------------------------------------

    def _lowest(self, key: str) -> str:
        """Return the lowest part of a key's path that has a name in its folder; empty if none has."""
        while key and not os.path.lexists(self._base + key):
            key = key.rpartition("/")[0]
        return key

    def _is_broken(self, part: str) -> bool:
        """Whether a part of a key's path is a link to nothing."""
        path = self._base + part
        return part != "" and os.path.islink(path) and not os.path.exists(path)

    def _broken(self, link: str, key: str) -> BackendError:
        try:
            target = os.readlink(self._base + link)
        except OSError:
            target = "nothing"
        return BackendError(
            f"the link {link!r} leads to {target!r}, which isn't there or leads back to it.",
            store=self,
            key=key,
            hint="Bring its target back (mount its disk; 'git annex get'), or delete the link.",
        )

    def _is_absent(self, key: str) -> bool:
        """Whether a key that wasn't found is proven not to be there; False if it has come meanwhile.

        Raises
        ------
        BackendError
            If a link on its path leads nowhere.
        RootError
            If the root is no folder.
        """
        if files.is_plainly_absent(self._base + key, in_memory=self._in_memory):
            return True
        lowest = self._lowest(key)
        if not lowest:
            self._check_root()
        elif self._is_broken(lowest):
            raise self._broken(lowest, key)
        return not key or lowest != key

    # -- reading ----------------------------------------------------------------------------------

    def _open_value(self, key: str) -> int:
        """Open a value for reading; -1 if there is none."""
        path = self._target(key)
        for _ in range(_PATIENCE):
            try:
                if self._confined is not None:
                    return self._confined.open(key, files.READ)
                return files.open_patiently(path, files.READ)
            except OSError as error:
                if error.errno in _NOT_FOUND:
                    if self._is_absent(key):
                        return -1
                elif error.errno in (errno.EISDIR, errno.EACCES) and self._is_folder(key):
                    return -1
                else:
                    raise self._error(error, "read", key) from error
        raise self._vanishes(key)

    def _is_folder(self, key: str) -> bool:
        try:
            return stat.S_ISDIR(os.stat(self._base + key).st_mode)
        except OSError:
            return False

    def _vanishes(self, key: str) -> BackendError:
        return BackendError("it comes and goes while it is looked for.", store=self, key=key)

    def _check_root(self) -> None:
        """Raise if the root exists and is no folder: everything below it would look missing."""
        if os.path.exists(self._root) and not os.path.isdir(self._root):
            raise RootError(
                "the root is a file, not a folder.",
                store=self,
                hint="If it is a zip archive, open it with ZipStore.",
            )

    def _open_file(self, key: str, flags: int) -> int:
        if self._confined is not None:
            return self._confined.open(key, flags)
        return files.open_patiently(self._base + key, flags)

    def _is_value(self, descriptor: int, key: str) -> bool:
        """Whether an open file is a regular one; False for a folder."""
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return stat.S_ISREG(mode)
        raise self._no_file(key)

    def _no_file(self, key: str) -> BackendError:
        return BackendError("this is a pipe or a device, not a file.", store=self, key=key, hint="Remove it.")

    def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        try:
            return self._read_once(key, request, allocate)
        except BackendError as error:
            if error.errno != errno.ESTALE:
                raise
        return self._read_once(key, request, allocate)  # as `_anew` does, a call less

    def _read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        asked = list(requests)
        places = by_key(asked)
        if len(places) == len(asked):
            return [self._read(key, request, allocate) for key, request in asked]
        answers: list[Data | None] = [None] * len(asked)
        for key, group in places.items():
            parts = self._read_parts(key, [asked[index][1] for index in group], allocate)
            for index, value in zip(group, parts, strict=True):
                answers[index] = value
        return answers

    def _read_parts(
        self, key: str, requests: list[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        return _anew(self._read_parts_once, key, requests, allocate)

    def _read_parts_once(
        self, key: str, requests: list[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        descriptor = self._open_value(key)
        if descriptor < 0:
            return [None] * len(requests)
        try:
            if len(requests) > 1:
                files.announce(descriptor, [r for r in requests if isinstance(r, RangeByteRequest)])
            return [self._read_open(descriptor, key, request, allocate) for request in requests]
        finally:
            files.close_quietly(descriptor)

    def _read_once(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        descriptor = self._open_value(key)
        if descriptor < 0:
            return None
        try:
            return self._read_open(descriptor, key, request, allocate)
        finally:
            files.close_quietly(descriptor)

    def _read_open(
        self, descriptor: int, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | None:
        try:
            # lseek takes a third of fstat's time to find the size. For folders its result depends on the
            # file system (an error, 0, 2**63 - 1), so those are checked by fstat.
            try:
                size = os.lseek(descriptor, 0, os.SEEK_END)
            except OSError:
                if self._is_value(descriptor, key):
                    raise
                return None
            if not 0 < size < _ENDLESS and not self._is_value(descriptor, key):
                return None
            try:
                start, stop = (0, size) if request is None else span(request, size)
            except ByteRequestError:
                if self._is_value(descriptor, key):
                    raise
                return None
            if start == stop and not self._is_value(descriptor, key):
                return None
            if self.mmap and allocate is host_memory and start < stop:
                try:
                    return self._map(descriptor, start, stop)
                except (OSError, ValueError):
                    pass  # a file system that maps no files, or the file was cut: reading will tell
            memory, done = files.read_value(descriptor, stop - start, start, allocate)
            if done < stop - start:
                raise TruncatedError(
                    f"the file ended after {start + done} bytes; it had {size} when it was opened.",
                    store=self,
                    key=key,
                    hint="Another process truncated it; read it again.",
                )
            return memory
        except StoreError:
            raise
        except OSError as error:
            if error.errno == errno.EISDIR and self._is_folder(key):
                return None
            raise self._error(error, "read", key) from error

    def _map(self, descriptor: int, start: int, stop: int) -> Data:
        return np.frombuffer(
            memory_maps.mmap(descriptor, stop, access=memory_maps.ACCESS_READ), np.uint8, stop - start, start
        )

    def _read_nowait(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | WouldBlock | None:
        if not self._can_nowait or allocate is not host_memory:
            return WOULD_BLOCK
        descriptor = self._open_nowait(key)
        if descriptor < 0:
            return self._miss_nowait(key, descriptor)
        try:
            return self._read_cached(descriptor, request)
        finally:
            files.close_quietly(descriptor)

    def _read_many_nowait(
        self, requests: Iterable[Request], allocate: Allocate
    ) -> Generator[Data | WouldBlock | None]:
        """Read many as `_read_nowait` does, looking up the root, and each key's file, only once."""
        if not self._can_nowait or allocate is not host_memory:
            yield from super()._read_many_nowait(requests, allocate)
            return
        root = files.open_cached(self._base) if self._cached_opens else files.HERE
        last, descriptor = None, -1
        try:
            for key, request in requests:
                if key != last:
                    if descriptor >= 0:
                        files.close_quietly(descriptor)
                    last, descriptor = key, -1
                    descriptor = self._open_nowait(key, root)
                if descriptor < 0:
                    yield self._miss_nowait(key, descriptor)
                else:
                    yield self._read_cached(descriptor, request)
        finally:
            for opened in (descriptor, root):
                if opened >= 0:
                    files.close_quietly(opened)

    def _open_nowait(self, key: str, root: int = files.HERE) -> int:
        """Open a value if that needs no waiting; answers as `files.open_cached` does.

        Parameters
        ----------
        key : str
            Which value.
        root : int
            Descriptor of the root, if it is open.
        """
        if PREFIX in key:
            return -1
        if self._cached_opens:
            return files.open_cached(key, root) if root >= 0 else files.open_cached(self._base + key)
        try:
            return os.open(self._base + key, files.READ)
        except FileNotFoundError:
            return files.NO_SUCH_FILE
        except OSError:
            return -1

    def _miss_nowait(self, key: str, answer: int) -> WouldBlock | None:
        """Return None for a key that `_open_nowait` proved not to be there; needs no disk after that."""
        return None if answer == files.NO_SUCH_FILE and self._is_absent(key) else WOULD_BLOCK

    def _read_cached(self, descriptor: int, request: ByteRequest | None) -> Data | WouldBlock:
        """Read an open file if the page cache holds what is asked for."""
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            start, stop = (0, size) if request is None else span(request, size)
            if self.mmap and start < stop < _ENDLESS:
                return self._map(descriptor, start, stop)
            if not 0 < stop - start <= MAX_INLINE_SIZE:
                return WOULD_BLOCK  # large, empty, or a folder
            memory = host_memory(stop - start)
            # A short read means that the rest isn't cached, or that the file ended: a thread finds out.
            flags = 0 if self._in_memory else files.NOWAIT
            if os.preadv(descriptor, [memory], start, flags) != stop - start:
                return WOULD_BLOCK
            return memory
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._can_nowait = False  # overlayfs, for one, has no such reads
            return WOULD_BLOCK
        except (ByteRequestError, ValueError):
            return WOULD_BLOCK  # may be a folder, or cut off, which `_read` finds out

    async def _read_in_thread(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        """Read what isn't cached: small values from the cache once they are there, others in a thread.

        A fast disk brings a small value while the loop goes round a few times. To wake a thread, and to be
        woken by it, takes longer.
        """
        if self._ahead < _MOST_AHEAD and self._read_ahead(key):
            self._ahead += 1
            try:
                for _ in range(_ROUNDS):
                    await asyncio.sleep(0)
                    value = self._read_nowait(key, request, allocate)
                    if value is not WOULD_BLOCK:
                        return value
            finally:
                self._ahead -= 1
        return await super()._read_in_thread(key, request, allocate)

    def _read_ahead(self, key: str) -> bool:
        """Have the disk read a small value into the page cache; answers whether it was told to."""
        descriptor = self._open_nowait(key) if self._can_nowait and not self._in_memory else -1
        if descriptor < 0:
            return False
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            if not 0 < size <= _LARGEST_AHEAD:
                return False
            os.posix_fadvise(descriptor, 0, size, os.POSIX_FADV_WILLNEED)
            return True
        except OSError:
            return False
        finally:
            files.close_quietly(descriptor)

    def _stat(self, key: str) -> Entry | None:
        return _anew(self._stat_once, key)

    def _stat_once(self, key: str) -> Entry | None:
        self._target(key)
        for _ in range(_PATIENCE):
            try:
                found = os.stat(self._base + key) if self._confined is None else self._confined.stat(key)
            except OSError as error:
                if error.errno not in _NOT_FOUND:
                    raise self._error(error, "look up", key) from error
                if self._is_absent(key):
                    return None
                continue
            if not stat.S_ISREG(found.st_mode):
                return None
            # Not a version to write against, but it shows that a file was replaced between two calls.
            version = f"{found.st_ino:x}-{found.st_mtime_ns:x}"
            return Entry(key, found.st_size, version, found.st_mtime)
        raise self._vanishes(key)

    def _stat_nowait(self, key: str) -> Entry | WouldBlock | None:
        if not self._can_nowait or PREFIX in key:
            return WOULD_BLOCK
        if self._in_memory:
            return self._stat(key)
        if not self._cached_opens:
            return WOULD_BLOCK
        descriptor = files.open_cached(self._base + key)
        if descriptor < 0:
            return self._miss_nowait(key, descriptor)
        try:
            found = os.fstat(descriptor)
        except OSError:
            return WOULD_BLOCK
        finally:
            files.close_quietly(descriptor)
        return Entry(key, found.st_size) if stat.S_ISREG(found.st_mode) else None

    # -- writing ----------------------------------------------------------------------------------

    def _write(self, key: str, pieces: Pieces, condition: Precondition) -> Conflict | None:
        answer = self._begin_write(key, pieces, condition)
        return cast("None", answer.rest()) if isinstance(answer, Continuation) else answer

    def _write_in_steps(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | Continuation | None:
        return self._begin_write(key, pieces, condition)

    def _begin_write(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | Continuation | None:
        if condition is not ANY and condition is not ABSENT:
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        again = isinstance(pieces, (tuple, list))  # others are used up by the first attempt
        write = self._write_at if self._confined is None else self._write_confined
        for _ in range(_PATIENCE):
            try:
                return _anew(write, key, pieces, condition) if again else write(key, pieces, condition)
            except FileNotFoundError as error:
                # Another process removed the folder with our temporary file in it.
                if not again:
                    raise self._error(error, "write", key) from error
        raise self._folder_vanishes(key)

    def _write_confined(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | Continuation | None:
        """Write in a folder that no link can lead out of the root."""
        confined = cast("Confined", self._confined)
        folder, _, name = key.rpartition("/")
        self._target(key)
        for _ in range(_PATIENCE):
            try:
                with confined.folder(folder) as place:
                    return self._write_at(key, pieces, condition, f"{place}/{name}")
            except StoreError:
                raise
            except FileNotFoundError:
                try:
                    confined.make(folder, self.fsync)
                except FileNotFoundError:
                    pass  # another process pruned an empty parent
                except NotADirectoryError:
                    raise self._conflict(key) from None
                except OSError as error:
                    raise self._error(error, "write", key) from error
            except NotADirectoryError:
                self._check_root()
                raise self._conflict(key) from None
            except OSError as error:
                raise self._error(error, "write", key) from error
        raise self._folder_vanishes(key)

    def _write_at(
        self, key: str, pieces: Pieces, condition: Precondition, path: str | None = None
    ) -> Conflict | Continuation | None:
        """Write a value, by default into the file of the key's name."""
        write = self._write_once if self.atomic else self._write_in_place
        return write(key, pieces, condition, path or self._target(key))

    def _write_once(
        self, key: str, pieces: Pieces, condition: Precondition, path: str
    ) -> Conflict | Continuation | None:
        folder = path[: path.rindex("/")]
        temporary = f"{folder}/{make_name()}"
        descriptor = -1
        named = False
        try:
            descriptor = self._make(temporary, folder, key)
            claim(descriptor)
            for piece in pieces:
                files.write_all(descriptor, piece)
            self._sync_value(descriptor, key)
            if self._fails_late:
                # A network file system may report a full disk only on close. Closing a duplicate makes it
                # do so before the old value is replaced, and keeps our lock.
                os.close(os.dup(descriptor))
            if condition is ABSENT:
                if not self._publish_new(temporary, path, key):
                    return CONFLICT
            else:
                self._publish(temporary, path, key)
                named = True
            if self.fsync != "full":
                return None
            # Of many writes at once, all then share one sync of the folder.
            return Continuation(partial(self._sync_name, key, syncing.FOLDERS.ticket()))
        except (StoreError, FileNotFoundError):
            raise
        except OSError as error:
            raise self._error(error, "write", key) from error
        finally:
            # Clean up however this ends, even by an interrupt between two steps.
            if descriptor >= 0:
                files.close_quietly(descriptor)
            if not named:
                _quietly(os.unlink, temporary)

    def _write_in_place(
        self, key: str, pieces: Pieces, condition: Precondition, path: str
    ) -> Conflict | Continuation | None:
        folder = path[: path.rindex("/")]
        try:
            descriptor = self._open_in_place(path, folder, key, condition)
        except (StoreError, FileNotFoundError):
            raise
        except FileExistsError:
            return CONFLICT
        except OSError as error:
            raise self._error(error, "write", key) from error
        try:
            try:
                for piece in pieces:
                    files.write_all(descriptor, piece)
                self._sync_value(descriptor, key)
            finally:
                os.close(descriptor)  # a mount of a bucket may store the value only here, and fail
        except BaseException as error:
            _quietly(os.unlink, path)
            if not isinstance(error, OSError):
                raise
            told = error if isinstance(error, StoreError) else self._error(error, "write", key)
            rest = "" if isinstance(told, NoSpaceError) or not told.hint else f" {told.hint}"
            told.hint = f"The old value is lost: atomic=False writes in place. Write it again.{rest}"
            raise told from error
        if self.fsync == "full":
            self._sync_name(key, syncing.FOLDERS.ticket())
        return None

    def _open_in_place(self, path: str, folder: str, key: str, condition: Precondition) -> int:
        """Open a file to write a value into it; a link, or a folder without keys, makes way."""
        if os.path.islink(path):
            if condition is ABSENT:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            os.unlink(path)  # its target may belong to others
        flags = files.MAKE if condition is ABSENT else files.MODIFY | os.O_CREAT | os.O_TRUNC
        try:
            descriptor = self._make(path, folder, key, flags)
        except IsADirectoryError:
            self._clear_way(path, key)
            descriptor = self._make(path, folder, key, flags)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a pipe without a reader
                raise self._no_file(key) from None
            raise
        try:
            self._is_value(descriptor, key)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _sync_value(self, descriptor: int, key: str) -> None:
        if self.fsync != "none":
            try:
                syncing.sync_file(descriptor, self.fsync)
            except OSError as error:
                raise self._unable(error, key, _CANNOT_SYNC) from error

    def _unable(self, error: OSError, key: str, cure: str, action: str = "write") -> StoreError:
        """Return the error of a call that this file system may not be able to make at all."""
        told = self._error(error, action, key)
        if error.errno in files.UNABLE:
            told.hint = cure if told.hint is None else f"{told.hint} {cure}"
        return told

    def _sync_name(self, key: str, ticket: int) -> None:
        """Sync the folder of a new name, and those above it that are new themselves."""
        try:
            syncing.FOLDERS.sync_name(os.path.dirname(self._base + key), self._root, ticket)
        except (FileNotFoundError, NotADirectoryError):
            pass  # the folder was removed meanwhile, with the value
        except OSError as error:
            raise self._unable(error, key, _CANNOT_SYNC_FOLDERS) from error

    def _target(self, key: str) -> str:
        """Return the path of a key's file, once the file system is known; a temporary name is no key."""
        if PREFIX in key and any(map(is_temporary, key.split("/"))):
            raise InvalidKeyError(
                "names like this are reserved for temporary files.",
                store=self,
                key=key,
                hint="Choose another name.",
            )
        if not self._surveyed:
            self._survey()
        return self._base + key

    def _write_nowait(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | WouldBlock | None:
        if self._in_memory and self.follow_symlinks and sum(map(len, pieces)) <= MAX_INLINE_SIZE:
            return self._write(key, pieces, condition)
        return WOULD_BLOCK

    def _make(self, path: str, folder: str, key: str, flags: int = files.MAKE) -> int:
        """Create a file, and its folder if it is missing or removed meanwhile."""
        for _ in range(_PATIENCE):
            try:
                return files.open_patiently(path, flags)
            except FileNotFoundError:
                self._make_folder(folder, key)
            except NotADirectoryError:
                self._check_root()
                raise self._conflict(key) from None
        raise self._folder_vanishes(key)

    def _folder_vanishes(self, key: str) -> BackendError:
        link = self._lowest(key)
        if self._is_broken(link):
            return self._broken(link, key)
        return BackendError("its folder is removed again and again while it is written.", store=self, key=key)

    def _make_folder(self, folder: str, key: str) -> None:
        """Make a folder and those above it."""
        try:
            syncing.make_folder(folder, self.fsync)
        except FileNotFoundError:
            pass  # another process pruned an empty parent; the caller tries again
        except (FileExistsError, NotADirectoryError):
            self._check_root()
            raise self._conflict(key) from None

    def _conflict(self, key: str) -> KeyConflictError:
        parts = key.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if os.path.isfile(self._base + above):
                return KeyConflictError(
                    f"{above!r} is a value, so no key can be below it.",
                    store=self,
                    key=key,
                    hint="A folder can't be a value too: delete one of them, or use a store without folders.",
                )
        return KeyConflictError(
            "there are keys below it, so it can't be a value.",
            store=self,
            key=key,
            hint="A folder can't be a value too: delete one of them, or use a store without folders.",
        )

    def _publish(self, temporary: str, path: str, key: str) -> None:
        try:
            try:
                os.replace(temporary, path)
            except (IsADirectoryError, PermissionError):
                if not os.path.isdir(path):
                    raise
                self._clear_way(path, key)
                os.replace(temporary, path)
        except (StoreError, FileNotFoundError):
            raise
        except OSError as error:
            raise self._unable(error, key, _CANNOT_RENAME) from error

    def _publish_new(self, temporary: str, path: str, key: str) -> bool:
        """Give the temporary file its name; False if something has that name."""
        for _ in range(2):
            try:
                files.name_new(temporary, path)
                return True
            except FileExistsError:
                if not os.path.isdir(path) or os.path.islink(path):
                    return False
                self._clear_way(path, key)
            except FileNotFoundError:
                raise
            except OSError as error:
                if os.path.lexists(path) and not os.path.isdir(path):
                    return False
                raise self._unable(error, key, _CANNOT_CREATE) from error
        return False

    def _clear_way(self, path: str, key: str) -> None:
        """Remove a folder without keys from the path of a new value."""
        if os.path.islink(path) or self._tree().has_key(key + "/"):
            raise self._conflict(key)
        if not removal.remove_hollow(path):
            raise self._conflict(key)

    def _patch(self, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        _anew(self._patch_once, key, list(parts))

    def _patch_once(self, key: str, parts: list[tuple[int, Data]]) -> None:
        self._target(key)
        try:
            descriptor = self._open_file(key, files.MODIFY)
        except OSError as error:
            if error.errno == errno.EISDIR or (error.errno in _NOT_FOUND and self._is_absent(key)):
                raise KeyNotFoundError("there is no value to write into.", store=self, key=key) from None
            if error.errno == errno.ENXIO:  # a pipe without a reader
                raise self._no_file(key) from None
            raise self._error(error, "write", key) from error
        try:
            try:
                self._is_value(descriptor, key)
                check_parts(key, os.lseek(descriptor, 0, os.SEEK_END), parts)
                for start, part in parts:
                    files.write_all(descriptor, part, start)
                self._sync_value(descriptor, key)
            finally:
                os.close(descriptor)  # where a network file system tells that it couldn't write
        except StoreError:
            raise
        except OSError as error:
            raise self._error(error, "write", key) from error

    # -- removing ---------------------------------------------------------------------------------

    def _remove(self, key: str, condition: Precondition = ANY) -> None:
        _anew(self._remove_once, key, condition)

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
        """Yield the path of a key's file, in a folder that no link can lead out of the root, if so asked."""
        path = self._target(key)
        if self._confined is None:
            yield path
            return
        folder, _, name = key.rpartition("/")
        with self._confined.folder(folder) as place:
            yield f"{place}/{name}"

    def _tidy(self, key: str) -> None:
        """Remove the folder of a name that was removed if it is empty, and those above it."""
        if self._confined is None:
            left = removal.prune(os.path.dirname(self._base + key), self._root)
        else:
            left = self._base + self._confined.prune(key.rpartition("/")[0])
        self._sync_removal(left.rstrip(os.sep) or os.sep, key)

    def _sync_absence(self, key: str) -> None:
        """Sync the folder of a name that isn't there: who removed it may not have done so yet."""
        self._sync_removal(os.path.dirname(self._base + key), key)

    def _sync_removal(self, folder: str, key: str) -> None:
        """Sync a folder that a name was removed from, if so asked."""
        if self.fsync == "full":
            try:
                syncing.FOLDERS.sync_removal(folder, syncing.FOLDERS.ticket())
            except OSError as error:
                raise self._unable(error, key, _CANNOT_SYNC_REMOVALS, "delete") from error

    def _remove_below(self, prefix: str) -> None:
        _anew(self._remove_below_once, prefix)

    def _remove_below_once(self, prefix: str) -> None:
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
            raise self._unable(error, prefix, _CANNOT_RENAME, "delete all of") from error
        self._tidy(prefix[:-1])

    def _refuse_machine(self) -> None:
        if os.path.dirname(self._root) == self._root:
            raise RefusedError(
                "this store's root is the root of the whole file system: clearing it would delete all files.",
                store=self,
                hint="Make a store on the folder to clear.",
            )
        self._check_root()

    # -- listing ----------------------------------------------------------------------------------

    def _tree(self) -> FolderWalk:
        return FolderWalk(self._base, self._fail_listing, sweep=not self.read_only, confined=self._confined)

    def _fail_listing(self, error: OSError, place: str) -> None:
        if error.errno in _NOT_FOUND:
            self._is_absent(place.removesuffix("/"))  # raises if that can't be said
            return
        raise self._error(error, "list", place) from error

    def _scan(self, prefix: str, deep: bool, sizes: bool) -> Iterator[list[Entry]]:
        return self._tree().pages(prefix, deep, sizes)

    def _is_empty(self, prefix: str) -> bool:
        return not self._tree().has_key(prefix)

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
            If there is something at the new root.
        """
        self._check_writable()
        await to_thread(self._move, os.fspath(dest_root))

    def _move(self, destination: str) -> None:
        target = os.path.realpath(destination)
        if os.path.lexists(target):
            raise KeyConflictError(f"{target!r} exists already.", store=self, hint="Move to a new path.")
        try:
            move_folder(self._root, target, self.fsync)
        except OSError as error:
            raise self._error(error, "move", "") from error
        self._root = target
        self.root = Path(target)
        self._base = target + os.sep
        self._confined = None if self.follow_symlinks else Confined(target)
        self._forget_survey()

    def __getstate__(self) -> dict[str, object]:
        state = super().__getstate__()
        # Another host may have another file system there.
        return {**state, **_UNSURVEYED}


def _anew(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call, and once more if a network file system's server has lost the file that was opened."""
    try:
        return call(*args, **kwargs)
    except BackendError as error:
        if error.errno != errno.ESTALE:
            raise
    return call(*args, **kwargs)


def _quietly(tidy: Callable[[T], None], what: T) -> None:
    """Make a call to clean up, ignoring its failure."""
    try:
        tidy(what)
    except OSError:
        pass
