"""Traces which modules of zarrstore a call passes through, in all threads."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextmanager
def modules_passed() -> Iterator[set[str]]:
    """Collect the names of zarrstore's modules whose functions are called in the block."""
    passed: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            module = str(frame.f_globals.get("__name__", ""))
            if module.startswith("zarrstore."):
                passed.add(module)

    # Python 3.11 profiles only threads that start from now on.
    set_profile = getattr(threading, "setprofile_all_threads", threading.setprofile)
    set_profile(note)
    sys.setprofile(note)
    try:
        yield passed
    finally:
        sys.setprofile(None)
        set_profile(None)
