"""Bulk requests: how many, and that they hold everything once."""

import pytest

from zarrstore._concurrent import batches


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [
        (0, 1000, []),
        (1, 1000, [1]),
        (100, 1000, [100]),
        (101, 1000, [100, 1]),
        (250, 1000, [100, 100, 50]),
        (1000, 1000, [334, 334, 332]),
        (3001, 1000, [1000, 1000, 1000, 1]),
        (1000, 256, [256, 256, 256, 232]),
        (250, 100, [100, 100, 50]),
    ],
)
def test_a_few_requests_side_by_side_each_worth_it(count, most, sizes):
    items = list(range(count))
    parts = batches(items, most)
    assert [len(part) for part in parts] == sizes
    assert [item for part in parts for item in part] == items
