"""Stores that misbehave on purpose, around any other store: slow ones and failing ones."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zarrstore.errors import BackendError, TransientError
from zarrstore.storage._wrappers.wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from zarrstore._core.verbs import Entry, Verbs

_READS = ("read", "read_many", "read_versioned", "stat", "scan")
_WRITES = ("write", "patch", "copy", "remove", "remove_many", "remove_below")


class _AroundVerbs(WrapperStore[Any]):
    """Calls `_before` ahead of every verb, and `_after` with what a read answered."""

    async def _before(self, below: Verbs, verb: str, key: str) -> None:
        """Do something, or raise, before a verb runs."""

    def _after(self, verb: str, key: str, answer: Any) -> Any:
        """Return what a read is to answer."""
        return answer

    async def _read(self, below: Verbs, key: str, request: Any, allocate: Any) -> Any:
        await self._before(below, "read", key)
        return self._after("read", key, await below.read(key, request, allocate))

    async def _read_versioned(self, below: Verbs, key: str, request: Any, allocate: Any) -> Any:
        await self._before(below, "read_versioned", key)
        found = await below.read_versioned(key, request, allocate)
        return found and (self._after("read_versioned", key, found[0]), found[1])

    async def _stat(self, below: Verbs, key: str) -> Entry | None:
        await self._before(below, "stat", key)
        return await below.stat(key)

    async def _scan(self, below: Verbs, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        await self._before(below, "scan", prefix)
        async for page in below.scan(prefix, deep, sizes):
            yield page

    async def _write(self, below: Verbs, key: str, pieces: Any, condition: Any) -> Any:
        await self._before(below, "write", key)
        return await below.write(key, pieces, condition)

    async def _patch(self, below: Verbs, key: str, parts: Iterable[tuple[int, Any]]) -> None:
        await self._before(below, "patch", key)
        await below.patch(key, parts)

    async def _copy(self, below: Verbs, source: str, target: str) -> None:
        await self._before(below, "copy", source)
        await below.copy(source, target)

    async def _remove(self, below: Verbs, key: str, condition: Any) -> Any:
        await self._before(below, "remove", key)
        return await below.remove(key, condition)

    async def _remove_below(self, below: Verbs, prefix: str) -> None:
        await self._before(below, "remove_below", prefix)
        await below.remove_below(prefix)


class LatencyStore(_AroundVerbs):
    """A store that takes longer, as one at the other end of a network would.

    Parameters
    ----------
    store : Store
        The store to slow down.
    get_latency, set_latency : float
        Seconds that each read (look-ups and listings included) and each write waits first.
    """

    def __init__(self, store: Any, *, get_latency: float = 0.0, set_latency: float = 0.0) -> None:
        super().__init__(store)
        self.get_latency = get_latency
        self.set_latency = set_latency

    async def _before(self, below: Verbs, verb: str, key: str) -> None:
        seconds = self.get_latency if verb in _READS else self.set_latency
        if seconds > 0:
            await below.sleep(seconds)


@dataclass(frozen=True)
class FaultPlan:
    """How often a `FaultyStore` misbehaves, and how; chances are between 0 and 1.

    Attributes
    ----------
    fail_reads, fail_writes : float
        Chance that a verb raises before it does anything.
    lose_answers : float
        Chance that a write happens and then raises, as when an answer is lost on its way.
    truncate : float
        Chance that a read is cut short: a store must never do that, and whoever checks must notice.
    cancel : float
        Chance that a verb is cancelled before it does anything (``asyncio.CancelledError``).
    delay : float
        Chance that a verb waits first, for ``seconds``.
    seconds : float
        How long it waits then.
    transient : bool
        Whether failures say of themselves that they may pass.
    """

    fail_reads: float = 0.0
    fail_writes: float = 0.0
    lose_answers: float = 0.0
    truncate: float = 0.0
    cancel: float = 0.0
    delay: float = 0.0
    seconds: float = 0.001
    transient: bool = True


class FaultyStore(_AroundVerbs):
    """A store that fails by a plan, the same way each time for the same seed and calls.

    Parameters
    ----------
    store : Store
        The store underneath, which stays sound.
    plan : FaultPlan
        How it misbehaves.
    seed : int
        Where its dice start.
    fail_if : callable, optional
        Called with verb and key; a true answer makes that call fail, whatever the plan says.

    Attributes
    ----------
    faults : list of (str, str, str)
        What was done to whom: kind of fault, verb, key.
    """

    def __init__(
        self,
        store: Any,
        plan: FaultPlan | None = None,
        *,
        seed: int = 0,
        fail_if: Callable[[str, str], bool] | None = None,
    ) -> None:
        super().__init__(store)
        self.plan = plan or FaultPlan()
        self.fail_if = fail_if
        self.faults: list[tuple[str, str, str]] = []
        self._dice = random.Random(seed)

    def _hit(self, chance: float, kind: str, verb: str, key: str) -> bool:
        if chance <= 0 or self._dice.random() >= chance:
            return False
        self.faults.append((kind, verb, key))
        return True

    def _error(self, verb: str, key: str) -> BackendError:
        kind = TransientError if self.plan.transient else BackendError
        return kind(f"{verb} failed on purpose.", store=self, key=key)

    async def _before(self, below: Verbs, verb: str, key: str) -> None:
        plan = self.plan
        if self._hit(plan.delay, "delay", verb, key):
            await below.sleep(plan.seconds)
        if self._hit(plan.cancel, "cancel", verb, key):
            raise asyncio.CancelledError(f"{verb} of {key!r} was cancelled on purpose")
        if self.fail_if is not None and self.fail_if(verb, key):
            self.faults.append(("fail", verb, key))
            raise self._error(verb, key)
        if self._hit(plan.fail_reads if verb in _READS else plan.fail_writes, "fail", verb, key):
            raise self._error(verb, key)

    def _after(self, verb: str, key: str, answer: Any) -> Any:
        if answer is not None and len(answer) and self._hit(self.plan.truncate, "truncate", verb, key):
            return answer[: self._dice.randrange(len(answer))]
        return answer

    async def _write(self, below: Verbs, key: str, pieces: Any, condition: Any) -> Any:
        answer = await super()._write(below, key, pieces, condition)
        if self._hit(self.plan.lose_answers, "lose", "write", key):
            raise self._error("write", key)
        return answer
