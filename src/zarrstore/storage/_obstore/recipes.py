"""Stores of obstore's by what they are made of: equal ones share a client, and so its connections.

A worker unpickles a store with each task. To make a client takes milliseconds, and its first request a new
connection.
"""

from __future__ import annotations

import hashlib
import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from obstore.store import ObjectStore as ObstoreStore

# So many are kept, the last ones used: a process talks to few buckets.
_MOST = 32

_made: dict[str, ObstoreStore] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    """In a forked child: free the lock, and let go of clients whose connections are the parent's."""
    global _lock
    _lock = threading.Lock()
    _made.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Recipe(NamedTuple):
    """What one of obstore's stores is made of."""

    kind: type[ObstoreStore]
    args: tuple[Any, ...]
    options: dict[str, Any]

    def made(self) -> ObstoreStore:
        """Return a store: one that was made before, if it is made of the same plain values."""
        digest = self._digest()
        if digest is None:
            return self.kind(*self.args, **self.options)
        with _lock:
            found = _made.pop(digest, None)
            if found is None:
                found = self.kind(*self.args, **self.options)
            _made[digest] = found  # the last one used is last
            while len(_made) > _MOST:
                del _made[next(iter(_made))]
        return found

    def _digest(self) -> str | None:
        """Return what equal recipes share, or None if there are objects in one, such as credential providers.

        The environment is part of it: obstore takes credentials from there, and more.
        """
        try:
            text = repr((self.kind, _plain(self.args), _plain(self.options), sorted(os.environ.items())))
        except TypeError:
            return None
        return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    """Bring plain values into one order.

    Raises
    ------
    TypeError
        If something else is among them.
    """
    if isinstance(value, dict):
        return sorted((str(name), _plain(inner)) for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or type(value) in (str, bytes, bool, int, float, timedelta):
        return repr(value)
    raise TypeError(f"{type(value).__qualname__} isn't plain")
