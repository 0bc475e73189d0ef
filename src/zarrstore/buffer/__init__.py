"""Buffers: what stores give and take. `cpu` holds the host's, `gpu` the devices'."""

from zarrstore.buffer import cpu, gpu
from zarrstore.buffer._core import ArrayLike, Buffer, BufferPrototype, BytesLike

__all__ = [
    "ArrayLike",
    "Buffer",
    "BufferPrototype",
    "BytesLike",
    "cpu",
    "default_buffer_prototype",
    "gpu",
]


def default_buffer_prototype() -> BufferPrototype:
    """Return the prototype that is used where none is given: host memory."""
    return cpu.buffer_prototype
