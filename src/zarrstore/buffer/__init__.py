"""Buffers: what stores accept and return. `cpu` is for host memory, `gpu` for device memory."""

from typing import TYPE_CHECKING

from zarrstore._lazy import attach
from zarrstore.buffer import cpu, gpu
from zarrstore.buffer._core import ArrayLike, Buffer, BufferPrototype, BytesLike
from zarrstore.buffer._nd import NDArrayLike, NDBuffer
from zarrstore.buffer.cpu import numpy_buffer_prototype

if TYPE_CHECKING:
    from zarrstore.buffer._scalar import NDArrayLikeOrScalar

__all__ = [
    "ArrayLike",
    "Buffer",
    "BufferPrototype",
    "BytesLike",
    "NDArrayLike",
    "NDArrayLikeOrScalar",
    "NDBuffer",
    "cpu",
    "default_buffer_prototype",
    "gpu",
    "numpy_buffer_prototype",
]


def default_buffer_prototype() -> BufferPrototype:
    """Return the default prototype: host memory."""
    return cpu.buffer_prototype


if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(__name__, {"NDArrayLikeOrScalar": "zarrstore.buffer._scalar"}, globals())
