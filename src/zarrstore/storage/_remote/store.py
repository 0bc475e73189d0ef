"""What the stores over fsspec and obstore share: options, coalesced reads, writes whose answer was lost."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np

from zarrstore._async.concurrency import gather
from zarrstore._core.requests import by_key, coalesce, cut_member
from zarrstore._core.verbs import CONFLICT
from zarrstore.abc.store import Store
from zarrstore.errors import ByteRequestError, changes_always

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data
    from zarrstore._core.verbs import Conflict, Entry, Request, Verbs
    from zarrstore.storage._remote.dispatch import Dispatcher

    # Which requests an answer serves, each with its start and stop.
    Members: TypeAlias = list[tuple[int, int, int]]

T = TypeVar("T")

# A conditional write leaves a random token in the value's metadata under this name. It is in lower case and
# without punctuation, since Azure requires an identifier and some servers change the case.
TOKEN = "zarrstorewrite"

# Ranges at most this many bytes apart are read as one, up to this size, since the latency of a request is
# worth about a megabyte of transfer.
MAX_GAP = 1 << 20
MAX_COALESCED = 16 << 20
# How many times to read parts of a value again if it was replaced meanwhile.
_TRIES = 5


class Found(NamedTuple):
    """A value, or part of it, and its version if that was requested."""

    value: Data
    version: str | None


# A value that arrives in pieces and is larger than this is sent in parts of this size, in bytes.
PART = 8 << 20
# The most parts of a value that S3 takes.
MOST_PARTS = 10_000


def part_size(size: int) -> int:
    """Return how large the parts of a value of so many bytes are: `PART`, or more if they were too many."""
    return PART * max(1, -(-size // (PART * MOST_PARTS)))


async def begun(pieces: AsyncIterator[Data]) -> AnyPieces:
    """Return the pieces of a value; as a list if they fit into one part."""
    first: list[Data] = []
    size = 0
    async for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size > PART:
            return _chained(first, pieces)
    return first


async def _chained(first: list[Data], rest: AsyncIterator[Data]) -> AsyncIterator[Data]:
    while first:
        yield first.pop(0)
    async for piece in rest:
        yield piece
        del piece  # frees the memory while the next one arrives


def comes_from(value: object, package: str) -> bool:
    """Whether an object's class, or one of its bases, is defined in a package."""
    return any(cls.__module__.partition(".")[0] == package for cls in type(value).__mro__)


class RemoteStore(Store, abstract=True):
    """Base of stores that send requests to a server.

    Parameters
    ----------
    dispatcher : Dispatcher
        Sends the requests.
    limits : (int, int)
        ``max_gap_bytes`` and ``max_coalesced_bytes``: ranges of one value requested in one call are read as
        one if they are at most this many bytes apart, up to this size in bytes.
    missing_on : iterable of int
        Statuses that mean that a value is missing, when it is read or looked up.
    read_only : bool
        Whether to refuse every call that changes the store.
    """

    supports_partial_writes: bool = False

    # Handles local folders in this store's place, since it knows what files need, such as atomic writes.
    _local: Store | None = None

    def __init__(
        self, dispatcher: Dispatcher, limits: tuple[int, int], missing_on: Iterable[int], *, read_only: bool
    ) -> None:
        super().__init__(read_only=read_only)
        self.missing_on: frozenset[int] = frozenset(missing_on)
        self._dispatcher = dispatcher
        self._limits = limits
        # Whether the bucket is known to exist: not every answer says whether key or bucket is missing.
        self._proven = False

    # -- identity ---------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        equal = super().__eq__(other)
        if equal is not True or not isinstance(other, RemoteStore):
            return equal
        return bool(self._identity() == other._identity())

    def __hash__(self) -> int:
        return super().__hash__()

    def __dask_tokenize__(self) -> tuple[object, ...]:
        # Two servers may have buckets with the same name, so a digest of what distinguishes them is included.
        return (*super().__dask_tokenize__(), self._digest())

    @cached_property
    def _own_async_verbs(self) -> Verbs:
        return super()._own_async_verbs if self._local is None else self._local._own_async_verbs

    # -- what a store defines ---------------------------------------------------------------------

    def _identity(self) -> object:
        """Return what distinguishes two stores with the same location: server and credentials."""
        raise NotImplementedError

    def _digest(self) -> object:
        """Return the same without secrets."""
        raise NotImplementedError

    async def _on_client(self, coroutine: Coroutine[object, object, T]) -> T:
        """Await requests on the loop where the client can send them."""
        return await coroutine

    async def _read_once(self, key: str, request: ByteRequest | None) -> Data | None:
        """Do what `_read` does, where the client can send requests; equal reads share one request."""
        raise NotImplementedError

    async def _read_told(self, key: str, request: ByteRequest | None) -> Found | None:
        """Do what `_read_once` does, and return the value's version if the server gives it."""
        raise NotImplementedError

    async def _look(self, key: str) -> Entry | None:
        """Make one attempt at what `_stat` does."""
        raise NotImplementedError

    # -- what they share --------------------------------------------------------------------------

    async def _stat(self, key: str) -> Entry | None:
        return await self._on_client(self._look_again(key))

    async def _look_again(self, key: str) -> Entry | None:
        return await self._dispatcher.retry_call(lambda: self._look(key))

    async def _read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        return await self._on_client(self._read_coalesced(list(requests)))

    async def _read_coalesced(self, requests: list[Request]) -> list[Data | None]:
        """Answer many reads in order; ranges of one value that are close together are coalesced."""
        answers: list[Data | None] = [None] * len(requests)

        def take(
            answer: Data | None, indexes: list[int], merged: ByteRequest | None, members: Members
        ) -> None:
            if answer is None:
                return
            if len(members) == 1:
                answers[indexes[members[0][0]]] = answer
                return
            base = getattr(merged, "start", 0)
            array = np.frombuffer(answer, np.uint8)  # slices of it can become buffers without a copy
            for member, start, stop in members:
                index = indexes[member]
                answers[index] = cut_member(array, start, stop, requests[index][1], base)

        async def serve(key: str, indexes: list[int]) -> None:
            plan = coalesce([requests[index][1] for index in indexes], *self._limits)
            found = await self._read_together(key, [merged for merged, _ in plan])
            try:
                for answer, (merged, members) in zip(found, plan, strict=True):
                    take(answer, indexes, merged, members)
            except ByteRequestError as error:
                raise error.about(self, key) from None

        await gather([serve(key, indexes) for key, indexes in by_key(requests).items()])
        return answers

    async def _read_together(self, key: str, requests: list[ByteRequest | None]) -> list[Data | None]:
        """Read parts of a value concurrently; all from one version, if the server gives versions.

        Raises
        ------
        TransientError
            If the value was replaced during every attempt.
        """
        if len(requests) == 1:
            return [await self._read_once(key, requests[0])]
        for _ in range(_TRIES):
            found = await gather([self._read_told(key, request) for request in requests])
            if _is_one_value(found):
                return [part and part.value for part in found]
        raise changes_always(self, key)

    async def _write_if(
        self,
        send: Callable[[], Coroutine[object, object, str | Conflict | None]],
        find_own: Callable[[], Coroutine[object, object, str | Conflict | None]],
        *,
        client_retries: bool,
    ) -> str | Conflict | None:
        """Send a conditional write as often as the policy allows.

        Parameters
        ----------
        send : callable
            Makes one attempt; returns what `_write` does.
        find_own : callable
            Returns the version of the existing value if this write stored it, otherwise `CONFLICT`. Called
            after a conflict that one of our earlier attempts may have caused, if its answer was lost.
        client_retries : bool
            Whether the client silently repeats lost requests, so that the first attempt may be a repetition.
        """
        repeated = client_retries

        async def attempt() -> str | Conflict | None:
            nonlocal repeated
            may_be_own, repeated = repeated, True
            answer = await send()
            return await find_own() if answer is CONFLICT and may_be_own else answer

        return await self._dispatcher.retry_call(attempt)


def _is_one_value(parts: list[Found | None]) -> bool:
    """Whether all parts are from one version; parts without a version are accepted."""
    versions = {part.version for part in parts if part is not None and part.version}
    return len(versions) <= 1 and parts.count(None) in (0, len(parts))
