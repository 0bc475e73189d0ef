"""Buffers in host memory, based on NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._core.later import np
from zarrstore.buffer import _core
from zarrstore.buffer._nd import NDBuffer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    import numpy.typing as npt

    from zarrstore._core.types import BufferLike

__all__ = ["Buffer", "NDBuffer", "buffer_prototype", "numpy_buffer_prototype"]


class Buffer(_core.Buffer):
    """A flat block of bytes in host memory.

    Parameters
    ----------
    array_like : numpy.ndarray
        One-dimensional, contiguous array of dtype uint8; kept, not copied.
    """

    __slots__ = ()

    @classmethod
    def create_zero_length(cls) -> Self:
        """Make an empty buffer."""
        return cls(np.empty(0, "B"))

    @classmethod
    def from_buffer(cls, buffer: BufferLike) -> Self:
        """Make a host buffer from any buffer; only bytes on a device are copied."""
        return cls(buffer.as_numpy_array())

    @classmethod
    def from_bytes(cls, bytes_like: _core.BytesLike) -> Self:
        """Make a buffer that shares the memory of an object with the buffer protocol."""
        return cls(np.frombuffer(bytes_like, "B"))

    def as_numpy_array(self) -> npt.NDArray[np.uint8]:
        """Return the underlying array without a copy."""
        return np.asanyarray(self._data)

    def combine(self, others: Iterable[BufferLike]) -> Self:
        """Concatenate this buffer and others into a new one."""
        return type(self)(np.concatenate([self._data, *(other.as_numpy_array() for other in others)]))


buffer_prototype: _core.BufferPrototype = _core.BufferPrototype(buffer=Buffer, nd_buffer=NDBuffer)


def numpy_buffer_prototype() -> _core.BufferPrototype:
    """Return the prototype for buffers in host memory."""
    return buffer_prototype
