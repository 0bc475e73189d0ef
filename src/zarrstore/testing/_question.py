"""Defines what a question is, and the list that the other modules fill."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from typing import TypeAlias

    from zarrstore.testing._asker import Asker

    # Takes an `Asker` and, if the question is asked for several arguments, one of them as ``argument``.
    Ask: TypeAlias = Callable[..., Coroutine[object, object, None]]

VALUE = b"0123456789"


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes
    ----------
    name : str
        Name used in reports.
    ask : callable
        Awaited with an `Asker` for a fresh store; if it raises an error, the answer is wrong.
    needs : str
        What a store must support, separated by spaces: ``read``, ``seed`` (values to read, written through it
        or otherwise), ``write``, ``delete``, ``list``, ``ours`` (more than zarr-python's interface).
    together : bool
        Whether it may be asked of one store after others of its kind: none depends on what is there.
    """

    name: str
    ask: Callable[[Asker], Coroutine[object, object, None]]
    needs: str = "write"
    together: bool = False

    @property
    def kind(self) -> str:
        """The name, without the argument that it is asked for."""
        return self.name.partition("[")[0]

    def __str__(self) -> str:
        return self.name


QUESTIONS: list[Question] = []


def question(
    needs: str = "write", each: Iterable[tuple[str, object]] | None = None, *, together: bool = False
) -> Callable[[Ask], Ask]:
    """Register a question; with ``each``, one for each ``(label, argument)``."""

    def add(function: Ask) -> Ask:
        name = function.__name__.strip("_")
        if each is None:
            QUESTIONS.append(Question(name, function, needs))
        for label, argument in each or ():
            asked = partial(function, argument=argument)
            QUESTIONS.append(Question(f"{name}[{label}]", asked, needs, together))
        return function

    return add


async def raises(
    kinds: type[Exception] | tuple[type[Exception], ...], call: Awaitable[object], text: str = ""
) -> None:
    """Assert that awaiting the call raises one of the errors, or a group of them."""
    try:
        answer = await call
    except BaseExceptionGroup as group:
        assert all(isinstance(error, kinds) for error in group.exceptions), f"got {group.exceptions!r}"
        return
    except Exception as error:
        assert isinstance(error, kinds), f"got {error!r}"
        assert text in str(error), f"{text!r} is not in {str(error)!r}"
        return
    raise AssertionError(f"no error, but {answer!r}")


async def in_threads(work: Callable[[int], object], count: int) -> None:
    """Run work in several threads at once without blocking the loop; raises the first error."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    while any(  # noqa: ASYNC110 - threads set no event
        thread.is_alive() for thread in threads
    ):
        await asyncio.sleep(0.001)
    if errors:
        raise errors[0]
