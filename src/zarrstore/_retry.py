"""When to try again what failed: a policy, and the loop that keeps to it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from zarrstore.errors import TransientError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """When, and how often, a failed call is made again.

    What is refused (401, 403) or missing (404) is never asked for again: only an error that says of itself
    that it may pass, and an answer that was cut short.

    Attributes
    ----------
    attempts : int
        How often a call is made at most; 1 is no retry.
    base, factor, cap : float
        The wait before the second attempt, in seconds; by how much each further wait is longer; the
        longest.
    jitter : float
        Which share of a wait is left to chance, so that many clients don't come back at once.
    errors : tuple of exception types
        What may pass.
    """

    attempts: int = 6
    base: float = 0.1
    factor: float = 2.0
    cap: float = 10.0
    jitter: float = 0.5
    errors: tuple[type[BaseException], ...] = (TransientError, TruncatedError)

    def wait(self, attempt: int) -> float:
        """Return how long to wait after an attempt, the first of which is 1."""
        seconds = min(self.cap, self.base * self.factor ** (attempt - 1))
        return seconds * (1 - self.jitter * random.random())

    async def call(
        self, function: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]]
    ) -> T:
        """Make a call until it succeeds, fails for good, or has failed often enough.

        Parameters
        ----------
        function : callable
            Makes the call, anew each time.
        sleep : callable
            Waits, as one waits where the call is made.
        """
        for attempt in range(1, self.attempts):
            try:
                return await function()
            except self.errors:
                await sleep(self.wait(attempt))
        return await function()
