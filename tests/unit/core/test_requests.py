"""Byte requests: spans against slices, and coalescing against asking one by one."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrstore._core.requests import (
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
    as_request,
    coalesce,
    cut,
    cut_member,
    span,
)
from zarrstore.errors import ByteRequestError

_NUMBER = st.integers(0, 30)


@given(size=st.integers(0, 20), start=_NUMBER, end=_NUMBER)
def test_lenient_ranges_slice(size, start, end):
    data = bytes(range(size))
    assert cut(data, as_request(SimpleNamespace(start=start, end=end))) == data[start:end]
    assert cut(data, as_request(SimpleNamespace(offset=start))) == data[start:]
    assert cut(data, as_request(SimpleNamespace(suffix=end))) == (data[-end:] if end else b"")


@given(size=st.integers(0, 20), start=_NUMBER, end=_NUMBER)
def test_strict_ranges_slice_or_raise(size, start, end):
    data = bytes(range(size))
    if end <= start:
        with pytest.raises(ByteRequestError):
            as_request(RangeByteRequest(start, end))
    elif start >= size:
        with pytest.raises(ByteRequestError):
            span(as_request(RangeByteRequest(start, end)), size)
    else:
        assert cut(data, RangeByteRequest(start, end)) == data[start:end]
    if start >= size:
        with pytest.raises(ByteRequestError):
            span(OffsetByteRequest(start), size)
    else:
        assert cut(data, OffsetByteRequest(start)) == data[start:]
    if end:
        assert cut(data, as_request(SuffixByteRequest(end))) == data[-end:]


def test_requests_of_ours_pass_unchanged_twice():
    for request in (RangeByteRequest(1, 2), as_request(SimpleNamespace(start=2, end=1))):
        assert as_request(as_request(request)) is request


def test_numpy_integers_are_numbers():
    import numpy as np

    assert cut(b"0123", as_request(SimpleNamespace(start=np.int64(1), end=np.uint8(3)))) == b"12"


NO_REQUESTS = [(0, 2), 3, "1-2", None, SimpleNamespace(start=1), SimpleNamespace(offset=True)]
NO_NUMBERS = [(0.0, 2), (0, 2.0), (False, 2), ("0", "2")]


@pytest.mark.parametrize(
    "value", [*NO_REQUESTS, *(SimpleNamespace(start=start, end=end) for start, end in NO_NUMBERS)]
)
def test_what_is_no_request_is_refused(value):
    with pytest.raises(ByteRequestError):
        as_request(value)


_REQUEST = st.one_of(
    st.none(),
    st.builds(OffsetByteRequest, st.integers(0, 99)),
    st.builds(SuffixByteRequest, st.integers(1, 150)),
    st.tuples(st.integers(0, 99), st.integers(1, 60)).map(lambda t: RangeByteRequest(t[0], t[0] + t[1])),
    st.tuples(_NUMBER, _NUMBER).map(lambda t: as_request(SimpleNamespace(start=t[0] * 4, end=t[1] * 5))),
)


@given(st.lists(_REQUEST, max_size=12), st.integers(0, 40), st.integers(1, 120))
def test_coalesced_answers_are_the_single_ones(requests, gap, limit):
    data = bytes(range(100))
    answers = {}
    for merged, members in coalesce(requests, gap, limit):
        answer = cut(data, merged)
        for index, start, stop in members:
            assert index not in answers
            answers[index] = cut_member(answer, start, stop, requests[index], getattr(merged, "start", 0))
        if len(members) > 1:
            assert merged.end - merged.start <= limit
    assert [answers[i] for i in range(len(requests))] == [cut(data, request) for request in requests]


def test_near_ranges_are_one_read_and_far_ones_two():
    near = [RangeByteRequest(0, 10), RangeByteRequest(15, 20), RangeByteRequest(5, 8)]
    ((merged, members),) = coalesce(near, 5, 100)
    assert (merged.start, merged.end) == (0, 20)
    assert sorted(index for index, _, _ in members) == [0, 1, 2]
    assert len(coalesce(near, 4, 100)) == 2
    assert len(coalesce(near, 5, 15)) == 2


def test_a_member_past_the_end_raises_as_it_would_alone():
    requests = [RangeByteRequest(0, 5), RangeByteRequest(98, 99), RangeByteRequest(105, 110)]
    ((merged, members),) = coalesce(requests, 1000, 1000)
    answer = cut(bytes(100), merged)
    index, start, stop = members[-1]
    with pytest.raises(ByteRequestError, match="value of 100 bytes"):
        cut_member(answer, start, stop, requests[index], merged.start)
