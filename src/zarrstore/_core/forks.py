"""Renews, in a forked child, what a process can't inherit: threads, locks and connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Renew = TypeVar("Renew", bound="Callable[[], object]")


def in_forked_child(renew: Renew) -> Renew:
    """Have a function called in each forked child."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
    return renew
