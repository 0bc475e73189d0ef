"""A write is confirmed by its ETag, a removal by its answer; what isn't confirmed is an error, key by key."""

import pytest
from scripted_server import HTML, gcs_listing, on, s3_error, s3_listing, store_of

from zarrstore import RetryPolicy, errors

RETRY = RetryPolicy(attempts=3, base=0.001)
S3 = ("s3 by obstore", "s3 by fsspec")


def bulk(words):
    return 200, f"<DeleteResult>{words}</DeleteResult>"


def failed(key, code):
    return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>as told</Message></Error>"


NO_ANSWERS = {
    "an error without a code": bulk("<Error><Key>p/a</Key></Error>"),
    "nothing": (200, ""),
    "a page": (200, HTML),
    "no keys": bulk(""),
}


@pytest.mark.parametrize("which", S3)
@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_a_bulk_delete_that_isnt_confirmed_raises(told, which, answer):
    told.table[:] = [(on("POST", "delete"), NO_ANSWERS[answer]), (on("GET"), s3_listing(["p/a", "p/b"]))]
    store = store_of(told, which, RETRY)
    for call in (lambda: store.delete_dir_sync(""), store.clear_sync):
        with pytest.raises(errors.BackendError) as caught:
            call()
        assert caught.value.store == str(store)


def test_a_bulk_delete_that_leaves_out_a_key_raises(told):
    told.table[:] = [
        (on("POST", "delete"), bulk("<Deleted><Key>p/a</Key></Deleted>")),
        (on("GET"), s3_listing(["p/a", "p/b"])),
    ]
    with pytest.raises(errors.BackendError, match="doesn't confirm") as caught:
        store_of(told, "s3 by fsspec", RETRY).clear_sync()
    assert caught.value.key == "b"


@pytest.mark.parametrize("which", S3)
@pytest.mark.parametrize("code", ["SlowDown", "InternalError"])
def test_a_key_whose_delete_may_yet_succeed_is_deleted_again(told, which, code):
    done = bulk("<Deleted><Key>p/a</Key></Deleted><Deleted><Key>p/b</Key></Deleted>")
    answers = [bulk("<Deleted><Key>p/b</Key></Deleted>" + failed("p/a", code)), done]
    there = s3_listing(["p/a", "p/b"])
    told.table[:] = [
        (on("POST", "delete"), lambda request: answers.pop(0)),
        (on("GET"), lambda request: there if answers else s3_listing([])),
    ]
    store = store_of(told, which, RETRY)
    store.clear_sync()
    assert answers == []
    told.table[:] = [(on("POST", "delete"), bulk(failed("p/a", code))), (on("GET"), there)]
    with pytest.raises(errors.TransientError, match=code):
        store.clear_sync()


@pytest.mark.parametrize("which", S3)
def test_a_key_that_may_not_be_deleted_is_said_so(told, which):
    told.table[:] = [
        (on("POST", "delete"), bulk(failed("p/a", "AccessDenied"))),
        (on("GET"), s3_listing(["p/a"])),
    ]
    with pytest.raises(errors.AccessDeniedError, match="AccessDenied"):
        store_of(told, which, RETRY).clear_sync()


@pytest.mark.parametrize("which", ["s3 by obstore", "s3 by fsspec", "gcs by obstore", "gcs by fsspec"])
@pytest.mark.parametrize("answer", [(200, HTML), (200, ""), (204, "")], ids=["page", "nothing", "no content"])
def test_a_write_without_an_etag_raises(told, which, answer):
    told.table[:] = [(on(method), answer) for method in ("PUT", "POST")]
    store = store_of(told, which, RETRY)
    for call in (lambda: store.set_sync("k", b"v"), lambda: store.create_sync("k", b"v")):
        with pytest.raises(errors.BackendError) as caught:
            call()
        assert caught.value.key == "k"


@pytest.mark.parametrize("which", ["s3 by obstore", "s3 by fsspec", "gcs by fsspec"])
@pytest.mark.parametrize("answer", [(200, HTML), s3_error(200, "InternalError")], ids=["page", "error"])
def test_a_delete_answered_by_a_page_raises(told, which, answer):
    told.table[:] = [(on("DELETE"), answer), (on("POST"), answer), (on("GET"), gcs_listing([]))]
    with pytest.raises(errors.BackendError) as caught:
        store_of(told, which, RETRY).delete_sync("k")
    assert caught.value.key == "k"


@pytest.mark.parametrize("step", ["uploads", "partNumber", "uploadId"])
def test_each_step_of_a_large_write_is_confirmed(told, step, monkeypatch):
    from s3fs import S3FileSystem

    put = S3FileSystem._pipe_file

    async def in_parts(self, path, value, **more):
        return await put(self, path, value, chunksize=5 << 20, **more)

    monkeypatch.setattr(S3FileSystem, "_pipe_file", in_parts)  # else it takes values of 100 MiB
    begun = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    ended = "<CompleteMultipartUploadResult><ETag>2</ETag></CompleteMultipartUploadResult>"
    rows = {
        "uploads": (on("POST", "uploads"), (200, begun)),
        "partNumber": (on("PUT", "partNumber"), (200, "", {"ETag": '"1"'})),
        "uploadId": (on("POST", "uploadId"), (200, ended)),
    }
    told.table[:] = [*rows.values(), (on("DELETE", "uploadId"), (204, ""))]
    store = store_of(told, "s3 by fsspec", RETRY)
    store.set_sync("k", bytes(12 << 20))
    rows[step] = (rows[step][0], (200, HTML))
    told.table[:] = [*rows.values(), (on("DELETE", "uploadId"), (204, ""))]
    with pytest.raises(errors.BackendError, match="doesn't confirm"):
        store.set_sync("k", bytes(12 << 20))
