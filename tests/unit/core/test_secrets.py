"""What counts as a secret in a text, and what has to stay."""

import pickle

import pytest

from zarrstore._core.secrets import safe_cause, without_secrets

CLEANED = {
    "http://u:p@h/x?sig=a,b&c=d": "http://h/x",
    "no answer (http://h/x?sig=a'b), again": "no answer (http://h/x), again",
    "403, url='http://u:p@h:80/x?sig=a,b'": "403, url='http://h:80/x'",
    "https://token@h/x#access_token=5": "https://h/x",
    "http://u:p/q@h/x": "http://h/x",
    "http://u:p?q@h/x": "http://h/x",
    "https://proxy/https://u:p@h/x": "https://proxy/https://h/x",
    "s3://KEY:SEC/RET+x@b/x": "s3://b/x",
    "s3://b/x?sig=1": "s3://b/x",
    "zip://a::https://u:p@h/x.zip?sig=1": "zip://a::https://h/x.zip",
    "simplecache::s3://K:S@b/x": "simplecache::s3://b/x",
    "abfs://u:p@account/x": "abfs://account/x",
    "file://u:p@h/x": "file://h/x",
    'HTTPStore("http://u:p@h/")': 'HTTPStore("http://h/")',
    'Invalid bucket name "KEY:SECRET@b": names': 'Invalid bucket name "b": names',
    "GET /b/x?X-Amz-Signature=a&X-Amz-Credential=K/1 failed": (
        "GET /b/x?X-Amz-Signature=***&X-Amz-Credential=*** failed"
    ),
    "GET http://h/b/x%3Fsig%3Da%26token=b failed": "GET http://h/b/x%3Fsig%3D*** failed",
    "AccountName=a;AccountKey=b==;Blob": "AccountName=a;AccountKey=***;Blob",
    "{'Authorization': 'Basic abcd==', 'a': 'b'}": "{'Authorization': '***', 'a': 'b'}",
    "Authorization: AWS4 Credential=a, Signature=b\nnext": "Authorization: ***\nnext",
    "Bearer abcdefghijklmnopqrstuvwxyz refused": "Bearer *** refused",
    "{'secret': 'hush', \"token\": \"hush\"}": "{'secret': '***', \"token\": \"***\"}",
}
KEPT = [
    'S3 error: <?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code></Error>',
    "https://h/x: <?xml version='1.0'?><Message>Why?</Message>",
    "s3://b/w?q.zarr",
    "s3://b/a#b",
    "s3://b/data@2024",
    "abfs://container@account.dfs.core.windows.net/x",
    "http://h:8080/a@b",
    "http://[::1]:80/x",
    "memory://a/b",
    "zip:///tmp/a.zip",
    "ExpiredToken: The provided token has expired.",
    "Basic authentication failed. Is it right?",
    "[key 'c/0/0'] [store 's3://b/x']",
    "a|zip:b",
]


@pytest.mark.parametrize("text", CLEANED)
def test_secrets_go(text):
    assert without_secrets(text) == CLEANED[text]
    assert without_secrets(CLEANED[text]) == CLEANED[text]


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_stays(text):
    assert without_secrets(text) == text


class Demanding(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def test_an_error_without_secrets_is_its_own_cause():
    error = OSError(5, "no")
    assert safe_cause(error) is error


@pytest.mark.parametrize("error", [ValueError("http://h/x?sig=hush"), Demanding("at", "http://h/x?sig=hush")])
def test_an_error_with_secrets_is_replaced(error):
    assert "hush" not in str(safe_cause(error))
    assert "http://h/x" in str(safe_cause(error))
    outer = RuntimeError("fine")
    outer.__context__ = error
    found = safe_cause(outer)
    assert str(found) == "fine"
    assert found.__context__ is None
    assert isinstance(pickle.loads(pickle.dumps(found)), RuntimeError)
