"""Wrappers for tests that make a store slow or make it fail."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from zarrstore._core.listing import closing_pages
from zarrstore.errors import BackendError, TransientError
from zarrstore.storage._wrappers.wrapper import T_Store, WrapperStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, AnyPieces, Data
    from zarrstore._core.verbs import Conflict, Entry, Precondition, Verbs

# Seconds, or the mean and standard deviation of random seconds.
Latency: TypeAlias = float | tuple[float, float]

_READS = ("read", "read_many", "read_versioned", "stat", "scan")


class _AroundVerbs(WrapperStore[T_Store]):
    """Calls `_before` before every verb, and `_after` with the bytes that a read returned."""

    async def _before(self, below: Verbs, verb: str, key: str) -> None:
        """Wait or raise before a verb."""

    def _after(self, verb: str, key: str, answer: Data) -> Data:
        """Return what a read should return."""
        return answer

    async def _read(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | None:
        await self._before(below, "read", key)
        answer = await below.read(key, request, allocate)
        return None if answer is None else self._after("read", key, answer)

    async def _read_versioned(
        self, below: Verbs, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        await self._before(below, "read_versioned", key)
        found = await below.read_versioned(key, request, allocate)
        return found and (self._after("read_versioned", key, found[0]), found[1])

    async def _stat(self, below: Verbs, key: str) -> Entry | None:
        await self._before(below, "stat", key)
        return await below.stat(key)

    async def _scan(self, below: Verbs, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        await self._before(below, "scan", prefix)
        async with closing_pages(below.scan(prefix, deep, sizes)) as pages:
            async for page in pages:
                yield page

    async def _write(
        self, below: Verbs, key: str, pieces: AnyPieces, condition: Precondition
    ) -> str | Conflict | None:
        await self._before(below, "write", key)
        return await below.write(key, pieces, condition)

    async def _patch(self, below: Verbs, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        await self._before(below, "patch", key)
        await below.patch(key, parts)

    async def _copy(self, below: Verbs, source: str, target: str) -> None:
        await self._before(below, "copy", source)
        await below.copy(source, target)

    async def _remove(self, below: Verbs, key: str, condition: Precondition) -> Conflict | None:
        await self._before(below, "remove", key)
        return await below.remove(key, condition)

    async def _remove_below(self, below: Verbs, prefix: str) -> None:
        await self._before(below, "remove_below", prefix)
        await below.remove_below(prefix)


class LatencyStore(_AroundVerbs[T_Store]):
    """A wrapper that adds latency, as a network does.

    Parameters
    ----------
    store : Store
        The store to wrap.
    get_latency, set_latency : float or (float, float)
        Seconds that each read (or lookup, or listing) and each write waits first. From a pair, the mean and
        the standard deviation, each call draws its own.
    """

    def __init__(self, store: T_Store, *, get_latency: Latency = 0.0, set_latency: Latency = 0.0) -> None:
        super().__init__(store)
        self._get_latency = get_latency
        self._set_latency = set_latency

    @property
    def get_latency(self) -> float:
        """Seconds that a read waits now."""
        return _drawn(self._get_latency)

    @property
    def set_latency(self) -> float:
        """Seconds that a write waits now."""
        return _drawn(self._set_latency)

    async def _before(self, below: Verbs, verb: str, key: str) -> None:
        seconds = self.get_latency if verb in _READS else self.set_latency
        if seconds > 0:
            await below.sleep(seconds)


def _drawn(latency: Latency) -> float:
    return max(0.0, random.gauss(*latency)) if isinstance(latency, tuple) else latency


@dataclass(frozen=True)
class FaultPlan:
    """Probabilities, from 0 to 1, of the faults that a `FaultyStore` makes.

    Attributes
    ----------
    fail_reads, fail_writes : float
        A verb raises before it does anything.
    lose_answers : float
        A write takes effect and then raises, as if its answer were lost.
    truncate : float
        A read returns too few bytes, which no store may do; for tests of code that checks this.
    cancel : float
        A verb is cancelled before it does anything (``asyncio.CancelledError``).
    delay : float
        A verb first waits for ``seconds``.
    seconds : float
        Duration of that wait, in seconds.
    transient : bool
        Whether errors are `TransientError`, which is worth another attempt.
    """

    fail_reads: float = 0.0
    fail_writes: float = 0.0
    lose_answers: float = 0.0
    truncate: float = 0.0
    cancel: float = 0.0
    delay: float = 0.0
    seconds: float = 0.001
    transient: bool = True


class FaultyStore(_AroundVerbs[T_Store]):
    """A wrapper that fails according to a plan, reproducibly for the same seed and calls.

    Parameters
    ----------
    store : Store
        The store to wrap, which itself doesn't fail.
    plan : FaultPlan
        Which faults, and how often.
    seed : int
        Seed of the random numbers.
    fail_if : callable, optional
        Called with the verb and the key; if it returns True the call fails, regardless of the plan.

    Attributes
    ----------
    faults : list of (str, str, str)
        Kind, verb and key of each fault so far.
    """

    def __init__(
        self,
        store: T_Store,
        plan: FaultPlan | None = None,
        *,
        seed: int = 0,
        fail_if: Callable[[str, str], bool] | None = None,
    ) -> None:
        super().__init__(store)
        self.plan: FaultPlan = plan or FaultPlan()
        self.fail_if = fail_if
        self.faults: list[tuple[str, str, str]] = []
        self._random = random.Random(seed)

    def _happens(self, chance: float, kind: str, verb: str, key: str) -> bool:
        if chance <= 0 or self._random.random() >= chance:
            return False
        self.faults.append((kind, verb, key))
        return True

    def _error(self, verb: str, key: str) -> BackendError:
        kind = TransientError if self.plan.transient else BackendError
        return kind(f"{verb} failed on purpose.", store=self, key=key)

    async def _before(self, below: Verbs, verb: str, key: str) -> None:
        plan = self.plan
        if self._happens(plan.delay, "delay", verb, key):
            await below.sleep(plan.seconds)
        if self._happens(plan.cancel, "cancel", verb, key):
            raise asyncio.CancelledError(f"{verb} of {key!r} was cancelled on purpose")
        if self.fail_if is not None and self.fail_if(verb, key):
            self.faults.append(("fail", verb, key))
            raise self._error(verb, key)
        if self._happens(plan.fail_reads if verb in _READS else plan.fail_writes, "fail", verb, key):
            raise self._error(verb, key)

    def _after(self, verb: str, key: str, answer: Data) -> Data:
        if len(answer) and self._happens(self.plan.truncate, "truncate", verb, key):
            return answer[: self._random.randrange(len(answer))]
        return answer

    async def _write(
        self, below: Verbs, key: str, pieces: AnyPieces, condition: Precondition
    ) -> str | Conflict | None:
        answer = await super()._write(below, key, pieces, condition)
        if self._happens(self.plan.lose_answers, "lose", "write", key):
            raise self._error("write", key)
        return answer
