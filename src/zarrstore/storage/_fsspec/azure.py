"""Azure with adlfs: few requests, sent by Azure's own client, without adlfs's cache.

Accounts with a hierarchical namespace list directories as empty blobs marked in their metadata. These are not
values.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from zarrstore._core.verbs import Entry
from zarrstore.errors import TransientError, TruncatedError
from zarrstore.storage._fsspec.errors import refused
from zarrstore.storage._fsspec.parts import check_answer, note_version
from zarrstore.storage._remote.answers import Answer, no_container
from zarrstore.storage._remote.store import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarrstore._core.types import Data
    from zarrstore.storage._fsspec.protocol import FileSystem, Untyped

PACKAGE = "adlfs"
NEEDS: tuple[str, ...] = ("service_client",)
BATCH = 256  # Azure's limit for a bulk delete
IN_PARTS = False
_FOLDER_MARKS = ("hdi_isfolder", "is_directory")


def _blob(fs: FileSystem, path: str) -> Untyped:
    container, _, name = path.partition("/")
    return fs.service_client.get_blob_client(container, name)


@contextmanager
def _as_missing(path: str) -> Iterator[None]:
    """Raise `FileNotFoundError` if Azure's client reports that something is missing."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        yield
    except ResourceNotFoundError as error:
        raise FileNotFoundError(path) from error


def _is_folder(metadata: dict[str, str] | None) -> bool:
    marks = {name.lower(): text for name, text in (metadata or {}).items()}
    return any(marks.get(mark) == "true" for mark in _FOLDER_MARKS)


async def _properties(blob: Untyped, path: str) -> Untyped:
    with _as_missing(path):
        found = await blob.get_blob_properties()
    if _is_folder(found.metadata):
        raise FileNotFoundError(path)
    return found


def _check(told: Untyped) -> None:
    """Check Azure's answer to a read against the request."""
    answer, headers = told.http_response, told.http_request.headers
    asked = headers.get("x-ms-range") or headers.get("Range")
    if answer.status_code < 300:
        length = answer.headers.get("Content-Length")
        found = answer.headers.get("Content-Range")
        check_answer(asked, answer.status_code, found, None if length is None else int(length))


async def fetch(fs: FileSystem, path: str, start: int | None, end: int | None) -> Data:
    """Read with one GET request; the last bytes with two, since Azure can't count from the end."""
    from azure.core import MatchConditions
    from azure.core.exceptions import ResourceModifiedError

    length = None if end is None or start is None else end - start
    many = fs.max_concurrency or 1
    async with _blob(fs, path) as blob:
        for attempt in range(5):
            only: dict[str, Untyped] = {}
            first = start
            if start is not None and start < 0:
                found = await _properties(blob, path)
                if not found.size:
                    return b""
                first = max(0, found.size + start)
                only = {"etag": found.etag, "match_condition": MatchConditions.IfNotModified}
            try:
                with _as_missing(path):
                    stream = await blob.download_blob(
                        offset=first,
                        length=length,
                        max_concurrency=many,
                        raw_response_hook=_check,
                        **fs._timeout_kwargs,
                        **only,
                    )
            except ResourceModifiedError:
                if not only or attempt == 4:
                    raise
                continue  # it was replaced after the request for its size
            if _is_folder(stream.properties.metadata):
                raise FileNotFoundError(path)
            note_version(stream.properties.etag)
            value: Data = await stream.readall()
            if len(value) != stream.size:
                raise TruncatedError(f"the server announced {stream.size} bytes and sent {len(value)}.")
            return value
    raise AssertionError


async def look(fs: FileSystem, path: str) -> tuple[int, str | None]:
    """Return a value's size and version with one HEAD request."""
    async with _blob(fs, path) as blob:
        found = await _properties(blob, path)
    return int(found.size), found.etag


async def create(fs: FileSystem, path: str, value: bytes, token: str) -> None:
    """Create a value, with a token in its metadata."""
    async with _blob(fs, path) as blob:
        await blob.upload_blob(
            value,
            overwrite=False,
            metadata={"is_directory": "false", TOKEN: token},
            max_concurrency=fs.max_concurrency or 1,
            **fs._timeout_kwargs,
        )


async def was_written(fs: FileSystem, path: str, token: str) -> bool:
    """Whether a value has this token."""
    async with _blob(fs, path) as blob:
        metadata = (await _properties(blob, path)).metadata
    return bool((metadata or {}).get(TOKEN) == token)


async def page(
    fs: FileSystem, root: str, prefix: str, deep: bool, token: str | None, most: int | None
) -> tuple[list[Entry], str | None]:
    """List a page of what is below a directory; also return the next page's token."""
    container, _, above = (root + prefix).partition("/")
    async with fs.service_client.get_container_client(container) as client:
        listing = client.list_blobs if deep else client.walk_blobs
        found = listing(name_starts_with=above, include=["metadata"], results_per_page=most)
        pages = found.by_page(continuation_token=token)
        with _as_missing(root):
            async for blobs in pages:
                return [_entry(blob) async for blob in blobs], pages.continuation_token or None
    return [], None


def _entry(blob: Untyped) -> Entry:
    length = getattr(blob, "size", None)  # prefixes have none
    when = getattr(blob, "last_modified", None)
    size = None if length is None or _is_folder(blob.metadata) else length
    return Entry(blob.name, size, None, when and when.timestamp())


async def delete(fs: FileSystem, path: str) -> None:
    """Remove a value."""
    with _as_missing(path):
        async with _blob(fs, path) as blob:
            await blob.delete_blob()


async def remove(fs: FileSystem, paths: list[str], store: object) -> None:
    """Remove up to `BATCH` values with one request."""
    names = [path.partition("/")[2] for path in paths]
    async with fs.service_client.get_container_client(paths[0].partition("/")[0]) as client:
        parts = await client.delete_blobs(*names, raise_on_any_failure=False)
        answers = [Answer(part.status_code, part.headers.get("x-ms-error-code", "")) async for part in parts]
    if len(answers) != len(names):
        raise TransientError(f"{len(names)} deletes were asked for, {len(answers)} answered.", store=store)
    for name, answer in zip(names, answers, strict=True):
        if (answer.status or 0) < 300 or answer.code == "BlobNotFound":
            continue
        if answer.code == "ContainerNotFound":
            raise no_container("delete", store, None)
        raise refused(answer, store, name)
