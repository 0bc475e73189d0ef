"""Calls a store's awaited or blocking methods in a way that works for our stores and zarr-python's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarrstore._core.listing import closing_pages
from zarrstore._core.zarr_compat import zarr_buffer, zarr_prototype, zarr_request
from zarrstore.abc.store import ByteRequest, Capabilities, Store
from zarrstore.buffer import default_buffer_prototype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zarr.abc.store import Store as TheirStore

    from zarrstore._core.types import Prototype


class Asker:
    """A store, and whether to call its awaited or its blocking methods.

    All methods here are awaited in either case, and take and return `bytes`.

    Parameters
    ----------
    store : Store
        Ours, or one of zarr-python's, which has only awaited methods.
    face : {"await", "block"}
        Which methods to call.
    writer : Store, optional
        Another store on the same data, through which values are written; the store itself by default.
    """

    def __init__(self, store: TheirStore, face: str = "await", writer: TheirStore | None = None) -> None:
        self.store: Any = store  # zarr-python's lack some methods; questions that need those aren't asked
        self.writer = writer
        self.ours = isinstance(store, Store)
        self.face = face

    @property
    def capabilities(self) -> Capabilities:
        """The store's capabilities; none for one of zarr-python's."""
        return self.store.capabilities if self.ours else Capabilities()

    @property
    def prototype(self) -> Prototype:
        """The default prototype of the store's own library."""
        return default_buffer_prototype() if self.ours else zarr_prototype()

    def with_store(self, store: TheirStore) -> Asker:
        """Return an asker of the same kind for another store."""
        return Asker(store, self.face, self.writer)

    def value(self, data: object) -> object:
        """Convert bytes to what the store accepts."""
        return data if self.ours or not isinstance(data, bytes) else zarr_buffer(data)

    def request(self, request: object) -> object:
        """Convert one of our byte requests to what the store accepts."""
        return request if self.ours or not isinstance(request, ByteRequest) else zarr_request(request)

    def _method(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.store, name + "_sync" if self.face == "block" else name)
        return method

    async def call(self, name: str, *args: object, **kwargs: object) -> Any:
        """Call a method, awaited or, under its name with ``_sync``, blocking."""
        answer = self._method(name)(*args, **kwargs)
        return answer if self.face == "block" else await answer

    async def get(self, key: object, request: object = None) -> bytes | None:
        """Read a value as bytes."""
        value = await self.call("get", key, prototype=self.prototype, byte_range=self.request(request))
        return None if value is None else bytes(value.to_bytes())

    async def get_partial_values(self, pairs: Iterable[tuple[object, object]]) -> list[bytes | None]:
        """Read many values as bytes."""
        asked = [(key, self.request(request)) for key, request in pairs]
        values = await self.call("get_partial_values", self.prototype, asked)
        return [None if value is None else bytes(value.to_bytes()) for value in values]

    async def get_ranges(self, key: object, requests: Iterable[object], **limits: int) -> list[bytes]:
        """Read many ranges of a value; results are in the order of the requests."""
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

    async def set(self, key: object, data: object) -> None:
        """Write a value."""
        if self.writer is not None:
            await Asker(self.writer).set(key, data)
        else:
            await self.call("set", key, self.value(data))

    async def set_if_not_exists(self, key: object, data: object) -> None:
        """Write a value unless there is one."""
        await self.call("set_if_not_exists", key, self.value(data))

    async def names(self, name: str, *args: object) -> list[str]:
        """Collect a listing as a list."""
        if self.face == "block":
            return list(self._method(name)(*args))
        async with closing_pages(self._method(name)(*args)) as listing:
            return [item async for item in listing]
