"""Where the two ends of a copy lie, and whether one encloses the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zarrstore._core.keys import check_prefix
from zarrstore.errors import RefusedError
from zarrstore.storage._wrappers.wrapper import WrapperStore

if TYPE_CHECKING:
    from zarrstore.abc.store import Store


def joined(path: str, prefix: str, store: Store) -> str:
    """Directory below a path that is given apart."""
    return f"{path}/{check_prefix(prefix, store)}" if path else prefix


def place_of(store: Store, prefix: str) -> str:
    """Where a directory of a store lies, as text that begins another's if it encloses it."""
    while isinstance(store, WrapperStore) and "_scan" not in _verbs_of(type(store)):
        store = store._below  # a wrapper that shows the same keys
    location = store._location
    for scheme in ("file://", "zip://"):
        if location.startswith(scheme):
            path = os.path.join(location.removeprefix(scheme), prefix)
            return os.path.realpath(path).removesuffix("/") + "/"
    return f"{location.removesuffix('/')}/{prefix}"


def _verbs_of(cls: type) -> set[str]:
    """What classes between `WrapperStore` and this one define."""
    return {name for base in cls.__mro__ if base not in WrapperStore.__mro__ for name in vars(base)}


def refuse_overlap(source: Store, prefix: str, target: Store, target_prefix: str) -> None:
    """Refuse to copy a directory onto itself or into itself."""
    here, there = place_of(source, prefix), place_of(target, target_prefix)
    if there.startswith(here):
        raise RefusedError(
            "a copy onto the source itself would do nothing."
            if there == here
            else "a copy into the source's own subtree would become part of what is copied.",
            store=target,
            key=target_prefix or None,
            hint="Copy to a place outside of the source.",
        )
