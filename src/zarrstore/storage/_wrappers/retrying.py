"""Any store, with calls that failed for a passing reason made again."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from zarrstore._core.retry import RetryPolicy, listed
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, host_memory
from zarrstore.errors import TransientError
from zarrstore.storage._wrappers.wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from zarrstore._core.verbs import Entry, Verbs

T = TypeVar("T")


class RetryStore(WrapperStore[Any]):
    """A store around a store that makes calls again which failed for a passing reason.

    Parameters
    ----------
    store : Store
        The store to ask.
    policy : RetryPolicy, optional
        When and how often to ask again.

    Notes
    -----
    A write whose answer was lost may have happened. Replacing and removing can be done twice. A create
    that is told on a second attempt that the key has a value reads that back: if it is the very bytes
    that were to be written, the create counts as done. A write on the condition of a version is treated
    likewise; a removal on that condition is never made again.

    A listing that fails midway starts over and goes on where it had come to, if what it told before
    hasn't changed meanwhile.

    `FsspecStore` and `ObjectStore` keep to a policy by themselves.
    """

    def __init__(self, store: Any, policy: RetryPolicy | None = None) -> None:
        super().__init__(store)
        self.policy = policy or RetryPolicy()

    async def _call(self, below: Verbs, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call of one value again and again, each time within the policy's time if it awaits."""
        if self._blocks or self.policy.timeout is None:
            return await self.policy.call(call, below.sleep)

        async def in_time() -> T:
            try:
                async with asyncio.timeout(self.policy.timeout):
                    return await call()
            except TimeoutError as error:
                raise TransientError(
                    f"nothing was answered within {self.policy.timeout} seconds.", store=self, key=key
                ) from error

        return await self.policy.call(in_time, below.sleep)

    async def _read(self, below: Verbs, key: str, request: Any, allocate: Any) -> Any:
        return await self._call(below, key, lambda: below.read(key, request, allocate))

    async def _read_many(self, below: Verbs, requests: Iterable[tuple[str, Any]], allocate: Any) -> list[Any]:
        asked = list(requests)
        try:
            return await below.read_many(asked, allocate)
        except self.policy.errors:
            # One of many failed: all again would fail again, so each gets attempts of its own.
            await below.sleep(self.policy.wait(1))
            return [await self._read(below, key, request, allocate) for key, request in asked]

    async def _read_versioned(self, below: Verbs, key: str, request: Any, allocate: Any) -> Any:
        return await self._call(below, key, lambda: below.read_versioned(key, request, allocate))

    async def _stat(self, below: Verbs, key: str) -> Entry | None:
        return await self._call(below, key, lambda: below.stat(key))

    async def _scan(self, below: Verbs, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        told = listed(self.policy, lambda: below.scan(prefix, deep, sizes), below.sleep)
        async with aclosing(told) as pages:
            async for page in pages:
                yield page

    async def _is_empty(self, below: Verbs, prefix: str) -> bool:
        return await self._call(below, prefix, lambda: below.is_empty(prefix))

    async def _write(self, below: Verbs, key: str, pieces: Any, condition: Any) -> Any:
        # Pieces are wanted again for a second attempt, so those that come one by one are gathered.
        pieces = [piece async for piece in pieces] if hasattr(pieces, "__aiter__") else list(pieces)
        if condition is ANY:
            return await self._call(below, key, lambda: below.write(key, pieces, ANY))
        tried = False

        async def attempt() -> Any:
            nonlocal tried
            again, tried = tried, True
            answer = await below.write(key, pieces, condition)
            if answer is CONFLICT and again:
                return await self._own(below, key, pieces, condition)
            return answer

        return await self._call(below, key, attempt)

    async def _own(self, below: Verbs, key: str, pieces: list[Any], condition: Any) -> Any:
        """Whether what stands in the way of a second attempt is what the first one wrote."""
        if condition is ABSENT:
            found, version = await below.read(key, None, host_memory), None
        else:
            found, version = await below.read_versioned(key, None, host_memory) or (None, None)
        written = found is not None and bytes(found) == b"".join(map(bytes, pieces))
        return version if written else CONFLICT

    async def _remove(self, below: Verbs, key: str, condition: Any = ANY) -> Any:
        if condition is not ANY:
            # A second attempt couldn't tell its own removal from another's.
            return await below.remove(key, condition)
        return await self._call(below, key, lambda: below.remove(key, ANY))

    async def _remove_many(self, below: Verbs, keys: Iterable[str]) -> None:
        wanted = list(keys)
        await self.policy.call(lambda: below.remove_many(wanted), below.sleep)

    async def _remove_below(self, below: Verbs, prefix: str) -> None:
        await self.policy.call(lambda: below.remove_below(prefix), below.sleep)

    async def _copy(self, below: Verbs, source: str, target: str) -> None:
        await self.policy.call(lambda: below.copy(source, target), below.sleep)

    async def _patch(self, below: Verbs, key: str, parts: Iterable[tuple[int, Any]]) -> None:
        wanted = list(parts)
        await self.policy.call(lambda: below.patch(key, wanted), below.sleep)
