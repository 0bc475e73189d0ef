"""When to try again what failed: a policy, and the loops that keep to it."""

from __future__ import annotations

import random
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from zarrstore.errors import TransientError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from zarrstore._core.verbs import Entry

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
        made: int = 0,
    ) -> T:
        """Make a call until it succeeds, fails for good, or has failed often enough.

        Parameters
        ----------
        function : callable
            Makes the call, anew each time.
        sleep : callable
            Waits, as one waits where the call is made.
        made : int
            How many attempts were made before, fewer than `attempts` and all in vain.
        """
        if made:
            await sleep(self.wait(made))
        for attempt in range(made + 1, self.attempts):
            try:
                return await function()
            except self.errors:
                await sleep(self.wait(attempt))
        return await function()


# What stores use whose user said nothing about it: told from an equal policy by being this very one.
DEFAULT = RetryPolicy()


async def listed(
    policy: RetryPolicy | None,
    make: Callable[[], AsyncIterator[list[Entry]]],
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncGenerator[list[Entry], None]:
    """Yield pages of a listing, which starts over if it fails and goes on where it had come to.

    That is so only if it tells the same as before up to there. If not, keys could be left out or told
    twice, so its failure raises. What was told is kept as a digest: listings may be long.

    Parameters
    ----------
    policy : RetryPolicy or None
        How often it may start over.
    make : callable
        Starts it.
    sleep : callable
        Waits, as one waits where the listing is made.
    """
    if policy is None:
        async with aclosing(make()) as pages:  # type: ignore[type-var]
            async for page in pages:
                yield page
        return
    told, seal = 0, blake2b()
    failure: BaseException | None = None
    for attempt in range(1, policy.attempts + 1):
        skip, again = told, blake2b()
        try:
            async with aclosing(make()) as pages:  # type: ignore[type-var]
                async for page in pages:
                    old, fresh = page[:skip], page[skip:]
                    if old:
                        skip -= len(old)
                        again.update(_text(old))
                        if not skip and again.digest() != seal.digest():
                            break
                    told += len(fresh)
                    seal.update(_text(fresh))
                    if fresh:
                        yield fresh
                else:
                    if not skip:
                        return
        except policy.errors as error:
            if attempt == policy.attempts:
                raise
            failure = error
            await sleep(policy.wait(attempt))
        else:
            assert failure is not None
            raise failure


def _text(entries: list[Entry]) -> bytes:
    return "".join([entry[0] + "\0" for entry in entries]).encode()
