"""A server without ETags has no versions; a conditional write never demands an empty one."""

import pytest
from scripted_server import on, store_of

from zarrstore import MemoryStore, RetryPolicy, errors
from zarrstore.storage import WrapperStore

RETRY = RetryPolicy(attempts=2, base=0.001)
TOLD = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "Content-Type": "binary/octet-stream"}
WHICH = ["s3 by obstore", "azure by obstore"]


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("etag", [{}, {"ETag": ""}], ids=["none", "empty"])
def test_a_value_without_an_etag_has_no_version(told, which, etag):
    told.table[:] = [(on("GET"), (200, b"v", {**TOLD, **etag})), (on("HEAD"), (200, b"v", {**TOLD, **etag}))]
    store = store_of(told, which, RETRY)
    # Of Azure's answers obstore itself demands that header.
    missing = which == "azure by obstore" and not etag
    kind = errors.BackendError if missing else errors.UnsupportedOperationError
    with pytest.raises(kind, match=r"(?i)no version|ETag") as caught:
        store.get_versioned_sync("k")
    assert caught.value.key == "k"


@pytest.mark.parametrize("which", WHICH)
def test_an_empty_version_is_never_sent(told, which):
    told.table[:] = [(lambda request: True, (200, "", {**TOLD, "ETag": '"2"'}))]
    store = store_of(told, which, RETRY)
    for call in (
        lambda: store.set_if_unchanged_sync("k", b"v", ""),
        lambda: store.delete_if_unchanged_sync("k", ""),
    ):
        with pytest.raises(errors.UnsupportedOperationError, match="no version"):
            call()
    assert told.requests == []


class Forgetful(WrapperStore):
    """A third party's store that claims versions and gives none."""

    async def _read_versioned(self, below, key, request, allocate):
        return await below.read(key, request, allocate), None

    async def _write(self, below, key, pieces, condition):
        await below.write(key, pieces, condition)


async def test_a_store_that_gives_no_versions_is_found_out():
    below = MemoryStore()
    await below.set("k", b"v")
    _, version = await below.get_versioned("k")
    store = Forgetful(below)
    with pytest.raises(errors.UnsupportedOperationError, match="no version"):
        await store.get_versioned("k")
    # Not None, which would say that somebody else was first.
    with pytest.raises(errors.BackendError, match="no version"):
        await store.set_if_unchanged("k", b"w", version)
    for call in (store.set_if_unchanged("k", b"x", ""), store.delete_if_unchanged("k", "")):
        with pytest.raises(errors.UnsupportedOperationError, match="no version"):
            await call
    assert (await below.get("k")).to_bytes() == b"w"


def test_what_obstore_cant_demand_is_not_promised(told):
    store = store_of(told, "gcs by obstore", RETRY)
    assert not store.capabilities.versions
    with pytest.raises(errors.UnsupportedOperationError):
        store.set_if_unchanged_sync("k", b"v", '"1"')
    assert told.requests == []
