"""Simulates what Windows and macOS lack or forbid, since no test runs on them.

`become` must be called before zarrstore is imported, which then sees no call that the system lacks. For
Windows the rules for open files apply, too: an open file can't be renamed, replaced or removed, and a folder
can't be opened.
"""

import asyncio
import concurrent.futures.thread
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import types  # all of these check the platform when they are imported

import numpy

LOADED = (asyncio, concurrent.futures.thread, numpy, subprocess, tempfile, threading)

_ABSENT_ON_MACOS = ["RWF_NOWAIT", "posix_fadvise", "O_PATH", "fdatasync", "sched_getaffinity"]
_ABSENT_ON_WINDOWS = [
    *_ABSENT_ON_MACOS,
    *["pread", "preadv", "pwrite", "pwritev", "fork", "register_at_fork", "statvfs", "uname", "getuid"],
    *["O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "sendfile"],
]


def become(system):
    """Remove what "windows" or "macos" lacks."""
    windows = system == "windows"
    for name in _ABSENT_ON_WINDOWS if windows else _ABSENT_ON_MACOS:
        if hasattr(os, name):
            delattr(os, name)
    if windows:
        sys.modules["msvcrt"] = _msvcrt()
        sys.modules["fcntl"] = None
        shutil._use_fd_functions = False
        os.supports_dir_fd = set()
        _forbid()
    sys.platform = "win32" if windows else "darwin"


def _msvcrt():
    """Windows's module for locks, on top of this system's locks."""
    import fcntl

    module = types.ModuleType("msvcrt")
    module.LK_NBLCK, module.LK_UNLCK = 2, 0

    def locking(descriptor, mode, size):
        assert size == 1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN if mode == 0 else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None

    module.locking = locking
    return module


def _forbid():
    """Make calls fail as on Windows."""
    real = {name: getattr(os, name) for name in ("open", "replace", "rename", "unlink", "rmdir")}

    def is_open(path):
        wanted = os.path.abspath(os.fspath(path))
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}") == wanted:
                    return True
            except OSError:
                continue
        return False

    def shared(path):
        error = PermissionError(13, "The process cannot access the file because it is being used", path)
        error.winerror = 32
        return error

    def check(*paths):
        for path in paths:
            if is_open(path):
                raise shared(path)

    def open_file(path, flags, mode=0o777, **keywords):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        return real["open"](path, flags, mode, **keywords)

    def replace(source, target, **keywords):
        check(source, target)
        if os.path.isdir(target):
            raise PermissionError(13, "Access is denied", target)
        real["replace"](source, target, **keywords)

    def rename(source, target, **keywords):
        check(source, target)
        if os.path.lexists(target):
            raise FileExistsError(17, "Cannot create a file when that file already exists", target)
        real["rename"](source, target, **keywords)

    def unlink(path, **keywords):
        check(path)
        if os.path.lexists(path) and stat.S_ISDIR(os.lstat(path).st_mode):
            raise PermissionError(13, "Access is denied", path)
        real["unlink"](path, **keywords)

    os.open, os.replace, os.rename, os.unlink, os.remove = open_file, replace, rename, unlink, unlink
