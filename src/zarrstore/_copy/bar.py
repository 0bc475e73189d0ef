"""A bar on the standard error that shows how far a copy has come."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING

from zarrstore._core.text import size_text

if TYPE_CHECKING:
    from zarrstore._copy.report import CopyProgress

# Seconds between two pictures: where they replace each other, and in a log of a batch job.
_PAUSES = {True: 0.1, False: 5.0}
_WIDTH = 30


class Bar:
    """Draws the bar anew now and then, in place on a terminal and in a notebook, else line by line.

    Parameters
    ----------
    file : text file, optional
        Where to draw; the standard error by default.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._in_place = self._file.isatty() or "ipykernel" in sys.modules
        self._began = self._drawn = time.monotonic()
        self._width = 0

    def __call__(self, state: CopyProgress) -> None:
        """Draw, unless that was done just now."""
        now = time.monotonic()
        if now - self._drawn < _PAUSES[self._in_place]:
            return
        self._drawn = now
        line = _line(state, max(now - self._began, 1e-9))
        if self._in_place:
            picture = f"{_bar(state)} {line}"
            print(f"\r{picture:<{self._width}}", end="", file=self._file, flush=True)
            self._width = len(picture)
        else:
            print(line, file=self._file, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=self._file, flush=True)
            self._width = 0


def _bar(state: CopyProgress) -> str:
    share = state.bytes_done / state.bytes_total if state.bytes_total else 0.0
    filled = round(_WIDTH * share)
    return f"{share:4.0%} {'█' * filled}{'·' * (_WIDTH - filled)}"


def _line(state: CopyProgress, seconds: float) -> str:
    speed = state.bytes_done / seconds
    left = f"{(state.bytes_total - state.bytes_done) / speed:.0f} s left" if speed else "..."
    at_least = "" if state.listed else "at least "
    return (
        f"{state.keys_done:,} of {at_least}{state.keys_total:,} values, {size_text(state.bytes_done)} of "
        f"{size_text(state.bytes_total)}, {size_text(speed)}/s, {left}"
    )
