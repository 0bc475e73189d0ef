"""No text of ours holds a secret: no error's, store's or log's, nor dask's token or the program's output."""

import io
import logging
import traceback

import dask.base
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_server import HTML, on, s3_error

from zarrstore import (
    FsspecStore,
    LoggingStore,
    ObjectStore,
    RangeByteRequest,
    RetryPolicy,
    StorePath,
)
from zarrstore._cli.program import program

MARK = "Q7hush"
RETRY = RetryPolicy(attempts=1, timeout=5)
secrets = st.text(st.sampled_from("abcXYZ019,;+*~'()!$&/@:=%-_."), max_size=8).map(
    lambda text: f"{MARK}{text}{MARK}"
)
# What a user's name and password can't have, or they would end there.
users = st.text(st.sampled_from("abcXYZ019,;+*~!$&=-_.")).map(lambda text: f"{MARK}{text}")
ANSWERS = [
    (200, b"v"),
    (403, s3_error(403, "AccessDenied")[1]),
    (404, ""),
    (418, HTML),
    (206, b"v"),
    (204, ""),
    (302, "", {"Location": f"http://127.0.0.1:9/x?sig={MARK}"}),
    (302, "", {"Location": f"/login/?back={MARK}"}),
    (416, ""),
    (302, ""),
]


def texts_of(store):
    """Return all that a store and its failures say."""
    said = [str(store), repr(store), str(dask.base.tokenize(store)), str(store.__dask_tokenize__())]
    said += [str(StorePath(store, "a")), repr(store.with_read_only(True)), str(store.sub("a"))]
    handler = logging.StreamHandler(io.StringIO())
    logged = LoggingStore(store, log_handler=handler)
    said += [str(logged), repr(logged)]
    for call in (
        lambda: logged.get_sync("k"),
        lambda: logged.get_sync("k", byte_range=RangeByteRequest(1, 3)),
        lambda: logged.exists_sync("k"),
        lambda: logged.getsize_sync("k"),
        lambda: list(logged.list_sync()),
        lambda: logged.set_sync("k", b"v"),
        lambda: logged.delete_sync("k"),
        lambda: logged.create_sync("k", b"v"),
        lambda: logged.clear_sync(),
    ):
        try:
            call()
        except Exception as error:
            said += ["".join(traceback.format_exception(error)), str(error), repr(error)]
    return [*said, handler.stream.getvalue()]


def urls(address):
    """URLs of that server with secrets in every part."""
    query = st.builds("?{}={}".format, st.sampled_from(["sig", "token", "x"]), secrets)
    fragment = st.builds("#x={}".format, secrets)
    user = st.one_of(st.builds("{}@".format, users), st.builds("{}:{}@".format, users, users))
    part = st.one_of(st.just(""), query, fragment, st.builds("{}{}".format, query, fragment))
    return st.builds("http://{}{}/b/p{}".format, st.one_of(st.just(""), user), st.just(address), part)


def assert_hidden(said):
    for text in said:
        assert MARK not in text, text


FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: str(answer[0]))
def test_web_stores_by_fsspec(told, answer):
    told.table[:] = [(on("GET", path="/login/"), (200, HTML)), (lambda request: True, answer)]

    @FEW
    @given(urls(told.url.removeprefix("http://")))
    def check(url):
        assert_hidden(texts_of(FsspecStore.from_url(url, {"skip_instance_cache": True}, retry=RETRY)))

    check()


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: str(answer[0]))
def test_web_stores_by_obstore(told, answer):
    from obstore.store import HTTPStore

    told.table[:] = [(on("GET", path="/login/"), (200, HTML)), (lambda request: True, answer)]

    @FEW
    @given(urls(told.url.removeprefix("http://")))
    def check(url):
        try:
            theirs = HTTPStore(url, client_options={"allow_http": True}, retry_config={"max_retries": 0})
        except Exception:
            return  # obstore's own answer to its own user
        assert_hidden(texts_of(ObjectStore(theirs, retry=RETRY)))

    check()


FORMS = [
    "s3://{user}@b/x",
    "s3://b/x?sig={secret}",
    "simplecache::s3://{user}@b/x",
    "az://b/x?sig={secret}",
    "file://{user}@h/x",
    "file:///x?sig={secret}",
    "http://{user}@{address}/x?sig={secret},{secret}#x={secret}",
    "ftp://{user}@127.0.0.1:1/x",
    "nosuch://{user}@h/x?sig={secret}",
    "zip://a::http://{user}@{address}/x.zip?sig={secret}",
    "http://{user}@{address}/x.zip?sig={secret}|zip:a",
]


@pytest.mark.parametrize("form", FORMS)
def test_the_programs_output(form, told, monkeypatch):
    told.table[:] = [(lambda request: True, s3_error(403, "AccessDenied"))]
    environ = {"ENDPOINT_URL": told.url, "REGION": "r", "ACCESS_KEY_ID": "none", "SECRET_ACCESS_KEY": "none"}
    for name, value in environ.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", told.azure.connection_string)
    monkeypatch.setattr("zarrstore._core.retry.RetryPolicy.wait", lambda policy, attempt: 0)
    address = told.url.removeprefix("http://")
    url = form.format(user=f"{MARK}KEY:{MARK}SECRET", secret=MARK, address=address)
    commands = (["info", url], ["ls", "--debug", url], ["cat", url, "k"], ["cat", "--debug", url, "k"],
                ["copy", url, "target"], ["cat", url, "k", url], ["rm", "-ry", url])  # fmt: skip
    for command in commands:
        result = CliRunner().invoke(program, command)
        assert result.exit_code, result.output
        assert_hidden([result.output, result.stderr])
