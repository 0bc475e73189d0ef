"""Stores values in GPU memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from zarrstore._core.requests import span
from zarrstore._core.zarr_compat import is_buffer
from zarrstore._faces.overrides import own_face
from zarrstore.buffer import gpu
from zarrstore.buffer._cupy import cupy, is_on_device
from zarrstore.storage._memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, BufferLike, Data, Value

    Array = npt.NDArray[np.uint8]


class _Kept(gpu.Buffer):
    """A stored value, and the event that marks the end of its write.

    It was written on one stream and may be read on another, which then waits for the event.
    """

    __slots__ = ("written",)

    def __init__(self, array_like: object) -> None:
        super().__init__(array_like)
        cuda = cupy().cuda
        self.written = cuda.Event(disable_timing=True)
        self.written.record(cuda.get_current_stream())

    def as_array_like(self) -> Array:
        """Return the underlying array; the caller's stream waits for the write before its next work."""
        cupy().cuda.get_current_stream().wait_event(self.written)
        return self._data

    def as_numpy_array(self) -> npt.NDArray[np.uint8]:
        """Return a copy in host memory."""
        self.as_array_like()
        return super().as_numpy_array()


class GpuMemoryStore(MemoryStore):
    """A store that keeps every value in GPU memory, wherever the value came from.

    Reads return buffers on the device without a copy if the prototype names such buffers, otherwise copies in
    host memory. Needs the package cupy.

    Parameters
    ----------
    store_dict : mutable mapping of str to zarrstore.buffer.gpu.Buffer, optional
        Initial data, which the store uses as its storage; `from_dict` accepts other buffers.
    read_only : bool
        Whether to refuse every call that changes the store.

    Raises
    ------
    MissingDependencyError
        If cupy isn't installed.
    TypeError
        If a value of ``store_dict`` isn't a buffer on a device.

    Notes
    -----
    CuPy has no read-only arrays: what is read without a copy is the store's own memory, so don't change it.
    Work on the stream that is current at the read is ordered after the write of the value, whichever stream
    wrote it.
    """

    _scheme: ClassVar[str] = "gpumemory"
    _on_device: ClassVar[bool] = True

    def __init__(
        self, store_dict: MutableMapping[str, BufferLike] | None = None, *, read_only: bool = False
    ) -> None:
        cupy()
        for key, value in (store_dict or {}).items():
            if not is_buffer(value) or not is_on_device(value.as_array_like()):
                raise TypeError(
                    f"a GpuMemoryStore's values are buffers on a GPU, not {type(value).__name__} "
                    f"(key {key!r}); GpuMemoryStore.from_dict copies others there"
                )
        super().__init__(store_dict, read_only=read_only)

    @classmethod
    def from_dict(cls, store_dict: Mapping[str, BufferLike]) -> Self:
        """Make a store from any buffers; those that aren't on the device are copied to it.

        Parameters
        ----------
        store_dict : mapping of str to Buffer
            The data; the store gets its own dictionary.
        """
        return cls({key: gpu.Buffer.from_buffer(value) for key, value in store_dict.items()})

    @own_face
    async def set(self, key: str, value: Value, byte_range: tuple[int, int] | None = None) -> None:
        """Replace a value, or with ``byte_range`` overwrite those bytes of an existing one.

        Parameters
        ----------
        key : str
            Which value.
        value : Buffer or bytes-like
            What to store; it is copied, within the device if it is already there.
        byte_range : (int, int), optional
            First byte, and the byte after the last.
        """
        await super().set(key, value, byte_range=byte_range)

    def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Array | None:
        buffer = cast("_Kept | None", self._data.values.get(key))
        if buffer is None:
            return None
        array = buffer.as_array_like()
        start, stop = span(request, array.size)
        return array[start:stop]

    _read_nowait = _read

    def _array_of(self, piece: Data) -> Array:
        array: Array = gpu.device_array(piece if is_on_device(piece) else super()._array_of(piece))
        return array

    def _new(self, size: int) -> Array:
        array: Array = cupy().empty(size, "B")
        return array

    def _joined(self, arrays: Iterable[Array]) -> Array:
        array: Array = cupy().concatenate([self._new(0), *arrays])
        return array

    def _kept(self, array: Array) -> BufferLike:
        return _Kept(array)
