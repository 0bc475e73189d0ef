"""Progress of a copy on stderr: a bar on a terminal, lines of text elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from zarrstore._cli.places import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zarrstore._copy import CopyProgress

# Seconds between two lines where there is no terminal, as in a log of a batch job.
_PAUSE = 5.0


@contextmanager
def progress_on(*, quiet: bool) -> Iterator[Callable[[CopyProgress], None] | None]:
    """Yield what `zarrstore.copy_store` calls to show how far it has come."""
    console = Console(stderr=True)
    if quiet:
        yield None
    elif console.is_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield _Lines(console).show


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[CopyProgress], None]]:
    columns = (
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[keys]} values"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("copy", total=None, keys="0")

        def show(state: CopyProgress) -> None:
            # A hierarchy of empty values has no bytes to wait for.
            progress.update(
                bar,
                completed=state.bytes_done,
                total=state.bytes_total or None,
                keys=f"{state.keys_done:,}/{state.keys_total:,}{'' if state.listed else '+'}",
            )

        yield show


class _Lines:
    """A line now and then."""

    def __init__(self, console: Console) -> None:
        self.file = console.file
        self.began = self.shown = time.monotonic()

    def show(self, state: CopyProgress) -> None:
        now = time.monotonic()
        if now - self.shown < _PAUSE:
            return
        self.shown = now
        speed = state.bytes_done / (now - self.began)
        left = f"{(state.bytes_total - state.bytes_done) / speed:.0f} s left" if speed else "..."
        at_least = "" if state.listed else "at least "
        print(
            f"{state.keys_done:,} of {at_least}{state.keys_total:,} values, {size_text(state.bytes_done)} of "
            f"{size_text(state.bytes_total)}, {size_text(speed)}/s, {left}",
            file=self.file,
            flush=True,
        )
