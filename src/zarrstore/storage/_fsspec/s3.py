"""S3 with s3fs: few requests, without s3fs's cache, and with every failure raised.

s3fs's public methods use a cache, look a second time for what is missing, request the size before they read,
and ignore what a bulk delete failed to remove. The functions here send only the requests themselves.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

from zarrstore._core.verbs import Entry
from zarrstore.storage._fsspec.errors import refused, unconfirmed
from zarrstore.storage._fsspec.parts import check_answer, note_version, read_body
from zarrstore.storage._remote.answers import Answer
from zarrstore.storage._remote.dispatch import CONCURRENCY
from zarrstore.storage._remote.store import TOKEN

if TYPE_CHECKING:
    from zarrstore._core.types import Data
    from zarrstore.storage._fsspec.protocol import FileSystem, Untyped

# What an answer must contain to confirm the request, since s3fs accepts any 200, even a proxy's page.
_CONFIRMED_BY = {
    "put_object": "ETag",
    "create_multipart_upload": "UploadId",
    "upload_part": "ETag",
    "complete_multipart_upload": "ETag",
    "list_objects_v2": "IsTruncated",
}
PACKAGE = "s3fs"
NEEDS: tuple[str, ...] = ("_call_s3", "split_path")
BATCH = 1000  # S3's limit for a page of a listing and for a bulk delete
IN_PARTS = True


def retries(fs: FileSystem) -> bool:
    """Whether the user has configured how often the client retries."""
    return "retries" in fs.config_kwargs or fs.retries != type(fs).retries


def settle(fs: FileSystem, *, quiet: bool) -> None:
    """Prepare our copy of a file system; ``quiet`` disables its retries."""
    # More connections than botocore's ten, as the store's limiter decides how many are used. And a fixed user
    # agent, since botocore would build one for each request, which takes a twentieth of the request's time.
    agent = " ".join(f"{name}/{sys.modules[name].__version__}" for name in ("zarrstore", "s3fs"))
    fs.config_kwargs = {"max_pool_connections": CONCURRENCY, "user_agent": agent, **fs.config_kwargs}
    if quiet:
        # Otherwise it would repeat a request 25 times, and hide that the server is busy.
        fs.retries = 1
        fs.config_kwargs["retries"] = {"max_attempts": 0}
    if "max_concurrency" in inspect.signature(fs._cat_file).parameters:  # from s3fs 2026.6 on
        # Otherwise it would first request the size, to read large values in parts.
        fs._cat_file = partial(fs._cat_file, max_concurrency=1)
    call = fs._call_s3

    async def confirmed(method: str, *args: Untyped, **kwargs: Untyped) -> Untyped:
        answer = await call(method, *args, **kwargs)
        name = _CONFIRMED_BY.get(method)
        if name is not None and answer.get(name) in (None, ""):
            raise unconfirmed(f"it holds no {name}")
        if method == "get_object":
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
            check_answer(kwargs.get("Range"), status, answer.get("ContentRange"), answer.get("ContentLength"))
            note_version(answer.get("ETag"))
            body = answer["Body"]
            read = partial(read_body, body, answer.get("ContentLength"))
            answer["Body"] = SimpleNamespace(read=read, close=body.close)
        if method == "delete_object" and answer["ResponseMetadata"]["HTTPStatusCode"] != 204:
            raise unconfirmed("its status isn't 204")
        return answer

    fs._call_s3 = confirmed


async def look(fs: FileSystem, path: str) -> tuple[int, str | None]:
    """Return size and version with one HEAD request; if that is refused, GET succeeds or gives the reason."""
    bucket, key, _ = fs.split_path(path)
    answer = None
    with suppress(PermissionError):
        answer = await fs._call_s3("head_object", fs.kwargs, Bucket=bucket, Key=key)
    if answer is None:
        answer = await fs._call_s3("get_object", fs.kwargs, Bucket=bucket, Key=key)
        answer["Body"].close()
    return int(answer["ContentLength"]), answer.get("ETag")


async def fetch(fs: FileSystem, path: str, start: int | None, end: int | None) -> Data:
    """Read with one GET request."""
    value: Data = await fs._cat_file(path, start=start, end=end)
    return value


async def create(fs: FileSystem, path: str, value: bytes, token: str) -> None:
    """Create a value, with a token in its metadata."""
    await fs._pipe_file(path, value, mode="create", Metadata={TOKEN: token})


async def begin_upload(fs: FileSystem, path: str, token: str) -> str:
    """Start a multipart upload; return its id."""
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("create_multipart_upload", Bucket=bucket, Key=key, Metadata={TOKEN: token})
    return str(answer["UploadId"])


async def send_part(fs: FileSystem, path: str, upload: str, number: int, data: bytes) -> dict[str, object]:
    """Send a part; return what `end_upload` needs to know about it."""
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3(
        "upload_part", Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=data
    )
    return {"PartNumber": number, "ETag": answer["ETag"]}


async def end_upload(
    fs: FileSystem, path: str, upload: str, parts: list[dict[str, object]], absent: bool
) -> None:
    """Join the parts; if ``absent`` is required and the key has a value, that is an error."""
    bucket, key, _ = fs.split_path(path)
    condition = {"IfNoneMatch": "*"} if absent else {}
    await fs._call_s3(
        "complete_multipart_upload",
        Bucket=bucket,
        Key=key,
        UploadId=upload,
        MultipartUpload={"Parts": parts},
        **condition,
    )


async def drop_upload(fs: FileSystem, path: str, upload: str) -> None:
    """Remove the parts of an upload that isn't completed."""
    bucket, key, _ = fs.split_path(path)
    await fs._call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)


async def copy(fs: FileSystem, source: str, path: str, absent: bool) -> None:
    """Have the server copy a value; if ``absent`` is required, a value at the path is an error."""
    bucket, key, _ = fs.split_path(path)
    from_bucket, from_key, _ = fs.split_path(source)
    where = {"Bucket": from_bucket, "Key": from_key}
    condition = {"IfNoneMatch": "*"} if absent else {}
    answer = await fs._call_s3("copy_object", Bucket=bucket, Key=key, CopySource=where, **condition)
    if not answer.get("CopyObjectResult", {}).get("ETag"):
        raise unconfirmed("it holds no ETag")


async def was_written(fs: FileSystem, path: str, token: str) -> bool:
    """Whether a value has this token."""
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("head_object", fs.kwargs, Bucket=bucket, Key=key)
    return bool(answer.get("Metadata", {}).get(TOKEN) == token)


async def page(
    fs: FileSystem, root: str, prefix: str, deep: bool, token: str | None, most: int | None
) -> tuple[list[Entry], str | None]:
    """List a page of what is below a directory; also return the next page's token."""
    bucket, _, above = (root + prefix).partition("/")
    wanted: dict[str, str | int] = {"Bucket": bucket, "Prefix": above, "MaxKeys": most or BATCH}
    if not deep:
        wanted["Delimiter"] = "/"
    if token is not None:
        wanted["ContinuationToken"] = token
    answer = await fs._call_s3("list_objects_v2", fs.req_kw, **wanted)
    entries = [
        Entry(found["Key"], found["Size"], None, found["LastModified"].timestamp())
        for found in answer.get("Contents", ())
    ]
    entries += [Entry(found["Prefix"]) for found in answer.get("CommonPrefixes", ())]
    if not answer["IsTruncated"]:
        return entries, None
    more = answer.get("NextContinuationToken")
    if not more:
        raise unconfirmed("there is more to list, and no token to ask for it by")
    return entries, more


async def delete(fs: FileSystem, path: str) -> None:
    """Remove a value."""
    await fs._rm_file(path)


async def remove(fs: FileSystem, paths: list[str], store: object) -> None:
    """Remove up to `BATCH` values with one request."""
    parts = [fs.split_path(path) for path in paths]
    wanted = {"Objects": [{"Key": key} for _, key, _ in parts]}
    answer = await fs._call_s3("delete_objects", fs.req_kw, Bucket=parts[0][0], Delete=wanted)
    deleted = {found.get("Key") for found in answer.get("Deleted", ())}
    for failure in answer.get("Errors", ()):
        code = failure.get("Code", "")
        if code != "NoSuchKey":
            raise refused(Answer(None, code), store, failure.get("Key"), failure.get("Message", ""))
        deleted.add(failure.get("Key"))
    for _, key, _ in parts:
        if key not in deleted:
            raise unconfirmed("it doesn't name the key", key=key)
