"""Interprets object servers' answers by status and error code, for s3fs, gcsfs, adlfs and obstore."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from zarrstore.errors import AccessDeniedError, BackendError, TransientError, UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from zarrstore.errors import StoreError

T_Error = TypeVar("T_Error", bound="StoreError")


class Answer(NamedTuple):
    """A server's answer to a failed request.

    Attributes
    ----------
    status : int or None
        HTTP status, if known.
    code : str
        The server's error code, for example ``NoSuchKey``; empty if there is none.
    message : str
        The server's message, if known.
    """

    status: int | None
    code: str
    message: str = ""


# Statuses and codes of temporary failures. The last two codes mean that another request interfered.
_TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))
_TRANSIENT_CODES = frozenset((
    "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "ConditionalRequestConflict",
    "OperationAborted",
))  # fmt: skip
_NO_CONTAINER = ("nosuchbucket", "bucket does not exist", "containernotfound", "container does not exist")
# The server doesn't recognise the caller, whatever the request: this says nothing about a key.
_UNKNOWN_CALLER = frozenset((
    "AuthenticationFailed", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId",
    "InvalidAuthenticationInfo", "InvalidSecurity", "InvalidToken", "RequestExpired", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "TokenRefreshRequired",
))  # fmt: skip
# Codes of refusals that may conceal a missing value: a caller who may not list isn't told.
_HIDING = frozenset(("", "accessdenied", "forbidden", "authorizationpermissionmismatch"))
_OF_THE_CALLER = ("expired", "signature", "not signed", "not yet valid")
# The value exists, but must first be restored from an archive.
_ARCHIVED = frozenset(("InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"))
_DENIED = _UNKNOWN_CALLER | {"AccessDenied", "AuthorizationPermissionMismatch"}
# Status 412 means that a condition doesn't hold only with these codes, or none; a lease has another.
_NOT_MET = frozenset(("", "PreconditionFailed", "ConditionNotMet", "conditionNotMet"))
_HINTS = {
    "Lease": "There is a lease on it: wait until that ends, or break it.",
    "BlobImmutable": "A policy keeps it as it is: write another key, or wait until the policy ends.",
    "ContainerBeingDeleted": "Wait until it is deleted, and create it anew.",
}


# What the user can do if no server was reached.
UNREACHED = "Nothing answers there: check the endpoint's address, the network, and any proxy."


def denies_condition(answer: Answer) -> bool:
    """Whether an answer means that the condition of a write doesn't hold."""
    status, code, _ = answer
    return (status == 412 and code in _NOT_MET) or (status == 409 and code == "BlobAlreadyExists")


def is_throttled(answer: Answer) -> bool:
    """Whether a server asks for fewer requests."""
    return answer.status in (429, 503) or answer.code == "SlowDown"


def is_encoded(name: str) -> bool:
    """Whether a web server's ``Content-Encoding`` means that the bytes sent differ from the value's.

    "aws-chunked" is how a value was once uploaded to S3, which remembers this and sends the value unchanged.
    """
    return name.strip().lower() not in ("", "identity", "aws-chunked")


def is_missing(answer: Answer, missing_on: Collection[int]) -> bool:
    """Whether an answer has one of the statuses that a store treats as "missing".

    A refusal counts only if it says nothing else: not if it concerns the caller, or an existing value.
    """
    if answer.status not in missing_on or answer.code in _UNKNOWN_CALLER:
        return False
    if answer.status not in (401, 403):
        return True
    message = answer.message.lower()
    return answer.code.lower() in _HIDING and not any(words in message for words in _OF_THE_CALLER)


def names_no_container(text: str) -> bool:
    """Whether an error code or text means that the bucket or container itself doesn't exist."""
    text = text.lower()
    return any(words in text for words in _NO_CONTAINER)


def error_class(answer: Answer) -> type[StoreError] | None:
    """Return the class of the error for a refused request; None if status and code don't determine it."""
    status, code, _ = answer
    if code in _ARCHIVED:
        return BackendError
    if status in (401, 403) or code in _DENIED:
        return AccessDeniedError
    if status in (405, 501):
        return UnsupportedOperationError
    return TransientError if status in _TRANSIENT or code in _TRANSIENT_CODES else None


def hint(answer: Answer) -> str | None:
    """Return what the user can do about a refusal, if anything is known."""
    if answer.code in _ARCHIVED:
        return "It is in an archive: restore it, and read it when that is done."
    for start, text in _HINTS.items():
        if answer.code.startswith(start):
            return text
    if answer.status in (409, 412):
        return "Nothing was changed: see who else works on it, and try again."
    return None


def failed(
    kind: type[T_Error], action: str, why: str, store: object, key: str | None, hint: str | None = None
) -> T_Error:
    """Return the error for an action that failed."""
    return kind(f"could not {action}: {why}.", store=store, key=key or None, hint=hint)


def denied(action: str, why: str, store: object, key: str | None, public: str) -> AccessDeniedError:
    """Return the error for an action the caller isn't allowed; ``public`` is the option for public data."""
    advice = f"Check the credentials and what they may do; public data often needs {public}."
    return failed(AccessDeniedError, action, why, store, key, advice)


def no_container(action: str, store: object, key: str | None) -> BackendError:
    """Return the error for a bucket or container that doesn't exist."""
    why, advice = "the bucket or container does not exist", "Create it, or check its name and region."
    return failed(BackendError, action, why, store, key, advice)


def unlistable(store: object) -> UnsupportedOperationError:
    """Return the error for a web server without listings."""
    return UnsupportedOperationError(
        "this server doesn't list what it has.",
        store=store,
        hint="What has a known name can be read; consolidated metadata, written elsewhere, names the rest.",
    )


def endless(why: str, store: object, prefix: str) -> BackendError:
    """Return the error for a listing that the server never ends."""
    why = f"{why}, so the listing doesn't end"
    return failed(BackendError, "list", why, store, prefix, "Tell whoever runs the server.")


def elsewhere(name: str, store: object, prefix: str) -> BackendError:
    """Return the error for a listing that names a key outside the requested directory."""
    return failed(BackendError, "list", f"{name!r} was named, which doesn't lie there", store, prefix)


def cut_listing(store: object, prefix: str) -> TransientError:
    """Return the error for a listing that ended too early."""
    return failed(TransientError, "list", "the server ended the listing, and has more to list", store, prefix)


def no_listing(store: object, prefix: str) -> BackendError:
    """Return the error for a listing by a server that claims to have any key it is asked for."""
    why = "nothing is listed by a server that has any key it is asked for: it is no bucket"
    advice = "See whether a proxy or a login page answers in the server's place."
    return failed(BackendError, "list", why, store, prefix, advice)


def undeleted(store: object, key: str) -> BackendError:
    """Return the error for a key that still exists after the server confirmed its removal."""
    why = "the server confirmed it, and lists the key as before"
    return failed(BackendError, "delete", why, store, key, "Tell whoever runs the server.")
