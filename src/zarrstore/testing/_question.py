"""What a question is, and the list that the modules beside this one fill."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from zarrstore.testing._asker import Asker

VALUE = b"0123456789"


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes
    ----------
    name : str
        What is asked, for reports.
    ask : callable
        Awaited with an `Asker` on a fresh store; any error that it lets out is a wrong answer.
    needs : str
        What a store must offer for the question to make sense, separated by spaces: ``read``,
        ``seed`` (values to read, however they came there), ``write``, ``delete``, ``list``, ``ours``
        (more than zarr-python's interface).
    """

    name: str
    ask: Callable[[Asker], Coroutine[Any, Any, None]]
    needs: str = "write"

    def __str__(self) -> str:
        return self.name


QUESTIONS: list[Question] = []


def question(needs: str = "write", each: Iterable[Any] | None = None) -> Callable[[Any], Any]:
    """Add a question; with ``each``, one for every ``(label, argument)``."""

    def add(function: Any) -> Any:
        name = function.__name__.strip("_")
        if each is None:
            QUESTIONS.append(Question(name, function, needs))
            return function
        for label, argument in each:
            QUESTIONS.append(Question(f"{name}[{label}]", partial(function, argument=argument), needs))
        return function

    return add


async def raises(kinds: Any, coroutine: Coroutine[Any, Any, Any], text: str = "") -> None:
    """Assert that awaiting raises one of the errors; groups count by what they hold."""
    try:
        answer = await coroutine
    except BaseExceptionGroup as group:
        assert all(isinstance(error, kinds) for error in group.exceptions), f"got {group.exceptions!r}"
        return
    except Exception as error:
        assert isinstance(error, kinds), f"got {error!r}"
        assert text in str(error), f"{text!r} is not in {str(error)!r}"
        return
    raise AssertionError(f"no error, but {answer!r}")


async def in_threads(work: Callable[[int], Any], count: int) -> None:
    """Do work in several threads at once without blocking the loop; raises the first error."""
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
