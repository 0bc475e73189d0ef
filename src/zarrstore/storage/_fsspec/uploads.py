"""Sends values to S3 in parts as their pieces arrive, with s3fs."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from zarrstore._core.secrets import safe_cause
from zarrstore._core.verbs import ABSENT, CONFLICT
from zarrstore.errors import StoreError
from zarrstore.storage._fsspec import errors, s3
from zarrstore.storage._remote.store import PART

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Condition, Conflict
    from zarrstore.storage._fsspec.protocol import Untyped
    from zarrstore.storage._fsspec.store import FsspecStore

# Up to this size in bytes, a value that is there as a whole is sent with one request.
WHOLE = 64 << 20


class Upload:
    """The upload of one value.

    Parameters
    ----------
    store : FsspecStore
        The store to upload to.
    key : str
        Its key.
    condition : Condition
        What must hold when the parts are joined.
    part : int
        How many bytes a part has; the last may have fewer.
    at_once : int
        How many parts are sent at once.
    """

    def __init__(self, store: FsspecStore, key: str, condition: Condition, part: int, at_once: int) -> None:
        self._store = store
        self._key = key
        self._path = store._path(key)
        self._absent = condition is ABSENT
        self._part = part
        self._at_once = at_once
        self._token = os.urandom(16).hex()

    async def run(self, pieces: AsyncIterable[Data]) -> Conflict | None:
        """Send all pieces; if that fails, none of them stays on the server."""
        store = self._store
        if self._absent and await store._stat(self._key) is not None:
            return CONFLICT
        name = await self._call(s3.begin_upload, self._path, self._token)
        try:
            parts = await self._send_all(name, pieces)
            answer = await store._on_client(
                store._write_if(
                    partial(self._end, name, parts),
                    partial(store._find_own, self._path, self._key, b"", self._token),
                    client_retries=True,
                )
            )
        except BaseException:
            await self._drop(name)
            raise
        if answer is None:
            return None
        await self._drop(name)
        return CONFLICT

    async def _send_all(self, name: str, pieces: AsyncIterable[Data]) -> list[Untyped]:
        under_way: deque[asyncio.Future[Untyped]] = deque()
        parts: list[Untyped] = []
        try:
            number = 0
            async for data in _parts(pieces, self._part):
                number += 1
                if len(under_way) == self._at_once:
                    parts.append(await under_way.popleft())
                send = self._call(s3.send_part, self._path, name, number, data)
                under_way.append(asyncio.ensure_future(send))
                del data, send  # frees the memory while the next part arrives
            while under_way:
                parts.append(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return parts

    async def _end(self, name: str, parts: list[Untyped]) -> Conflict | None:
        try:
            await self._store._send_write(s3.end_upload, self._path, name, parts, self._absent)
        except Exception as error:
            if self._absent and errors.denies_condition(error):
                return CONFLICT
            raise self._store._failed_at(error, "write", self._key) from safe_cause(error)
        return None

    async def _call(self, send: Callable[..., Awaitable[Untyped]], *args: object) -> Untyped:
        """Make a request as often as the policy allows."""
        store = self._store

        async def attempt() -> Untyped:
            try:
                return await store._send_write(send, *args)
            except Exception as error:
                raise store._failed_at(error, "write", self._key) from safe_cause(error)

        return await store._on_client(store._dispatcher.retry_call(attempt))

    async def _drop(self, name: str) -> None:
        try:
            await self._call(s3.drop_upload, self._path, name)
        except StoreError:
            pass  # the original error is the one to report


async def slices(pieces: Iterable[Data]) -> AsyncIterator[Data]:
    """Cut pieces into slices of at most `PART` bytes."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), PART):
            yield view[start : start + PART]


async def _parts(pieces: AsyncIterable[Data], size: int) -> AsyncIterator[bytes]:
    """Combine pieces into parts of at least so many bytes, except the last."""
    waiting: list[Data] = []
    async for piece in pieces:
        waiting.append(piece)
        del piece  # frees the memory while the next one arrives
        if sum(map(len, waiting)) >= size:
            yield _joined(waiting)
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[Data]) -> bytes:
    part = b"".join(pieces)
    pieces.clear()
    return part
