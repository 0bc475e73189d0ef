"""Many reads by few requests: grouped by key, near ranges of one value read as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zarrstore._async.concurrency import gather
from zarrstore._core.requests import coalesce, cut_member
from zarrstore.errors import ByteRequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from zarrstore._core.requests import ByteRequest

# Ranges with at most this many bytes between them are read as one, up to this size: what a request
# takes to be answered is worth about a megabyte of transfer.
MAX_GAP = 1 << 20
MAX_COALESCED = 16 << 20


async def read_coalesced(
    requests: Iterable[tuple[str, ByteRequest | None]],
    read: Callable[[str, ByteRequest | None], Awaitable[Any]],
    max_gap_bytes: int,
    max_coalesced_bytes: int,
) -> list[Any]:
    """Answer many reads in the order asked. ``read`` is left to share one request among equal ones."""
    asked = list(requests)
    by_key: dict[str, list[int]] = {}
    for index, (key, _) in enumerate(asked):
        by_key.setdefault(key, []).append(index)
    answers: list[Any] = [None] * len(asked)

    async def serve(
        key: str, indexes: list[int], merged: ByteRequest | None, members: list[tuple[int, int, int]]
    ) -> None:
        answer = await read(key, merged)
        if answer is None:
            return
        if len(members) == 1:
            answers[indexes[members[0][0]]] = answer
            return
        base = getattr(merged, "start", 0)
        answer = np.frombuffer(answer, np.uint8)  # whose parts are buffers' arrays as they are
        for member, start, stop in members:
            index = indexes[member]
            try:
                answers[index] = cut_member(answer, start, stop, asked[index][1], base)
            except ByteRequestError as error:
                error.key = key
                raise

    plans = []
    for key, indexes in by_key.items():
        wanted = [asked[index][1] for index in indexes]
        plans += [
            serve(key, indexes, merged, members)
            for merged, members in coalesce(wanted, max_gap_bytes, max_coalesced_bytes)
        ]
    await gather(plans)
    return answers
