"""Copies between two stores on one object server, which the server makes itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from zarrstore._core.requests import RangeByteRequest
from zarrstore._core.verbs import ANY, CONFLICT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from zarrstore._core.verbs import Condition, Conflict
    from zarrstore.storage._remote.store import RemoteStore

    # Makes one attempt to copy a value from one key to another, under a condition.
    Send: TypeAlias = Callable[[str, str, Condition], Coroutine[object, object, str | Conflict | None]]

# How much of each value is in memory at once for a comparison, in bytes.
_PIECE = 8 << 20


class StoreCopies:
    """Copies values from one store to another.

    Parameters
    ----------
    source, target : RemoteStore
        The stores.
    send : callable
        Makes one attempt; returns what `_write` does.
    client_retries : bool
        Whether the client silently repeats lost requests.
    """

    def __init__(self, source: RemoteStore, target: RemoteStore, send: Send, *, client_retries: bool) -> None:
        self._source = source
        self._target = target
        self._send = send
        self._client_retries = client_retries

    async def copy(self, key: str, target_key: str, condition: Condition) -> str | Conflict | None:
        """Copy a value; `CONFLICT` if the target must have none but has one.

        Raises
        ------
        KeyNotFoundError
            If the source has no such value.
        """
        target = self._target
        send = partial(self._send, key, target_key, condition)
        if condition is ANY:
            return await target._on_client(target._dispatcher.retry_call(send))
        find_own = partial(self._find_own, key, target_key)
        return await target._on_client(target._write_if(send, find_own, client_retries=self._client_retries))

    async def _find_own(self, key: str, target_key: str) -> str | Conflict | None:
        """Return the target's version if it has the source's value, perhaps from an earlier attempt."""
        ours, theirs = await self._source._look(key), await self._target._look(target_key)
        if ours is None or theirs is None or ours.size != theirs.size:
            return CONFLICT
        if ours.version != theirs.version:  # on Azure it isn't a digest of the bytes
            for start in range(0, ours.size or 0, _PIECE):
                part = RangeByteRequest(start, start + _PIECE)
                if await self._source._read_once(key, part) != await self._target._read_once(
                    target_key, part
                ):
                    return CONFLICT
        return theirs.version
