"""A stand-in for kvikio on the stand-in for cupy: its files record reads, and fail on demand."""

import os
import sys
import types

from zarrstore.buffer import _direct

reads = []  # (path, size, offset)


def install(monkeypatch, *, compat=False, fails=None, short=0):
    """Let ``import kvikio`` find this.

    Parameters
    ----------
    compat : bool
        Whether it claims to read through the host.
    fails : {None, "open", "read"}
        What fails.
    short : int
        By how many bytes each read falls short.
    """

    class Future:
        def __init__(self, count):
            self.count = count

        def get(self):
            if fails == "read":
                raise RuntimeError("KvikIO failure: cuFile error")
            return self.count

    class CuFile:
        def __init__(self, file, flags="r"):
            if fails == "open":
                raise RuntimeError("KvikIO failure: the file system has no such reads")
            assert flags == "r"
            self.path = os.readlink(file)
            self.descriptor = os.open(file, os.O_RDONLY)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            os.close(self.descriptor)

        def pread(self, buf, size=None, file_offset=0, task_size=None):
            reads.append((self.path, size, file_offset))
            data = os.pread(self.descriptor, size - short, file_offset)
            buf.held[: len(data)] = memoryview(data)
            return Future(len(data))

    module = types.ModuleType("kvikio")
    module.CuFile = CuFile
    module.defaults = types.ModuleType("kvikio.defaults")
    module.defaults.is_compat_mode_preferred = lambda: compat
    monkeypatch.setitem(sys.modules, "kvikio", module)
    monkeypatch.setitem(sys.modules, "kvikio.defaults", module.defaults)
    _direct._kvikio.cache_clear()
    reads.clear()
