"""Single files: opening without waiting, reading and writing whole, creating, what lies under them."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import time
from typing import Any

from zarrstore._async import threads as _threads

_CLOEXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# O_NONBLOCK, since opening a pipe would wait for somebody at its other end.
READ = os.O_RDONLY | _CLOEXEC | getattr(os, "O_NONBLOCK", 0)
MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC
MODIFY = os.O_WRONLY | _CLOEXEC | getattr(os, "O_NONBLOCK", 0)
FOLDER = os.O_RDONLY | _CLOEXEC | getattr(os, "O_DIRECTORY", 0)

# Read only what the page cache holds (Linux); 0 where the system has no such thing.
NOWAIT = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "preadv") else 0

# Values of at least so many bytes are read by two threads: one copies 4 GB/s into fresh memory,
# two copy 7, and more than two get in each other's way.
_SHARED = 8 << 20

# Values up to this size, in bytes, nearly always come at once.
_USUAL = 1 << 20

# Seconds to wait for somebody to close a file when there are too many open ones, in steps that double.
_PATIENCE = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0)
_TOO_MANY = (errno.EMFILE, errno.ENFILE)


def open_patiently(path: str, flags: int, mode: int = 0o666) -> int:
    """Open a file; where too many are open already, wait for others to be closed."""
    try:
        return os.open(path, flags, mode)
    except OSError as error:
        if error.errno not in _TOO_MANY:
            raise
    for seconds in _PATIENCE:
        time.sleep(seconds)
        try:
            return os.open(path, flags, mode)
        except OSError as error:
            if error.errno not in _TOO_MANY:
                raise
    return os.open(path, flags, mode)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


# Linux's openat2, of which Python has no binding, by its number.
_OPENAT2 = 437
_HAS_NUMBERS = sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64")
_call = ctypes.PyDLL(None, use_errno=True).syscall if _HAS_NUMBERS else None
_RESOLVE_CACHED = 0x20
_how = _How(READ, 0, _RESOLVE_CACHED)
_how_cached = ctypes.byref(_how)

HERE = -100  # AT_FDCWD: relative to no open folder


def open_cached(path: str, folder: int = HERE) -> int:
    """Open a file for reading if that needs no disk: -1 if it would, -2 if there is positively none.

    Parameters
    ----------
    path : str
        Which file.
    folder : int
        Descriptor of a folder that the path is relative to.
    """
    descriptor: int = _call(_OPENAT2, folder, os.fsencode(path), _how_cached, 24)  # type: ignore[misc]
    if descriptor >= 0:
        return descriptor
    return -2 if ctypes.get_errno() == errno.ENOENT else -1


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


def read_into(descriptor: int, memory: Any, start: int) -> int:
    """Fill memory from an offset on; returns how many bytes there were."""
    if len(memory) <= _USUAL and hasattr(os, "preadv"):
        done = os.preadv(descriptor, [memory], start)
        if done == len(memory) or not done:  # what a small read is nearly always
            return done
    view = memoryview(memory).cast("B")
    size = len(view)
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
            count = os.preadv(descriptor, [view[done:] if done else view], start + done)
        else:  # Windows, where a file's own position is all there is
            data = _pread(descriptor, len(view) - done, start + done)
            count = len(data)
            view[done : done + count] = data
        if not count:
            break
        done += count
    return done


def _pread(descriptor: int, size: int, start: int) -> bytes:
    os.lseek(descriptor, start, os.SEEK_SET)
    return os.read(descriptor, size)


def write_all(descriptor: int, piece: Any, offset: int | None = None) -> None:
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


def rename_new(source: str, target: str) -> None:
    """Rename unless the target exists, where hard links don't exist.

    Linux does it in one step (``renameat2`` with ``RENAME_NOREPLACE``), and Windows' rename never
    replaces. Elsewhere an empty file reserves the name first: still only one wins.
    """
    if sys.platform == "win32":
        os.rename(source, target)
        return
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "renameat2"):
            at_here, no_replace = -100, 1
            if libc.renameat2(at_here, os.fsencode(source), at_here, os.fsencode(target), no_replace) == 0:
                return
            number = ctypes.get_errno()
            if number not in (errno.EINVAL, errno.ENOSYS):
                raise OSError(number, os.strerror(number), target)
    os.close(os.open(target, MAKE, 0o666))
    os.replace(source, target)


# Where looking up a name or reading may ask another machine, or a program.
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


def is_memory(kind: str) -> bool:
    """Whether a file system of this type lies in memory, where nothing waits."""
    return kind in ("tmpfs", "ramfs")


def is_distant(kind: str) -> bool:
    """Whether a file system of this type lies at the other end of a network, or of a program."""
    return kind.startswith(_DISTANT)
