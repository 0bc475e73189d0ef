"""Values as files below a folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from zarrstore._keys import is_key
from zarrstore._requests import span
from zarrstore._verbs import (
    ABSENT,
    ANY,
    CONFLICT,
    WAIT,
    Capabilities,
    Entry,
    check_parts,
    host_memory,
)
from zarrstore.abc.store import Store
from zarrstore.errors import (
    BackendError,
    ByteRequestError,
    InvalidKeyError,
    KeyConflictError,
    KeyNotFoundError,
    RefusedError,
    RootError,
    StoreError,
    TruncatedError,
    UnsupportedOperationError,
    from_os_error,
)
from zarrstore.storage._temporary import claim, is_temporary, make_name, reap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_MODIFY = os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

# Answers of the system that prove a file's absence.
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR))
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV))

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
# Largest value, in bytes, that is read in place: copying it out of the page cache takes some 20 µs.
_IN_PLACE = 128 * 1024

_FIRST_PAGE = 64
_PAGE = 2000


class LocalStore(Store):
    """A store whose keys are the files below a folder.

    A write makes a temporary file beside its target and renames it, so that readers and crashes see
    the old value or the new one, whole. The folder is made by the first write.

    Parameters
    ----------
    root : str or Path
        Folder to use as the store's root. It is resolved once, here: neither ``os.chdir`` nor a link
        that is moved later makes the store look elsewhere.
    read_only : bool
        Whether to refuse every call that changes something.

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

    root: Path

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        if not isinstance(root, (str, os.PathLike)):
            raise TypeError(f"a LocalStore's root is a str or a Path, not {type(root).__name__}")
        text = os.fspath(root)
        if not isinstance(text, str) or not text:
            raise ValueError(f"a LocalStore's root is a folder's path, not {text!r}")
        self._root = os.path.realpath(text)
        self.root = Path(self._root)
        self._base = self._root if self._root.endswith(os.sep) else self._root + os.sep
        # Whether a read in place is known not to block; settled by the first one that is refused.
        self._in_place = bool(_NOWAIT)
        self._plainly = False

    @property
    def _location(self) -> str:
        return f"file://{self.root.as_posix()}"

    def _path(self, key: str) -> str:
        return self._base + key

    def _error(self, error: OSError, action: str, key: str) -> StoreError:
        return from_os_error(error, action=action, store=self, key=key)

    # -- reading ----------------------------------------------------------------------------------

    def _open_value(self, key: str) -> int:
        """Open a value for reading; -1 if there is none."""
        try:
            return os.open(self._base + key, _READ)
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                self._check_root()
            if error.errno in _ABSENT or (error.errno == errno.EACCES and self._is_folder(key)):
                return -1
            raise self._error(error, "read", key) from error

    def _is_folder(self, key: str) -> bool:
        try:
            return stat.S_ISDIR(os.stat(self._base + key).st_mode)
        except OSError:
            return False

    def _check_root(self) -> None:
        """Raise if the root exists and is no folder: everything below it would look missing."""
        if os.path.exists(self._root) and not os.path.isdir(self._root):
            raise RootError(
                "the root is a file, not a folder.",
                store=self,
                cure="If it is a zip archive, open it with ZipStore.",
            )

    def _is_value(self, descriptor: int, key: str) -> bool:
        """Whether an open file is a regular one; False for a folder."""
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return stat.S_ISREG(mode)
        raise BackendError("this is a pipe or a device, not a file.", store=self, key=key, cure="Remove it.")

    def _read(self, key: str, request: Any, new: Any) -> Any:
        descriptor = self._open_value(key)
        if descriptor < 0:
            return None
        try:
            # lseek tells the size at a third of fstat's cost. What it says of folders depends on the
            # file system (an error, nothing, 2**63 - 1), so only an ordinary answer is taken as it is.
            try:
                size = os.lseek(descriptor, 0, os.SEEK_END)
            except OSError:
                size = 0
            if not 0 < size < 1 << 62 and not self._is_value(descriptor, key):
                return None
            try:
                start, stop = span(request, size)
            except ByteRequestError:
                if self._is_value(descriptor, key):
                    raise
                return None
            if start == stop and not self._is_value(descriptor, key):
                return None
            memory = new(stop - start)
            view = memoryview(memory)
            done = 0
            while done < stop - start:
                count = os.preadv(descriptor, [view[done:] if done else view], start + done)
                if not count:
                    raise TruncatedError(
                        f"the file ended after {start + done} bytes; it had {size} when it was opened.",
                        store=self,
                        key=key,
                        cure="Somebody cut it in place; read it again.",
                    )
                done += count
            return memory
        except StoreError:
            raise
        except OSError as error:
            if error.errno == errno.EISDIR:
                return None
            raise self._error(error, "read", key) from error
        finally:
            os.close(descriptor)

    def _read_now(self, key: str, request: Any, new: Any) -> Any:
        if not self._in_place or new is not host_memory:
            return WAIT
        try:
            descriptor = os.open(self._base + key, _READ)
        except FileNotFoundError:
            return None
        except OSError:
            return WAIT
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            start, stop = (0, size) if request is None else span(request, size)
            if not 0 < stop - start <= _IN_PLACE:
                return WAIT  # large, empty, or a folder
            memory = new(stop - start)
            # A short answer means that the rest isn't cached as often as that the file ended there,
            # so only exactly what was asked for counts.
            flags = 0 if self._plainly else _NOWAIT
            if os.preadv(descriptor, [memory], start, flags) != stop - start:
                return WAIT
            return memory
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._settle_in_place()
            return WAIT
        finally:
            os.close(descriptor)

    def _settle_in_place(self) -> None:
        """Where reads without waiting are refused: read plainly in memory, else never in place."""
        if file_system(self._root) in ("tmpfs", "ramfs"):
            self._plainly = True
        else:
            self._in_place = False

    def _stat(self, key: str) -> Entry | None:
        try:
            found = os.stat(self._base + key)
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                self._check_root()
            if error.errno in _ABSENT:
                return None
            raise self._error(error, "look up", key) from error
        if not stat.S_ISREG(found.st_mode):
            return None
        # No version to write against, but enough to notice that a file was replaced between two looks.
        return Entry(key, found.st_size, f"{found.st_ino:x}-{found.st_mtime_ns:x}")

    # -- writing ----------------------------------------------------------------------------------

    def _write(self, key: str, pieces: Iterable[Any], condition: Any) -> Any:
        if condition not in (ANY, ABSENT):
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        path = self._target(key)
        folder = os.path.dirname(path)
        temporary = os.path.join(folder, make_name())
        descriptor = -1
        try:
            descriptor = self._make(temporary, folder, key)
            claim(descriptor)
            for piece in pieces:
                _write_all(descriptor, piece)
            if condition is ABSENT:
                return self._publish_new(temporary, path, key)
            self._publish(temporary, path, key)
            return None
        except StoreError:
            raise
        except OSError as error:
            raise self._error(error, "write", key) from error
        finally:
            # However this ends, an interrupt between any two of these steps included, nothing stays behind.
            if descriptor >= 0:
                os.close(descriptor)
            try:
                os.unlink(temporary)
            except OSError:
                pass

    def _target(self, key: str) -> str:
        if is_temporary(key.rpartition("/")[2]) or (
            ".zarrstore-" in key and any(map(is_temporary, key.split("/")))
        ):
            raise InvalidKeyError(
                "names like this are kept for temporary files.",
                store=self,
                key=key,
                cure="Choose another name.",
            )
        return self._base + key

    def _make(self, temporary: str, folder: str, key: str) -> int:
        """Create a temporary file, and its folder if that isn't there (or goes away meanwhile)."""
        for _ in range(100):
            try:
                return os.open(temporary, _MAKE, 0o666)
            except FileNotFoundError:
                self._make_folder(folder, key)
            except NotADirectoryError:
                self._check_root()
                raise self._conflict(key) from None
        raise BackendError("its folder is removed again and again while it is written.", store=self, key=key)

    def _make_folder(self, folder: str, key: str) -> None:
        try:
            os.makedirs(folder, exist_ok=True)
        except FileNotFoundError:
            pass  # somebody pruned an empty parent: the caller tries again
        except (FileExistsError, NotADirectoryError):
            self._check_root()
            raise self._conflict(key) from None

    def _conflict(self, key: str) -> KeyConflictError:
        parts = key.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if os.path.isfile(self._base + above):
                return KeyConflictError(
                    f"{above!r} is a value, so no key can lie below it.",
                    store=self,
                    key=key,
                    cure="A folder can't be a value too: delete one of them, or use a store without folders.",
                )
        return KeyConflictError(
            "keys lie below it, so it can't be a value.",
            store=self,
            key=key,
            cure="A folder can't be a value too: delete one of them, or use a store without folders.",
        )

    def _publish(self, temporary: str, path: str, key: str) -> None:
        try:
            os.replace(temporary, path)
        except (IsADirectoryError, PermissionError):
            if not os.path.isdir(path):
                raise
            self._clear_way(path, key)
            os.replace(temporary, path)

    def _publish_new(self, temporary: str, path: str, key: str) -> Any:
        """Give the temporary file its name unless somebody has it; whether by a link or by a rename."""
        for _ in range(2):
            try:
                try:
                    os.link(temporary, path)
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    _rename_new(temporary, path)
                return None
            except FileExistsError:
                if not os.path.isdir(path) or os.path.islink(path):
                    return CONFLICT
                self._clear_way(path, key)
        return CONFLICT

    def _clear_way(self, path: str, key: str) -> None:
        """Remove a folder that holds no key, where a value is to lie."""
        if os.path.islink(path) or any(self._walk(key + "/", False)):
            raise self._conflict(key)
        for parent, _, names in os.walk(path, topdown=False):
            for name in names:
                if is_temporary(name):
                    reap(os.path.join(parent, name))
            try:
                os.rmdir(parent)
            except OSError:
                raise self._conflict(key) from None

    def _patch(self, key: str, parts: Iterable[tuple[int, Any]]) -> None:
        parts = list(parts)
        try:
            descriptor = os.open(self._target(key), _MODIFY)
        except OSError as error:
            if error.errno in _ABSENT:
                raise KeyNotFoundError("there is no value to write into.", store=self, key=key) from None
            raise self._error(error, "write", key) from error
        try:
            check_parts(key, os.lseek(descriptor, 0, os.SEEK_END), parts)
            for start, part in parts:
                _write_all(descriptor, part, start)
        except StoreError:
            raise
        except OSError as error:
            raise self._error(error, "write", key) from error
        finally:
            os.close(descriptor)

    # -- removing ---------------------------------------------------------------------------------

    def _remove(self, key: str, condition: Any = ANY) -> Any:
        if condition is not ANY:
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        path = self._target(key)
        try:
            os.unlink(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            if error.errno in (errno.EISDIR, errno.EPERM, errno.EACCES) and self._is_folder(key):
                return self._remove_below(key + "/")
            raise self._error(error, "delete", key) from error
        self._prune(os.path.dirname(path))
        return None

    def _prune(self, folder: str) -> None:
        """Remove folders that have become empty, from the inside out; never the root."""
        while len(folder) > len(self._root) and folder.startswith(self._base):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def _remove_below(self, prefix: str) -> None:
        if not prefix:
            self._remove_all()
            return
        path = self._target(prefix[:-1])
        aside = os.path.join(os.path.dirname(path), make_name())
        try:
            if os.path.islink(path):
                self._remove_inside(os.path.realpath(path))
                return
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return
            # Aside first, so that no reader sees half of it; whoever dies in between leaves litter, not keys.
            os.rename(path, aside)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            raise self._error(error, "delete", prefix) from error
        self._remove_tree(aside, prefix)
        self._prune(os.path.dirname(path))

    def _remove_tree(self, path: str, prefix: str) -> None:
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            claim(descriptor)
        except OSError:
            pass  # not readable: rmtree says why
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise self._error(error, "delete all of", prefix) from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _remove_all(self) -> None:
        if os.path.dirname(self._root) == self._root:
            raise RefusedError(
                "this store's root is the root of the whole file system: clearing it empties the machine.",
                store=self,
                cure="Make a store on the folder that you mean.",
            )
        self._check_root()
        self._remove_inside(self._root)

    def _remove_inside(self, folder: str) -> None:
        """Remove what lies in a folder, but not the folder; links are removed, not followed."""
        try:
            with os.scandir(folder) as found:
                entries = list(found)
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    self._remove_tree(entry.path, entry.name)
                else:
                    try:
                        os.unlink(entry.path)
                    except FileNotFoundError:
                        pass
        except FileNotFoundError:
            return
        except StoreError:
            raise
        except OSError as error:
            raise self._error(error, "delete all of", "") from error

    # -- listing ----------------------------------------------------------------------------------

    def _scan(self, prefix: str, deep: bool, sizes: bool) -> Iterator[list[Entry]]:
        entries = self._walk(prefix, sizes) if deep else self._level(prefix, sizes)
        page: list[Entry] = []
        limit = _FIRST_PAGE
        for entry in entries:
            page.append(entry)
            if len(page) >= limit:
                yield page
                page, limit = [], _PAGE
        if page:
            yield page

    def _walk(self, prefix: str, sizes: bool) -> Iterator[Entry]:
        """All keys below a directory; depth first, one open folder at a time, so memory stays flat."""
        pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [(prefix, ())]
        while pending:
            inside, linked = pending.pop()
            with self._listing(inside) as found:
                for item in found:
                    name = item.name
                    try:
                        if item.is_dir():
                            above = linked
                            if item.is_symlink():
                                # Only links can lead in a circle.
                                target = item.stat()
                                place = (target.st_dev, target.st_ino)
                                if place in linked or self._encloses(inside, place):
                                    continue
                                above = (*linked, place)
                            if self._lists(name, item.path):
                                pending.append((f"{inside}{name}/", above))
                        elif item.is_file() and self._lists(name, item.path):
                            yield Entry(inside + name, item.stat().st_size if sizes else None)
                    except FileNotFoundError:
                        continue  # removed while we looked
                    except OSError as error:
                        raise self._error(error, "list", inside + name) from error

    def _level(self, prefix: str, sizes: bool) -> Iterator[Entry]:
        """Keys one level below a directory, and directories that hold a key."""
        with self._listing(prefix) as found:
            for item in found:
                name = item.name
                try:
                    if item.is_dir():
                        below = f"{prefix}{name}/"
                        if self._lists(name, item.path) and next(self._walk(below, False), None) is not None:
                            yield Entry(below)
                    elif item.is_file() and self._lists(name, item.path):
                        yield Entry(prefix + name, item.stat().st_size if sizes else None)
                except FileNotFoundError:
                    continue
                except StoreError:
                    raise
                except OSError as error:
                    raise self._error(error, "list", prefix + name) from error

    def _listing(self, prefix: str) -> Any:
        """Open a folder for listing; one that isn't there is an empty one."""
        try:
            return os.scandir(self._base + prefix)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                self._check_root()
                return _Nothing()
            raise self._error(error, "list", prefix) from error

    def _encloses(self, inside: str, place: tuple[int, int]) -> bool:
        """Whether a folder is the root or one of the folders on the way down to where we are."""
        path = self._base
        for name in ["", *inside.split("/")]:
            path = os.path.join(path, name)
            try:
                found = os.stat(path)
            except OSError:
                return False
            if (found.st_dev, found.st_ino) == place:
                return True
        return False

    def _lists(self, name: str, path: str) -> bool:
        """Whether a name belongs in a listing; what a dead writer left behind is swept up on the way."""
        if name[0] == "." and is_temporary(name):
            if not self.read_only:
                reap(path)
            return False
        return name.isascii() or is_key(name)

    # -- moving -----------------------------------------------------------------------------------

    async def move(self, dest_root: Path | str) -> None:
        """Move the whole store to another folder, which must not exist.

        Parameters
        ----------
        dest_root : str or Path
            The new root.

        Raises
        ------
        FileExistsError
            If there is something at the new root.
        """
        from zarrstore._threads import hop

        self._check_writable()
        await hop(self._move, os.fspath(dest_root))

    def _move(self, destination: str) -> None:
        target = os.path.realpath(destination)
        if os.path.lexists(target):
            raise KeyConflictError(
                f"{target!r} exists already.", store=self, cure="Move to a path that nothing has yet."
            )
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.move(self._root, target)
        self._root = target
        self.root = Path(target)
        self._base = target + os.sep

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.update(_in_place=bool(_NOWAIT), _plainly=False)  # another host may have another file system
        return state


class _Nothing:
    """The listing of a folder that isn't there."""

    def __enter__(self) -> Iterator[Any]:
        return iter(())

    def __exit__(self, *args: object) -> None:
        pass


def _write_all(descriptor: int, piece: Any, offset: int | None = None) -> None:
    """Write a piece whole, however many calls that takes."""
    view = memoryview(piece)
    if view.nbytes != len(view):
        view = view.cast("B")
    while len(view):
        count = os.write(descriptor, view) if offset is None else os.pwrite(descriptor, view, offset)
        if count == len(view):
            return
        view = view[count:]
        if offset is not None:
            offset += count


def _rename_new(source: str, target: str) -> None:
    """Rename unless the target exists, where hard links don't exist.

    Linux does it in one step (``renameat2`` with ``RENAME_NOREPLACE``), and Windows' rename never
    replaces. Elsewhere an empty file reserves the name first: still only one wins.
    """
    if sys.platform == "win32":
        os.rename(source, target)
        return
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "renameat2"):
            at_here, no_replace = -100, 1
            if libc.renameat2(at_here, os.fsencode(source), at_here, os.fsencode(target), no_replace) == 0:
                return
            number = ctypes.get_errno()
            if number not in (errno.EINVAL, errno.ENOSYS):
                raise OSError(number, os.strerror(number), target)
    os.close(os.open(target, _MAKE, 0o666))
    os.replace(source, target)


def file_system(path: str) -> str:
    """Type of the file system that holds a path, as the kernel names it; empty if it doesn't say."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    try:
        found = os.stat(path)
        device = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                fields = line.split()
                if fields[2] == device:
                    return fields[fields.index("-") + 1]
    except (OSError, ValueError, IndexError):
        pass
    return ""
