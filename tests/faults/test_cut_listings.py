"""A listing that was cut, or is none, never passes for a whole one; one that doesn't end is an error."""

import asyncio

import pytest
from scripted_server import HTML, gcs_error, gcs_listing, on, s3_error, s3_listing, store_of

from zarrstore import MemoryStore, RetryPolicy, copy_store_sync, errors

RETRY = RetryPolicy(attempts=2, base=0.001)
KEYS = ["p/a", "p/b/c", "p/d"]
NEXT = {
    "s3 by fsspec": "continuation-token",
    "gcs by fsspec": "pageToken",
    "s3 by obstore": "continuation-token",
}


def page(which, keys, token=None, *, truncated=None):
    if which == "gcs by fsspec":
        return gcs_listing(keys, **({"nextPageToken": token} if token else {}))
    return s3_listing(keys, truncated=bool(token) if truncated is None else truncated, token=token)


CALLS = {
    "list": lambda store: list(store.list_sync()),
    "list_prefix": lambda store: list(store.list_prefix_sync("")),
    "list_dir": lambda store: list(store.list_dir_sync("")),
    "clear": lambda store: store.clear_sync(),
    "getsize_prefix": lambda store: store.getsize_prefix_sync(""),
    "copy": lambda store: copy_store_sync(store, MemoryStore(), verify=True),
}
NO_PAGES = {
    "a page of a proxy's": lambda which: (200, HTML),
    "nothing": lambda which: (200, ""),
    "no content": lambda which: (204, ""),
    "an error": lambda which: gcs_error(200, "x") if "gcs" in which else s3_error(200, "InternalError"),
    "no page": lambda which: (404, ""),
}


def values(request):
    """Answer reads of values, and take what is deleted for deleted."""
    if request.method == "GET":
        return 200, b"v", {"ETag": "1", "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in KEYS)
    return 200, f"<DeleteResult>{deleted}</DeleteResult>"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", ["first", "second"])
@pytest.mark.parametrize("none", NO_PAGES)
def test_what_is_no_page_ends_no_listing(told, none, place, call):
    for which in ("s3 by fsspec", "gcs by fsspec"):
        if which == "gcs by fsspec" and (call, place) in (("clear", "second"), ("copy", "second")):
            continue  # its first page would have to be deleted, or read, by Google's manners
        bad = NO_PAGES[none](which)
        first, second = (bad, page(which, ["p/z"])) if place == "first" else (page(which, KEYS, "T"), bad)
        listed = on("GET", "list-type") if "s3" in which else on("GET", path="/o")
        told.table[:] = [(on("GET", NEXT[which]), second), (listed, first), (lambda request: True, values)]
        store = store_of(told, which, RETRY)
        with pytest.raises((errors.BackendError, ExceptionGroup)):
            CALLS[call](store)
        if place == "first":
            with pytest.raises(errors.BackendError):
                store.is_empty_sync("")


@pytest.mark.parametrize("call", CALLS)
def test_a_page_cut_without_a_token_ends_no_listing(told, call):
    listed = on("GET", "list-type"), s3_listing(KEYS, truncated=True)
    told.table[:] = [listed, (lambda request: True, values)]
    with pytest.raises((errors.BackendError, ExceptionGroup), match=r"no token|failed"):
        CALLS[call](store_of(told, "s3 by fsspec", RETRY))


@pytest.mark.parametrize("which", ["s3 by fsspec", "gcs by fsspec"])
@pytest.mark.parametrize("keys", [KEYS, []], ids=["keys", "empty"])
def test_a_token_that_repeats_ends_in_an_error(told, which, keys):
    told.table[:] = [(on("GET"), page(which, keys, "T"))]
    for call in ("list", "list_dir"):
        with pytest.raises(errors.BackendError, match="doesn't end"):
            CALLS[call](store_of(told, which, RETRY))
    assert len(told.requests) == 4


def test_pages_that_stay_empty_end_in_an_error(told):
    told.table[:] = [(on("GET"), lambda request: gcs_listing([], nextPageToken=str(len(told.requests))))]
    store = store_of(told, "gcs by fsspec", RETRY)
    with pytest.raises(errors.BackendError, match="hold no key"):
        list(store.list_sync())


def test_empty_pages_before_keys_are_borne(told):
    answers = [*(gcs_listing([], nextPageToken=str(number)) for number in range(5)), gcs_listing(KEYS)]
    told.table[:] = [(on("GET"), lambda request: answers.pop(0))]
    assert sorted(store_of(told, "gcs by fsspec", RETRY).list_sync()) == ["a", "b/c", "d"]


def test_through_obstore_a_page_that_repeats_ends_in_an_error(told):
    for count in (3, 1000):
        keys = [f"p/{number:04}" for number in range(count)]
        told.table[:] = [(on("GET"), s3_listing(keys, truncated=True, token="T"))]

        async def names():
            store = store_of(told, "s3 by obstore", None)
            async with asyncio.timeout(60):
                return [key async for key in store.list()]

        with pytest.raises(errors.BackendError, match="doesn't end"):
            asyncio.run(names())


@pytest.mark.parametrize("which", NEXT)
def test_keys_that_lie_elsewhere_are_never_cut_to_look_like_ours(told, which):
    for foreign in ("q/x/a", "px/a", "p/y/a"):
        told.table[:] = [(on("GET"), page(which, ["p/x/b", foreign]))]
        store = store_of(told, which, RETRY)
        with pytest.raises(errors.BackendError, match="doesn't lie there"):
            list(store.list_prefix_sync("x"))
