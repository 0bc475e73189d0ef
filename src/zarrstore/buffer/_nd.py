"""N-dimensional buffers in host memory, for codecs: the other half of a prototype. Stores never make one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from zarrstore._core import zarr_compat
from zarrstore._core.later import np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self, SupportsIndex

    import numpy.typing as npt

    Index: TypeAlias = Any  # whatever NumPy accepts as an index


@runtime_checkable
class NDArrayLike(Protocol):
    """An n-dimensional array, on the host or on a device."""

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

    @property
    def shape(self) -> tuple[int, ...]:
        """Length in each dimension."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, key: Index) -> Self: ...
    def __setitem__(self, key: Index, value: object) -> None: ...
    def __array__(self) -> npt.NDArray[Any]: ...

    def reshape(
        self, shape: tuple[int, ...], *, order: Literal["A", "C", "F"] | None = "C", copy: bool | None = None
    ) -> Self:
        """Return a view with another shape."""

    def view(self, dtype: np.dtype[Any]) -> Self:
        """Return a view with another element type."""

    def astype(
        self, dtype: np.dtype[Any], order: Literal["K", "A", "C", "F"] = "K", *, copy: bool = True
    ) -> Self:
        """Return the elements with another type."""

    def fill(self, value: object) -> None:
        """Set every element."""

    def copy(self) -> Self:
        """Return a copy."""

    def transpose(self, axes: SupportsIndex | Sequence[SupportsIndex] | None) -> Self:
        """Return a view with the dimensions permuted."""

    def ravel(self, order: Literal["K", "A", "C", "F"] = "C") -> Self:
        """Return the elements as a one-dimensional array."""

    def all(self) -> np.bool_ | bool:
        """Whether all elements are true."""
        ...


class NDBuffer:
    """An n-dimensional array in host memory.

    Parameters
    ----------
    array : numpy.ndarray
        The array; kept, not copied.
    """

    __slots__ = ("_data",)

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._data = array

    @property
    def __class__(self) -> type[Self]:
        zarr_compat.register_nd_buffer(NDBuffer)
        return type(self)

    @__class__.setter
    def __class__(self, value: type[Self]) -> None:
        object.__dict__["__class__"].__set__(self, value)

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
        array = np.zeros(tuple(shape), dtype, order=order)
        if fill_value is not None and not (isinstance(fill_value, int) and fill_value == 0):
            array[...] = fill_value
        return cls(array)

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: npt.DTypeLike, order: Literal["C", "F"] = "C") -> Self:
        """Make an array with arbitrary contents."""
        return cls(np.empty(shape, dtype, order=order))

    @classmethod
    def from_ndarray_like(cls, ndarray_like: npt.NDArray[Any]) -> Self:
        """Make a buffer that shares an array's memory."""
        return cls(ndarray_like)

    @classmethod
    def from_numpy_array(cls, array_like: npt.ArrayLike) -> Self:
        """Make a buffer from anything that NumPy accepts as an array."""
        return cls(np.asanyarray(array_like))

    def as_ndarray_like(self) -> npt.NDArray[Any]:
        """Return the underlying array without a copy."""
        return self._data

    def as_numpy_array(self) -> npt.NDArray[Any]:
        """Return the underlying array."""
        return np.asanyarray(self._data)

    def as_scalar(self) -> object:
        """Return the only element.

        Raises
        ------
        ValueError
            If there isn't exactly one element.
        """
        if self._data.size != 1:
            raise ValueError(f"an array of {self._data.size} elements is no scalar")
        return self._data[()] if self._data.ndim == 0 else self._data.reshape(())[()]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._data.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        return tuple(self._data.shape)

    @property
    def byteorder(self) -> Literal["little", "big"]:
        """Byte order of the elements, ``"little"`` or ``"big"``."""
        order = self.dtype.byteorder
        if order == "=":
            import sys

            return sys.byteorder
        return "big" if order == ">" else "little"

    def reshape(self, newshape: tuple[int, ...] | Literal[-1]) -> Self:
        """Return a view with another shape."""
        return type(self)(self._data.reshape(newshape))

    def squeeze(self, axis: tuple[int, ...]) -> Self:
        """Return a view without the given dimensions."""
        return type(self)(self._data.squeeze(axis))

    def astype(self, dtype: npt.DTypeLike, order: Literal["K", "A", "C", "F"] = "K") -> Self:
        """Return a copy with another element type."""
        return type(self)(self._data.astype(dtype, order=order))

    def transpose(self, axes: SupportsIndex | Sequence[SupportsIndex] | None) -> Self:
        """Return a view with the dimensions permuted."""
        return type(self)(self._data.transpose(axes))

    def copy(self) -> Self:
        """Return a copy."""
        return type(self)(self._data.copy())

    def fill(self, value: object) -> None:
        """Set every element."""
        self._data.fill(value)

    def all_equal(self, other: object, equal_nan: bool = True) -> bool:
        """Whether every element equals other (NaN equals NaN if ``equal_nan``; +0.0 and -0.0 differ)."""
        if other is None:
            return False
        array = self.as_numpy_array()
        if array.size == 0:
            return True
        value = np.asarray(other, dtype=array.dtype)
        if array.dtype.kind == "f" and value.ndim == 0 and value == 0:
            return bool((array == 0).all() and (np.signbit(array) == np.signbit(value)).all())
        return bool(
            np.array_equal(
                array, np.broadcast_to(value, array.shape), equal_nan=equal_nan and array.dtype.kind in "fc"
            )
        )

    def __getitem__(self, key: Index) -> Self:
        return type(self)(np.asanyarray(self._data[key]))

    def __setitem__(self, key: Index, value: object) -> None:
        self._data[key] = value.as_ndarray_like() if hasattr(value, "as_ndarray_like") else value

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} {self.shape} {self.dtype}>"
