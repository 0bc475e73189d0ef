"""Checks stores against the contract: questions, a state machine, and wrappers that fail or are slow.

`check_store` needs no other package, `StoreContract` needs pytest, `StoreMachine` and `run_machine` need
hypothesis.
"""

from typing import TYPE_CHECKING

from zarrstore._lazy import attach

if TYPE_CHECKING:
    from zarrstore.testing._machine import StoreMachine, run_machine
    from zarrstore.testing._question import Question
    from zarrstore.testing._questions import QUESTIONS
    from zarrstore.testing._stores import FaultPlan, FaultyStore, LatencyStore
    from zarrstore.testing._suite import Report, StoreContract, applies, ask, check_store

__all__ = [
    "QUESTIONS",
    "FaultPlan",
    "FaultyStore",
    "LatencyStore",
    "Question",
    "Report",
    "StoreContract",
    "StoreMachine",
    "applies",
    "ask",
    "check_store",
    "run_machine",
]

_PLACES = {
    "QUESTIONS": "_questions",
    "Question": "_question",
    **dict.fromkeys(("FaultPlan", "FaultyStore", "LatencyStore"), "_stores"),
    **dict.fromkeys(("Report", "StoreContract", "applies", "ask", "check_store"), "_suite"),
    **dict.fromkeys(("StoreMachine", "run_machine"), "_machine"),
}
if not TYPE_CHECKING:  # checkers would take any name for one of these
    __getattr__, __dir__ = attach(
        __name__, {name: f"{__name__}.{place}" for name, place in _PLACES.items()}, globals()
    )
