"""Reads into GPU memory, if a prototype names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._async.bindings import WrapperVerbs
from zarrstore._core import zarr_compat
from zarrstore.buffer import cpu, gpu
from zarrstore.buffer._cupy import is_on_device
from zarrstore.buffer._staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, BufferLike, Data, Prototype
    from zarrstore._core.verbs import Request, Verbs

# Cache of buffer classes in host memory, checked first on the hot path.
HOST_BUFFERS: set[type[BufferLike]] = {cpu.Buffer}


def wants_device(prototype: Prototype | None) -> bool:
    """Whether a prototype names buffers in GPU memory."""
    if prototype is None or prototype.buffer in HOST_BUFFERS:
        return False
    made = prototype.buffer
    if issubclass(made, gpu.Buffer) or zarr_compat.is_gpu_buffer_class(made):
        return True
    HOST_BUFFERS.add(made)
    return False


def to_device(verbs: Verbs, prototype: Prototype | None) -> Verbs:
    """Return verbs whose reads suit a prototype: the same verbs for host memory, others for a GPU.

    The latter are bound to the device and stream that are current in the calling thread.

    Raises
    ------
    MissingDependencyError
        If GPU memory is requested and cupy or a GPU is missing.
    """
    return ToDevice(verbs, Staging()) if wants_device(prototype) else verbs


class ToDevice(WrapperVerbs):
    """Verbs whose reads return arrays on a device, whatever memory the verbs below filled.

    Parameters
    ----------
    below : Verbs
        The verbs to read with.
    allocate : Staging
        The allocator to read with, whatever a caller passes.
    """

    __slots__ = ("allocate",)

    def __init__(self, below: Verbs, allocate: Staging) -> None:
        self.below = below
        self.allocate = allocate

    async def read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        """Read, then copy to the device any value that isn't there yet."""
        return (await self._copy_each([await self.below.read(key, request, self.allocate)]))[0]

    async def read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Read, then copy to the device any value that isn't there yet."""
        return await self._copy_each(await self.below.read_many(requests, self.allocate))

    async def read_ranges(
        self, key: str, requests: Sequence[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        """Read, then copy to the device any value that isn't there yet."""
        return await self._copy_each(await self.below.read_ranges(key, requests, self.allocate))

    async def read_versioned(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        """Read, then copy to the device any value that isn't there yet."""
        found = await self.below.read_versioned(key, request, self.allocate)
        if found is None:
            return None
        value, version = found
        (copied,) = await self._copy_each([value])
        return (value if copied is None else copied), version

    async def _copy_each(self, values: Sequence[Data | None]) -> list[Data | None]:
        if all(value is None or is_on_device(value) for value in values):
            return list(values)
        return await self.below.call(self._put, values)

    def _put(self, values: Sequence[Data | None]) -> list[Data | None]:
        put = self.allocate.put
        return [value if value is None or is_on_device(value) else put(value) for value in values]
