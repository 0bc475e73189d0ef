"""Faults below a store: system calls that fail, kills at any moment, a modelled power failure.

Functions of ``os`` fail in this process: all calls, the nth or the first few. A `Recorder` replaces ``os`` in
the modules that write, and after each call has the disk checked as a kill would leave it. A `Medium` is what
a power failure leaves of folders. `traced` returns a program's system calls, from strace.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

from zarrstore._os import files as _files
from zarrstore._os.temporary import is_temporary


def failing(number):
    """Make a function that always fails with this error number."""

    def call(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return call


class Failing:
    """Makes the nth call of a function of ``os`` below a folder raise."""

    def __init__(self, monkeypatch, name, error, nth=0):
        self.left, self.failed = nth, False
        real = getattr(os, name)

        def call(*args, **kwargs):
            if not self.failed and self.left == 0:
                self.failed = True
                raise error
            self.left -= 1
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)


class Refusing:
    """Makes all calls, or the first few, of a function of ``os`` fail."""

    def __init__(self, patch, name, number, times=1 << 30, where=os):
        self.calls = 0
        real = getattr(where, name)

        def call(*args, **kwargs):
            self.calls += 1
            if self.calls > times:
                return real(*args, **kwargs)
            raise OSError(number, os.strerror(number), str(args[0]))

        patch.setattr(where, name, call)


def refuse_new_names(patch, number):
    """Take away hard links, and renames that never replace."""
    patch.setattr(_files, "renameat2", lambda source, target: errno.EINVAL)
    return Refusing(patch, "link", number)


def refuse_folder_sync(patch, number):
    """Take away syncs of folders."""
    real = os.fsync

    def call(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    patch.setattr(os, "fsync", call)


def litter(root):
    """Return the temporary files that a call left below a folder."""
    return [p for p in Path(root).rglob("*") if is_temporary(p.name)]


class Recorder:
    """Replaces ``os`` in the writing modules, and has the disk checked after each call."""

    def __init__(self, check):
        self.check = check
        self.checking = False
        self.calls = 0

    def __getattr__(self, name):
        return getattr(os, name)

    def pwrite(self, descriptor, data, position):
        data = bytes(data)
        # A kill can also happen within a call, between any two sectors.
        first = 512 - position % 512
        places = range(first, len(data), 512)
        if len(places) > 6:
            places = [*places[:3], *places[-3:]]
        done = 0
        for place in places:
            if place > done:
                os.pwrite(descriptor, data[done:place], position + done)
                done = place
                self.note()
        os.pwrite(descriptor, data[done:], position + done)
        self.note()
        return len(data)

    def ftruncate(self, descriptor, size):
        os.ftruncate(descriptor, size)
        self.note()

    def replace(self, source, target):
        os.replace(source, target)
        self.note()

    def note(self):
        if not self.checking:  # the check itself writes
            self.calls += 1
            self.checking = True
            self.check()
            self.checking = False


class Medium:
    """A folder's tree as a power failure would leave it: each folder's names as last synced."""

    def __init__(self, top):
        self.top = top
        self.synced = []
        self.names = {}
        self.files = set()
        self.keep(top)

    def keep(self, folder):
        self.names[os.stat(folder).st_ino] = {entry.name: entry.inode() for entry in os.scandir(folder)}

    def sync(self, descriptor):
        """Replacement for `os.fsync`."""
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if os.path.isdir(path):
            self.synced.append(os.path.relpath(path, self.top))
            self.keep(path)
        else:
            self.files.add(path)

    def has(self, path):
        """Whether the bytes of a file were synced."""
        return str(path) in self.files

    def keeps(self, path):
        """Whether a path below the top would still lead to the same file, or still be absent."""
        inode = os.stat(self.top).st_ino
        for name in path.relative_to(self.top).parts:
            inode = self.names.get(inode, {}).get(name)
            if inode is None:
                return not path.exists()
        return path.exists() and path.stat().st_ino == inode


def traced(code, folder, calls):
    """Run a program under strace; return the lines for its calls with these names."""
    trace = folder / "trace"
    command = ["strace", "-f", "-y", "-o", trace, "-e", f"trace={calls}", sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    return trace.read_text().splitlines()
