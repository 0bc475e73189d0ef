"""What coverage-guided fuzzing feeds with bytes: each target raises if the library does wrong with them."""

import os
from contextlib import suppress

from bucket_fs import BUCKETS, BucketFileSystem

from zarrstore._core import urls
from zarrstore._core.keys import check_key, check_prefix, is_key
from zarrstore._core.requests import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarrstore.errors import InvalidKeyError, StoreError
from zarrstore.storage import FsspecStore, MemoryStore, StorePath, ZipStore
from zarrstore.storage._places import like
from zarrstore.storage._places.text_forms import from_text_form

VALUE = bytes(range(200))


def _text(data):
    return data.decode("utf-8", "surrogateescape")


def keys(data):
    """A key is refused by all that look at it, or by none; what is taken stays below a root."""
    text = _text(data)
    fits = is_key(text)
    for check in (check_key, check_prefix):
        try:
            check(text, None)
            taken = True
        except InvalidKeyError:
            taken = False
        assert taken is (fits if check is check_key else text in ("", "/") or is_key(text.removesuffix("/")))
    if fits:
        assert os.path.normpath(f"/root/{text}") == f"/root/{text}"
        store = MemoryStore()
        store.set_sync(text, b"v")
        assert list(store.list_sync()) == [text]


def requests(data):
    """Parts of a value are what slices of it are, however requests are put together."""
    asked = [_request(*data[first : first + 3]) for first in range(0, len(data) - 2, 3)]
    BUCKETS["b"] = {"root/k": VALUE}
    for store in (MemoryStore({"k": VALUE}), _bucket(max_gap_bytes=5, max_coalesced_bytes=40)):
        with suppress(StoreError):
            found = store.get_partial_values_sync(None, [("k", request) for request, _ in asked])
            assert [part.to_bytes() for part in found] == [expected for _, expected in asked]


def _request(kind, first, second):
    if kind % 3 == 0:
        start, end = sorted((first, second + 1))
        return RangeByteRequest(start, end), VALUE[start:end]
    if kind % 3 == 1:
        return OffsetByteRequest(first), VALUE[first:]
    return SuffixByteRequest(first), VALUE[-first:] if first else b""


def archives(data):
    """An archive is read, or an error; it has no names but keys."""
    with suppress(StoreError), ZipStore(StorePath(MemoryStore({"a.zip": data}), "a.zip")) as store:
        for key in store.list_sync():
            assert is_key(key)
            with suppress(StoreError):
                if store.getsize_sync(key) < 1 << 20:
                    store.get_sync(key)


def places(data):
    """A text names a place that can be, or is an error; nothing is opened."""
    text = urls.with_lower_scheme(_text(data))
    with suppress(StoreError):
        bucket, directory = urls.bucket_place(text) or ("b", "")
        assert bucket
        assert not directory or is_key(directory)
    with suppress(StoreError):
        path = urls.file_path(f"file:///{text}")
        assert os.path.isabs(path)
        assert "\0" not in path
    like._archive_in(text)
    like._schemes(text)
    if not like._scheme(text).startswith("zip"):  # else it would look for a file
        with suppress(StoreError):
            from_text_form(text, *[lambda *_: MemoryStore()] * 3)


def listings(data):
    """A listing has all keys below the root that can be keys, and nothing else."""
    names = {f"root/{name}" for name in _text(data).split("\n")} | {"other/k"}
    BUCKETS["b"] = dict.fromkeys(names, b"")
    wanted = {name[5:] for name in names if name.startswith("root/") and is_key(name[5:])}
    store = _bucket()
    assert set(store.list_sync()) == wanted
    assert {name for name in wanted if "/" not in name} <= set(store.list_dir_sync(""))
    store.clear_sync()
    assert not store.list_sync() or not wanted & set(store.list_sync())
    assert "other/k" in BUCKETS["b"]


def _bucket(**options):
    return FsspecStore(BucketFileSystem(asynchronous=True), path="b/root", retry=None, **options)


TARGETS = {"keys": keys, "requests": requests, "archives": archives, "urls": places, "listings": listings}
