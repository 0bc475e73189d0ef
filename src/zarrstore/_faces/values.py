"""Converts values: anything bytes-like to pieces for a write, bytes read to the requested buffer class."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from zarrstore._core.later import np
from zarrstore.buffer import cpu, gpu
from zarrstore.errors import ByteRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from zarrstore._core.types import BufferLike, Data, Prototype, Value
    from zarrstore.buffer import Buffer

    # Makes a buffer from an array in host memory.
    Maker = Callable[[npt.NDArray[np.uint8]], Buffer]


def as_pieces(value: Value, store: object, *, on_device: bool = False) -> tuple[Data, ...]:
    """Return a value as pieces that a verb can write; contiguous memory isn't copied.

    Raises
    ------
    TypeError
        If the value is neither a buffer nor bytes-like.
    """
    try:
        if on_device:  # avoids a copy through host memory if the value may be on the device
            return (value.as_array_like(),)  # type: ignore[union-attr, return-value]
        array = value.as_numpy_array()  # type: ignore[union-attr]
        return (array if array.flags.c_contiguous else np.ascontiguousarray(array),)
    except AttributeError:
        pass
    try:
        view = memoryview(value)  # type: ignore[arg-type]  # anything but a buffer must have the buffer protocol
    except TypeError:
        raise TypeError(
            f"{type(store).__name__}.set(): `value` must be a Buffer instance. "
            f"Got an instance of {type(value)} instead. Buffers and bytes-like objects are fine."
        ) from None
    if not view.c_contiguous:
        return (view.tobytes(),)
    return (view if view.ndim == view.itemsize == 1 else view.cast("B"),)


def parse_parts(
    key: str, byte_range: tuple[int, int | None], pieces: Sequence[Data], store: object
) -> tuple[str, int, Data]:
    """Check the arguments of a partial write; return (key, start, bytes)."""
    (piece,) = pieces
    start, stop = byte_range
    if not hasattr(start, "__index__") or start < 0:
        raise ByteRequestError(f"a part can't start at {start!r}.", store=store, key=key)
    if stop is not None and stop - start != len(piece):
        raise ByteRequestError(
            f"byte_range {tuple(byte_range)!r} selects {stop - start} bytes, the value has {len(piece)}.",
            store=store,
            key=key,
        )
    return key, int(start), piece


# For each buffer class met so far, what makes one from an array in host memory.
_makers: dict[type[BufferLike], Maker] = {cpu.Buffer: cpu.Buffer}


def wrap(value: Data, prototype: Prototype | None) -> Buffer:
    """Put bytes into the buffer class that a prototype names; host memory is never copied."""
    made = cpu.Buffer if prototype is None else prototype.buffer
    if type(value) is not np.ndarray:
        if hasattr(value, "__cuda_array_interface__"):
            # The type checker accepts zarr-python's buffers as ours, since they have the same methods.
            return cast("type[Buffer]", made).from_buffer(gpu.Buffer(value))
        value = np.frombuffer(value, "B")
    return (_makers.get(made) or _maker(made))(value)


def wrap_each(values: Iterable[Data | None], prototype: Prototype | None) -> list[Buffer | None]:
    """Put each value into a buffer, as `wrap` does; None stays None."""
    maker = _maker(cpu.Buffer if prototype is None else prototype.buffer)
    return [
        maker(value) if type(value) is np.ndarray else None if value is None else wrap(value, prototype)
        for value in values
    ]


def _maker(made: type[BufferLike]) -> Maker:
    maker = _makers.get(made)
    if maker is None:
        kind = cast("type[Buffer]", made)
        if made.__module__ == "zarr.core.buffer.cpu":
            maker = _unchecked(kind)
        else:
            # Buffer classes for a device don't accept host arrays directly.
            maker = (
                kind.from_array_like if made.__module__.endswith("cpu") else cast("Maker", kind.from_bytes)
            )
        _makers[made] = maker
    return maker


def _unchecked(made: type[Buffer]) -> Maker:
    """Return what makes zarr-python's buffers without the constructor's checks, which our arrays always pass.

    The checks take 0.3 µs, a tenth of a small read. If a future buffer class has more state than its array,
    this returns the class itself, checks included.
    """
    sample = np.empty(1, np.uint8)
    state = vars(made(sample))
    if state.pop("_data", None) is not sample or state:
        return made
    new = object.__new__

    def make(array: npt.NDArray[np.uint8]) -> Buffer:
        buffer = new(made)
        buffer._data = array
        return buffer

    return make
