"""What fuzzing starts from, and what it found: ``python -m tests.fuzz`` looks for more."""

from pathlib import Path

import pytest
from bucket_fs import BUCKETS
from fuzz_targets import TARGETS

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_kept(name, record_property):
    kept = sorted((CORPUS / name).iterdir())
    record_property("cases", len(kept))
    assert len(kept) > 5
    for file in kept:
        TARGETS[name](file.read_bytes())
    BUCKETS.clear()
