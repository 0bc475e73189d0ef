"""What the answers of object stores mean, by status and by the server's own word: for both backends."""

from __future__ import annotations

from zarrstore.errors import BackendError

# Answers that may be others in a moment.
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# Words that mean the same, whatever the status: S3 says the last two of a request that met another one.
_PASSING = frozenset(
    (
        "InternalError",
        "SlowDown",
        "ServiceUnavailable",
        "RequestTimeout",
        "ConditionalRequestConflict",
        "OperationAborted",
    )
)
NO_CONTAINER = ("nosuchbucket", "bucket does not exist", "containernotfound", "container does not exist")
# Refused as who one is, and not for what is asked: that says nothing about a key.
UNKNOWN_CALLER = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
)
# By these words, or by none, an answer 412 says that a condition doesn't hold. There are others: a lease.
_NOT_MET = frozenset(("", "PreconditionFailed", "ConditionNotMet", "conditionNotMet"))
_CURES = {
    "Lease": "Somebody holds a lease on it: wait until that ends, or break it.",
    "BlobImmutable": "A policy keeps it as it is: write another key, or wait until the policy ends.",
    "ContainerBeingDeleted": "Wait until it is deleted, and create it anew.",
}


def denies_condition(status: int | None, code: str) -> bool:
    """Whether an answer says that the condition of a write doesn't hold; only a condition can be denied."""
    return (status == 412 and code in _NOT_MET) or (status == 409 and code == "BlobAlreadyExists")


def may_pass(status: int | None, code: str) -> bool:
    """Whether an answer is worth another try."""
    return status in TRANSIENT or code in _PASSING


def denies_access(status: int | None, code: str) -> bool:
    """Whether an answer says that the caller may not do this."""
    return status in (401, 403) or code in (
        "AccessDenied",
        "AuthorizationPermissionMismatch",
        *UNKNOWN_CALLER,
    )


def hint(status: int | None, code: str) -> str | None:
    """Say what can be done about a refusal, where there is anything to say."""
    for start, text in _CURES.items():
        if code.startswith(start):
            return text
    return "Nothing was changed: see who else works on it, and try again." if status in (409, 412) else None


def endless(why: str, store: object, prefix: str) -> BackendError:
    """Make the error for a listing that a server doesn't bring to an end."""
    return BackendError(
        f"could not list: {why}, so the listing doesn't end.",
        store=store,
        key=prefix or None,
        hint="Tell whoever runs the server.",
    )


def elsewhere(name: str, store: object, prefix: str) -> BackendError:
    """Make the error for a listing that names what wasn't asked for."""
    return BackendError(
        f"could not list: {name!r} was named, which doesn't lie there.", store=store, key=prefix
    )
