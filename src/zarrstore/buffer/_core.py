"""The base of all buffers, wherever their memory is: flat, contiguous, untyped bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from zarrstore._core import zarr_compat
from zarrstore._core.later import np, recycling

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    import numpy.typing as npt
    from zarr.core.buffer import Buffer as _Base

    from zarrstore._core.types import BufferLike
    from zarrstore.buffer._nd import NDBuffer
else:
    # Type checkers see ours as a subclass of zarr-python's, which is not imported at runtime.
    _Base = ABC


BytesLike = bytes | bytearray | memoryview


@runtime_checkable
class ArrayLike(Protocol):
    """A one-dimensional array of bytes, on the host or on a device."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        ...

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        ...

    @property
    def size(self) -> int:
        """Number of elements."""
        ...

    def __getitem__(self, key: slice) -> Self: ...
    def __setitem__(self, key: slice, value: object) -> None: ...

    def copy(self) -> Self:
        """Return a copy."""
        ...


class Buffer(_Base):
    """A flat, contiguous block of bytes in the memory of the host or of a device.

    Lengths and slices count bytes. Slices share memory. zarr-python accepts an instance as one of its own.

    Parameters
    ----------
    array_like : ArrayLike
        One-dimensional, contiguous array of dtype uint8; kept, not copied.

    Raises
    ------
    ValueError
        If the array has another number of dimensions or another dtype.
    """

    __slots__ = ("_data",)

    _data: npt.NDArray[np.uint8]  # or an array on a device, which is typed as one

    def __init__(self, array_like: ArrayLike) -> None:
        self._data = array_like  # type: ignore[assignment]
        # The usual case; `is` is faster than a comparison.
        if array_like.dtype is recycling.BYTE and array_like.ndim == 1:
            return
        if array_like.ndim != 1:
            raise ValueError(f"a buffer needs one dimension, got {array_like.ndim}; use reshape(-1)")
        if array_like.dtype != recycling.BYTE:
            raise ValueError(f"a buffer needs bytes (uint8), got {array_like.dtype}; use view('B')")

    @property
    def __class__(self) -> type[Self]:
        # isinstance() reads this, also when zarr-python calls it: see `zarr_compat`.
        zarr_compat.register_buffer(Buffer)
        return type(self)

    @__class__.setter
    def __class__(self, value: type[Self]) -> None:
        object.__dict__["__class__"].__set__(self, value)

    @classmethod
    @abstractmethod
    def create_zero_length(cls) -> Self:
        """Make an empty buffer."""

    @classmethod
    def from_array_like(cls, array_like: ArrayLike) -> Self:
        """Make a buffer that shares an array's memory.

        Parameters
        ----------
        array_like : ArrayLike
            One-dimensional, contiguous array of dtype uint8.
        """
        return cls(array_like)

    @classmethod
    @abstractmethod
    def from_buffer(cls, buffer: BufferLike) -> Self:
        """Make a buffer of this class from another buffer; copies only between host and device."""

    @classmethod
    @abstractmethod
    def from_bytes(cls, bytes_like: BytesLike) -> Self:
        """Make a buffer from an object with the buffer protocol."""

    def as_array_like(self) -> npt.NDArray[np.uint8]:
        """Return the underlying array without a copy."""
        return self._data

    @abstractmethod
    def as_numpy_array(self) -> npt.NDArray[np.uint8]:
        """Return the bytes as a NumPy array; copies only if they are on a device."""

    def as_buffer_like(self) -> memoryview:
        """Return an object with the buffer protocol over the bytes."""
        return self.as_numpy_array().data

    def to_bytes(self) -> bytes:
        """Return a copy as `bytes`."""
        return self.as_numpy_array().tobytes()

    def __getitem__(self, key: slice) -> Self:
        _check_slice(key)
        return type(self)(self._data[key])

    def __setitem__(self, key: slice, value: BufferLike | npt.ArrayLike) -> None:
        _check_slice(key)
        self._data[key] = value.as_array_like() if hasattr(value, "as_array_like") else value

    def __len__(self) -> int:
        return int(self._data.size)

    @abstractmethod
    def combine(self, others: Iterable[BufferLike]) -> Self:
        """Concatenate this buffer and others into a new one."""

    def __add__(self, other: BufferLike) -> Self:
        return self.combine([other])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (bytes, bytearray, memoryview)):
            return self.to_bytes() == other
        if not hasattr(other, "as_numpy_array"):
            return NotImplemented
        return np.array_equal(self.as_numpy_array(), other.as_numpy_array())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} of {len(self)} bytes>"

    def __buffer__(self, flags: int) -> memoryview:
        return self.as_numpy_array().data

    def __bytes__(self) -> bytes:
        return self.to_bytes()


def _check_slice(key: object) -> None:
    if not isinstance(key, slice):
        raise TypeError(f"a buffer is indexed by a slice, not by {type(key).__name__}")
    if key.step not in (None, 1):
        raise ValueError(f"a buffer's slices are contiguous; got a step of {key.step}")


class BufferPrototype(NamedTuple):
    """The two classes that a reader wants its results in.

    Attributes
    ----------
    buffer : type
        Class of flat buffers, which stores return.
    nd_buffer : type
        Class of n-dimensional buffers, which codecs make from them; stores never use it.
    """

    buffer: type[Buffer]
    nd_buffer: type[NDBuffer]
