"""What a server says of a refusal reaches the user; a value that is archived isn't missing."""

import pytest
from scripted_server import azure_error, gcs_error, store_of

from zarrstore import FsspecStore, ObjectStore, RetryPolicy, errors

RETRY = RetryPolicy(attempts=2, base=0.001)
BOTH = ("obstore", "fsspec")
S3 = tuple(f"s3 by {backend}" for backend in BOTH)


def as_amazon(status, code, message):
    """S3's answer as Amazon writes it: on two lines, and with more elements."""
    return status, (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        "<RequestId>17</RequestId><StringToSign>HUSH</StringToSign></Error>"
    )


def as_one_line(status, code, message):
    """S3's answer as other servers write it."""
    status, text = as_amazon(status, code, message)
    return status, text.replace("\n", "")


@pytest.mark.parametrize("which", S3)
@pytest.mark.parametrize("form", [as_amazon, as_one_line])
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "SignatureDoesNotMatch", "The signature we calculated does not match. Is it yours?"),
        (400, "ExpiredToken", "The provided token has expired."),
        (400, "InvalidRequest", "Missing required header, (x-amz-content-sha256)"),
        (500, "InternalError", "We encountered an internal error."),
    ],
)
def test_code_and_message(told, which, form, status, code, message):
    told.table[:] = [(lambda request: True, form(status, code, message))]
    store = store_of(told, which, RETRY)
    calls = [
        lambda: store.get_sync("k"),
        lambda: store.set_sync("k", b""),
        lambda: store.delete_sync("k"),
        lambda: list(store.list_sync()),
        lambda: list(store.list_dir_sync("")),
    ]
    for call in calls if status < 500 else calls[:3]:  # obstore lists for long before it gives up
        with pytest.raises(errors.BackendError) as caught:
            call()
        shown = str(caught.value)
        assert shown.count(code) == 1, shown
        assert message.rstrip(".") in shown
        assert "HUSH" not in shown
        assert "<" not in shown.partition("[")[0], shown


def test_queries_stay_out_of_messages(told):
    told.table[:] = [(lambda request: True, as_amazon(403, "AccessDenied", "No"))]
    with pytest.raises(errors.AccessDeniedError) as caught:
        list(store_of(told, "s3 by obstore", RETRY).list_sync())
    assert "list-type" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("which", S3)
def test_an_archived_value_is_not_missing(told, which):
    told.table[:] = [(lambda request: True, as_amazon(403, "InvalidObjectState", "It is in the archive"))]
    store = store_of(told, which, RETRY)
    kind = type(store)
    place = (store.store,) if kind is ObjectStore else (store.fs, False, "b/p")
    for missing_on in ((), (403,)):
        asked = kind(*place, missing_on=missing_on, retry=RETRY)
        with pytest.raises(errors.BackendError, match=r"InvalidObjectState.*restore it") as caught:
            asked.get_sync("k")
        assert not isinstance(caught.value, errors.AccessDeniedError)
        assert caught.value.key == "k"


@pytest.mark.parametrize("backend", BOTH)
def test_an_archived_blob_says_so(told, backend):
    told.table[:] = [(lambda request: True, azure_error(409, "BlobArchived"))]
    with pytest.raises(errors.BackendError, match=r"BlobArchived.*restore it"):
        store_of(told, f"azure by {backend}", RETRY).get_sync("k")


def test_other_servers_words_reach_the_user(told):
    told.table[:] = [(lambda request: True, gcs_error(400, "quite wrong"))]
    for which in ("gcs by obstore", "gcs by fsspec"):
        store = store_of(told, which, RETRY)
        with pytest.raises(errors.BackendError, match="quite wrong"):
            store.get_sync("k")
        assert isinstance(store, (FsspecStore, ObjectStore))
