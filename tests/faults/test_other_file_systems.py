"""File systems that read through `cat_file`, and get ranges wrong: right bytes or an error."""

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.implementations.reference import ReferenceFileSystem

from zarrstore import OffsetByteRequest, RangeByteRequest, RetryPolicy, SuffixByteRequest, errors
from zarrstore.storage import FsspecStore
from zarrstore.storage._fsspec.calls import as_awaiting

RETRY = RetryPolicy(attempts=2, base=0.001)
VALUE = bytes(range(100))
REQUESTS = [
    (RangeByteRequest(10, 20), VALUE[10:20]),
    (RangeByteRequest(50, 150), VALUE[50:]),  # as many bytes as the whole value has
    (OffsetByteRequest(40), VALUE[40:]),
    (SuffixByteRequest(8), VALUE[-8:]),
]


class Files(MemoryFileSystem):
    """A mock of a third party's file system: values in memory, read as ``spoil`` says."""

    protocol = "odd"
    cachable = False
    store = {"/k": None}  # noqa: RUF012
    spoil = None

    def cat_file(self, path, start=None, end=None, **kwargs):
        return type(self).spoil(super().cat_file(path), start, end)


SPOILT = {
    "ignores ranges": lambda value, start, end: value,
    "cuts": lambda value, start, end: value[start:end][:-1],
    "sends nothing": lambda value, start, end: b"",
    "sends more": lambda value, start, end: value[start:end] + b"more",
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_part_is_right_or_an_error(how, monkeypatch):
    monkeypatch.setattr(Files, "spoil", staticmethod(SPOILT[how]))
    files = Files()
    files.pipe_file("/k", VALUE)
    store = FsspecStore(as_awaiting(files), path="/", retry=RETRY)
    for request, expected in REQUESTS:
        if how == "ignores ranges":
            assert store.get_sync("k", byte_range=request).to_bytes() == expected
            continue
        with pytest.raises(errors.TruncatedError) as caught:
            store.get_sync("k", byte_range=request)
        assert caught.value.key == "k"


@pytest.mark.parametrize("length", [50, 200])
def test_a_reference_to_bytes_that_arent_there_raises(tmp_path, length):
    (tmp_path / "file").write_bytes(VALUE)
    references = {
        "a/0": [f"file://{tmp_path}/file", 90, length],
        "a/1": [f"file://{tmp_path}/file", 90, 10],
        "b": "text",
    }
    files = ReferenceFileSystem(references, target_protocol="file", remote_protocol="file", asynchronous=True)
    store = FsspecStore(as_awaiting(files), path="", retry=RETRY)
    for request in (None, RangeByteRequest(5, 15), OffsetByteRequest(5), SuffixByteRequest(12)):
        with pytest.raises(errors.TruncatedError) as caught:
            store.get_sync("a/0", byte_range=request)
        assert caught.value.key == "a/0"
    assert store.get_sync("a/1").to_bytes() == VALUE[90:]
    assert store.get_sync("a/1", byte_range=OffsetByteRequest(5)).to_bytes() == VALUE[95:]
    assert store.get_sync("b").to_bytes() == b"text"
