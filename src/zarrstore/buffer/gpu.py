"""Buffers in GPU memory, based on CuPy arrays. Using this needs cupy and a GPU; importing it doesn't."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from zarrstore._core.later import np
from zarrstore.buffer import _core, _nd
from zarrstore.buffer._cupy import cupy, is_on_device

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    import numpy.typing as npt

    from zarrstore._core.types import BufferLike
    from zarrstore.buffer._cupy import Untyped

__all__ = ["Buffer", "NDBuffer", "buffer_prototype"]


def device_array(value: object) -> Untyped:
    """Return the contents of any buffer or array as a CuPy array; copies only from the host."""
    array = value.as_array_like() if hasattr(value, "as_array_like") else value
    if not is_on_device(array):
        array = value.as_numpy_array() if hasattr(value, "as_numpy_array") else value
    return cupy().asarray(array)


class Buffer(_core.Buffer):
    """A flat block of bytes in GPU memory.

    Parameters
    ----------
    array_like : array
        One-dimensional, contiguous array of dtype uint8. One with ``__cuda_array_interface__`` is kept, not
        copied; one in host memory is copied to the device.
    """

    __slots__ = ()

    def __init__(self, array_like: object) -> None:
        super().__init__(device_array(array_like))

    @classmethod
    def create_zero_length(cls) -> Self:
        """Make an empty buffer."""
        return cls(cupy().empty(0, "B"))

    @classmethod
    def from_buffer(cls, buffer: BufferLike) -> Self:
        """Make a device buffer from any buffer; only bytes on the host are copied."""
        return cls(device_array(buffer))

    @classmethod
    def from_bytes(cls, bytes_like: _core.BytesLike) -> Self:
        """Make a buffer by copying an object with the buffer protocol to the device."""
        return cls(np.frombuffer(bytes_like, "B"))

    def as_numpy_array(self) -> npt.NDArray[np.uint8]:
        """Return a copy in host memory."""
        array: npt.NDArray[np.uint8] = cupy().asnumpy(self._data)
        return array

    def combine(self, others: Iterable[BufferLike]) -> Self:
        """Concatenate this buffer and others, which may be on the host, into a new one."""
        return type(self)(cupy().concatenate([self._data, *map(device_array, others)]))

    def __setitem__(self, key: slice, value: object) -> None:
        super().__setitem__(key, device_array(value))


class NDBuffer(_nd.NDBuffer):
    """An n-dimensional array in GPU memory.

    Parameters
    ----------
    array : array
        Kept if it is on a device, otherwise copied there.
    """

    __slots__ = ()

    def __init__(self, array: object) -> None:
        dtype = getattr(array, "dtype", None)
        if dtype == object:  # noqa: E721 - a dtype, which equals the type of its elements
            raise TypeError("a device holds no array of Python objects")
        super().__init__(cupy().asarray(array))

    @classmethod
    def create(
        cls,
        *,
        shape: Iterable[int],
        dtype: npt.DTypeLike,
        order: Literal["C", "F"] = "C",
        fill_value: object = None,
    ) -> Self:
        """Make an array filled with a value, zero by default."""
        made = cls.empty(tuple(shape), dtype, order)
        made.fill(0 if fill_value is None else fill_value)
        return made

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: npt.DTypeLike, order: Literal["C", "F"] = "C") -> Self:
        """Make an array with arbitrary contents."""
        return cls(cupy().empty(shape, dtype, order=order))

    @classmethod
    def from_numpy_array(cls, array_like: npt.ArrayLike) -> Self:
        """Make a buffer by copying anything that NumPy accepts as an array to the device."""
        return cls(np.asanyarray(array_like))

    def as_numpy_array(self) -> npt.NDArray[Any]:
        """Return a copy in host memory."""
        array: npt.NDArray[Any] = cupy().asnumpy(self._data)
        return array

    def as_scalar(self) -> object:
        """Return the only element, as a NumPy scalar.

        Raises
        ------
        ValueError
            If there isn't exactly one element.
        """
        return _nd.NDBuffer(self.as_numpy_array()).as_scalar()

    def __getitem__(self, key: Untyped) -> Self:
        return type(self)(self._data[key])

    def __setitem__(self, key: Untyped, value: object) -> None:
        if hasattr(value, "as_ndarray_like"):
            value = value.as_ndarray_like()
        self._data[key] = cupy().asarray(value) if isinstance(value, np.ndarray) else value


buffer_prototype: _core.BufferPrototype = _core.BufferPrototype(buffer=Buffer, nd_buffer=NDBuffer)
