"""How `LocalStore` reads and lists: finds files, proves keys absent, reads from the page cache."""

from __future__ import annotations

import errno
import mmap as memory_maps
import os
import stat
import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from zarrstore._async.nowait import MAX_INLINE_REUSE, MAX_INLINE_SIZE
from zarrstore._core.later import asyncio, np, recycling
from zarrstore._core.requests import RangeByteRequest, by_key, span
from zarrstore._core.verbs import (
    WOULD_BLOCK,
    Entry,
    host_memory,
)
from zarrstore._os import files
from zarrstore._os.temporary import PREFIX, is_temporary
from zarrstore._os.windows_names import refusal
from zarrstore.errors import (
    BackendError,
    ByteRequestError,
    InvalidKeyError,
    RefusedError,
    RootError,
    StoreError,
    TruncatedError,
    from_os_error,
)
from zarrstore.storage._local.confined import Confined, LedOutError
from zarrstore.storage._local.walk import FolderWalk
from zarrstore.storage._nowait import NowaitStore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, Data
    from zarrstore._core.verbs import Request, WouldBlock

P = ParamSpec("P")
T = TypeVar("T")


# Errors that mean that a file doesn't exist, unless a link on its path is broken.
NOT_FOUND = frozenset((errno.ENOENT, errno.ENOTDIR))

# How often to retry when others create or remove what a call encounters.
PATIENCE = 100
# How many values may be read ahead into the cache at once: fewer than fill a disk's queue, which would block
# the loop. How large each may be, in bytes, and how many rounds of the loop to wait before using a thread.
MOST_AHEAD = 32
LARGEST_AHEAD = 128 << 10
_ROUNDS = 8
_ON_WINDOWS = sys.platform == "win32"
# No file is this large; the size that some file systems report for a folder is larger.
_ENDLESS = 1 << 62

# State before `_survey`, which blocks: nothing is read on the event loop yet.
UNSURVEYED = {
    "_surveyed": False,
    "_can_nowait": False,
    "_in_memory": False,
    "_cached_opens": False,
    "_fails_late": True,
}


class ReadingFolder(NowaitStore, abstract=True):
    """The part of `LocalStore` that reads and lists."""

    supports_writes: bool = True
    supports_deletes: bool = True
    supports_partial_writes: bool = True
    supports_listing: bool = True

    root: Path
    mmap: bool
    follow_symlinks: bool
    _root: str
    _base: str  # the root, ending with a separator
    _confined: Confined | None  # set if no link may lead out
    _ahead: int  # how many values are being read ahead into the cache
    _surveyed: bool
    _can_nowait: bool  # whether the page cache may be read on an event loop
    _in_memory: bool  # whether the file system is in memory, so that any read may run there
    _cached_opens: bool  # whether files can be opened only if that needs no disk
    _fails_late: bool  # whether a failed write may be reported only when the file is closed

    def _forget_survey(self) -> None:
        """Use only threads until a call in one of them has examined the file system."""
        self.__dict__.update(UNSURVEYED)

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
        if error.errno == errno.ELOOP or error.errno in NOT_FOUND:
            link = self._lowest(key.removesuffix("/"))
            if self._is_broken(link):
                return self._broken(link, key)
        return from_os_error(error, action=action, store=self, key=key)

    # -- what isn't there -------------------------------------------------------------------------

    def _lowest(self, key: str) -> str:
        """Return the longest part of a key's path that exists, if only as a link; empty if none does."""
        while key and not os.path.lexists(self._base + key):
            key = key.rpartition("/")[0]
        return key

    def _is_broken(self, part: str) -> bool:
        """Whether a part of a key's path is a broken link."""
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
        """Whether a key that wasn't found certainly doesn't exist; False if it has been created meanwhile.

        Raises
        ------
        BackendError
            If a link on its path is broken.
        RootError
            If the root isn't a folder.
        """
        if files.is_plainly_absent(self._base + key, in_memory=self._in_memory):
            return True
        lowest = self._lowest(key)
        if not lowest:
            self._check_root()
        elif self._is_broken(lowest):
            raise self._broken(lowest, key)
        return not key or lowest != key

    def _target(self, key: str) -> str:
        """Return the path of a key's file; refuse reserved names, and examine the file system once."""
        if PREFIX in key and any(map(is_temporary, key.split("/"))):
            raise InvalidKeyError(
                "names like this are reserved for temporary files.",
                store=self,
                key=key,
                hint="Choose another name.",
            )
        if _ON_WINDOWS and (reason := refusal(self._base + key, key)):
            raise InvalidKeyError(
                reason, store=self, key=key, hint="Choose another name, or keep the data in a ZipStore."
            )
        if not self._surveyed:
            self._survey()
        return self._base + key

    # -- reading ----------------------------------------------------------------------------------

    def _open_value(self, key: str) -> int:
        """Open a value for reading; -1 if there is none."""
        path = self._target(key)
        for _ in range(PATIENCE):
            try:
                if self._confined is not None:
                    return self._confined.open(key, files.READ)
                return files.open_patiently(path, files.READ)
            except OSError as error:
                if error.errno in NOT_FOUND:
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
        """Raise if the root exists but isn't a folder: everything below it would seem missing."""
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
        """Whether an open file is regular; False for a folder."""
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
        return self._read_once(key, request, allocate)  # as `anew` does, with one call less

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
        return anew(self._read_parts_once, key, requests, allocate)

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
            # lseek finds the size in a third of fstat's time. For folders its result depends on the file
            # system (an error, 0, 2**63 - 1), so those are checked with fstat.
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
                    pass  # the file system can't map files, or the file was truncated: reading will tell
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
        """Read many as `_read_nowait` does, but open the root, and each key's file, only once."""
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
        """Open a value if that needs no waiting; return what `files.open_cached` does.

        Parameters
        ----------
        key : str
            The value's key.
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
        """Return None if `_open_nowait` found no such file and the key is proven absent, without the disk."""
        return None if answer == files.NO_SUCH_FILE and self._is_absent(key) else WOULD_BLOCK

    def _read_cached(self, descriptor: int, request: ByteRequest | None) -> Data | WouldBlock:
        """Read an open file if the page cache holds the requested bytes."""
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            start, stop = (0, size) if request is None else span(request, size)
            if self.mmap and start < stop < _ENDLESS:
                return self._map(descriptor, start, stop)
            if not 0 < (size := stop - start) <= MAX_INLINE_REUSE:
                return WOULD_BLOCK  # large, empty, or a folder
            # New memory would cost more time than the bytes, and in threads that is spent side by side.
            memory = host_memory(size) if size <= MAX_INLINE_SIZE else recycling.reuse(size)
            if memory is None:
                return WOULD_BLOCK
            # A short read means that the rest isn't cached, or that the file ended; a thread finds out.
            flags = 0 if self._in_memory else files.NOWAIT
            if os.preadv(descriptor, [memory], start, flags) != size:
                return WOULD_BLOCK
            return memory
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._can_nowait = False  # overlayfs, for example, has no such reads
            return WOULD_BLOCK
        except (ByteRequestError, ValueError):
            return WOULD_BLOCK  # may be a folder, or truncated; `_read` finds out

    async def _read_in_thread(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        """Read what isn't cached: small values by reading ahead into the cache, others in a thread.

        A fast disk delivers a small value within a few rounds of the loop. Waking a thread, and being woken
        by it, takes longer.
        """
        if self._ahead < MOST_AHEAD and self._read_ahead(key):
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
        """Start reading a small value into the page cache; return whether that was started."""
        descriptor = self._open_nowait(key) if self._can_nowait and not self._in_memory else -1
        if descriptor < 0:
            return False
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            if not 0 < size <= LARGEST_AHEAD:
                return False
            os.posix_fadvise(descriptor, 0, size, os.POSIX_FADV_WILLNEED)
            return True
        except OSError:
            return False
        finally:
            files.close_quietly(descriptor)

    def _stat(self, key: str) -> Entry | None:
        return anew(self._stat_once, key)

    def _stat_once(self, key: str) -> Entry | None:
        self._target(key)
        for _ in range(PATIENCE):
            try:
                found = os.stat(self._base + key) if self._confined is None else self._confined.stat(key)
            except OSError as error:
                if error.errno not in NOT_FOUND:
                    raise self._error(error, "look up", key) from error
                if self._is_absent(key):
                    return None
                continue
            return _entry(key, found)
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
        return _entry(key, found)

    # -- listing ----------------------------------------------------------------------------------

    def _tree(self) -> FolderWalk:
        return FolderWalk(self._base, self._fail_listing, sweep=not self.read_only, confined=self._confined)

    def _fail_listing(self, error: OSError, place: str) -> None:
        if error.errno in NOT_FOUND:
            self._is_absent(place.removesuffix("/"))  # raises if absence isn't certain
            return
        raise self._error(error, "list", place) from error

    def _scan(self, prefix: str, deep: bool, sizes: bool) -> Iterator[list[Entry]]:
        return self._tree().pages(prefix, deep, sizes)

    def _is_empty(self, prefix: str) -> bool:
        return not self._tree().has_key(prefix)


def _entry(key: str, found: os.stat_result) -> Entry | None:
    """Return the entry of a regular file; None for anything else."""
    if not stat.S_ISREG(found.st_mode):
        return None
    # Writes can't be conditional on this version, but it shows that a file was replaced between two calls.
    return Entry(key, found.st_size, f"{found.st_ino:x}-{found.st_mtime_ns:x}", found.st_mtime)


def anew(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call, and repeat it once if a network file system's server has lost the open file."""
    try:
        return call(*args, **kwargs)
    except BackendError as error:
        if error.errno != errno.ESTALE:
            raise
    return call(*args, **kwargs)
