"""Recipes for obstore's stores: stores made from equal ones share a client, and so its connections.

A worker unpickles a store for each task. Making a client takes milliseconds, and its first request needs a
new connection.
"""

from __future__ import annotations

import hashlib
import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from zarrstore._core.forks import in_forked_child

if TYPE_CHECKING:
    from obstore.store import ObjectStore as ObstoreStore

# How many of the most recently used stores are kept: a process uses few buckets.
_MOST = 32

_made: dict[str, ObstoreStore] = {}
_lock = threading.Lock()


@in_forked_child
def _after_fork() -> None:
    """In a forked child: replace the lock, and drop clients whose connections belong to the parent."""
    global _lock
    _lock = threading.Lock()
    _made.clear()


class Recipe(NamedTuple):
    """What one of obstore's stores is made from."""

    kind: type[ObstoreStore]
    args: tuple[Any, ...]
    options: dict[str, Any]

    def made(self) -> ObstoreStore:
        """Return a store: an existing one, if it was made from the same plain values."""
        digest = self._digest()
        if digest is None:
            return self.kind(*self.args, **self.options)
        with _lock:
            found = _made.pop(digest, None)
            if found is None:
                found = self.kind(*self.args, **self.options)
            _made[digest] = found  # the most recently used store is last
            while len(_made) > _MOST:
                del _made[next(iter(_made))]
        return found

    def _digest(self) -> str | None:
        """Return a digest that equal recipes share; None if there are objects, such as credential providers.

        It includes the environment, from which obstore takes credentials and other settings.
        """
        try:
            text = repr((self.kind, _plain(self.args), _plain(self.options), sorted(os.environ.items())))
        except TypeError:
            return None
        return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    """Put plain values into a canonical order.

    Raises
    ------
    TypeError
        If a value isn't plain.
    """
    if isinstance(value, dict):
        return sorted((str(name), _plain(inner)) for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or type(value) in (str, bytes, bool, int, float, timedelta):
        return repr(value)
    raise TypeError(f"{type(value).__qualname__} isn't plain")
