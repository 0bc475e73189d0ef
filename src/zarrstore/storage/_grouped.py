"""Many reads by few requests: grouped by key, near ranges of one value read as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarrstore._requests import coalesce, cut_member
from zarrstore.errors import ByteRequestError
from zarrstore.storage._concurrent import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from zarrstore._requests import ByteRequest

# Ranges with at most this many bytes between them are read as one, up to this size: what a request
# takes to be answered is worth about a megabyte of transfer.
MAX_GAP = 1 << 20
MAX_COALESCED = 16 << 20


async def read_grouped(
    requests: Iterable[tuple[str, ByteRequest | None]],
    read: Callable[[str, ByteRequest | None], Awaitable[Any]],
    max_gap_bytes: int = MAX_GAP,
    max_coalesced_bytes: int = MAX_COALESCED,
) -> list[Any]:
    """Answer many reads in the order asked; equal ones share one request."""
    asked = list(requests)
    by_key: dict[str, dict[ByteRequest | None, list[int]]] = {}
    for index, (key, request) in enumerate(asked):
        by_key.setdefault(key, {}).setdefault(request, []).append(index)
    answers: list[Any] = [None] * len(asked)

    async def serve(
        key: str,
        wanted: list[ByteRequest | None],
        merged: ByteRequest | None,
        members: list[tuple[int, int, int]],
    ) -> None:
        answer = await read(key, merged)
        if answer is None:
            return
        base = getattr(merged, "start", 0)
        for member, start, stop in members:
            request = wanted[member]
            try:
                part = cut_member(answer, start, stop, request, base)
            except ByteRequestError as error:
                error.key = key
                raise
            for index in by_key[key][request]:
                answers[index] = part

    plans = []
    for key, group in by_key.items():
        wanted = list(group)
        plans += [
            serve(key, wanted, merged, members)
            for merged, members in coalesce(wanted, max_gap_bytes, max_coalesced_bytes)
        ]
    await gather(plans)
    return answers
