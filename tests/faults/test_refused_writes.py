"""A write that a server refuses is an error: a conflict only answers a condition that was sent."""

import pytest
from scripted_server import azure_error, gcs_error, on, s3_error, store_of

from zarrstore import MemoryStore, RetryPolicy, Store, copy_store_sync, errors
from zarrstore.abc.store import CONFLICT
from zarrstore.storage import WrapperStore

RETRY = RetryPolicy(attempts=3, base=0.001)
REFUSALS = [
    ("s3", s3_error(409, "OperationAborted"), "OperationAborted"),
    ("s3", s3_error(412, "PreconditionFailed"), "PreconditionFailed"),
    ("s3", s3_error(409, "ConditionalRequestConflict"), "ConditionalRequestConflict"),
    ("s3", s3_error(409, "InvalidBucketState"), "InvalidBucketState"),
    ("azure", azure_error(412, "LeaseIdMissing"), "LeaseIdMissing"),
    ("azure", azure_error(409, "BlobImmutableDueToPolicy"), "BlobImmutableDueToPolicy"),
    ("azure", azure_error(409, "ContainerBeingDeleted"), "ContainerBeingDeleted"),
    ("azure", azure_error(409, "BlobAlreadyExists"), "BlobAlreadyExists"),
    ("gcs", gcs_error(412, "conditionNotMet"), ""),
    ("gcs", gcs_error(409, "conflict"), ""),
]
CASES = [
    pytest.param(f"{kind} by {backend}", answer, code, id=f"{kind}-{backend}-{answer[0]}-{code}")
    for kind, answer, code in REFUSALS
    for backend in ("obstore", "fsspec")
]
PUTS = (on("PUT"), on("POST", "uploadType=multipart"))


def refuse(told, answer):
    told.table[:] = [(matches, answer) for matches in PUTS]


@pytest.mark.parametrize(("which", "answer", "code"), CASES)
def test_an_unconditional_write_that_is_refused_raises(told, which, answer, code):
    refuse(told, answer)
    store = store_of(told, which, RETRY)
    with pytest.raises(errors.BackendError) as caught:
        store.set_sync("k", b"v")
    assert caught.value.key == "k"
    assert caught.value.store == str(store)
    assert code in str(caught.value)
    assert caught.value.hint
    # Over gcsfs the file exists that the server says has changed; over all it isn't a folder's fault.
    assert not isinstance(caught.value, errors.KeyConflictError)
    assert told.unforeseen == []


@pytest.mark.parametrize("which", ["s3 by obstore", "s3 by fsspec", "azure by obstore", "azure by fsspec"])
async def test_every_face_of_a_refused_write_raises(told, which):
    refuse(
        told, azure_error(412, "LeaseIdMissing") if "azure" in which else s3_error(409, "InvalidBucketState")
    )
    store = store_of(told, which, RETRY)
    with pytest.raises(errors.BackendError):
        await store.set("k", b"v")
    with pytest.raises(errors.BackendError):
        await store.set_if_not_exists("k", b"v")
    with pytest.raises(errors.BackendError):
        await store.create("k", b"v")
    with pytest.raises(errors.BackendError):
        store.create_sync("k", b"v")
    if store.capabilities.versions:
        with pytest.raises(errors.BackendError):
            await store.set_if_unchanged("k", b"v", '"1"')


@pytest.mark.parametrize("which", ["s3 by obstore", "s3 by fsspec"])
def test_a_copy_that_is_to_replace_counts_no_refusal_as_skipped(told, which):
    refuse(told, s3_error(409, "InvalidBucketState"))
    empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    told.table += [(on("GET", "list-type"), (200, empty))]
    source = MemoryStore()
    source.set_sync("k", b"v")
    with pytest.raises((errors.BackendError, ExceptionGroup)):
        copy_store_sync(source, store_of(told, which, RETRY), if_exists="replace")


BEGUN = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"


@pytest.mark.parametrize("step", ["uploads", "partNumber", "completion"])
@pytest.mark.parametrize("code", ["OperationAborted", "InvalidBucketState"])
def test_a_refused_part_of_an_upload_raises(told, step, code):
    rows = {
        "uploads": (on("POST", "uploads"), (200, BEGUN)),
        "partNumber": (on("PUT", "partNumber"), (200, "", {"ETag": '"1"'})),
        "completion": (on("POST", "uploadId"), (200, "<CompleteMultipartUploadResult/>")),
    }
    rows[step] = (rows[step][0], s3_error(409, code))
    told.table[:] = [*rows.values(), (on("DELETE", "uploadId"), (204, ""))]
    with pytest.raises(errors.BackendError, match=code):
        store_of(told, "s3 by obstore", RETRY).set_sync("k", bytes(12 << 20))
    assert told.unforeseen == []


DENIALS = [
    ("s3", s3_error(412, "PreconditionFailed")),
    ("azure", azure_error(409, "BlobAlreadyExists")),
    ("azure", azure_error(412, "ConditionNotMet")),
    ("gcs", gcs_error(412, "conditionNotMet")),
]


def holds_another(request):
    """Answer a look at a value that another made."""
    told = {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "Content-Length": "1"}
    return 200, b"v" if request.method == "GET" else b"", told


@pytest.mark.parametrize("backend", ["obstore", "fsspec"])
@pytest.mark.parametrize(("kind", "answer"), DENIALS)
def test_a_denied_condition_is_a_conflict(told, kind, answer, backend):
    refuse(told, answer)
    if (kind, backend) == ("gcs", "fsspec"):
        told.table.append((on("GET"), (200, '{"metadata": {}}', {"Content-Type": "application/json"})))
    told.table += [(on("HEAD"), holds_another), (on("GET"), holds_another)]
    store = store_of(told, f"{kind} by {backend}", RETRY)
    assert store.create_sync("k", b"v") is False
    if store.capabilities.versions and kind != "gcs":
        assert store.set_if_unchanged_sync("k", b"v", '"1"') is None


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
@pytest.mark.parametrize("which", ["s3 by obstore", "s3 by fsspec"])
def test_a_conditional_write_that_met_another_is_made_again(told, which, code):
    answers = [s3_error(409, code), s3_error(409, code), (200, "", {"ETag": '"2"'})]
    told.table[:] = [(on("PUT"), lambda request: answers.pop(0))]
    store = store_of(told, which, RETRY)
    assert store.create_sync("k", b"v") is True
    assert answers == []
    assert all(request.headers["if-none-match"] == "*" for request in told.requests)
    refuse(told, s3_error(409, code))
    with pytest.raises(errors.TransientError, match=code):
        store.create_sync("k", b"v")
    if store.capabilities.versions:
        with pytest.raises(errors.TransientError, match=code):
            store.set_if_unchanged_sync("k", b"v", '"1"')


def test_a_missing_bucket_is_no_denied_condition(told):
    refuse(told, s3_error(404, "NoSuchBucket"))
    store = store_of(told, "s3 by obstore", RETRY)
    with pytest.raises(errors.BackendError, match="bucket"):
        store.set_if_unchanged_sync("k", b"v", '"1"')
    refuse(told, s3_error(404, "NoSuchKey"))
    assert store.set_if_unchanged_sync("k", b"v", '"1"') is None


class Refusing(WrapperStore):
    """A third party's store whose write verb answers a conflict to whatever it is asked."""

    async def _write(self, below, key, pieces, condition):
        return CONFLICT


class RefusingInPlace(MemoryStore):
    """The same, of a store that blocks, by all its ways to write."""

    def _write(self, key, pieces, condition):
        return CONFLICT

    def _write_nowait(self, key, pieces, condition):
        return CONFLICT


@pytest.mark.parametrize("make", [lambda: Refusing(MemoryStore()), RefusingInPlace])
async def test_the_core_takes_no_conflict_for_an_answer_to_a_write_without_condition(make):
    store: Store = make()
    with pytest.raises(errors.BackendError, match="nothing was written") as caught:
        await store.set("k", b"v")
    assert caught.value.key == "k"
    with pytest.raises(errors.BackendError, match="nothing was written"):
        store.set_sync("k", b"v")
    assert await store.create("k", b"v") is False
    source = MemoryStore()
    source.set_sync("k", b"v")
    with pytest.raises((errors.BackendError, ExceptionGroup)):
        copy_store_sync(source, store, if_exists="replace")
