"""Types that modules share: bytes, allocators, and what counts as a buffer."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    # Anything with the buffer protocol. Type checkers know `typing_extensions`, installed or not.
    from typing_extensions import Buffer as BytesLike

    from zarrstore._core.verbs import Condition, Conflict

    # Bytes that a verb returns or receives: flat, with a length in bytes. Arrays on a device are typed as
    # NumPy's, since cupy has no types of its own.
    Data: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
    # Returns memory of the given number of bytes to read into.
    Allocate: TypeAlias = Callable[[int], npt.NDArray[np.uint8]]
else:  # stand-ins for annotations that are evaluated: this module doesn't import NumPy
    BytesLike = bytes | bytearray | memoryview
    Data = BytesLike
    Allocate = Callable[[int], BytesLike]

# What a blocking ``_write`` receives, and what an awaiting one receives: its pieces may have to be awaited.
Pieces: TypeAlias = Iterable[Data]
AnyPieces: TypeAlias = Iterable[Data] | AsyncIterable[Data]


class ServerCopies(Protocol):
    """Copies from one store to another that the server makes itself."""

    async def copy(self, key: str, target_key: str, condition: Condition, /) -> str | Conflict | None:
        """Copy a value, as `zarrstore.abc.store.Store._write` writes one.

        Raises
        ------
        KeyNotFoundError
            If the source has no such value.
        """


class BufferLike(Protocol):
    """A buffer, ours or zarr-python's: any object with these methods."""

    def __len__(self) -> int: ...

    def as_array_like(self) -> object:
        """Return the underlying array."""

    def as_numpy_array(self) -> npt.NDArray[np.uint8]:
        """Return the bytes in host memory."""

    def to_bytes(self) -> bytes:
        """Return a copy as `bytes`."""


# What may be stored.
Value: TypeAlias = BufferLike | BytesLike


class Prototype(Protocol):
    """The two buffer classes that a reader wants its results in: our `BufferPrototype` or zarr-python's."""

    @property
    def buffer(self) -> type[BufferLike]:
        """Class of flat buffers."""

    @property
    def nd_buffer(self) -> type[object]:
        """Class of n-dimensional buffers."""


class UniversalPath(Protocol):
    """A path in one of fsspec's file systems, as in the package universal_pathlib."""

    @property
    def fs(self) -> object:
        """The file system."""

    @property
    def path(self) -> str:
        """The path within the file system."""

    @property
    def protocol(self) -> str:
        """The scheme of its URLs."""

    @property
    def name(self) -> str:
        """The last segment of the path."""

    @property
    def parent(self) -> UniversalPath:
        """The path of the parent directory."""


class Mapper(Protocol):
    """A mapping over a directory of a file system, as ``fsspec.get_mapper`` returns it."""

    @property
    def fs(self) -> object:
        """The file system."""

    @property
    def root(self) -> str:
        """The directory."""
