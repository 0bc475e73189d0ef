"""What the stores over fsspec and obstore share: their options, ranges read by few requests, lost writes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from zarrstore._async.concurrency import gather
from zarrstore._core.requests import by_key, coalesce, cut_member
from zarrstore._core.verbs import CONFLICT
from zarrstore.abc.store import Store
from zarrstore.errors import ByteRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data
    from zarrstore._core.verbs import Conflict, Entry, Request, Verbs
    from zarrstore.storage._remote.dispatch import Dispatcher

T = TypeVar("T")

# A conditional write leaves a random token in the value's metadata, under this name: lower case and without
# punctuation, since Azure wants an identifier and some servers change the case.
TOKEN = "zarrstorewrite"

# Ranges with at most this many bytes between them are read as one, up to this size: the latency of a
# request is worth about a megabyte of transfer.
MAX_GAP = 1 << 20
MAX_COALESCED = 16 << 20

# A value that comes in pieces and has more bytes than this is sent in parts of so many.
PART = 8 << 20


async def begun(pieces: AsyncIterator[Data]) -> AnyPieces:
    """Return the pieces of a value, in a list if they fit into one part."""
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
        del piece  # while the next one comes


def comes_from(value: object, package: str) -> bool:
    """Whether an object's class, or one that it derives from, is a package's."""
    return any(cls.__module__.partition(".")[0] == package for cls in type(value).__mro__)


class RemoteStore(Store, abstract=True):
    """Base of stores that send requests to a server.

    Parameters
    ----------
    dispatcher : Dispatcher
        Sends the requests.
    limits : (int, int)
        ``max_gap_bytes`` and ``max_coalesced_bytes``: ranges of one value that are asked for by one call are
        read as one if at most so many bytes lie between them, up to this size in bytes.
    missing_on : iterable of int
        Statuses that mean, of a value that is read or looked up, that it is missing.
    read_only : bool
        Whether to refuse every call that changes something.
    """

    supports_partial_writes: bool = False

    # Serves local folders in this store's place: it knows what files need, whole writes for example.
    _local: Store | None = None

    def __init__(
        self, dispatcher: Dispatcher, limits: tuple[int, int], missing_on: Iterable[int], *, read_only: bool
    ) -> None:
        super().__init__(read_only=read_only)
        self.missing_on = frozenset(missing_on)
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

    __hash__ = Store.__hash__

    def __dask_tokenize__(self) -> tuple[object, ...]:
        # Two servers may have buckets of the same name: what distinguishes them goes in, as a digest.
        return (*super().__dask_tokenize__(), self._digest())

    @cached_property
    def _own_async_verbs(self) -> Verbs:
        return super()._own_async_verbs if self._local is None else self._local._own_async_verbs

    # -- what a store defines ---------------------------------------------------------------------

    def _identity(self) -> object:
        """Return what distinguishes two stores of one location: server and credentials."""
        raise NotImplementedError

    def _digest(self) -> object:
        """Return the same without secrets."""
        raise NotImplementedError

    async def _on_client(self, coroutine: Coroutine[object, object, T]) -> T:
        """Await requests where the client can send them."""
        return await coroutine

    async def _read_once(self, key: str, request: ByteRequest | None) -> Data | None:
        """Read as `_read` does, where the client can send requests; equal reads share one."""
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
        """Answer many reads in the order asked: near ranges of one value are read as one."""
        answers: list[Data | None] = [None] * len(requests)

        async def serve(
            key: str, indexes: list[int], merged: ByteRequest | None, members: list[tuple[int, int, int]]
        ) -> None:
            answer = await self._read_once(key, merged)
            if answer is None:
                return
            if len(members) == 1:
                answers[indexes[members[0][0]]] = answer
                return
            base = getattr(merged, "start", 0)
            array = np.frombuffer(answer, np.uint8)  # whose slices go into buffers without a copy
            for member, start, stop in members:
                index = indexes[member]
                try:
                    answers[index] = cut_member(array, start, stop, requests[index][1], base)
                except ByteRequestError as error:
                    raise error.about(self, key) from None

        await gather(
            [
                serve(key, indexes, merged, members)
                for key, indexes in by_key(requests).items()
                for merged, members in coalesce([requests[index][1] for index in indexes], *self._limits)
            ]
        )
        return answers

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
            Makes one attempt; answers as `_write` does.
        find_own : callable
            Returns the version of the value that is there if it is this write's, else `CONFLICT`. Asked
            after a conflict that an earlier attempt of ours may have caused, whose answer was lost.
        client_retries : bool
            Whether the client repeats lost requests unseen, so that the first attempt may have been one.
        """
        repeated = client_retries

        async def attempt() -> str | Conflict | None:
            nonlocal repeated
            may_be_own, repeated = repeated, True
            answer = await send()
            return await find_own() if answer is CONFLICT and may_be_own else answer

        return await self._dispatcher.retry_call(attempt)
