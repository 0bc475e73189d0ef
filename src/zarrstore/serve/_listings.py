"""Listings in S3's format (ListObjectsV2): in the order of keys, page by page."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from starlette.responses import Response

from zarrstore._core.keys import is_key
from zarrstore.errors import UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from zarrstore._core.verbs import Entry
    from zarrstore.serve._served import Served

# The maximum number of entries on a page, as in S3.
_PAGE = 1000
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


async def listing_response(served: Served, bucket: str, query: Mapping[str, str]) -> Response:
    """Answer with a page of what is below a directory, which serves as the bucket.

    Parameters
    ----------
    served : Served
        The store.
    bucket : str
        The directory: empty, or with a trailing slash.
    query : Mapping
        S3's parameters: prefix, delimiter, continuation-token, start-after, max-keys and encoding-type.
    """
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    if query["list-type"] != "2" or delimiter not in ("", "/"):
        raise UnsupportedOperationError("only list-type=2 is known, with the delimiter / or none.")
    token, limit = query.get("continuation-token", ""), _limit(query.get("max-keys", ""))
    after = bucket + (unquote(token) or query.get("start-after", ""))
    walk_id = f"{bucket}{prefix} {delimiter}"
    found = served.walks.pop((walk_id, after), None) or _walk(
        served, bucket + prefix, after, deep=not delimiter
    )
    page = await _page(found, limit)
    following = ""
    if len(page) > limit:
        served.keep(walk_id, page[limit - 1].key, _chained(page.pop(), found))
        following = quote(page[-1].key[len(bucket) :])
    encode: Callable[[str], str] = quote if query.get("encoding-type") == "url" else escape
    told = {
        "Name": escape(bucket.strip("/")),
        "Prefix": encode(prefix),
        "Delimiter": encode(delimiter),
        "MaxKeys": str(limit),
        "KeyCount": str(len(page)),
        "EncodingType": escape(query.get("encoding-type", "")),
        "ContinuationToken": escape(token),
        "IsTruncated": "true" if following else "false",
        "NextContinuationToken": escape(following),
    }
    lines = [f"<{name}>{text}</{name}>" for name, text in told.items() if text or name == "Prefix"]
    looked_up = await _looked_up(served, page)
    lines += [_line(served, entry, encode(entry.key[len(bucket) :])) for entry in looked_up]
    return xml_response(f'<ListBucketResult xmlns="{_NAMESPACE}">{"".join(lines)}</ListBucketResult>')


def _limit(text: str) -> int:
    return min(int(text), _PAGE) if text.isascii() and text.isdecimal() and len(text) < 10 else _PAGE


def _walk(served: Served, prefix: str, after: str, *, deep: bool) -> AsyncIterator[Entry]:
    """List keys that begin with a prefix, in order, after the given key."""
    directory = prefix[: prefix.rfind("/") + 1]
    if directory and not is_key(directory[:-1]):
        return _nothing()  # no key begins like this
    return _below(served, directory, prefix, after, deep)


async def _below(served: Served, directory: str, prefix: str, after: str, deep: bool) -> AsyncIterator[Entry]:
    for entry in await served.level(directory):
        key = entry.key
        is_within = deep and key[-1] == "/"
        if not key.startswith(prefix) or (key <= after and not (is_within and after.startswith(key))):
            continue
        if is_within:
            async for below in _below(served, key, prefix, after, deep):
                yield below
        else:
            yield entry


async def _nothing() -> AsyncIterator[Entry]:
    return
    yield


async def _chained(first: Entry, others: AsyncIterator[Entry]) -> AsyncIterator[Entry]:
    yield first
    async for entry in others:
        yield entry


async def _page(found: AsyncIterator[Entry], limit: int) -> list[Entry]:
    """Take a page and one more entry, which shows that there is another page."""
    page: list[Entry] = []
    while limit and len(page) <= limit and (entry := await anext(found, None)) is not None:
        page.append(entry)
    return page


async def _looked_up(served: Served, page: list[Entry]) -> list[Entry]:
    """Look up the versions and times that the store's own listing doesn't have."""
    keys = [entry.key for entry in page if entry.key[-1] != "/" and not (entry.version or entry.modified)]
    found = dict(zip(keys, await served.verbs.for_each(served.verbs.stat, keys), strict=True))
    return [found.get(entry.key) or entry for entry in page]


def _line(served: Served, entry: Entry, name: str) -> str:
    if entry.key[-1] == "/":
        return f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
    # Clients expect a time. If it is unknown, send the current time, so that none skips a new value.
    seconds = time.time() if entry.modified is None else entry.modified
    written = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    etag = served.etag(entry)
    told = {
        "Key": name,
        "LastModified": written,
        **({} if etag is None else {"ETag": escape(etag)}),
        "Size": str(entry.size or 0),
        "StorageClass": "STANDARD",
    }
    return f"<Contents>{''.join(f'<{tag}>{text}</{tag}>' for tag, text in told.items())}</Contents>"


def xml_response(text: str, status: int = 200) -> Response:
    """Answer with an XML document."""
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', status, media_type="application/xml")
