"""Checks a store against the contract: with one call, or as a pytest class."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zarrstore.testing._asker import Asker
from zarrstore.testing._questions import QUESTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest
    from zarr.abc.store import Store as TheirStore

    from zarrstore.testing._question import Question

FACES = ("await", "block")


def applies(question: Question, store: TheirStore, writer: TheirStore | None = None) -> bool:
    """Whether a store supports what a question needs.

    Parameters
    ----------
    question : Question
        The question.
    store : Store
        The store, which declares what it supports (``supports_writes`` and so on).
    writer : Store, optional
        See `ask`.
    """
    asker = Asker(store)
    needs = question.needs.split()
    writable = store.supports_writes and not store.read_only
    return (
        ("ours" not in needs or asker.ours)
        and ("write" not in needs or writable)
        and ("seed" not in needs or writable or writer is not None)
        and ("delete" not in needs or store.supports_deletes)
        and ("list" not in needs or store.supports_listing)
    )


def ask(question: Question, store: TheirStore, face: str = "await", writer: TheirStore | None = None) -> None:
    """Ask a store one question.

    Parameters
    ----------
    question : Question
        The question.
    store : Store
        A fresh, empty store.
    face : {"await", "block"}
        Whether to call its awaited or its blocking methods.
    writer : Store, optional
        Another store on the same data, which writes the values if the store can only be read.

    Raises
    ------
    AssertionError
        If the answer is wrong.
    """
    asyncio.run(question.ask(Asker(store, face, writer)))


@dataclass
class Report:
    """The result of `check_store`.

    Attributes
    ----------
    asked : int
        Number of questions asked.
    wrong : dict of str to BaseException
        The error of each wrong answer, by the question's name followed by ``/await`` or ``/block``.
    """

    asked: int = 0
    wrong: dict[str, BaseException] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{name}: {type(error).__name__}: {_reason(error)}" for name, error in self.wrong.items()]
        return "\n".join([*lines, f"{self.asked} asked, {len(self.wrong)} wrong"])


def check_store(
    make: Callable[[], TheirStore],
    *,
    questions: Iterable[Question] = QUESTIONS,
    faces: Iterable[str] | None = None,
) -> Report:
    """Check a kind of store against the contract.

    Parameters
    ----------
    make : callable
        Makes a fresh, empty store for each question.
    questions : iterable of Question
        Which questions; all by default.
    faces : iterable of {"await", "block"}, optional
        Which methods to call. Both by default, only awaited ones for zarr-python's stores.

    Returns
    -------
    Report
        How many questions were asked, and which answers were wrong.
    """
    report = Report()
    chosen = tuple(questions)
    for face in faces or (FACES if Asker(make()).ours else FACES[:1]):
        for question in chosen:
            store = make()
            if not applies(question, store):
                continue
            report.asked += 1
            try:
                try:
                    ask(question, store, face)
                finally:
                    store.close()
            except Exception as error:
                report.wrong[f"{question.name}/{face}"] = error
    return report


def _reason(error: BaseException) -> str:
    """Return an error's text or, for an assertion without one, its source line."""
    line = traceback.extract_tb(error.__traceback__)[-1].line if error.__traceback__ else None
    return str(error) or line or ""


class StoreContract:
    """A pytest class that makes tests of all questions: a subclass defines the fixture ``store``.

    The fixture returns a fresh, empty store. Questions that come in dozens, such as each wrong key in each
    method, are one test. A subclass may restrict ``faces`` and ``questions``. For a store that can only be
    read, the fixture sets ``self.writer`` to a store that writes to the same data.
    """

    faces: tuple[str, ...] = FACES
    questions: tuple[Question, ...] = QUESTIONS
    writer: TheirStore | None = None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test for each face, and each question or kind of questions that go together."""
        if {"asked", "face"} <= set(metafunc.fixturenames):
            cases = [(asked, face) for asked in _grouped(self.questions) for face in self.faces]
            ids = [f"{asked[0].name if len(asked) == 1 else asked[0].kind}/{face}" for asked, face in cases]
            metafunc.parametrize(("asked", "face"), cases, ids=[_ascii(text) for text in ids])

    def test_contract(self, store: TheirStore, asked: tuple[Question, ...], face: str) -> None:
        """The store answers the questions as the contract requires."""
        if not applies(asked[0], store, self.writer):
            import pytest

            pytest.skip(f"needs {asked[0].needs}; the store lacks some of that")
        wrong = []
        for question in asked:
            try:
                ask(question, store, face, self.writer)
            except Exception as error:
                error.add_note(f"the answer to {_ascii(question.name)}/{face} is wrong")
                wrong.append(error)
        if len(wrong) == 1:
            raise wrong[0]
        if wrong:
            raise ExceptionGroup(f"{len(wrong)} of {len(asked)} are wrong", wrong)


def _grouped(questions: Iterable[Question]) -> list[tuple[Question, ...]]:
    """Put the questions of one kind together that can be asked of one store."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.kind if question.together else question.name, []).append(question)
    return [tuple(group) for group in groups.values()]


def _ascii(text: str) -> str:
    """Restrict a test id to characters that shells and reports can display."""
    return text.encode("ascii", "backslashreplace").decode().replace("::", ":")
