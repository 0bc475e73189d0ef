"""What holds any store to the contract: questions, a state machine, and stores that fail on purpose.

`check_store` needs nothing else; `StoreContract` is for pytest, `machine` needs hypothesis.
"""

from zarrstore.testing._question import Question
from zarrstore.testing._questions import QUESTIONS
from zarrstore.testing._suite import Report, StoreContract, applies, ask, check_store

__all__ = ["QUESTIONS", "Question", "Report", "StoreContract", "applies", "ask", "check_store"]
