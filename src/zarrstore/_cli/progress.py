"""Progress on stderr: a bar on a terminal, lines of text elsewhere."""

from __future__ import annotations

import sys
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

from zarrstore._copy.bar import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zarrstore._copy import CopyProgress


@contextmanager
def progress_on(*, quiet: bool) -> Iterator[Callable[[CopyProgress], None] | None]:
    """Yield what shows how far a copy or a check has come."""
    console = Console(stderr=True)
    if quiet:
        yield None
    elif console.is_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield Bar(console.file)


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[CopyProgress], None]]:
    columns = (
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[keys]} values"),
        TimeRemainingColumn(),
    )
    # What goes to a file or a pipe must go there, and not above the bar.
    shares = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=shares) as progress:
        bar = progress.add_task("values", total=None, keys="0")

        def show(state: CopyProgress) -> None:
            # A hierarchy of empty values has no bytes to wait for.
            progress.update(
                bar,
                completed=state.bytes_done,
                total=state.bytes_total or None,
                keys=f"{state.keys_done:,}/{state.keys_total:,}{'' if state.listed else '+'}",
            )

        yield show
