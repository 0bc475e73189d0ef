"""When to try again what failed: a policy, and the loops that keep to it."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from zarrstore._core.listing import closing_pages
from zarrstore.errors import TransientError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from zarrstore._core.verbs import Entry

T = TypeVar("T")

_log = logging.getLogger("zarrstore.retry")


class ExhaustedError(TransientError):
    """A failure that a server's client has tried again by itself, as often as the policy allows."""


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
    timeout : float or None
        Seconds that one request may take, from being sent to the end of its answer; one that takes longer
        is given up, and counts as a failure that may pass. None leaves it to the client. A blocking call
        can't be cut off: there it means nothing.
    errors : tuple of exception types
        What may pass.
    """

    attempts: int = 8
    base: float = 0.1
    factor: float = 2.0
    cap: float = 10.0
    jitter: float = 0.5
    timeout: float | None = 300.0
    errors: tuple[type[BaseException], ...] = (TransientError, TruncatedError)

    def wait(self, attempt: int) -> float:
        """Return how long to wait after an attempt, the first of which is 1."""
        seconds = min(self.cap, self.base * self.factor ** (attempt - 1))
        return seconds * (1 - self.jitter * random.random())

    async def call(
        self,
        function: Callable[[], Awaitable[T]],
        sleep: Callable[[float], Awaitable[None]],
        *,
        delay: float | None = None,
    ) -> T:
        """Make a call until it succeeds, fails for good, or has failed often enough.

        Parameters
        ----------
        function : callable
            Makes the call, anew each time.
        sleep : callable
            Waits, as one waits where the call is made.
        delay : float or None
            How long to wait for the second attempt, in seconds, if the first was made before.
        """
        if delay is not None:
            await sleep(delay)
        for attempt in range(1 if delay is None else 2, self.attempts):
            try:
                return await function()
            except ExhaustedError:
                raise
            except self.errors as error:
                await sleep(self.told(attempt, error))
        return await function()

    def told(self, attempt: int, error: BaseException) -> float:
        """Return how long to wait, as `wait` does, and log what failed."""
        seconds = self.wait(attempt)
        _log.info(
            "attempt %d of %d failed, the next is in %.1f s: %s", attempt, self.attempts, seconds, error
        )
        return seconds


# Sentinel, compared by identity: the user said nothing about retries.
DEFAULT = RetryPolicy()


async def list_with_retries(
    policy: RetryPolicy | None,
    make: Callable[[], AsyncIterator[list[Entry]]],
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncGenerator[list[Entry], None]:
    """Yield pages of a listing that starts over if it fails, and goes on from where it was.

    It goes on only if the new attempt yields the same entries up to there. Otherwise keys could be left out
    or repeated, so the failure is raised. What was yielded is kept as a digest, since listings may be long.

    Parameters
    ----------
    policy : RetryPolicy or None
        How often it may start over.
    make : callable
        Starts an attempt.
    sleep : callable
        Waits for so many seconds.
    """
    if policy is None:
        async with closing_pages(make()) as pages:
            async for page in pages:
                yield page
        return
    yielded, digest = 0, blake2b()
    failure: BaseException | None = None
    for attempt in range(1, policy.attempts + 1):
        skip, repeated = yielded, blake2b()
        try:
            async with closing_pages(make()) as pages:
                async for page in pages:
                    old, new = page[:skip], page[skip:]
                    if old:
                        skip -= len(old)
                        repeated.update(_text(old))
                        if not skip and repeated.digest() != digest.digest():
                            break
                    yielded += len(new)
                    digest.update(_text(new))
                    if new:
                        yield new
                else:
                    if not skip:
                        return
        except policy.errors as error:
            if attempt == policy.attempts or isinstance(error, ExhaustedError):
                raise
            failure = error
            await sleep(policy.told(attempt, error))
        else:
            assert failure is not None
            raise failure


def _text(entries: list[Entry]) -> bytes:
    return "".join([entry[0] + "\0" for entry in entries]).encode()
