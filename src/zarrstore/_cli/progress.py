"""The progress bar of the running command, and lines printed above it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from zarrstore._copy.bar import Bar

if TYPE_CHECKING:
    from collections.abc import Iterator

_bars: list[Bar] = []


@contextmanager
def progress_on(*, quiet: bool) -> Iterator[Bar | None]:
    """Yield a progress bar for a copy or a check; None if ``quiet``."""
    if quiet:
        yield None
        return
    bar = Bar()
    _bars.append(bar)
    try:
        yield bar
    finally:
        _bars.remove(bar)
        bar.close()


def make_way() -> None:
    """Remove the bar for a line that is about to be printed."""
    for bar in _bars:
        bar.close()
