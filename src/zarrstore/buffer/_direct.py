"""GPUDirect Storage: a device reads a file without a copy through host memory, if kvikio is installed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zarrstore.buffer._cupy import Untyped

# Least size in bytes of values read this way; for smaller ones a pinned block is faster than the driver.
LEAST = 4 << 20


@cache
def _kvikio() -> Untyped:
    """Return the package kvikio, or None if it isn't installed or its libraries don't load."""
    try:
        import kvikio
        import kvikio.defaults
    except Exception:
        return None
    return kvikio


def read(array: Untyped, descriptor: int, start: int, *, after: Untyped) -> bool:
    """Try to fill an array on a device from an open file; False means that another way is needed.

    Parameters
    ----------
    array : cupy.ndarray
        The array to fill.
    descriptor : int
        The open file.
    start : int
        Offset in the file, in bytes.
    after : cupy.cuda.Event
        The event to wait for before writing to the array, as the driver doesn't support streams here.
    """
    if array.nbytes < LEAST or (kvikio := _kvikio()) is None:
        return False
    try:
        # In compatibility mode kvikio reads into host memory and copies; our own code does so at lower cost.
        if kvikio.defaults.is_compat_mode_preferred():
            return False
        after.synchronize()
        # kvikio opens files by name. This name always refers to the open file, even if it has been replaced.
        with kvikio.CuFile(f"/proc/self/fd/{descriptor}", "r") as file:
            count = file.pread(array, array.nbytes, start).get()
    except Exception:
        # The file system may not support this, or the driver may fail. If something is wrong with the file,
        # the other way reports it.
        return False
    return bool(count == array.nbytes)
