"""Single files: opens, reads, writes and locks them, and finds out what file system they are on."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, cast

from zarrstore._async import threads as _threads
from zarrstore._core.later import np, recycling
from zarrstore._core.verbs import host_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from zarrstore._core.requests import RangeByteRequest
    from zarrstore._core.types import Allocate, Data

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# Otherwise opening a pipe would wait for its other end.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
READ = os.O_RDONLY | _ALWAYS | _NONBLOCK
MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ALWAYS
MODIFY = os.O_WRONLY | _ALWAYS | _NONBLOCK
UPDATE = os.O_RDWR | _ALWAYS | _NONBLOCK
FOLDER = os.O_RDONLY | _ALWAYS | getattr(os, "O_DIRECTORY", 0)

# Flag for reads from the page cache only (Linux); 0 on other systems.
NOWAIT = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "preadv") else 0

# Values of at least this many bytes are read by two threads: one copies 4 GB/s into fresh memory, two copy 7,
# and more than two get in each other's way.
_SHARED = 8 << 20

# Whether an open file can be renamed, replaced and removed.
MOVES_OPEN = sys.platform != "win32"

# Up to this size in bytes, one call nearly always reads everything.
_ONE_CALL = 1 << 20

# How many pieces one call writes.
_AT_ONCE = 512

# Seconds to wait between attempts to open a file when too many are open.
_PATIENCE = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0)
_TOO_MANY = (errno.EMFILE, errno.ENFILE)

# Errors of calls that a file system, such as a mounted bucket, doesn't support.
UNABLE = frozenset((errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV, errno.EINVAL))
# The byte of a file that is locked on Windows: no archive is that large.
_LOCKED_BYTE = 1 << 43

# Errors of `os.link` if a file can't have a second name.
_NO_LINKS = UNABLE - {errno.EINVAL} | {errno.EMLINK}


# -- opening --------------------------------------------------------------------------------------


def open_patiently(path: str, flags: int) -> int:
    """Open a file; if too many are open already, wait until others are closed."""
    for seconds in _PATIENCE:
        try:
            return os.open(path, flags, 0o666)
        except OSError as error:
            if error.errno not in _TOO_MANY:
                raise
        time.sleep(seconds)
    return os.open(path, flags, 0o666)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


# Linux's openat2, called by its number since Python has no binding for it.
_OPENAT2 = 437
_HAS_NUMBERS = sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64")
_call = ctypes.PyDLL(None, use_errno=True).syscall if _HAS_NUMBERS else None
_RESOLVE_CACHED, _RESOLVE_NO_SYMLINKS = 0x20, 0x04
_how_cached = ctypes.byref(_How(READ, 0, _RESOLVE_CACHED))
_how_plain = ctypes.byref(_How(READ, 0, _RESOLVE_NO_SYMLINKS))
_how_plain_cached = ctypes.byref(_How(READ, 0, _RESOLVE_CACHED | _RESOLVE_NO_SYMLINKS))

HERE = -100  # AT_FDCWD: relative to no open folder
NO_SUCH_FILE = -2


def open_cached(path: str, folder: int = HERE) -> int:
    """Open a file for reading if that needs no disk; return -1 if it does, `NO_SUCH_FILE` if none exists.

    Parameters
    ----------
    path : str
        The file.
    folder : int
        Descriptor of a folder that the path is relative to.
    """
    descriptor: int = _call(_OPENAT2, folder, os.fsencode(path), _how_cached, 24)  # type: ignore[misc]
    if descriptor >= 0:
        return descriptor
    return NO_SUCH_FILE if ctypes.get_errno() == errno.ENOENT else -1


def is_plainly_absent(path: str, *, in_memory: bool) -> bool:
    """Whether nothing exists at a path, and no link is on it; False also if finding out needs a disk."""
    if _call is None:
        return False
    how = _how_plain if in_memory else _how_plain_cached
    descriptor = _call(_OPENAT2, HERE, os.fsencode(path), how, 24)
    if descriptor >= 0:
        os.close(descriptor)
        return False
    return ctypes.get_errno() == errno.ENOENT


def _probe() -> bool:
    """Whether the kernel has ``openat2`` with RESOLVE_CACHED (5.12)."""
    if _call is None:
        return False
    descriptor = open_cached("/")
    if descriptor >= 0:
        os.close(descriptor)
        return True
    return ctypes.get_errno() == errno.EAGAIN


CAN_OPEN_CACHED = _probe()

_GETDENTS64 = {"x86_64": 217, "aarch64": 61}.get(os.uname().machine) if _call is not None else None
_read_folder = ctypes.CDLL(None, use_errno=True).syscall if _GETDENTS64 else None  # may wait for a disk
_ENTRY = struct.Struct("=QqHB")  # of Linux's getdents64: inode, offset, entry length, file type
_A_FOLDER, _A_FILE = 4, 8


def first_names(folder: str) -> list[tuple[str, bool, bool]] | None:
    """Return the first few names in a folder, each with whether it is a file, and whether a folder.

    ``os.scandir`` reads 32 KiB at a time, a thousand names, and file systems read the inode of each.

    Returns
    -------
    list or None
        None if this isn't possible here.
    """
    if _read_folder is None:
        return None
    buffer = ctypes.create_string_buffer(512)
    descriptor = os.open(folder, FOLDER)
    try:
        size = _read_folder(_GETDENTS64, descriptor, buffer, len(buffer))
    finally:
        os.close(descriptor)
    if size < 0:
        return None
    data = buffer.raw[:size]
    found, at = [], 0
    while at < size:
        _, _, length, kind = _ENTRY.unpack_from(data, at)
        name = os.fsdecode(data[at + _ENTRY.size : at + length].split(b"\0", 1)[0])
        if name not in (".", ".."):
            found.append((name, kind == _A_FILE, kind == _A_FOLDER))
        at += length
    return found


_RESOLVE_BENEATH, _RESOLVE_NO_MAGICLINKS = 0x08, 0x02
# Unlike `_call`, it lets other threads run meanwhile.
_waiting_call = ctypes.CDLL(None, use_errno=True).syscall if _HAS_NUMBERS else None
# How often to retry when others rename folders on the path.
_ATTEMPTS = 100
# Only identifies a folder, which can't be read through it.
PLACE = FOLDER | getattr(os, "O_PATH", 0)


def open_beneath(folder: int, path: str, flags: int) -> int:
    """Open a path in one step that no link can lead out of a folder.

    Raises
    ------
    OSError
        EXDEV if a link on the path leads out, or is absolute.
    """
    how = ctypes.byref(_How(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS))
    number = errno.EAGAIN
    for _ in range(_ATTEMPTS):
        descriptor: int = _waiting_call(_OPENAT2, folder, os.fsencode(path), how, 24)  # type: ignore[misc]
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EAGAIN:
            break
    raise OSError(number, os.strerror(number), path)


def _can_confine() -> bool:
    """Whether the kernel has ``openat2`` (Linux 5.6), and descriptors of folders have paths."""
    if _waiting_call is None or not os.path.isdir("/proc/self/fd"):
        return False
    folder = os.open("/", PLACE)
    try:
        os.close(open_beneath(folder, ".", PLACE))
    except OSError:
        return False
    finally:
        os.close(folder)
    return True


CAN_CONFINE = _can_confine()


def close_quietly(descriptor: int) -> None:
    """Close a descriptor for reading, or of a folder, and ignore a failure, which doesn't matter."""
    try:
        os.close(descriptor)
    except OSError:
        pass


# -- reading --------------------------------------------------------------------------------------


if sys.platform != "win32":
    _pread = os.pread

    def _pwrite(descriptor: int, data: Data, start: int, /) -> int:
        return os.pwrite(descriptor, data, start)  # looked up by each call, for tests that make it fail

else:  # reads and writes move the file's position, which threads share
    _position_lock = threading.Lock()

    def _pread(descriptor: int, size: int, start: int, /) -> bytes:
        with _position_lock:
            os.lseek(descriptor, start, os.SEEK_SET)
            return os.read(descriptor, size)

    def _pwrite(descriptor: int, data: Data, start: int, /) -> int:
        with _position_lock:
            os.lseek(descriptor, start, os.SEEK_SET)
            return os.write(descriptor, data)


def read_bytes(descriptor: int, size: int, start: int) -> bytes:
    """Return ``size`` bytes from an offset; fewer only at the end of the file."""
    data = _pread(descriptor, size, start)
    while data and len(data) < size and (more := _pread(descriptor, size - len(data), start + len(data))):
        data += more
    return data


def announce(descriptor: int, parts: Iterable[RangeByteRequest]) -> None:
    """Have the system fetch all at once the parts of a file that will be read one by one."""
    if hasattr(os, "posix_fadvise"):
        for part in parts:
            try:
                os.posix_fadvise(descriptor, part.start, part.end - part.start, os.POSIX_FADV_WILLNEED)
            except OSError:
                return  # the reads will show it


def read_value(descriptor: int, size: int, start: int, allocate: Allocate) -> tuple[Data, int]:
    """Read ``size`` bytes from an offset into memory from ``allocate``.

    Returns
    -------
    memory : bytes-like
        The bytes. They are on a device if ``allocate`` can fill its memory (`zarrstore.buffer._staging`).
    count : int
        How many were read; fewer only at the end of the file.
    """
    fill = getattr(allocate, "fill", None)
    if fill is not None:
        filled = fill(size, lambda memory, at: read_into(descriptor, memory, start + at), (descriptor, start))
        return cast("tuple[Data, int]", filled)
    # `host_memory` would do the same, with one more call.
    small = allocate is host_memory and size < recycling.SMALLEST
    memory = np.empty(size, recycling.BYTE) if small else allocate(size)
    return memory, read_into(descriptor, memory, start)


def read_into(descriptor: int, memory: npt.NDArray[np.uint8], start: int) -> int:
    """Fill memory from an offset; return how many bytes were read."""
    size = len(memory)
    if size <= _ONE_CALL and hasattr(os, "preadv"):
        done = os.preadv(descriptor, [memory], start)
        if done == size or not done:
            return done
    view = memoryview(memory)
    if size < _SHARED:
        return _fill(descriptor, view, start)
    half = size // 2 // 4096 * 4096
    other = _threads.share(lambda: _fill(descriptor, view[half:], start + half))
    first = _fill(descriptor, view[:half], start)
    second = other()
    return first + second if first == half else first


def _fill(descriptor: int, view: memoryview, start: int) -> int:
    done = 0
    while done < len(view):
        if hasattr(os, "preadv"):
            count = os.preadv(descriptor, [view[done:]], start + done)
        else:
            data = _pread(descriptor, min(len(view) - done, _ONE_CALL), start + done)
            count = len(data)
            view[done : done + count] = data
        if not count:
            break
        done += count
    return done


# -- writing --------------------------------------------------------------------------------------


def write_all(descriptor: int, data: Data, offset: int | None = None) -> None:
    """Write all bytes, at an offset or where the last write ended, in as many calls as necessary."""
    view = memoryview(data)
    if view.nbytes != len(view):
        view = view.cast("B")
    while len(view):
        count = os.write(descriptor, view) if offset is None else _pwrite(descriptor, view, offset)
        if count == len(view):
            return
        view = view[count:]
        if offset is not None:
            offset += count


def write_pieces(descriptor: int, pieces: list[Data], offset: int) -> None:
    """Write pieces one after the other, starting at an offset."""
    for first in range(0, len(pieces), _AT_ONCE):
        some = pieces[first : first + _AT_ONCE]
        size = sum(map(len, some))
        count = os.pwritev(descriptor, some, offset) if hasattr(os, "pwritev") else 0
        if count < size:  # also the sign of a full disk
            write_all(descriptor, memoryview(b"".join(some))[count:], offset + count)
        offset += size


def replace(source: str, target: str) -> None:
    """Rename a file over another one, in one step.

    On Windows this fails while any process has the other one open, so it is retried for four seconds.
    """
    for seconds in () if MOVES_OPEN else _PATIENCE:
        try:
            return os.replace(source, target)
        except PermissionError:
            if os.path.isdir(target):
                raise
        time.sleep(seconds)
    os.replace(source, target)
    return None


def name_new(source: str, target: str) -> None:
    """Give a file a name that isn't taken.

    It also keeps its old name if the file system has hard links.

    Raises
    ------
    FileExistsError
        If the name is taken.
    OSError
        With an errno of `UNABLE`, if the file system can't do that in one step.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_new(source, target)


def _rename_new(source: str, target: str) -> None:
    """Rename a file unless the target exists, in one step: a placeholder might be left behind."""
    if sys.platform == "win32":
        os.rename(source, target)  # never replaces
    elif number := renameat2(source, target):
        raise OSError(number, os.strerror(number), target)


def renameat2(source: str, target: str) -> int:
    """Rename a file with Linux's ``renameat2`` unless the target exists; return the error number or 0."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "renameat2"):
        return errno.ENOSYS
    no_replace = 1
    if libc.renameat2(HERE, os.fsencode(source), HERE, os.fsencode(target), no_replace) == 0:
        return 0
    return ctypes.get_errno()


# -- locking --------------------------------------------------------------------------------------


def lock(descriptor: int) -> bool:
    """Lock a file or folder without waiting; return False if the file system has no locks.

    The lock is ``flock``; on Windows it is on a byte far beyond the end of the file. The kernel releases it
    when its holder closes the file or dies.

    Raises
    ------
    BlockingIOError
        If another process or another descriptor holds it.
    """
    try:
        if sys.platform == "win32":
            _lock_byte(descriptor, msvcrt.LK_NBLCK)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


if sys.platform == "win32":

    def _lock_byte(descriptor: int, mode: int) -> None:
        with _position_lock:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, mode, 1)
            except PermissionError as error:
                raise BlockingIOError(error.errno, error.strerror) from None
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)


def unlock(descriptor: int) -> None:
    """Unlock a file, if it is locked."""
    try:
        if sys.platform == "win32":
            _lock_byte(descriptor, msvcrt.LK_UNLCK)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError:
        pass


def unlock_and_close(descriptor: int) -> None:
    """Unlock and close a file; closing alone would leave the lock with a forked child that inherited it."""
    unlock(descriptor)
    os.close(descriptor)


# -- file systems ---------------------------------------------------------------------------------

# File systems that need another machine, or a program, to look up names and to read.
_DISTANT = (
    "nfs",
    "cifs",
    "smb",
    "fuse",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "9p",
    "afs",
    "glusterfs",
    "panfs",
)


def file_system(path: str) -> str:
    """Return the kernel's name for the type of a path's file system; empty if unknown."""
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


def is_memory(kind: str) -> bool:
    """Whether a file system of this type is in memory, so that calls never wait."""
    return kind in ("tmpfs", "ramfs")


def is_distant(kind: str) -> bool:
    """Whether a file system of this type is reached over a network or through another program."""
    return kind.startswith(_DISTANT)
