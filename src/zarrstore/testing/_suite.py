"""Ways to put a store to the contract's questions: one call, or a pytest class."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zarrstore.testing._asker import Asker
from zarrstore.testing._questions import QUESTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zarrstore.testing._question import Question

FACES = ("await", "block")


def applies(question: Question, store: Any, writer: Any = None) -> bool:
    """Whether a question makes sense for a store.

    Parameters
    ----------
    question : Question
        The question.
    store : Store
        The store; what it declares (``supports_writes`` and so on) decides.
    writer : Store, optional
        As for `ask`.
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


def ask(question: Question, store: Any, face: str = "await", writer: Any = None) -> None:
    """Put one question to a store.

    Parameters
    ----------
    question : Question
        The question.
    store : Store
        A fresh, empty store.
    face : {"await", "block"}
        Which face of it to ask.
    writer : Store, optional
        Another store in the same place: what is only read through ``store`` is written through this one.

    Raises
    ------
    AssertionError
        If the answer is wrong.
    """
    asyncio.run(question.ask(Asker(store, face, writer)))


@dataclass
class Report:
    """What `check_store` found.

    Attributes
    ----------
    asked : int
        Number of questions put.
    wrong : dict of str to BaseException
        For each wrong answer, the question (with ``/face`` behind it) and what went wrong.
    """

    asked: int = 0
    wrong: dict[str, BaseException] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{name}: {type(error).__name__}: {error}" for name, error in self.wrong.items()]
        return "\n".join([*lines, f"{self.asked} asked, {len(self.wrong)} wrong"])


def check_store(
    make: Callable[[], Any], *, questions: Iterable[Question] = QUESTIONS, faces: Iterable[str] | None = None
) -> Report:
    """Put a kind of store to the contract.

    Parameters
    ----------
    make : callable
        Makes a fresh, empty store for each question.
    questions : iterable of Question
        Which questions; all by default.
    faces : iterable of {"await", "block"}, optional
        Which faces; both by default, for zarr-python's stores the awaited one.

    Returns
    -------
    Report
        How many questions were put, and which were answered wrongly.
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
                ask(question, store, face)
            except Exception as error:
                report.wrong[f"{question.name}/{face}"] = error
            finally:
                store.close()
    return report


class StoreContract:
    """A pytest class: subclass it, define the fixture ``store``, and each question is a test.

    ``store`` gives a fresh, empty store. ``faces`` and ``questions`` may be narrowed in the subclass.
    For a store that is only read, its fixture sets ``self.writer`` to a store that writes in the same place.
    """

    faces: tuple[str, ...] = FACES
    questions: tuple[Question, ...] = QUESTIONS
    writer: Any = None

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make a test of each question and face."""
        if {"question", "face"} <= set(metafunc.fixturenames):
            cls = metafunc.cls
            cases = [(question, face) for question in cls.questions for face in cls.faces]
            ids = [f"{question.name}/{face}" for question, face in cases]
            metafunc.parametrize(("question", "face"), cases, ids=[_plain(text) for text in ids])

    def test_contract(self, store: Any, question: Question, face: str) -> None:
        """The store answers the question as the contract says."""
        if not applies(question, store, self.writer):
            import pytest

            pytest.skip(f"needs {question.needs}; the store declares that it lacks some of that")
        ask(question, store, face, self.writer)


def _plain(text: str) -> str:
    """Keep test ids to characters that shells and reports can show."""
    return text.encode("ascii", "backslashreplace").decode().replace("::", ":")
