"""Imports cupy on first use; raises an error if cupy or a GPU is missing, or after a fork."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

from zarrstore._core.forks import in_forked_child
from zarrstore.errors import ForkError, MissingDependencyError

# Types of cupy and kvikio, which have no annotations: modules, arrays on a device, streams, events.
Untyped: TypeAlias = Any


class _Driver:
    """Whether this process has used a GPU's driver, and whether its parent had before the fork."""

    used = False
    dead = False

    @classmethod
    def after_fork(cls) -> None:
        """Mark the driver as unusable in the child, since it doesn't survive a fork."""
        cls.dead = cls.used


in_forked_child(_Driver.after_fork)


def cupy() -> Untyped:
    """Return the package cupy.

    Raises
    ------
    MissingDependencyError
        If it isn't installed, or finds no GPU.
    ForkError
        If the parent process used a GPU before it forked.
    """
    try:
        import cupy
    except ImportError as error:
        raise MissingDependencyError(
            "buffers on a GPU need the package cupy.", hint="pip install 'zarrstore[gpu]'"
        ) from error
    if _Driver.dead:
        raise ForkError(
            "a GPU was used before this process was forked off, and can't be used here.",
            hint="Start processes by 'spawn' or 'forkserver': "
            "multiprocessing.set_start_method('forkserver').",
        )
    _find_device(cupy)
    return cupy


@cache
def _find_device(cupy: Untyped) -> None:
    """Raise unless there is a device; checked until there is one."""
    runtime = cupy.cuda.runtime
    try:
        found, reason = runtime.getDeviceCount(), "it counts none"
    except runtime.CUDARuntimeError as error:
        found, reason = 0, str(error)
    if not found:
        raise MissingDependencyError(
            f"buffers on a GPU need a GPU, and cupy finds none: {reason}.",
            hint="Run this where there is one, with a driver for the CUDA version that cupy was built for.",
        )
    _Driver.used = True


def is_on_device(array: object) -> bool:
    """Whether an array is in GPU memory."""
    return hasattr(array, "__cuda_array_interface__")
