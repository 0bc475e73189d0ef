"""What obstore hides: listings that were cut or are none, deletes left out, marks beside values."""

import re

import pytest
from scripted_server import HTML, on, s3_error, s3_listing, store_of

from zarrstore import MemoryStore, ObjectStore, RetryPolicy, copy_store_sync, errors
from zarrstore.storage import make_store_sync

RETRY = RetryPolicy(attempts=2, base=0.001)
BY_OBSTORE = ("s3 by obstore", "gcs by obstore")
ALL = ["a", "b/c", "d"]
TOLD = {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
SECOND_PAGES = {"a page": (200, HTML), "an error": s3_error(200, "InternalError")}


class Bucket:
    """Answers as a bucket of values of one byte would, but for listings without a place to start from.

    Those are cut after two keys. ``second`` is the answer to the token for the second page; without one there
    is no token.
    """

    def __init__(self, keys, second=None):
        self.keys = {f"p/{key}" for key in keys}
        self.second = second
        self.kept = set()  # keys that a bulk delete leaves where they are
        self.told = True  # whether it says that it removed them

    def __call__(self, request):
        if request.method == "POST":
            named = set(re.findall("<Key>(.*?)</Key>", request.body.decode()))
            self.keys -= named - self.kept
            named -= set() if self.told else self.kept
            told = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in named)
            return 200, f"<DeleteResult>{told}</DeleteResult>"
        if request.method == "DELETE":
            self.keys.discard(request.path.removeprefix("/b/"))
            return 204, ""
        if "list-type" not in request.query:
            there = request.path.removeprefix("/b/") in self.keys
            return (200, b"v", TOLD) if there else s3_error(404, "NoSuchKey")
        if "continuation-token" in request.query:
            return self.second
        start = request.query.get("start-after")
        found = sorted(
            key for key in self.keys if key > (start or "") and key.startswith(request.query["prefix"])
        )
        if start is not None:
            return s3_listing(found)
        return s3_listing(
            found[:2], truncated=len(found) > 2, token="T" if self.second and found[2:] else None
        )


WHOLE = {
    "list": lambda store: sorted(store.list_sync()) == ALL,
    "list_prefix": lambda store: sorted(store.list_prefix_sync("")) == ALL,
    "getsize_prefix": lambda store: store.getsize_prefix_sync("") == 3,
    "is_empty": lambda store: not store.is_empty_sync(""),
    "copy": lambda store: (
        copy_store_sync(store, target := MemoryStore(), verify=True) and len(list(target.list_sync())) == 3
    ),
    "clear": lambda store: store.clear_sync() is None and list(store.list_sync()) == [],
}


@pytest.mark.parametrize("which", BY_OBSTORE)
@pytest.mark.parametrize("call", WHOLE)
@pytest.mark.parametrize("second", [None, *SECOND_PAGES])
def test_a_listing_that_was_cut_goes_on_behind_its_last_key(told, second, call, which):
    bucket = Bucket(ALL, SECOND_PAGES.get(second))
    told.table[:] = [(lambda request: True, bucket)]
    assert WHOLE[call](store_of(told, which, RETRY))
    if call == "clear":
        assert bucket.keys == set()


@pytest.mark.parametrize("which", BY_OBSTORE)
@pytest.mark.parametrize("second", [None, *SECOND_PAGES])
def test_a_level_that_was_cut_raises(told, second, which):
    told.table[:] = [(lambda request: True, Bucket(ALL, SECOND_PAGES.get(second)))]
    with pytest.raises(errors.TransientError, match="has more to list") as caught:
        list(store_of(told, which, RETRY).list_dir_sync(""))
    assert caught.value.store is not None


@pytest.mark.parametrize("which", BY_OBSTORE)
@pytest.mark.parametrize("answer", [(200, HTML), (200, HTML, TOLD), (200, ""), (204, "")])
def test_what_answers_anything_by_a_page_is_no_empty_bucket(told, answer, which):
    told.table[:] = [(lambda request: True, answer)]
    store = store_of(told, which, RETRY)
    calls = {
        "list": lambda: list(store.list_sync()),
        "list_dir": lambda: list(store.list_dir_sync("a")),
        "is_empty": lambda: store.is_empty_sync("a"),
        "clear": store.clear_sync,
        "copy": lambda: copy_store_sync(store, MemoryStore(), verify=True),
    }
    for call in calls.values():
        with pytest.raises(errors.BackendError):
            call()


def test_a_bucket_that_may_be_listed_only_may_be_empty(told):
    told.table[:] = [
        (on("GET", "list-type"), s3_listing([])),
        (lambda request: True, s3_error(403, "AccessDenied")),
    ]
    store = store_of(told, "s3 by obstore", RETRY)
    assert list(store.list_sync()) == list(store.list_dir_sync("")) == []
    assert store.is_empty_sync("")


@pytest.mark.parametrize("confirmed", [True, False])
def test_keys_that_a_bulk_delete_left_where_they_are(told, confirmed):
    bucket = Bucket(ALL)
    bucket.kept, bucket.told = {"p/b/c"}, confirmed
    told.table[:] = [(lambda request: True, bucket)]
    store = store_of(told, "s3 by obstore", RETRY)
    for call in (store.clear_sync, lambda: store.delete_dir_sync("b")):
        with pytest.raises(errors.BackendError) as caught:
            call()
        assert bucket.keys == {"p/b/c"}
        if confirmed:
            assert caught.value.key == "b/c"


def listing(*rows):
    """S3's answer to a listing of names and sizes."""
    status, text = s3_listing([name for name, _ in rows])
    for _, size in rows:
        text = text.replace("<Size>1<", f"<Size >{size}<", 1)
    return status, text.replace("<Size >", "<Size>")


@pytest.mark.parametrize("which", [*BY_OBSTORE])
def test_a_value_beside_a_mark_is_listed_once(told, which):
    rows = [
        ("p/", 0),
        ("p/e", 0),
        ("p/e-x", 2),
        ("p/e/", 0),
        ("p/f", 3),
        ("p/f.x", 0),
        ("p/f/", 0),
        ("p/g/", 0),
    ]
    values = {name: bytes(size) for name, size in rows if name[-1] != "/"}

    def answer(request):
        if "list-type" in request.query:
            start = request.query.get("start-after", "")
            return listing(*(row for row in rows if row[0] > start))
        value = values.get(request.path.removeprefix("/b/"))
        return s3_error(404, "NoSuchKey") if value is None else (200, value, TOLD)

    told.table[:] = [(lambda request: True, answer)]
    store = store_of(told, which, RETRY)
    assert list(store.list_sync()) == ["e", "e-x", "f", "f.x"]
    told.requests.clear()
    assert store.getsize_prefix_sync("") == 5
    asked = [request.path.removeprefix("/b/p/") for request in told.requests if request.method == "HEAD"]
    assert sorted(asked) == ["e", "f.x", "g"]  # once each, and never what was listed with bytes


def test_a_mark_on_a_later_page_than_its_value(told):
    # obstore hands on a thousand entries at a time.
    between = [(f"p/e-{number:04}", 1) for number in range(1500)]
    rows = [("p/e", 1), *between, ("p/e/", 0), ("p/e/k", 1)]
    told.table[:] = [
        (
            on("GET", "start-after"),
            lambda request: listing(*(r for r in rows if r[0] > request.query["start-after"])),
        ),
        (on("GET", "list-type"), listing(*rows)),
        (lambda request: True, (200, b"v", TOLD)),
    ]
    found = list(store_of(told, "s3 by obstore", RETRY).list_sync())
    assert len(found) == len(set(found)) == len(rows) - 1


def test_pages_of_marks_that_repeat_end_in_an_error(told):
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>T</NextContinuationToken>"
    for first, again in ((("p/a/", "p/b/"), ("p/a/", "p/b/")), (("p/a/",), ("p/c/", "p/d/", "p/e/"))):
        pages = {
            token: (
                200,
                listing(*((name, 0) for name in names))[1].replace("<IsTruncated>false</IsTruncated>", more),
            )
            for token, names in ((None, first), ("T", again))
        }
        told.table[:] = [
            (on("HEAD"), s3_error(404, "NoSuchKey")),
            (on("GET"), lambda request, pages=pages: pages[request.query.get("continuation-token")]),
        ]
        with pytest.raises(errors.BackendError, match="doesn't end"):
            store_of(told, "s3 by obstore", RETRY).is_empty_sync("")


def test_looking_behind_the_end_may_meet_foreign_names_too(told):
    told.table[:] = [
        (on("GET", "start-after"), s3_listing(["p/z//z"])),
        (on("GET", "list-type"), s3_listing(["p/a"])),
    ]
    store = store_of(told, "s3 by obstore", RETRY)
    for call in (lambda: store.list_sync(), lambda: store.list_dir_sync("")):
        with pytest.raises(errors.BackendError, match="p/z//z"):
            list(call())


def test_a_foreign_name_on_a_later_page(told):
    keys = [f"{number:04}" for number in range(1500)]
    rows = [(f"p/{key}", 1) for key in keys] + [("p/x//y", 2), ("p/x/z", 1)]

    def answer(request):
        if "continuation-token" in request.query:
            return listing(*rows[1000:])
        status, text = listing(*rows[:1000])
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>T</NextContinuationToken>"
        return status, text.replace("<IsTruncated>false</IsTruncated>", more)

    told.table[:] = [(on("GET", "list-type"), answer)]
    store = make_store_sync("s3://b/p", storage_options=told.s3.fsspec_options())
    assert isinstance(store, ObjectStore)
    found = list(store.list_sync())
    assert found == [*keys, "x/z"]
    assert ObjectStore(store.store, fallback=store.fallback).getsize_prefix_sync("") == 1501
    with pytest.raises(errors.BackendError, match=r"'p/x//y'.*fallback"):
        list(ObjectStore(store.store).list_sync())


def test_where_the_fallback_is_not_installed_its_name_is_told(told):
    def missing():
        raise errors.MissingDependencyError("s3 URLs need another package.", hint="install s3fs")

    told.table[:] = [(on("GET", "list-type"), s3_listing(["p/a", "p/x/../y"]))]
    store = ObjectStore(store_of(told, "s3 by obstore", RETRY).store, fallback=missing)
    for call in (lambda: list(store.list_sync()), store.clear_sync):
        with pytest.raises(errors.BackendError, match=r"'p/x/../y'.*install s3fs"):
            call()
