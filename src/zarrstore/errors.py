"""Every error that zarrstore itself raises.

::

    StoreError                        base of the errors below; has a store, a key and a hint
    ├── InvalidKeyError               ValueError         the key or prefix doesn't follow the grammar
    ├── ByteRequestError              ValueError         the byte request selects no valid bytes
    ├── ReadOnlyError                 ValueError         a write through a read-only store
    ├── KeyNotFoundError              FileNotFoundError  a call needs the key, which has no value
    ├── KeyConflictError              FileExistsError    a value where a folder is needed, or the reverse
    ├── RootError                     NotADirectoryError the root exists and can't be a store's root
    ├── RefusedError                  ValueError         a call that would destroy what isn't the store's
    ├── DetachedError                 ValueError         a write to another process's copy of a memory store
    ├── UnsupportedOperationError     NotImplementedError  the store doesn't support the operation
    ├── MissingDependencyError        ImportError        an optional package isn't installed
    ├── StoreLikeError                TypeError, ValueError  an object that can't be opened as a store
    ├── ForkError                     RuntimeError       a backend that can't be used after ``os.fork``
    ├── CorruptError                  ValueError         stored bytes contradict their format or checksum
    ├── ChangedError                  RuntimeError       a value changed while it was read in pieces
    ├── LockedError                   BlockingIOError    another writer is active
    └── BackendError                  OSError            the backend failed; the cause is chained
        ├── AccessDeniedError         PermissionError    the backend denied access
        ├── NoSpaceError              OSError            the medium is full or the quota is exhausted
        ├── TruncatedError            OSError            fewer bytes arrived than were promised
        └── TransientError            OSError            a temporary failure: worth another attempt

Each error also derives from the built-in beside it, so code that catches the built-in keeps working.
Errors can be pickled. Chained causes are lost then, as Python doesn't pickle them.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "AccessDeniedError",
    "BackendError",
    "ByteRequestError",
    "ChangedError",
    "CorruptError",
    "DetachedError",
    "ForkError",
    "InvalidKeyError",
    "KeyConflictError",
    "KeyNotFoundError",
    "LockedError",
    "MissingDependencyError",
    "NoSpaceError",
    "ReadOnlyError",
    "RefusedError",
    "RootError",
    "StoreError",
    "StoreLikeError",
    "TransientError",
    "TruncatedError",
    "UnsupportedOperationError",
]


class StoreError(Exception):
    """Base of every error in this module.

    Parameters
    ----------
    message : str
        What went wrong, in one sentence.
    store : str, optional
        Text form of the store that was called.
    key : str, optional
        Key or prefix that was passed.
    hint : str, optional
        What the user can do about it.
    """

    def __init__(
        self, message: str, *, store: object = None, key: str | None = None, hint: str | None = None
    ) -> None:
        self.message = message
        self.store = None if store is None else str(store)
        self.key = key
        self.hint = hint
        super().__init__(message)

    def about(self, store: object, key: str | None = None) -> Self:
        """Add the store and the key if the error doesn't have them yet; return the error.

        Parameters
        ----------
        store : object
            The store that was called, or its text form.
        key : str, optional
            The key or prefix that was passed.
        """
        if self.store is None and store is not None:
            self.store = str(store)
        if self.key is None:
            self.key = key
        return self

    def __str__(self) -> str:
        where = "".join(
            f" [{name} {text!r}]"
            for name, text in (("key", self.key), ("store", self.store))
            if text is not None
        )
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.message}{where}{hint}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.store, self.key, self.hint)


def _rebuild(
    cls: type[StoreError], message: str, store: str | None, key: str | None, hint: str | None
) -> StoreError:
    """Recreate an error when it is unpickled; needed because of the keyword-only parameters."""
    return cls(message, store=store, key=key, hint=hint)


class InvalidKeyError(StoreError, ValueError):
    """A key or prefix that doesn't follow the grammar, or that this backend can't store."""


class ByteRequestError(StoreError, ValueError):
    """A byte request that is invalid in itself, or that starts at or past the end of the value."""


class ReadOnlyError(StoreError, ValueError):
    """A call that would change a read-only store."""


class KeyNotFoundError(StoreError, FileNotFoundError):
    """A call that needs an existing value, for a key that has none."""


class KeyConflictError(StoreError, FileExistsError):
    """A key below a value, or a value where there are keys below, in a backend with folders."""


class RootError(StoreError, NotADirectoryError):
    """A root that exists but isn't what the store needs, such as a file where a folder is needed."""


class RefusedError(StoreError, ValueError):
    """A call that would reach or destroy data that doesn't belong to the store."""


class DetachedError(StoreError, ValueError):
    """A write to a memory store that was unpickled in another process: nobody would ever see the value."""


class UnsupportedOperationError(StoreError, NotImplementedError):
    """An operation that this store, or its backend, doesn't support."""


class MissingDependencyError(StoreError, ImportError):
    """An optional package is not installed, and this part of zarrstore needs it."""


class StoreLikeError(StoreError, TypeError, ValueError):
    """An object that can't be made into a store."""


class ForkError(StoreError, RuntimeError):
    """A backend used on both sides of ``os.fork`` that doesn't support this."""


class CorruptError(StoreError, ValueError):
    """Stored bytes that contradict their own format, length or checksum."""


class ChangedError(StoreError, RuntimeError):
    """A value was changed, truncated or removed while it was read piece by piece."""


class LockedError(StoreError, BlockingIOError):
    """Another writer has locked what this call needs to write."""


class BackendError(StoreError, OSError):
    """The backend failed. ``__cause__`` is its own error; ``errno`` is set if that error has one."""

    def __init__(
        self,
        message: str,
        *,
        store: object = None,
        key: str | None = None,
        hint: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message, store=store, key=key, hint=hint)
        self.errno = errno

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_backend, (type(self), self.message, self.store, self.key, self.hint, self.errno)


def _rebuild_backend(
    cls: type[BackendError],
    message: str,
    store: str | None,
    key: str | None,
    hint: str | None,
    number: int | None,
) -> BackendError:
    return cls(message, store=store, key=key, hint=hint, errno=number)


class AccessDeniedError(BackendError, PermissionError):
    """The backend denied the call: missing permissions or wrong credentials."""


class NoSpaceError(BackendError):
    """The medium is full or a quota is exhausted; the previous value is still there."""


class TruncatedError(BackendError):
    """Fewer bytes arrived than were requested or announced."""


class TransientError(BackendError):
    """A temporary failure: a connection reset, a timeout, a busy server."""


def changes_always(store: object, key: str) -> TransientError:
    """Return the error for a value that is replaced again and again while it is being read."""
    return TransientError(
        "each time it was read another value had come meanwhile.",
        store=store,
        key=key,
        hint="Read it again once nobody writes it.",
    )


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_TRANSIENT = {errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ECONNRESET, errno.ESTALE, errno.EBUSY}


def from_os_error(error: OSError, *, action: str, store: object, key: str | None = None) -> StoreError:
    """Translate an operating system's error; the caller chains it with ``raise ... from error``."""
    reason = error.strerror or str(error) or type(error).__name__
    number = error.errno
    if number in _FULL:
        return NoSpaceError(
            f"could not {action}: {reason}.",
            store=store,
            key=key,
            hint="Free some space; what was stored before is untouched.",
            errno=number,
        )
    if number in _DENIED:
        return AccessDeniedError(
            f"could not {action}: {reason}.",
            store=store,
            key=key,
            hint="Check the owner and mode of the file and of its folders.",
            errno=number,
        )
    if number == errno.ENAMETOOLONG:
        return InvalidKeyError(
            f"could not {action}: the file system takes no name this long.",
            store=store,
            key=key,
            hint="Keep each segment of a key within 255 bytes.",
        )
    kind = TransientError if number in _TRANSIENT else BackendError
    return kind(f"could not {action}: {reason}.", store=store, key=key, errno=number)
