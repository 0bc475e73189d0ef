"""What s3fs can do in few requests, asked for without its cache and with every failure heard.

Its public calls answer from a cache, look a second time at what is missing, ask for a size before
they read, and leave out what a bulk delete failed to remove. These are the requests alone.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from zarrstore._verbs import Entry
from zarrstore.errors import AccessDeniedError, BackendError, TransientError
from zarrstore.storage._concurrent import finished, gather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PAGE = 1000  # what S3 puts on a page of a listing, and takes in a bulk delete
# Under this name, in a value's metadata, a create leaves word of itself.
_TOKEN = "zarrstore-create"
_PASSING = ("InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout")


def serves(fs: Any) -> bool:
    """Whether a file system is s3fs's (of one that keeps versions the listings are of another kind)."""
    return (
        any(cls.__module__.partition(".")[0] == "s3fs" for cls in type(fs).__mro__)
        and all(hasattr(fs, name) for name in ("_iterdir", "_call_s3"))
        and not fs.version_aware
    )


async def size(fs: Any, path: str) -> int:
    """Size of a value by one HEAD request."""
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("head_object", fs.kwargs, Bucket=bucket, Key=key)
    return int(answer["ContentLength"])


async def fetch(fs: Any, path: str, start: int | None, end: int | None) -> Any:
    """Read by one GET request; s3fs would ask for the size first, to read large values in several parts."""
    alone = {"max_concurrency": 1} if start is None and end is None else {}
    return await fs._cat_file(path, start=start, end=end, **alone)


async def create(fs: Any, path: str, value: bytes, token: str) -> None:
    """Write a value that isn't there, with word of who wrote it."""
    await fs._pipe_file(path, value, mode="create", Metadata={_TOKEN: token})


async def was_written(fs: Any, path: str, token: str) -> bool:
    """Whether a value is the one that a create of ours put there: it carries the token."""
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("head_object", fs.kwargs, Bucket=bucket, Key=key)
    return bool(answer.get("Metadata", {}).get(_TOKEN) == token)


async def pages(
    fs: Any, root: str, prefix: str, deep: bool, most: int | None = None
) -> AsyncIterator[list[Entry]]:
    """List below a directory, a request a page, whatever is there: keys are relative to the root."""
    bucket, _, above = (root + prefix).partition("/")
    skip = len(root)
    page: list[Entry] = []
    listing = fs._iterdir(bucket, max_items=most, delimiter="" if deep else "/", prefix=above)
    async with aclosing(listing):
        async for info in listing:
            name = info["name"][skip:]
            if info["type"] == "directory":
                page.append(Entry(name.rstrip("/") + "/"))
            else:
                page.append(Entry(name, info["size"]))
            if len(page) == _PAGE:
                yield page
                page = []
    if page:
        yield page


async def remove(fs: Any, paths: list[str], store: object) -> None:
    """Remove many values, 1,000 a request."""
    batches = [paths[first : first + _PAGE] for first in range(0, len(paths), _PAGE)]
    await finished(gather([_remove_batch(fs, batch, store) for batch in batches]))


async def _remove_batch(fs: Any, paths: list[str], store: object) -> None:
    parts = [fs.split_path(path) for path in paths]
    wanted = {"Objects": [{"Key": key} for _, key, _ in parts], "Quiet": True}
    answer = await fs._call_s3("delete_objects", Bucket=parts[0][0], Delete=wanted)
    for failure in answer.get("Errors", ()):
        code = failure.get("Code", "")
        if code in ("NoSuchKey", ""):
            continue
        kind = AccessDeniedError if code == "AccessDenied" else BackendError
        kind = TransientError if code in _PASSING else kind
        raise kind(
            f"could not delete: {code}: {failure.get('Message', '')}.", store=store, key=failure.get("Key")
        )
