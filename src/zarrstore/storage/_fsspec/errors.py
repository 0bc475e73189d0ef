"""What the errors of fsspec's file systems mean.

They come as built-in errors that hide others: s3fs raises `FileNotFoundError` for a missing bucket as for a
missing key, and the HTTP file system for a refused or failed request. So the whole chain is looked at.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zarrstore.errors import (
    AccessDeniedError,
    BackendError,
    StoreError,
    TransientError,
    TruncatedError,
    UnsupportedOperationError,
    from_os_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a file system may raise for a value that is missing, unless a store is told otherwise.
ALLOWED_EXCEPTIONS: tuple[type[Exception], ...] = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
)

_GONE = (404, 410)
_HARMLESS = (FileNotFoundError, IsADirectoryError, NotADirectoryError, LookupError)
# The words by which a server says that a key is missing in a bucket that is there.
_NO_KEY = frozenset(("NoSuchKey", "BlobNotFound"))
_NO_CONTAINER = ("nosuchbucket", "bucket does not exist", "containernotfound", "container does not exist")
_CUT_SHORT = ("ClientPayloadError", "IncompleteReadError", "IncompleteRead")
# What botocore and aiohttp raise when a connection fails, which derives from no built-in error.
_CONNECTION = frozenset(
    ("HTTPClientError", "EndpointConnectionError", "ConnectTimeoutError", "ClientConnectionError")
)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# Refused as who one is, and not for what is asked: that says nothing about a key.
_UNKNOWN_CALLER = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, down to the first cause."""
    link: BaseException | None = error
    for _ in range(16):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def status(error: BaseException) -> int | None:
    """Return the status of the answer that an error stands for, under the names that clients give it."""
    for name in ("status", "status_code", "code"):
        number = getattr(error, name, None)
        if isinstance(number, int) and 100 <= number < 600:
            return number
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        number = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return number if isinstance(number, int) else None
    # gcsfs has no class for this one.
    return 403 if type(error) is OSError and str(error).startswith("Forbidden: ") else None


def code(error: BaseException) -> str:
    """Return the server's own word for an error, where its answer has one."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    word = getattr(error, "error_code", "") or ""
    return str(getattr(word, "value", word))


def proves_absence(error: BaseException, allowed: tuple[type[Exception], ...]) -> bool:
    """Whether an error says that there is no such value, and hides nothing that says otherwise."""
    if not isinstance(error, allowed):
        return False
    if not isinstance(error, FileNotFoundError):
        return True
    for link in chain(error):
        if _lacks_container(link):
            return False
        number = status(link)
        if number in _GONE or (number is None and isinstance(link, _HARMLESS)):
            continue
        return isinstance(translated(error, "read", None, None), allowed)
    return True


def names_key(error: BaseException) -> bool:
    """Whether the server says that it is the key which is missing: so the bucket is there."""
    return any(code(link) in _NO_KEY for link in chain(error))


def _words(link: BaseException) -> str:
    """Return what the server says in an error: its code, or a text that isn't just the path asked for."""
    # "No such file" is told by the path alone, and a path may hold any words.
    return (code(link) or ("" if isinstance(link, _HARMLESS) else str(link))).lower()


def _lacks_container(link: BaseException) -> bool:
    return any(words in _words(link) for words in _NO_CONTAINER)


def is_answered(error: BaseException, numbers: frozenset[int]) -> bool:
    """Whether a server answered one of these statuses, and not because it doesn't know the caller."""
    return any(status(link) in numbers and code(link) not in _UNKNOWN_CALLER for link in chain(error))


def is_slow_down(error: BaseException) -> bool:
    """Whether a server wants fewer requests."""
    return any(status(link) in (429, 503) or code(link) == "SlowDown" for link in chain(error))


def is_past_the_end(error: BaseException) -> bool:
    """Whether a server refused a range because it starts past the end of the value."""
    return any(
        status(link) == 416 or code(link) == "InvalidRange" or "not satisfiable" in _words(link)
        for link in chain(error)
    )


def is_taken(error: BaseException) -> bool:
    """Whether a create was refused because the key has a value."""
    return any(isinstance(link, FileExistsError) or status(link) == 412 for link in chain(error))


def is_contended(error: BaseException) -> bool:
    """Whether a create has to be tried again because another one of the same key was under way."""
    return any(code(link) == "ConditionalRequestConflict" for link in chain(error))


def no_container(action: str, store: object, key: str | None) -> BackendError:
    """Make the error for a bucket or container that isn't there."""
    return BackendError(
        f"could not {action}: the bucket or container does not exist.",
        store=store,
        key=key,
        hint="Create it, or check its name and region.",
    )


def refused(status: int, code: str, store: object, key: str) -> BackendError:
    """Make the error for one of many deletes that a server refused."""
    kind = BackendError
    if status in (401, 403):
        kind = AccessDeniedError
    elif status in _TRANSIENT:
        kind = TransientError
    return kind(f"could not delete: {status} {code}".rstrip() + ".", store=store, key=key)


def translated(error: BaseException, action: str, store: object, key: str | None) -> StoreError:
    """Translate an error of a file system; the caller chains it with ``raise ... from error``."""
    if isinstance(error, StoreError):
        error.store = error.store or str(store)
        error.key = error.key or key
        return error
    reason = (str(error) or type(error).__name__).strip().removesuffix(".")
    for link in chain(error):
        number = status(link)
        if _lacks_container(link):
            return no_container(action, store, key or None)
        if number in (401, 403) or (isinstance(link, PermissionError) and number is None):
            return AccessDeniedError(
                f"could not {action}: {reason}.",
                store=store,
                key=key or None,
                hint="Check the credentials and what they may do; public data often needs anon=True.",
            )
        if isinstance(link, NotImplementedError) or number in (405, 501):
            return UnsupportedOperationError(
                f"could not {action}: this file system can't.", store=store, key=key or None
            )
        if type(link).__name__ in _CUT_SHORT:
            return TruncatedError(f"could not {action}: {reason}.", store=store, key=key or None)
        if (
            number in _TRANSIENT
            or isinstance(link, (TimeoutError, asyncio.TimeoutError, ConnectionError))
            or not _CONNECTION.isdisjoint(cls.__name__ for cls in type(link).__mro__)
        ):
            return TransientError(f"could not {action}: {reason}.", store=store, key=key or None)
    if isinstance(error, OSError):
        return from_os_error(error, action=action, store=store, key=key or None)
    kind = type(error).__name__
    return BackendError(f"could not {action}: {kind}: {reason}.", store=store, key=key or None)
