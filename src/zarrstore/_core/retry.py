"""When to retry what failed: a policy, and the loops that apply it."""

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
    """A failure that a server's client has already retried as often as the policy allows."""


@dataclass(frozen=True)
class RetryPolicy:
    """When, and how often, a failed call is retried.

    Only temporary failures and truncated answers are retried. What is denied (401, 403) or missing (404) is
    never requested again.

    Attributes
    ----------
    attempts : int
        How many times a call is made at most; 1 means no retry.
    base, factor, cap : float
        The wait before the second attempt, in seconds; the factor by which each further wait is longer; and
        the longest wait, in seconds.
    jitter : float
        The fraction of a wait that is random, so that many clients don't come back at the same time.
    timeout : float or None
        Seconds that one request may take, from being sent to the end of its answer. A request that takes
        longer is abandoned and counts as a temporary failure. None leaves the timeout to the client.
        Blocking calls can't be cut off, so for them it has no effect.
    errors : tuple of exception types
        Errors that count as temporary.
    """

    attempts: int = 8
    base: float = 0.1
    factor: float = 2.0
    cap: float = 10.0
    jitter: float = 0.5
    timeout: float | None = 300.0
    errors: tuple[type[BaseException], ...] = (TransientError, TruncatedError)

    def wait(self, attempt: int) -> float:
        """Return how many seconds to wait after an attempt; the first is 1."""
        seconds = min(self.cap, self.base * self.factor ** (attempt - 1))
        return seconds * (1 - self.jitter * random.random())

    async def call(
        self,
        function: Callable[[], Awaitable[T]],
        sleep: Callable[[float], Awaitable[None]],
        *,
        delay: float | None = None,
    ) -> T:
        """Make a call until it succeeds, fails permanently, or has used up its attempts.

        Parameters
        ----------
        function : callable
            Makes the call; called again for each attempt.
        sleep : callable
            Waits for some seconds, in the way that suits the caller.
        delay : float or None
            If the first attempt was made before: how long to wait for the second, in seconds.
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
        """Return how long to wait, as `wait` does, and log the failure."""
        seconds = self.wait(attempt)
        _log.info(
            "attempt %d of %d failed, the next is in %.1f s: %s", attempt, self.attempts, seconds, error
        )
        return seconds


# Sentinel, compared by identity: the user specified nothing about retries.
DEFAULT = RetryPolicy()


async def list_with_retries(
    policy: RetryPolicy | None,
    make: Callable[[], AsyncIterator[list[Entry]]],
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncGenerator[list[Entry], None]:
    """Yield the pages of a listing; if it fails, start it again and continue where it stopped.

    It continues only if the new attempt yields the same entries up to that point. Otherwise keys could be
    missing or repeated, so the failure is raised. Entries are compared by a digest, as listings may be long.

    Parameters
    ----------
    policy : RetryPolicy or None
        How often the listing may be started.
    make : callable
        Starts an attempt.
    sleep : callable
        Waits for the given number of seconds.
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
