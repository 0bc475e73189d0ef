"""How large the parts are in which a value is sent: 10,000 of them hold any value."""

import pytest

from zarrstore.storage._remote.store import MOST_PARTS, PART, part_size


@pytest.mark.parametrize(
    ("size", "parts"),
    [(0, PART), (6 << 30, PART), (PART * MOST_PARTS, PART), (PART * MOST_PARTS + 1, 2 * PART)],
)
def test_parts_have_the_least_size_that_is_enough(size, parts):
    assert part_size(size) == parts


def test_the_largest_object_fits():
    most = 50 * 10**12  # bytes, on S3
    assert most / part_size(most) <= 10_000
    assert part_size(most) <= 5 << 30  # the largest part
