"""Interprets obstore's errors: their classes say little, so status and code are parsed from the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from zarrstore._core.retry import ExhaustedError
from zarrstore._core.secrets import without_secrets
from zarrstore.errors import (
    AccessDeniedError,
    BackendError,
    InvalidKeyError,
    StoreError,
    TransientError,
    TruncatedError,
    UnsupportedOperationError,
)
from zarrstore.storage._remote import answers
from zarrstore.storage._remote.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

# Where a server's answer begins in an error's text; the answer to a bulk delete has no status of its own.
_ANSWER = re.compile(
    r"non-2xx status code: (\d{3})|Server returned error response|[Dd]elete\w* request failed for key"
)
# Where the document that a server sent begins.
_DOCUMENT = re.compile(r":?\s*<(?:\?xml|Error|!DOCTYPE|html)", re.IGNORECASE)
_CODE = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
# A range past the end isn't a failure of the server. Each of obstore's stores words this differently.
# (The last is for a server that answers a request for part of an empty value with "bytes 0--1/0".)
_PAST = (
    "invalid range", "range was invalid", "invalidrange", "starttoolarge", "parse value for content_range",
)  # fmt: skip
_NO_KEY = ("could not parse path", "invalidpath", "are not supported: ", "file name too long")
_CUT_SHORT = ("error decoding response body", "unexpected eof", "end of file before message length")
_RETRIED = re.compile(r", after [1-9]\d* retries")
_TRANSIENT = ("error sending request", "timed out", "connection", "request or response body")
_FOREIGN = re.compile(r'Path "(.*?)"(?: contained|: Encountered)', re.DOTALL)
# Why no server was reached, from the details of an error.
_UNREACHED = re.compile(r'kind: Connect,.*?(?:message|error): "([^"]*)"', re.DOTALL)
# Classes that imply a status, whether or not it is in the text.
_STATUSES = {"PermissionDeniedError": 403, "UnauthenticatedError": 401}


def answer(error: BaseException) -> Answer:
    """Return the status, error code and message of a server's answer, if there was one."""
    text = str(error)
    found = _ANSWER.search(text)
    if found is None:
        return Answer(None, "")
    code, message = _CODE.search(text, found.end()), _MESSAGE.search(text, found.end())
    return Answer(
        int(found[1]) if found[1] else None,
        (code[1] or code[2]) if code else "",
        message[1] if message else "",
    )


def proves_absence(error: BaseException, key: str | None) -> bool:
    """Whether an error means that there is no such value; obstore treats a web server's 405 as that, too."""
    found = isinstance(error, FileNotFoundError) and answer(error).status in (None, 404)
    return found and not lacks_container(error, key)


def denies_condition(error: BaseException, key: str | None) -> bool:
    """Whether an error means that the condition of a write that was sent doesn't hold."""
    found = answer(error)
    if isinstance(error, FileNotFoundError) or found.status == 404:
        return not lacks_container(error, key)  # a version was required, and there is no value
    if found.status is None:  # no server was involved
        return type(error).__name__ in ("AlreadyExistsError", "PreconditionError")
    return answers.denies_condition(found)


def is_missing(error: BaseException, missing_on: Collection[int]) -> bool:
    """Whether a server answered with one of the statuses that a store treats as "missing"."""
    found = answer(error)
    status = _STATUSES.get(type(error).__name__, found.status)
    return answers.is_missing(found._replace(status=status), missing_on)


def is_denied(error: BaseException) -> bool:
    """Whether a server denied access to the caller."""
    return type(error).__name__ in _STATUSES or answer(error).status in _STATUSES.values()


def is_throttled(error: BaseException) -> bool:
    """Whether a server asks for fewer requests."""
    return answers.is_throttled(answer(error))


def lacks_container(error: BaseException, key: str | None) -> bool:
    """Whether the bucket or container itself doesn't exist."""
    return answers.names_no_container(_text(error, key))


def is_past_the_end(error: BaseException, key: str | None) -> bool:
    """Whether a range was refused because it starts past the end of the value."""
    return answer(error).status == 416 or _says(error, _PAST, key)


def foreign_name(error: BaseException) -> str | None:
    """Return the name of a listed object that obstore can't represent; None for other errors."""
    found = _FOREIGN.search(str(error)) if type(error).__name__ == "InvalidPathError" else None
    return found and found[1]


def is_unsupported(error: BaseException) -> bool:
    """Whether the backend doesn't support the operation."""
    return isinstance(error, NotImplementedError) or type(error).__name__ == "NotSupportedError"


def _text(error: BaseException, key: str | None) -> str:
    """Return an error's text in lower case, without the key, which may contain any words."""
    text = str(error)
    if key:
        for shown in (key, quote(key), quote(key, safe="")):
            # Only as a whole: a key "k" isn't part of "NoSuchBucket".
            text = re.sub(rf"(?<!\w){re.escape(shown)}(?!\w)", "", text)
    return text.lower()


def _says(error: BaseException, words: Iterable[str], key: str | None) -> bool:
    text = _text(error, key)
    return any(word in text for word in words)


def _reason(error: BaseException, found: Answer) -> str:
    """Return what an error says, without its details; from a server's document only code and message."""
    said = without_secrets(_DOCUMENT.split(str(error).partition("\n")[0], maxsplit=1)[0]).strip()
    for words in (found.code, without_secrets(found.message)):
        if words not in said:
            said = f"{said}: {words}"
    return said.removesuffix(".") or type(error).__name__


def translated(error: BaseException, action: str, store: object, key: str | None) -> StoreError:
    """Translate one of obstore's errors; the caller chains it to what `safe_cause` returns."""
    found, class_name = answer(error), type(error).__name__
    why = _reason(error, found)
    kind = answers.error_class(found)
    if lacks_container(error, key):
        return answers.no_container(action, store, key)
    if kind is AccessDeniedError or (class_name in _STATUSES and kind is None):
        return answers.denied(action, why, store, key, "skip_signature=True")
    if _says(error, _NO_KEY, key):
        why = "this backend can't hold such a key"
        return answers.failed(InvalidKeyError, action, why, store, key, "Choose another name.")
    if is_unsupported(error) or kind is UnsupportedOperationError:
        return answers.failed(UnsupportedOperationError, action, "this backend can't", store, key)
    if found.status is None and _says(error, _CUT_SHORT, key):
        return answers.failed(TruncatedError, action, why, store, key)
    hint = answers.hint(found)
    if (
        kind is TransientError
        or isinstance(error, TimeoutError)
        or (found.status is None and _says(error, _TRANSIENT, key))
    ):
        kind = ExhaustedError if _RETRIED.search(str(error)) else TransientError
        if (unreached := _UNREACHED.search(str(error))) is not None:
            why, hint = f"{why}: {unreached[1]}", answers.UNREACHED
        return answers.failed(kind, action, why, store, key, hint)
    return answers.failed(BackendError, action, f"{class_name}: {why}", store, key, hint)
