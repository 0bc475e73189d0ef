"""A wrapper that retries calls after transient failures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from zarrstore._async.bindings import is_stream
from zarrstore._core.listing import closing_pages
from zarrstore._core.retry import RetryPolicy, list_with_retries
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, host_memory
from zarrstore.errors import TransientError
from zarrstore.storage._wrappers.wrapper import T_Store, WrapperStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data
    from zarrstore._core.verbs import Conflict, Entry, Precondition, Request, Verbs

T = TypeVar("T")


class RetryStore(WrapperStore[T_Store]):
    """A wrapper that retries calls after transient failures.

    Parameters
    ----------
    store : Store
        The store to wrap.
    policy : RetryPolicy, optional
        Which errors are transient, how often a call is made, and how long to wait between attempts.

    Notes
    -----
    A write whose answer was lost may have taken effect. An unconditional write or removal can be repeated. If
    a repeated create finds a value, it is read back; if it equals the value to be written, the create has
    succeeded. The same applies to a write that requires a version. A removal that requires a version is never
    repeated.

    A listing that fails midway is started again and continues where it stopped, provided that the earlier
    entries are unchanged. Otherwise its error is raised.

    `FsspecStore` and `ObjectStore` have their own policies.
    """

    def __init__(self, store: T_Store, policy: RetryPolicy | None = None) -> None:
        super().__init__(store)
        self.policy: RetryPolicy = policy or RetryPolicy()

    async def _call(self, below: Verbs, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call as often as the policy says; in awaiting stores ``policy.timeout`` limits each attempt."""
        if self._blocks or self.policy.timeout is None:
            return await self.policy.call(call, below.sleep)

        async def in_time() -> T:
            try:
                async with asyncio.timeout(self.policy.timeout):
                    return await call()
            except TimeoutError as error:
                raise TransientError(
                    f"there was no answer within {self.policy.timeout} seconds.", store=self, key=key
                ) from error

        return await self.policy.call(in_time, below.sleep)

    async def _read(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | None:
        return await self._call(below, key, lambda: below.read(key, request, allocate))

    async def _read_many(
        self, below: Verbs, requests: Iterable[Request], allocate: Allocate
    ) -> list[Data | None]:
        asked = list(requests)
        return await self._read_each(below, lambda: below.read_many(asked, allocate), asked, allocate)

    async def _read_ranges(
        self, below: Verbs, key: str, requests: Sequence[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        asked = [(key, request) for request in requests]
        return await self._read_each(
            below, lambda: below.read_ranges(key, requests, allocate), asked, allocate
        )

    async def _read_each(
        self,
        below: Verbs,
        together: Callable[[], Awaitable[list[Data | None]]],
        asked: list[Request],
        allocate: Allocate,
    ) -> list[Data | None]:
        """Read all together; if that fails, each separately."""
        try:
            return await together()
        except self.policy.errors:
            # Repeating the whole batch would probably fail again, so each read gets its own attempts.
            await below.sleep(self.policy.wait(1))
            return [await self._read(below, key, request, allocate) for key, request in asked]

    async def _read_versioned(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        return await self._call(below, key, lambda: below.read_versioned(key, request, allocate))

    async def _stat(self, below: Verbs, key: str) -> Entry | None:
        return await self._call(below, key, lambda: below.stat(key))

    async def _scan(self, below: Verbs, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        scan = list_with_retries(self.policy, lambda: below.scan(prefix, deep, sizes), below.sleep)
        async with closing_pages(scan) as pages:
            async for page in pages:
                yield page

    async def _is_empty(self, below: Verbs, prefix: str) -> bool:
        return await self._call(below, prefix, lambda: below.is_empty(prefix))

    async def _write(
        self, below: Verbs, key: str, pieces: AnyPieces, condition: Precondition
    ) -> str | Conflict | None:
        # A second attempt needs the pieces again.
        kept = [piece async for piece in pieces] if is_stream(pieces) else list(pieces)
        if condition is ANY:
            return await self._call(below, key, lambda: below.write(key, kept, ANY))
        tried = False

        async def attempt() -> str | Conflict | None:
            nonlocal tried
            again, tried = tried, True
            answer = await below.write(key, kept, condition)
            if answer is CONFLICT and again:
                return await self._own_write(below, key, b"".join(kept), condition)
            return answer

        return await self._call(below, key, attempt)

    async def _own_write(
        self, below: Verbs, key: str, value: bytes, condition: Precondition
    ) -> str | Conflict | None:
        """Resolve a conflict of a repeated write: return the version if the existing value is its own."""
        if condition is ABSENT:
            found, version = await below.read(key, None, host_memory), None
        else:
            found, version = await below.read_versioned(key, None, host_memory) or (None, None)
        return version if found is not None and bytes(found) == value else CONFLICT

    async def _remove(self, below: Verbs, key: str, condition: Precondition = ANY) -> Conflict | None:
        if condition is not ANY:
            # A repeated attempt couldn't distinguish the first one's removal from another client's.
            return await below.remove(key, condition)
        return await self._call(below, key, lambda: below.remove(key, ANY))

    async def _remove_many(self, below: Verbs, keys: Iterable[str]) -> None:
        wanted = list(keys)
        await self.policy.call(lambda: below.remove_many(wanted), below.sleep)

    async def _remove_below(self, below: Verbs, prefix: str) -> None:
        await self.policy.call(lambda: below.remove_below(prefix), below.sleep)

    async def _copy(self, below: Verbs, source: str, target: str) -> None:
        await self.policy.call(lambda: below.copy(source, target), below.sleep)

    async def _patch(self, below: Verbs, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        wanted = list(parts)
        await self.policy.call(lambda: below.patch(key, wanted), below.sleep)
