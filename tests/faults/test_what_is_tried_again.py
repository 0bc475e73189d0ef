"""What is tried again, and what isn't: one table, entry by entry, on both backends."""

import socket
import threading
from contextlib import suppress

import pytest
from scripted_server import HTML, ScriptedServer, azure_error, gcs_error, s3_error, store_of

from zarrstore import RetryPolicy, errors

ATTEMPTS = 3
RETRY = RetryPolicy(attempts=ATTEMPTS, base=0.001)
BACKENDS = ["obstore", "fsspec"]
PAGE = (HTML, {"Content-Type": "text/html"})

# Per kind of server: an answer, and whether it may pass.
TABLE = {
    "http": [
        *(((status, *PAGE), True) for status in (408, 425, 429, 500, 502, 503, 504)),
        *(
            ((status, *PAGE), False)
            for status in (400, 401, 402, 403, 405, 406, 409, 411, 418, 421, 451, 501, 505)
        ),
        ((507, *PAGE), False),
        ((302, ""), False),
        ((302, "", {"Location": "gopher://h/"}), False),
    ],
    "s3": [
        (s3_error(400, "RequestTimeout"), True),
        (s3_error(500, "InternalError"), True),
        (s3_error(503, "SlowDown"), True),
        (s3_error(503, "ServiceUnavailable"), True),
        (s3_error(429, "TooManyRequests"), True),
        (s3_error(409, "OperationAborted"), True),
        ((502, *PAGE), True),
        ((504, *PAGE), True),
        (s3_error(400, "InvalidRequest"), False),
        (s3_error(400, "ExpiredToken"), False),
        (s3_error(403, "AccessDenied"), False),
        (s3_error(403, "InvalidObjectState"), False),
        (s3_error(403, "SignatureDoesNotMatch"), False),
        (s3_error(405, "MethodNotAllowed"), False),
        (s3_error(409, "InvalidBucketState"), False),
        (s3_error(501, "NotImplemented"), False),
    ],
    "azure": [
        (azure_error(500, "InternalError"), True),
        (azure_error(500, "OperationTimedOut"), True),
        (azure_error(503, "ServerBusy"), True),
        (azure_error(400, "InvalidHeaderValue"), False),
        (azure_error(403, "AuthenticationFailed"), False),
        (azure_error(409, "BlobArchived"), False),
    ],
    "gcs": [
        (gcs_error(408, "timeout"), True),
        (gcs_error(429, "rateLimitExceeded"), True),
        (gcs_error(500, "backendError"), True),
        (gcs_error(503, "backendError"), True),
        (gcs_error(400, "invalid"), False),
        (gcs_error(403, "forbidden"), False),
        (gcs_error(412, "conditionNotMet"), False),
    ],
}
ROWS = [
    pytest.param(f"{kind} by {backend}", answer, passes, id=f"{kind}-{backend}-{answer[0]}-{number}")
    for kind, rows in TABLE.items()
    for number, (answer, passes) in enumerate(rows)
    for backend in BACKENDS
    # Clients whose own retries can't be switched off are asked below.
    if f"{kind} by {backend}" not in ("azure by fsspec", "gcs by fsspec")
]
CALLS = {
    "get": lambda store: store.get_sync("k"),
    "set": lambda store: store.set_sync("k", b"v"),
    "delete": lambda store: store.delete_sync("k"),
    "list": lambda store: list(store.list_dir_sync("")),
}


@pytest.mark.parametrize(("which", "answer", "passes"), ROWS)
def test_a_failure_is_tried_again_if_it_may_pass(told, which, answer, passes):
    told.table[:] = [(lambda request: True, answer)]
    store = store_of(told, which, RETRY)
    for name, call in CALLS.items():
        if name != "get" and ("http" in which or "gcs" in which):
            continue  # they can't, or ask the client's own questions first
        if name == "list" and which == "s3 by obstore" and answer[0] in (501, 302):
            continue  # obstore tries a page again by its own rules, as often as the policy says
        told.requests.clear()
        with pytest.raises(errors.StoreError) as caught:
            call(store)
        assert isinstance(caught.value, errors.TransientError) is passes, name
        assert len(told.requests) == (ATTEMPTS if passes else 1), name


@pytest.mark.parametrize("which", ["azure by fsspec", "gcs by fsspec"])
def test_what_clients_that_retry_raise_is_told_apart(told, which):
    for answer, passes in TABLE[which.partition(" ")[0]]:
        if passes:
            continue  # the client tries for a minute
        told.table[:] = [(lambda request, answer=answer: True, answer)]
        with pytest.raises(errors.StoreError) as caught:
            store_of(told, which, RETRY).get_sync("k")
        assert not isinstance(caught.value, errors.TransientError)


@pytest.fixture(params=["closes", "refuses"])
def dead(request):
    """An endpoint that closes each connection unanswered, or refuses it; and how often it was called."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        calls = []
        if request.param == "refuses":
            listener.close()
            yield port, None
            return

        def close_each():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                calls.append(None)
                connection.close()

        thread = threading.Thread(target=close_each, daemon=True)
        thread.start()
        yield port, calls
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("which", [f"{kind} by {backend}" for kind in ("http", "s3") for backend in BACKENDS])
def test_a_connection_that_fails_is_tried_again(dead, which):
    port, calls = dead
    store = store_of(ScriptedServer(f"http://127.0.0.1:{port}"), which, RETRY)
    with pytest.raises(errors.TransientError):
        store.get_sync("k")
    assert calls is None or len(calls) >= ATTEMPTS


@pytest.mark.parametrize("which", ["s3 by obstore", "s3 by fsspec"])
@pytest.mark.parametrize("call", ["list", "list_dir", "is_empty"])
def test_the_policys_timeout_holds_for_listings(told, which, call):
    over = threading.Event()

    def stall(request):
        over.wait(25)
        return 500, ""

    # Long enough for a busy machine to send each request.
    store = store_of(told, which, RetryPolicy(attempts=2, base=0.001, timeout=0.5))
    told.table[:] = [(lambda request: True, (404, ""))]
    while not told.requests:  # making a client may take longer than the timeout
        with suppress(errors.StoreError):
            store.get_sync("k")
    told.requests.clear()
    told.table[:] = [(lambda request: True, stall)]
    calls = {
        "list": lambda: list(store.list_sync()),
        "list_dir": lambda: list(store.list_dir_sync("")),
        "is_empty": lambda: store.is_empty_sync(""),
    }
    try:
        with pytest.raises(errors.TransientError):
            calls[call]()
        assert not over.is_set()
        assert len(told.requests) == 2
    finally:
        over.set()
