"""What the stores over fsspec and obstore share: their options, ranges read by few requests, lost writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from zarrstore._async.concurrency import gather
from zarrstore._core.requests import coalesce, cut_member
from zarrstore._core.verbs import CONFLICT
from zarrstore.abc.store import Store
from zarrstore.errors import ByteRequestError
from zarrstore.storage._remote.dispatch import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.retry import RetryPolicy
    from zarrstore._core.types import Allocate, Data
    from zarrstore._core.verbs import Conflict, Entry, Request

T = TypeVar("T")

# A conditional write leaves a random token in the value's metadata, under this name: lower case and without
# punctuation, since Azure wants an identifier and some servers change the case.
TOKEN = "zarrstorewrite"

# Ranges with at most this many bytes between them are read as one, up to this size: the latency of a
# request is worth about a megabyte of transfer.
MAX_GAP = 1 << 20
MAX_COALESCED = 16 << 20


class RemoteStore(Store, abstract=True):
    """Base of stores that send requests to a server.

    Parameters
    ----------
    read_only : bool
        Whether to refuse every call that changes something.
    missing_on : iterable of int
        Statuses of a server's answer that mean, of a value that is read or looked up, that it is missing:
        ``{403}`` for a bucket that one may read but not list, where S3 answers so for a missing key.
    retry : RetryPolicy or None
        When a failed request is made again.
    concurrency : int
        How many requests may be under way at once on an event loop.
    max_gap_bytes, max_coalesced_bytes : int
        Ranges of one value that are asked for by one call are read as one if at most this many bytes lie
        between them, up to this size in bytes.
    is_throttled : callable
        Whether an error of the client's says that the server wants fewer requests.
    timed : bool
        Whether the dispatcher applies the policy's timeout, rather than the client.
    """

    supports_partial_writes: bool = False

    def __init__(
        self,
        *,
        read_only: bool,
        missing_on: Iterable[int],
        retry: RetryPolicy | None,
        concurrency: int,
        max_gap_bytes: int,
        max_coalesced_bytes: int,
        is_throttled: Callable[[BaseException], bool],
        timed: bool,
    ) -> None:
        super().__init__(read_only=read_only)
        self.missing_on = frozenset(missing_on)
        self._dispatcher = Dispatcher(retry, concurrency, is_throttled, timed=timed)
        self._limits = max_gap_bytes, max_coalesced_bytes
        # Whether the bucket is known to exist: not every answer says whether key or bucket is missing.
        self._proven = False

    # -- what a store defines ---------------------------------------------------------------------

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
        by_key: dict[str, list[int]] = {}
        for index, (key, _) in enumerate(requests):
            by_key.setdefault(key, []).append(index)
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
                    raise self._about(error, key) from None

        await gather(
            [
                serve(key, indexes, merged, members)
                for key, indexes in by_key.items()
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
