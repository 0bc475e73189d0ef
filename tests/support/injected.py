"""What goes wrong below a store: system calls that fail, kills at any moment, a loss of power as a model.

Functions of ``os`` fail in this process: all calls, the nth or the first few. A `Recorder` stands for ``os``
in the modules that write, and after each call has what is on the disk looked at, as a kill would leave it.
A `Medium` is what a loss of power leaves of folders. `traced` tells a program's system calls, by strace.
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
    """Makes the nth call of one function of ``os`` below a folder raise."""

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
    """Makes calls of a function of ``os`` fail, all of them or the first few."""

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
    """No hard links, and no rename that never replaces."""
    patch.setattr(_files, "renameat2", lambda source, target: errno.EINVAL)
    return Refusing(patch, "link", number)


def refuse_folder_sync(patch, number):
    """No sync of a folder."""
    real = os.fsync

    def call(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    patch.setattr(os, "fsync", call)


def litter(root):
    """Temporary files that a call left below a folder."""
    return [p for p in Path(root).rglob("*") if is_temporary(p.name)]


class Recorder:
    """Stands in for ``os`` in the writing modules and keeps what each call leaves on the disk."""

    def __init__(self, check):
        self.check = check
        self.checking = False
        self.calls = 0

    def __getattr__(self, name):
        return getattr(os, name)

    def pwrite(self, descriptor, data, position):
        data = bytes(data)
        # A kill can come within a call, too: between any two sectors.
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
    """What a folder's tree would be after a loss of power: each folder's names as they were last synced."""

    def __init__(self, top):
        self.top = top
        self.synced = []
        self.names = {}
        self.files = set()
        self.keep(top)

    def keep(self, folder):
        self.names[os.stat(folder).st_ino] = {entry.name: entry.inode() for entry in os.scandir(folder)}

    def sync(self, descriptor):
        """Stand for `os.fsync`."""
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
        """Whether a path below the top leads to what has it now; or is absent, as it is now."""
        inode = os.stat(self.top).st_ino
        for name in path.relative_to(self.top).parts:
            inode = self.names.get(inode, {}).get(name)
            if inode is None:
                return not path.exists()
        return path.exists() and path.stat().st_ino == inode


def traced(code, folder, calls):
    """Run a program under strace; returns the lines that tell its calls of these names."""
    trace = folder / "trace"
    command = ["strace", "-f", "-y", "-o", trace, "-e", f"trace={calls}", sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    return trace.read_text().splitlines()
