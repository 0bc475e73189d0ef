"""The command cat, which writes a value to the standard output."""

from __future__ import annotations

import sys
from threading import Event
from typing import TYPE_CHECKING, BinaryIO

import click

from zarrstore._cli.places import opened, url_argument
from zarrstore._copy.value import read_in_turn
from zarrstore._core.listing import closing_pages
from zarrstore._core.requests import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarrstore._core.verbs import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarrstore._core.types import Data
    from zarrstore._core.verbs import Verbs
    from zarrstore.abc.store import Store


def _parse_range(ctx: click.Context, param: click.Parameter, text: str | None) -> ByteRequest | None:
    """Turn ``START:END``, ``START:`` or ``-LENGTH:`` (the last bytes) into a byte request."""
    if text is None:
        return None
    start, _, end = text.partition(":")
    try:
        if start.startswith("-") and text.endswith(":") and not end:
            return SuffixByteRequest(int(start[1:]))
        if text.endswith(":"):
            return OffsetByteRequest(int(start))
        return RangeByteRequest(int(start), int(end))
    except ValueError:
        raise click.BadParameter(f"{text!r} is none of START:END, START: and -LENGTH:") from None


@click.command()
@url_argument
@click.argument("key")
@click.option(
    "--range",
    "request",
    callback=_parse_range,
    help="Only bytes START:END, START:, or -LENGTH: (the last ones).",
)
def cat(url: str, key: str, request: ByteRequest | None) -> None:
    """Write the value of KEY, as it is, to the standard output."""
    out = sys.stdout.buffer
    with opened(url) as store:
        if request is None:
            entry = Entry(key, store.getsize_sync(key))
            for piece in store._each(lambda verbs: _pieces(verbs, store, entry)):
                _write_all(out, piece)
        else:
            _write_all(out, store._get_bytes_sync(key, byte_range=request))
        out.flush()


async def _pieces(verbs: Verbs, store: Store, entry: Entry) -> AsyncIterator[list[Data]]:
    async with closing_pages(read_in_turn(verbs, store, entry, Event())) as pieces:
        async for piece in pieces:
            yield [piece]


def _write_all(out: BinaryIO, data: Data) -> None:
    """Write all data: an unbuffered output (``PYTHONUNBUFFERED``) may take only part at a time."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]
