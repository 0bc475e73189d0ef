"""All questions of the contract, in the order of the modules that ask them."""

from __future__ import annotations

from zarrstore.testing import _ask_keys, _ask_living, _ask_ranges, _ask_writing, _question

# Importing these modules has filled the list.
assert _ask_ranges
assert _ask_keys
assert _ask_writing
assert _ask_living

QUESTIONS: tuple[_question.Question, ...] = tuple(_question.QUESTIONS)
