"""The way to cupy, which is imported on first use: what says that it, a GPU or a fresh process is missing."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, TypeAlias

from zarrstore.errors import ForkError, MissingDependencyError

# What comes from cupy and kvikio, which have no types: modules, arrays on a device, streams, events.
Untyped: TypeAlias = Any


class _Driver:
    """Whether this process has used a GPU's driver, and whether it is a child of one that had."""

    used = False
    dead = False

    @classmethod
    def after_fork(cls) -> None:
        """Remember in the child that the driver, which doesn't survive a fork, can't be used here."""
        cls.dead = cls.used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Driver.after_fork)


def cupy() -> Untyped:
    """Return the package cupy.

    Raises
    ------
    MissingDependencyError
        If it isn't installed, or finds no GPU.
    ForkError
        If the parent of this process used a GPU before it forked.
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
    """Raise unless there is a device; asked until there is one."""
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
    """Whether an array is in a GPU's memory."""
    return hasattr(array, "__cuda_array_interface__")
