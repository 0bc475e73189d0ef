"""Progress of a job: counts what is to do and what is done, and reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from zarrstore._async.threads import wait_on
from zarrstore._copy.bar import Bar
from zarrstore._copy.report import CopyProgress

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    # The argument `progress`: True requests a bar on standard error.
    Progress: TypeAlias = Callable[[CopyProgress], object] | bool | None


class Meter:
    """Counts keys and bytes.

    Parameters
    ----------
    progress : callable or bool, optional
        Called with a `CopyProgress`; True draws a bar.
    """

    def __init__(self, progress: Progress = None) -> None:
        self._bar = Bar() if progress is True else None
        self._show = self._bar or (progress if callable(progress) else None)
        self.keys_total = self.bytes_total = self.keys_done = self.bytes_done = 0
        self.listed = False

    def expect(self, keys: int, size: int) -> None:
        """Count what is to do."""
        self.keys_total += keys
        self.bytes_total += size

    def count(self, keys: int, size: int) -> None:
        """Count what is done, and report it."""
        self.keys_done += keys
        self.bytes_done += size
        if self._show is not None:
            self._show(
                CopyProgress(self.keys_done, self.keys_total, self.bytes_done, self.bytes_total, self.listed)
            )

    def show_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on report on a loop, even when counting in a thread."""
        if (show := self._show) is not None:

            async def call(state: CopyProgress) -> None:
                show(state)

            self._show = lambda state: wait_on(loop, call(state))

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
