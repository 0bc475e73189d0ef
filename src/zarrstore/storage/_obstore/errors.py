"""What the errors of obstore mean: their classes say little, so the status is read off their text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from zarrstore.errors import (
    AccessDeniedError,
    BackendError,
    InvalidKeyError,
    StoreError,
    TransientError,
    TruncatedError,
    UnsupportedOperationError,
)
from zarrstore.storage._remote import answers as answers

if TYPE_CHECKING:
    from collections.abc import Iterable

# Where a server's answer begins in an error's text; one to a bulk delete has no status of its own.
_ANSWER = re.compile(
    r"non-2xx status code: (\d{3})|Server returned error response|[Dd]elete\w* request failed for key"
)
_QUERY = re.compile(r"\?[^\s\"',)]*")
_CODE = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
# A past range is no failure of the server's: each of obstore's stores says it in its own words.
# (The last is a server's that answers for a part of an empty value, "bytes 0--1/0".)
_PAST = (
    "invalid range", "range was invalid", "invalidrange", "starttoolarge", "parse value for content_range",
)  # fmt: skip
_NO_KEY = ("could not parse path", "invalidpath", "are not supported: ", "file name too long")
_CUT_SHORT = ("error decoding response body", "unexpected eof", "end of file before message length")
_PASSING = ("http error", "error sending request", "timed out", "connection", "request or response body")


def status(error: BaseException) -> int | None:
    """Return the status that a server answered, where one did."""
    found = _ANSWER.search(str(error))
    return int(found[1]) if found and found[1] else None


def code(error: BaseException) -> str:
    """Return the server's own word for an error, where its answer has one."""
    text = str(error)
    found = _ANSWER.search(text)
    word = _CODE.search(text, found.end()) if found else None
    return (word[1] or word[2]) if word else ""


def denies_condition(error: BaseException, key: str | None) -> bool:
    """Whether an error says that the condition of a write, which was sent, doesn't hold."""
    if isinstance(error, FileNotFoundError) or status(error) == 404:
        return not lacks_container(error, key)  # a version was asked for, and there is no value
    if status(error) is None:  # no server was asked
        return type(error).__name__ in ("AlreadyExistsError", "PreconditionError")
    return answers.denies_condition(status(error), code(error))


def is_answered(error: BaseException, numbers: frozenset[int]) -> bool:
    """Whether a server answered one of these statuses, and not because it doesn't know the caller."""
    number = {"PermissionDeniedError": 403, "UnauthenticatedError": 401}.get(type(error).__name__)
    return (number or status(error)) in numbers and code(error) not in answers.UNKNOWN_CALLER


def is_slow_down(error: BaseException) -> bool:
    """Whether a server wants fewer requests."""
    return status(error) in (429, 503) or code(error) == "SlowDown"


def lacks_container(error: BaseException, key: str | None) -> bool:
    """Whether the bucket or container itself isn't there."""
    return _says(error, answers.NO_CONTAINER, key)


def is_past_the_end(error: BaseException, key: str | None) -> bool:
    """Whether a range was refused because it starts past the end of the value."""
    return status(error) == 416 or _says(error, _PAST, key)


def is_unsupported(error: BaseException) -> bool:
    """Whether the backend has no such operation."""
    return isinstance(error, NotImplementedError) or type(error).__name__ == "NotSupportedError"


def _says(error: BaseException, words: Iterable[str], key: str | None) -> bool:
    """Whether an error's text has any of the words; the key in it may hold any words, so it doesn't count."""
    text = str(error)
    if key:
        for shown in (key, quote(key), quote(key, safe="")):
            # As a whole only: a key "k" is no part of "NoSuchBucket".
            text = re.sub(rf"(?<!\w){re.escape(shown)}(?!\w)", "", text)
    text = text.lower()
    return any(word in text for word in words)


def without_secrets(error: BaseException) -> BaseException:
    """Return an error like this one whose text holds no query of a URL: such may carry a signature."""
    return type(error)(_QUERY.sub("", str(error)))


def translated(error: BaseException, action: str, store: object, key: str | None) -> StoreError:
    """Translate an error of obstore's; the caller chains what `without_secrets` makes of it."""
    key = key or None
    reason = _QUERY.sub("", str(error).partition("\n")[0]).strip().removesuffix(".") or type(error).__name__
    number, word, kind = status(error), code(error), type(error).__name__
    hint = answers.hint(number, word)
    if lacks_container(error, key):
        return BackendError(
            f"could not {action}: the bucket or container does not exist.",
            store=store,
            key=key,
            hint="Create it, or check its name and region.",
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or answers.denies_access(number, word):
        return AccessDeniedError(
            f"could not {action}: {reason}.",
            store=store,
            key=key,
            hint="Check the credentials and what they may do; public data often needs skip_signature=True.",
        )
    if _says(error, _NO_KEY, key):
        return InvalidKeyError(
            f"could not {action}: this backend can't hold such a key.",
            store=store,
            key=key,
            hint="Choose another name.",
        )
    if is_unsupported(error) or number in (405, 501):
        return UnsupportedOperationError(f"could not {action}: this backend can't.", store=store, key=key)
    if number is None and _says(error, _CUT_SHORT, key):
        return TruncatedError(f"could not {action}: {reason}.", store=store, key=key)
    if (
        answers.may_pass(number, word)
        or isinstance(error, TimeoutError)
        or (number is None and _says(error, _PASSING, key))
    ):
        return TransientError(f"could not {action}: {reason}.", store=store, key=key, hint=hint)
    return BackendError(f"could not {action}: {kind}: {reason}.", store=store, key=key, hint=hint)
