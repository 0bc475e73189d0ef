"""Asks a store through one of its faces, in terms that fit our stores and zarr-python's alike."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from zarrstore._core.zarr_compat import zarr_buffer, zarr_prototype, zarr_request
from zarrstore.abc.store import Capabilities, Store
from zarrstore.buffer import default_buffer_prototype

if TYPE_CHECKING:
    from collections.abc import Callable


class Asker:
    """One store, asked by awaiting or by blocking.

    Every method is awaited, whichever face it uses, and deals in plain bytes.

    Parameters
    ----------
    store : Store
        Ours, or one of zarr-python's (which has the awaited face only).
    face : {"await", "block"}
        Which face to ask.
    writer : Store, optional
        What values are written through, of which the store gives only a view; the store itself by default.
    """

    def __init__(self, store: Any, face: str = "await", writer: Any = None) -> None:
        self.store = store
        self.writer = writer
        self.ours = isinstance(store, Store)
        self.face = face

    @property
    def capabilities(self) -> Capabilities:
        """What the store promises; a foreign store promises nothing."""
        return self.store.capabilities if self.ours else Capabilities()

    @property
    def prototype(self) -> Any:
        """The prototype that the store's own library uses."""
        return default_buffer_prototype() if self.ours else zarr_prototype()

    def with_store(self, store: Any) -> Asker:
        """Return an asker of the same kind for another store."""
        return Asker(store, self.face, self.writer)

    def value(self, data: Any) -> Any:
        """Put bytes into what the store takes."""
        return data if self.ours or not isinstance(data, bytes) else zarr_buffer(data)

    def request(self, request: Any) -> Any:
        """Put a byte request of ours into what the store takes."""
        if self.ours or not hasattr(request, "__dataclass_fields__"):
            return request
        return zarr_request(request)

    def _method(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.store, name + "_sync" if self.face == "block" else name)
        return method

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        answer = self._method(name)(*args, **kwargs)
        return answer if self.face == "block" else await answer

    async def get(self, key: Any, request: Any = None) -> bytes | None:
        """Read a value as bytes."""
        value = await self._call("get", key, prototype=self.prototype, byte_range=self.request(request))
        return None if value is None else bytes(value.to_bytes())

    async def get_partial_values(self, pairs: Any) -> list[bytes | None]:
        """Read many values as bytes."""
        asked = [(key, self.request(request)) for key, request in pairs]
        values = await self._call("get_partial_values", self.prototype, asked)
        return [None if value is None else bytes(value.to_bytes()) for value in values]

    async def get_ranges(self, key: Any, requests: Any, **limits: int) -> list[bytes]:
        """Read many ranges of a value, in the order asked."""
        asked = [self.request(request) for request in requests]
        found: dict[int, bytes] = {}
        if self.face == "block":
            batches = [self.store.get_ranges_sync(key, asked, prototype=self.prototype, **limits)]
        else:
            listing = self.store.get_ranges(key, asked, prototype=self.prototype, **limits)
            batches = [batch async for batch in listing]
        for batch in batches:
            for index, value in batch:
                assert index not in found, f"range {index} came twice"
                found[index] = bytes(value.to_bytes())
        assert set(found) == set(range(len(asked))), "not every range was answered"
        return [found[index] for index in range(len(asked))]

    async def set(self, key: Any, data: Any) -> None:
        """Write a value."""
        if self.writer is not None:
            await self.writer.set(key, data)
        else:
            await self._call("set", key, self.value(data))

    async def set_if_not_exists(self, key: Any, data: Any) -> None:
        """Write a value unless there is one."""
        await self._call("set_if_not_exists", key, self.value(data))

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call any other method that is awaited in one face and blocks in the other."""
        return await self._call(name, *args, **kwargs)

    async def names(self, name: str, *args: Any) -> list[str]:
        """Collect a listing."""
        if self.face == "block":
            return list(self._method(name)(*args))
        async with aclosing(self._method(name)(*args)) as listing:
            return [item async for item in listing]
