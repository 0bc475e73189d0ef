"""GPUDirect Storage: a device fetches a file's bytes past the host's memory, where kvikio is installed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zarrstore.buffer._cupy import Untyped

# Values of at least so many bytes are read so; for smaller ones a pinned block is quicker than the driver.
LEAST = 4 << 20


@cache
def _kvikio() -> Untyped:
    """Return the package kvikio, or None where it isn't installed or its libraries don't load."""
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
        What to fill.
    descriptor : int
        The open file.
    start : int
        Where in the file, in bytes.
    after : cupy.cuda.Event
        What must have happened before the array is written to: the driver knows no streams here.
    """
    if array.nbytes < LEAST or (kvikio := _kvikio()) is None:
        return False
    try:
        # In its compatible mode kvikio reads into host memory and copies, as we do with less ado.
        if kvikio.defaults.is_compat_mode_preferred():
            return False
        after.synchronize()
        # kvikio opens by name, and by this name the very file that is open, whatever has replaced it since.
        with kvikio.CuFile(f"/proc/self/fd/{descriptor}", "r") as file:
            count = file.pread(array, array.nbytes, start).get()
    except Exception:
        # The file system may not have it, or the driver may fail: the other way says what is wrong, if
        # anything is wrong with the file.
        return False
    return bool(count == array.nbytes)
