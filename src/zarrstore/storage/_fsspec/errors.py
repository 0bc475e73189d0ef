"""Interprets the errors of fsspec's file systems.

File systems raise built-in errors that hide others. For example, s3fs raises `FileNotFoundError` for a
missing bucket as well as for a missing key, and the HTTP file system for a refused or failed request. So the
whole chain of errors is examined.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zarrstore._core.secrets import without_secrets
from zarrstore.errors import (
    AccessDeniedError,
    BackendError,
    StoreError,
    TransientError,
    TruncatedError,
    UnsupportedOperationError,
    from_os_error,
)
from zarrstore.storage._remote import answers
from zarrstore.storage._remote.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# What a file system may raise for a missing value, unless the user specifies otherwise.
ALLOWED_EXCEPTIONS: tuple[type[Exception], ...] = (FileNotFoundError, IsADirectoryError, NotADirectoryError)

_GONE = (404, 410)
_HARMLESS = (*ALLOWED_EXCEPTIONS, LookupError)
# Codes that mean that a key is missing in an existing bucket.
_NO_KEY = frozenset(("NoSuchKey", "BlobNotFound"))
_CUT_SHORT = ("ClientPayloadError", "IncompleteReadError", "IncompleteRead")
# Errors of failed connections from botocore and aiohttp, which derive from no built-in error. The first set
# means that no server was reached at all.
_UNREACHED = frozenset(
    ("EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError", "ServiceRequestError")
)
_CONNECTION = frozenset(
    ("HTTPClientError", "EndpointConnectionError", "ConnectTimeoutError", "ClientConnectionError")
)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it, down to the first cause."""
    link: BaseException | None = error
    for _ in range(16):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _status(error: BaseException) -> int | None:
    # Clients use different names for it.
    for name in ("status", "status_code", "code"):
        number = getattr(error, name, None)
        # aiohttp's is 0 for too many redirects, and its next name warns if read: the first number counts.
        if isinstance(number, int):
            return number if 100 <= number < 600 else None
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        number = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return number if isinstance(number, int) else None
    # gcsfs has no class for this status.
    return 403 if type(error) is OSError and str(error).startswith("Forbidden: ") else None


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        return "" if code.isdigit() else code  # for an answer to HEAD, botocore uses the status as the code
    # The header first, since Azure's client gives some refusals a different code than the server did.
    word = getattr(response, "headers", {}).get("x-ms-error-code") or getattr(error, "error_code", "") or ""
    return str(getattr(word, "value", word))


def _message(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Message", ""))
    return str(error)


def _answers(error: BaseException) -> list[Answer]:
    """Return status, error code and message, if known, for each error in a chain."""
    return [Answer(_status(link), _code(link), _message(link)) for link in chain(error)]


def proves_absence(error: BaseException, allowed: tuple[type[Exception], ...]) -> bool:
    """Whether an error means that there is no such value, and hides nothing to the contrary."""
    if not isinstance(error, allowed):
        return False
    if not isinstance(error, FileNotFoundError):
        return True
    for link in chain(error):
        if _lacks_container(link):
            return False
        status = _status(link)
        if status in _GONE or (status is None and isinstance(link, _HARMLESS)):
            continue
        return isinstance(translated(error, "read", None, None), allowed)
    return True


def names_key(error: BaseException) -> bool:
    """Whether the server reports that the key is missing, which means that the bucket exists."""
    return any(answer.code in _NO_KEY for answer in _answers(error))


def _text(link: BaseException) -> str:
    """Return what a server says in an error: its code, or else a text."""
    # The text of a `FileNotFoundError` may be just the path, which may contain any words.
    return _code(link) or ("" if isinstance(link, _HARMLESS) else str(link))


def _lacks_container(link: BaseException) -> bool:
    return answers.names_no_container(_text(link))


def is_missing(error: BaseException, missing_on: Collection[int]) -> bool:
    """Whether a server answered with one of the statuses that a store treats as "missing"."""
    return any(answers.is_missing(answer, missing_on) for answer in _answers(error))


def is_throttled(error: BaseException) -> bool:
    """Whether a server asks for fewer requests."""
    return any(map(answers.is_throttled, _answers(error)))


def is_past_the_end(error: BaseException) -> bool:
    """Whether a server refused a range because it starts past the end of the value."""
    return any(
        _status(link) == 416 or _code(link) == "InvalidRange" or "not satisfiable" in _text(link).lower()
        for link in chain(error)
    )


def denies_condition(error: BaseException) -> bool:
    """Whether a create was refused because the key has a value."""
    found = [answer for answer in _answers(error) if answer.status is not None]
    # For status 412, gcsfs raises only this class, and so do file systems without a server.
    return any(map(answers.denies_condition, found)) if found else isinstance(error, FileExistsError)


def refused(answer: Answer, store: object, key: str | None, message: str = "") -> StoreError:
    """Return the error for a delete that a server refused in a bulk request."""
    words = filter(None, (str(answer.status or ""), answer.code, message))
    why = without_secrets(" ".join(words)) or "the server gives no reason"
    kind = answers.error_class(answer) or BackendError
    return answers.failed(kind, "delete", why, store, key, answers.hint(answer))


def unconfirmed(why: str, key: str | None = None) -> BackendError:
    """Return the error for a success status whose answer doesn't confirm the request."""
    return BackendError(
        f"the server's answer doesn't confirm what was asked: {why}.",
        key=key,
        hint="See whether a proxy or a login page answers in the server's place.",
    )


def _system_reason(error: BaseException) -> str:
    """Return why the system could not connect, as text to append, if known."""
    found = (link.strerror for link in chain(error) if isinstance(link, OSError) and link.strerror)
    reason = next((words for words in found if words not in str(error)), None)
    return f": {without_secrets(reason)}" if reason else ""


def translated(error: BaseException, action: str, store: object, key: str | None) -> StoreError:
    """Translate a file system's error; the caller chains it with ``raise ... from error``."""
    if isinstance(error, StoreError):
        return error.about(store, key)
    why = without_secrets(str(error) or type(error).__name__).strip().removesuffix(".")
    found = _answers(error)
    code = next((code for _, code, _ in found if code), "")
    # For status 412, gcsfs raises only this class.
    default = 412 if isinstance(error, FileExistsError) else None
    hint = answers.hint(Answer(next((status for status, *_ in found if status), default), code))
    if code not in why:
        why = f"{code}: {why}"
    if any(answers.error_class(answer) is BackendError for answer in found):  # not the error around it
        return answers.failed(BackendError, action, why, store, key, hint)
    for link, answer in zip(chain(error), found, strict=True):
        kind = answers.error_class(answer)
        if _lacks_container(link):
            return answers.no_container(action, store, key)
        if kind is AccessDeniedError or (isinstance(link, PermissionError) and answer.status is None):
            return answers.denied(action, why, store, key, "anon=True")
        if isinstance(link, NotImplementedError) or kind is UnsupportedOperationError:
            why = "this file system can't"
            return answers.failed(UnsupportedOperationError, action, why, store, key)
        if type(link).__name__ in _CUT_SHORT:
            return answers.failed(TruncatedError, action, why, store, key)
        if (
            kind is TransientError
            or isinstance(link, (TimeoutError, asyncio.TimeoutError, ConnectionError))
            or not _CONNECTION.isdisjoint(cls.__name__ for cls in type(link).__mro__)
        ):
            if not _UNREACHED.isdisjoint(cls.__name__ for cls in type(link).__mro__):
                why, hint = f"{why}{_system_reason(error)}", answers.UNREACHED
            return answers.failed(TransientError, action, why, store, key, hint)
    if hint is None and not code and isinstance(error, OSError):
        told = from_os_error(error, action=action, store=store, key=key or None)
        told.message = without_secrets(told.message)
        return told
    return answers.failed(BackendError, action, f"{type(error).__name__}: {why}", store, key, hint)
