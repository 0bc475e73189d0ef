"""Archives behind signed URLs: the query is sent with each request, and is no part of a key."""

from urllib.parse import unquote

import pytest
from file_server import serve

from zarrstore import ZipStore, make_store_sync


@pytest.fixture
def server(tmp_path):
    with ZipStore(tmp_path / "a b.zip", mode="w") as store:
        store.set_sync("x/c/0", b"value")
    with serve(tmp_path) as (url, handler):
        yield url, handler


@pytest.mark.parametrize("form", ["{}|zip:", "zip::{}"])
@pytest.mark.parametrize("query", ["?sig=a%2Fb&c=d", "?sig=a/b,c", ""])
def test_an_archive_behind_a_signed_url_is_read(server, form, query):
    url, handler = server
    store = make_store_sync(form.format(f"{url}/a%20b.zip{query}"))
    assert store.get_sync("x/c/0").to_bytes() == b"value"
    assert list(store.list_sync()) == ["x/c/0"]
    assert handler.requests
    assert {unquote(path) for _, path in handler.requests} == {unquote(f"/a%20b.zip{query}")}
    assert "sig" not in str(store)
