"""A progress bar on standard error for copies and checks."""

from __future__ import annotations

import os
import sys
import time
from typing import IO, TYPE_CHECKING

from zarrstore._core.text import size_text

if TYPE_CHECKING:
    from zarrstore._copy.report import CopyProgress

# Seconds between two updates: of a bar drawn in place, and of lines in the log of a batch job.
_PAUSES = {True: 0.1, False: 5.0}
# The bar's width in characters.
_NARROW, _WIDE = 8, 30
# What a terminal adds after the bar when Ctrl-C is pressed: "^C", and the cursor.
_BESIDE = 3


class Bar:
    """Redraws the bar now and then, in place on a terminal and in a notebook, otherwise line by line.

    Parameters
    ----------
    file : text file, optional
        Where to draw; standard error by default.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._in_place = self._file.isatty() or "ipykernel" in sys.modules
        self._began = self._drawn = time.monotonic()
        self._width = 0

    def __call__(self, state: CopyProgress) -> None:
        """Draw the bar, unless that was just done."""
        now = time.monotonic()
        if now - self._drawn < _PAUSES[self._in_place]:
            return
        self._drawn = now
        parts = _parts(state, max(now - self._began, 1e-9))
        if self._in_place:
            picture = _picture(state, parts, _columns(self._file) - _BESIDE)
            print(f"\r{picture:<{self._width}}", end="", file=self._file, flush=True)
            self._width = len(picture)
        else:
            print(", ".join(parts), file=self._file, flush=True)

    def close(self) -> None:
        """Remove the bar; the next call draws it again."""
        if self._width:
            print(f"\r{'':<{self._width + _BESIDE - 1}}\r", end="", file=self._file, flush=True)
            self._width = 0


def _columns(file: IO[str]) -> int:
    try:
        return os.get_terminal_size(file.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _picture(state: CopyProgress, parts: list[str], width: int) -> str:
    """Return one line with the percentage, the bar, and as many words as fit."""
    text = ""
    room = width - _NARROW - 5 if state.listed else width
    for part in parts:
        if len(text) + len(part) + 2 > room:
            break
        text += f"  {part}"
    if not state.listed:
        return text.strip()
    share = state.bytes_done / state.bytes_total if state.bytes_total else 0.0
    length = max(0, min(_WIDE, width - 5 - len(text)))
    filled = round(length * share)
    return f"{share:4.0%} {'█' * filled}{'·' * (length - filled)}{text}"


def _parts(state: CopyProgress, seconds: float) -> list[str]:
    """Return the progress in words, the most important first; totals only once they are known."""
    speed = state.bytes_done / seconds
    size, keys = size_text(state.bytes_done), f"{state.keys_done:,}"
    if not state.listed:
        return [size, f"{size_text(speed)}/s", f"{keys} values", "more are being listed"]
    parts = [
        f"{size} of {size_text(state.bytes_total)}",
        f"{size_text(speed)}/s",
        f"{keys} of {state.keys_total:,} values",
    ]
    return [*parts, f"{(state.bytes_total - state.bytes_done) / speed:.0f} s left"] if speed else parts
