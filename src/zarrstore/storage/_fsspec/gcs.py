"""Google Cloud Storage with gcsfs: few requests to the JSON API, without gcsfs's cache."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlencode

from zarrstore._core.verbs import Entry
from zarrstore.errors import TransientError
from zarrstore.storage._fsspec.errors import refused, unconfirmed
from zarrstore.storage._fsspec.parts import check_answer, note_version
from zarrstore.storage._remote.answers import Answer
from zarrstore.storage._remote.store import TOKEN

if TYPE_CHECKING:
    from zarrstore._core.types import Data
    from zarrstore.storage._fsspec.protocol import FileSystem, Untyped

PACKAGE = "gcsfs"
NEEDS: tuple[str, ...] = ("_call", "_request")
BATCH = 100  # Google's limit for a bulk delete
IN_PARTS = False
_LISTED = "items(name,size,updated),prefixes,nextPageToken"
_BOUNDARY = "zarrstore-part"
_ANSWER = re.compile(rb"content-id:\s*<?response-<?(\d+)>?.*?\r?\n\r?\n\s*HTTP/[\d.]+ (\d{3})", re.I | re.S)


def settle(fs: FileSystem, *, quiet: bool) -> None:
    """Prepare our copy of a file system: answers to its reads are checked against the requests."""
    request = fs._request

    async def checked(method: str, path: str, *args: Untyped, **kwargs: Untyped) -> Untyped:
        answer = await request(method, path, *args, **kwargs)
        status, headers, _, body = answer
        if method == "GET" and "alt=media" in path:
            asked = (kwargs.get("headers") or {}).get("Range")
            check_answer(asked, status, headers.get("Content-Range"), len(body))
            note_version(headers.get("ETag"))
        return answer

    fs._request = checked


async def fetch(fs: FileSystem, path: str, start: int | None, end: int | None) -> Data:
    """Read with one GET request."""
    value: Data = await fs._cat_file(path, start=start, end=end)
    return value


async def _look(fs: FileSystem, path: str, fields: str) -> dict[str, Untyped]:
    bucket, _, name = path.partition("/")
    found = await fs._call("GET", "b/{}/o/{}", bucket, name, fields=fields, json_out=True)
    return cast("dict[str, Untyped]", found)


async def look(fs: FileSystem, path: str) -> tuple[int, str | None]:
    """Return a value's size and version with one request."""
    found = await _look(fs, path, "size,etag")
    return int(found["size"]), found.get("etag")


async def create(fs: FileSystem, path: str, value: bytes, token: str) -> None:
    """Create a value, with a token in its metadata."""
    await fs._pipe_file(path, value, mode="create", metadata={TOKEN: token})


async def was_written(fs: FileSystem, path: str, token: str) -> bool:
    """Whether a value has this token."""
    return bool((await _look(fs, path, "metadata")).get("metadata", {}).get(TOKEN) == token)


async def delete(fs: FileSystem, path: str) -> None:
    """Remove a value. Checks the answer, since gcsfs accepts any 2xx, even a proxy's page."""
    bucket, _, name = path.partition("/")
    _, body = await fs._call("DELETE", "b/{}/o/{}", bucket, name)
    if body.strip() not in (b"", b"null", b"{}"):
        raise unconfirmed("it is a page")


async def page(
    fs: FileSystem, root: str, prefix: str, deep: bool, token: str | None, most: int | None
) -> tuple[list[Entry], str | None]:
    """List a page of what is below a directory; also return the next page's token."""
    bucket, _, above = (root + prefix).partition("/")
    asked = {
        "prefix": above or None, "delimiter": None if deep else "/", "maxResults": most, "fields": _LISTED,
    }  # fmt: skip
    found = await fs._call("GET", "b/{}/o", bucket, json_out=True, pageToken=token, **asked)
    if not found.keys() <= {"items", "prefixes", "nextPageToken", "kind"}:
        raise unconfirmed("it is no listing")
    entries = [
        Entry(item["name"], int(item["size"]), None, _seconds(item.get("updated")))
        for item in found.get("items", ())
    ]
    entries += [Entry(name) for name in found.get("prefixes", ())]
    return entries, found.get("nextPageToken") or None


def _seconds(when: str | None) -> float | None:
    """Convert a time from the server to seconds since 1970."""
    return None if when is None else datetime.fromisoformat(when).timestamp()


async def remove(fs: FileSystem, paths: list[str], store: object) -> None:
    """Remove up to `BATCH` values with one request."""
    query = urlencode(fs._get_params({}))
    parts = []
    for number, path in enumerate(paths):
        bucket, _, name = path.partition("/")
        target = f"/storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}{'?' if query else ''}{query}"
        parts.append(
            f"--{_BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n"
            f"DELETE {target} HTTP/1.1\r\n\r\n\r\n"
        )
    _, body = await fs._call(
        "POST",
        f"{fs._location}/batch/storage/v1",
        headers={"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"},
        data="".join([*parts, f"--{_BOUNDARY}--\r\n"]).encode(),
    )
    statuses = {int(number): int(status) for number, status in _ANSWER.findall(body)}
    if statuses.keys() != set(range(len(paths))):
        raise TransientError(f"{len(paths)} deletes were asked for, {len(statuses)} answered.", store=store)
    for number, path in enumerate(paths):
        if statuses[number] >= 300 and statuses[number] != 404:
            raise refused(Answer(statuses[number], ""), store, path.partition("/")[2])
