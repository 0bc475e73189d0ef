"""What s3fs can do in few requests, asked for without its cache and with every failure heard.

Its public calls answer from a cache, look a second time at what is missing, ask for a size before
they read, and leave out what a bulk delete failed to remove. These are the requests alone.
"""

from __future__ import annotations

import sys
from typing import Any

from zarrstore._core.verbs import Entry
from zarrstore.storage._fsspec.errors import refused, unconfirmed
from zarrstore.storage._remote.dispatch import CONCURRENCY, TOKEN

# What an answer must hold to confirm what was asked; s3fs takes any 200 for done, a proxy's page too.
_CONFIRMED_BY = {
    "put_object": "ETag",
    "create_multipart_upload": "UploadId",
    "upload_part": "ETag",
    "complete_multipart_upload": "ETag",
    "list_objects_v2": "IsTruncated",
}
BATCH = 1000  # what S3 puts on a page of a listing, and takes in a bulk delete


def serves(fs: Any) -> bool:
    """Whether a file system is s3fs's (of one that keeps versions the listings are of another kind)."""
    return (
        any(cls.__module__.partition(".")[0] == "s3fs" for cls in type(fs).__mro__)
        and all(hasattr(fs, name) for name in ("_call_s3", "split_path"))
        and not fs.version_aware
    )


def retries(fs: Any) -> bool:
    """Whether the user has said himself how often the client is to try again."""
    return "retries" in fs.config_kwargs or fs.retries != type(fs).retries


def settle(fs: Any, *, quiet: bool) -> None:
    """Prepare our copy of a file system; ``quiet`` if it is to try nothing again by itself."""
    # More connections than botocore's ten: how many are used is for the store to say.
    # Unless it is told what to say of itself, botocore spells that out anew for every request, which takes
    # it a twentieth of the time.
    agent = " ".join(f"{name}/{sys.modules[name].__version__}" for name in ("zarrstore", "s3fs"))
    fs.config_kwargs = {"max_pool_connections": CONCURRENCY, "user_agent": agent, **fs.config_kwargs}
    if quiet:
        # It would repeat a request 25 times, and nobody would be told that the server is busy.
        fs.retries = 1
        fs.config_kwargs["retries"] = {"max_attempts": 0}
    call = fs._call_s3

    async def confirmed(method: str, *given: Any, **wanted: Any) -> Any:
        answer = await call(method, *given, **wanted)
        name = _CONFIRMED_BY.get(method)
        if name is not None and answer.get(name) in (None, ""):
            raise unconfirmed(f"it holds no {name}")
        if method == "delete_object" and answer["ResponseMetadata"]["HTTPStatusCode"] != 204:
            raise unconfirmed("its status isn't 204")
        return answer

    fs._call_s3 = confirmed


async def look(fs: Any, path: str) -> tuple[int, str | None]:
    """Size and version of a value by one HEAD request."""
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("head_object", fs.kwargs, Bucket=bucket, Key=key)
    return int(answer["ContentLength"]), answer.get("ETag")


async def fetch(fs: Any, path: str, start: int | None, end: int | None) -> Any:
    """Read by one GET request; s3fs would ask for the size first, to read large values in several parts."""
    alone = {"max_concurrency": 1} if start is None and end is None else {}
    return await fs._cat_file(path, start=start, end=end, **alone)


async def create(fs: Any, path: str, value: bytes, token: str) -> None:
    """Write a value that isn't there, with word of who wrote it."""
    await fs._pipe_file(path, value, mode="create", Metadata={TOKEN: token})


async def was_written(fs: Any, path: str, token: str) -> bool:
    """Whether a value is the one that a create of ours put there: it carries the token."""
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("head_object", fs.kwargs, Bucket=bucket, Key=key)
    return bool(answer.get("Metadata", {}).get(TOKEN) == token)


async def page(
    fs: Any, root: str, prefix: str, deep: bool, token: str | None, most: int | None
) -> tuple[list[Entry], str | None]:
    """List a page of what lies below a directory, and what the next page is asked for by.

    Whatever is there is told, by its key in the bucket.
    """
    bucket, _, above = (root + prefix).partition("/")
    wanted: dict[str, Any] = {"Bucket": bucket, "Prefix": above, "MaxKeys": most or BATCH}
    if not deep:
        wanted["Delimiter"] = "/"
    if token is not None:
        wanted["ContinuationToken"] = token
    answer = await fs._call_s3("list_objects_v2", fs.req_kw, **wanted)
    entries = [Entry(found["Key"], found["Size"]) for found in answer.get("Contents", ())]
    entries += [Entry(found["Prefix"]) for found in answer.get("CommonPrefixes", ())]
    if not answer["IsTruncated"]:
        return entries, None
    more = answer.get("NextContinuationToken")
    if not more:
        raise unconfirmed("there is more to list, and no token to ask for it by")
    return entries, more


async def delete(fs: Any, path: str) -> None:
    """Remove a value."""
    await fs._rm_file(path)


async def remove(fs: Any, paths: list[str], store: object) -> None:
    """Remove up to `BATCH` values by one request."""
    parts = [fs.split_path(path) for path in paths]
    wanted = {"Objects": [{"Key": key} for _, key, _ in parts]}
    answer = await fs._call_s3("delete_objects", fs.req_kw, Bucket=parts[0][0], Delete=wanted)
    told = {found.get("Key") for found in answer.get("Deleted", ())}
    for failure in answer.get("Errors", ()):
        code = failure.get("Code", "")
        if code != "NoSuchKey":
            raise refused(None, code, store, failure.get("Key"), failure.get("Message", ""))
        told.add(failure.get("Key"))
    for _, key, _ in parts:
        if key not in told:
            raise unconfirmed("it doesn't name the key", key=key)
