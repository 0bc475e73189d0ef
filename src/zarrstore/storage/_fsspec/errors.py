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
from zarrstore.storage._remote import answers as answers

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
_CUT_SHORT = ("ClientPayloadError", "IncompleteReadError", "IncompleteRead")
# What botocore and aiohttp raise when a connection fails, which derives from no built-in error.
_CONNECTION = frozenset(
    ("HTTPClientError", "EndpointConnectionError", "ConnectTimeoutError", "ClientConnectionError")
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
    # Azure's client gives some refusals another code than the server did.
    word = getattr(response, "headers", {}).get("x-ms-error-code") or getattr(error, "error_code", "") or ""
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
    return any(words in _words(link) for words in answers.NO_CONTAINER)


def is_answered(error: BaseException, numbers: frozenset[int]) -> bool:
    """Whether a server answered one of these statuses, and not because it doesn't know the caller."""
    return any(status(link) in numbers and code(link) not in answers.UNKNOWN_CALLER for link in chain(error))


def is_slow_down(error: BaseException) -> bool:
    """Whether a server wants fewer requests."""
    return any(status(link) in (429, 503) or code(link) == "SlowDown" for link in chain(error))


def is_past_the_end(error: BaseException) -> bool:
    """Whether a server refused a range because it starts past the end of the value."""
    return any(
        status(link) == 416 or code(link) == "InvalidRange" or "not satisfiable" in _words(link)
        for link in chain(error)
    )


def denies_condition(error: BaseException) -> bool:
    """Whether a create was refused because the key has a value."""
    told = [(number, code(link)) for link in chain(error) if (number := status(link)) is not None]
    # gcsfs tells an answer 412 by this class alone, and so do file systems without a server.
    return any(answers.denies_condition(*one) for one in told) if told else isinstance(error, FileExistsError)


def no_container(action: str, store: object, key: str | None) -> BackendError:
    """Make the error for a bucket or container that isn't there."""
    return BackendError(
        f"could not {action}: the bucket or container does not exist.",
        store=store,
        key=key,
        hint="Create it, or check its name and region.",
    )


def refused(status: int | None, code: str, store: object, key: str | None, message: str = "") -> BackendError:
    """Make the error for one of many deletes that a server refused."""
    kind = BackendError
    if answers.denies_access(status, code):
        kind = AccessDeniedError
    elif answers.may_pass(status, code):
        kind = TransientError
    reason = " ".join(filter(None, (str(status or ""), code, message))) or "the server gives no reason"
    return kind(f"could not delete: {reason}.", store=store, key=key, hint=answers.hint(status, code))


def unconfirmed(why: str, key: str | None = None) -> BackendError:
    """Make the error for an answer of success that doesn't say that what was asked is done."""
    return BackendError(
        f"the server's answer doesn't confirm what was asked: {why}.",
        key=key,
        hint="See whether a proxy or a login page answers in the server's place.",
    )


def translated(error: BaseException, action: str, store: object, key: str | None) -> StoreError:
    """Translate an error of a file system; the caller chains it with ``raise ... from error``."""
    if isinstance(error, StoreError):
        error.store = error.store or str(store)
        error.key = error.key or key
        return error
    reason = (str(error) or type(error).__name__).strip().removesuffix(".")
    told = [(status(link), code(link)) for link in chain(error)]
    word = next((word for _, word in told if word), "")
    # gcsfs tells an answer 412 by this class alone.
    number = next(
        (number for number, _ in told if number), 412 if isinstance(error, FileExistsError) else None
    )
    hint = answers.hint(number, word)
    if word not in reason:
        reason = f"{word}: {reason}"
    for link in chain(error):
        number, word = status(link), code(link)
        if _lacks_container(link):
            return no_container(action, store, key or None)
        if answers.denies_access(number, word) or (isinstance(link, PermissionError) and number is None):
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
            answers.may_pass(number, word)
            or isinstance(link, (TimeoutError, asyncio.TimeoutError, ConnectionError))
            or not _CONNECTION.isdisjoint(cls.__name__ for cls in type(link).__mro__)
        ):
            return TransientError(f"could not {action}: {reason}.", store=store, key=key or None, hint=hint)
    if hint is None and isinstance(error, OSError):
        return from_os_error(error, action=action, store=store, key=key or None)
    kind = type(error).__name__
    return BackendError(f"could not {action}: {kind}: {reason}.", store=store, key=key or None, hint=hint)
