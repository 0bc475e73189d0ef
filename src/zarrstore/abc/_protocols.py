"""Protocols for places that values are read from and written to, as zarr-python names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from zarrstore._core.requests import ByteRequestLike
    from zarrstore._core.types import Prototype, Value
    from zarrstore.buffer import Buffer


@runtime_checkable
class ByteGetter(Protocol):
    """A place that holds one value and can be read."""

    async def get(
        self, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Read the value, or part of it; None if there is none."""


@runtime_checkable
class ByteSetter(ByteGetter, Protocol):
    """A place that holds one value and can be read and written."""

    async def set(self, value: Value) -> None:
        """Replace the value."""

    async def delete(self) -> None:
        """Remove the value; no error if there is none."""

    async def set_if_not_exists(self, default: Value) -> None:
        """Store a value unless there is one."""


@runtime_checkable
class SyncByteGetter(Protocol):
    """A place that holds one value and can be read with blocking calls."""

    def get_sync(
        self, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Read the value, or part of it; None if there is none."""


@runtime_checkable
class SyncByteSetter(SyncByteGetter, Protocol):
    """A place that holds one value and can be read and written with blocking calls."""

    def set_sync(self, value: Value) -> None:
        """Replace the value."""

    def delete_sync(self) -> None:
        """Remove the value; no error if there is none."""


@runtime_checkable
class SupportsGetSync(Protocol):
    """A store that can be read with blocking calls; every store of this library can."""

    def get_sync(
        self, key: str, *, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Read a value, or part of it; None if there is none."""


@runtime_checkable
class SupportsSetSync(Protocol):
    """A store that can be written with blocking calls."""

    def set_sync(self, key: str, value: Value) -> None:
        """Replace a value."""


@runtime_checkable
class SupportsDeleteSync(Protocol):
    """A store whose values can be removed with blocking calls."""

    def delete_sync(self, key: str) -> None:
        """Remove a value; no error if there is none."""


@runtime_checkable
class SupportsSyncStore(SupportsGetSync, SupportsSetSync, SupportsDeleteSync, Protocol):
    """A store with all the blocking calls that zarr-python makes."""


async def set_or_delete(byte_setter: ByteSetter, value: Value | None) -> None:
    """Replace the value at a place, or remove it if the new value is None.

    Parameters
    ----------
    byte_setter : ByteSetter
        The place, for example a `StorePath`.
    value : Buffer or bytes-like or None
        What to store; None removes the value.
    """
    if value is None:
        await byte_setter.delete()
    else:
        await byte_setter.set(value)
