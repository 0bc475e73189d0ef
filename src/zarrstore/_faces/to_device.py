"""Reads whose values land in a GPU's memory, if that is what a prototype names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarrstore._async.bindings import Wrapped
from zarrstore._core import zarr_compat as _foreign
from zarrstore.buffer import cpu, gpu
from zarrstore.buffer._cupy import is_on_device
from zarrstore.buffer._staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.verbs import New, Verbs

# Classes of buffers in host memory, as they are met: what the most frequent reads ask first, by themselves.
ON_HOST: set[Any] = {cpu.Buffer}


def lands(prototype: Any) -> bool:
    """Whether a prototype names buffers in a GPU's memory."""
    if prototype is None or prototype.buffer in ON_HOST:
        return False
    made = prototype.buffer
    if issubclass(made, gpu.Buffer) or _foreign.is_gpu_buffer_class(made):
        return True
    ON_HOST.add(made)
    return False


def landing(verbs: Verbs, prototype: Any) -> Verbs:
    """Return verbs whose reads suit a prototype: for host memory the same, for a GPU's others.

    The latter are bound to the device and the stream that are current in the calling thread.

    Raises
    ------
    MissingDependencyError
        If a GPU's memory is wanted, and cupy or a GPU is missing.
    """
    return Landing(verbs, Staging()) if lands(prototype) else verbs


class Landing(Wrapped):
    """Verbs whose reads answer with arrays on a device, whatever memory the verbs below filled.

    Parameters
    ----------
    below : Verbs
        What to read by.
    new : Staging
        The allocator to read with, whatever memory a caller names.
    """

    __slots__ = ("new",)

    def __init__(self, below: Verbs, new: Staging) -> None:
        self.below = below
        self.new = new

    async def read(self, key: str, request: ByteRequest | None, new: New) -> Any:
        """Read, and copy to the device what doesn't lie there."""
        return (await self._land([await self.below.read(key, request, self.new)]))[0]

    async def read_many(self, requests: Iterable[tuple[str, ByteRequest | None]], new: New) -> list[Any]:
        """Read, and copy to the device what doesn't lie there."""
        return await self._land(await self.below.read_many(requests, self.new))

    async def read_versioned(self, key: str, request: ByteRequest | None, new: New) -> Any:
        """Read, and copy to the device what doesn't lie there."""
        found = await self.below.read_versioned(key, request, self.new)
        return found and (*await self._land([found[0]]), found[1])

    async def _land(self, values: list[Any]) -> list[Any]:
        if all(value is None or is_on_device(value) for value in values):
            return values
        return await self.below.call(self._put, values)

    def _put(self, values: list[Any]) -> list[Any]:
        put = self.new.put
        return [value if value is None or is_on_device(value) else put(value) for value in values]
