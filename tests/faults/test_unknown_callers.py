"""Under ``missing_on={403}`` a refusal that may hide an absence is one, but never one of the caller."""

import pytest
from scripted_server import azure_error, gcs_error, on, s3_error, store_of

from zarrstore import RetryPolicy, errors

RETRY = RetryPolicy(attempts=2, base=0.001)
S3 = ["s3 by obstore", "s3 by fsspec", "http by obstore", "http by fsspec"]
OF_THE_CALLER = [
    ("ExpiredToken", "as told"),
    ("RequestExpired", "as told"),
    ("InvalidSecurity", "as told"),
    ("SignatureDoesNotMatch", "as told"),
    ("InvalidAccessKeyId", "as told"),
    ("AuthenticationFailed", "as told"),
    ("InvalidObjectState", "as told"),  # it is archived, so it's there
    ("AccessDenied", "Request has expired"),
    ("AccessDenied", "There were headers present in the request which were not signed"),
]
CALLS = {
    "get": lambda store: store.get_sync("k"),
    "exists": lambda store: store.exists_sync("k"),
    "getsize": lambda store: store.getsize_sync("k"),
}


def assert_refused(store, code):
    for name, call in CALLS.items():
        with pytest.raises(
            errors.BackendError if code == "InvalidObjectState" else errors.AccessDeniedError
        ) as caught:
            call(store)
        assert (caught.value.key, name) == ("k", name)
        assert code in str(caught.value), name


@pytest.mark.parametrize("which", S3)
@pytest.mark.parametrize(("code", "message"), OF_THE_CALLER)
def test_a_refusal_of_the_caller_is_no_absence(told, which, code, message):
    told.table[:] = [(on("HEAD"), (403, "")), (lambda request: True, s3_error(403, code, message))]
    assert_refused(store_of(told, which, RETRY, missing_on={403}), code)


@pytest.mark.parametrize("which", ["azure by obstore", "azure by fsspec"])
@pytest.mark.parametrize("code", ["AuthenticationFailed", "InvalidAuthenticationInfo"])
def test_a_refusal_of_azures_caller_is_no_absence(told, which, code):
    told.table[:] = [(lambda request: True, azure_error(403, code))]
    assert_refused(store_of(told, which, RETRY, missing_on={403}), code)


HIDING = [
    *((which, s3_error(403, "AccessDenied")) for which in S3),
    *(
        (f"azure by {by}", azure_error(403, "AuthorizationPermissionMismatch"))
        for by in ("obstore", "fsspec")
    ),
    *((f"gcs by {by}", gcs_error(403, "forbidden")) for by in ("obstore", "fsspec")),
    ("http by fsspec", (403, "<html>Forbidden</html>")),
]


@pytest.mark.parametrize(("which", "answer"), HIDING)
def test_a_refusal_that_may_hide_an_absence_is_one(told, which, answer):
    told.table[:] = [(on("GET"), answer), (on("HEAD"), (403, "", answer[2] if len(answer) > 2 else {}))]
    store = store_of(told, which, RETRY, missing_on={403})
    assert store.get_sync("k") is None
    assert store.exists_sync("k") is False
    told.requests.clear()
    with pytest.raises(errors.AccessDeniedError):
        store_of(told, which, RETRY).exists_sync("k")


@pytest.mark.parametrize("which", S3)
def test_a_value_whose_head_alone_is_refused_is_there(told, which):
    headers = {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    told.table[:] = [(on("HEAD"), (403, "")), (on("GET"), (200, b"value", headers))]
    store = store_of(told, which, RETRY, missing_on={403})
    assert store.exists_sync("k") is True
    assert store.getsize_sync("k") == 5
