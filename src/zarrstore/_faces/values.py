"""Values on their way in and out: anything bytes-like to pieces, bytes to the buffer that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from zarrstore.buffer import cpu, gpu
from zarrstore.errors import ByteRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from zarrstore._core.types import BufferLike, Data, Prototype, Value
    from zarrstore.buffer import Buffer

    # Makes a buffer of an array in the host's memory.
    Maker = Callable[[npt.NDArray[np.uint8]], Buffer]


def as_pieces(value: Value, store: object, *, on_device: bool = False) -> tuple[Data, ...]:
    """Return a value as pieces that a verb can write, without a copy if its memory is contiguous.

    Raises
    ------
    TypeError
        If the value is no buffer and nothing bytes-like.
    """
    try:
        if on_device:  # no detour through the host for what may be on the device
            return (value.as_array_like(),)  # type: ignore[union-attr, return-value]
        array = value.as_numpy_array()  # type: ignore[union-attr]
        return (array if array.flags.c_contiguous else np.ascontiguousarray(array),)
    except AttributeError:
        pass
    try:
        view = memoryview(value)  # type: ignore[arg-type]  # whatever is no buffer has the buffer protocol
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
    """Check a partial write by itself; returns (key, start, bytes)."""
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


# Classes of buffers and what makes one from an array in the host's memory, as they are met.
_makers: dict[type[BufferLike], Maker] = {cpu.Buffer: cpu.Buffer}


def wrap(value: Data, prototype: Prototype | None) -> Buffer:
    """Put bytes into the kind of buffer that a prototype names; host memory is never copied."""
    made = cpu.Buffer if prototype is None else prototype.buffer
    if type(value) is not np.ndarray:
        if hasattr(value, "__cuda_array_interface__"):
            # Buffers of zarr-python's class pass for ours: they have the same methods.
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
            # Buffers on a device don't take the host's arrays as they are.
            maker = (
                kind.from_array_like if made.__module__.endswith("cpu") else cast("Maker", kind.from_bytes)
            )
        _makers[made] = maker
    return maker


def _unchecked(made: type[Buffer]) -> Maker:
    """Make a maker of zarr-python's buffers that spares each array the checks that verbs' answers pass.

    Those take 0.3 µs, a tenth of a small read. Should a buffer be more than its array one day, the checks
    come back by themselves.
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
