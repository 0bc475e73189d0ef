"""What others left, and the contract page tells of, by stores that no test of that case asks."""

import obstore.store
import pytest
from scripted_server import HTML, on, s3_error, store_of

from zarrstore import FsspecStore, MemoryStore, ObjectStore, RetryPolicy, copy_store_sync, errors

RETRY = RetryPolicy(attempts=2, base=0.001)
OF_FOLDERS = {
    "fsspec": lambda root: FsspecStore.from_url(f"file://{root}"),
    "obstore": lambda root: ObjectStore(obstore.store.LocalStore(root)),
}


@pytest.mark.parametrize("backend", OF_FOLDERS)
def test_a_link_to_nothing_is_a_key_that_cant_be_read(tmp_path, backend):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/chunk").symlink_to("nowhere")
    (tmp_path / "a/itself").symlink_to("itself")
    store = OF_FOLDERS[backend](tmp_path)
    assert sorted(store.list_sync()) == ["a/chunk", "a/itself"]
    for key, target in (("a/chunk", "nowhere"), ("a/itself", "itself")):
        for call in (
            lambda key=key: store.get_sync(key),
            lambda key=key: store.getsize_sync(key),
            lambda key=key: store.exists_sync(key),
            lambda key=key: store.get_sync(f"{key}/0"),
        ):
            with pytest.raises(errors.BackendError, match=f"{key}.*{target}"):
                call()
    with pytest.raises(errors.BackendError, match=r"a/.*leads"):
        copy_store_sync(store, MemoryStore())


def test_obstore_takes_a_login_page_for_a_value(told):
    """It follows redirects without a word: hence `make_store` reads web servers by fsspec."""
    told.table[:] = [
        (on("GET", path="/login/"), (200, HTML, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})),
        (lambda request: True, lambda request: (302, "", {"Location": "/login/"})),
    ]
    assert store_of(told, "http by obstore", RETRY).get_sync("k").to_bytes() == HTML.encode()


@pytest.mark.parametrize("which", ["s3 by fsspec", "s3 by obstore"])
@pytest.mark.parametrize("call", ["get_sync", "exists_sync", "getsize_sync"])
def test_a_missing_bucket_is_no_missing_key(told, which, call):
    told.table[:] = [(on("HEAD"), (404, "")), (lambda request: True, s3_error(404, "NoSuchBucket"))]
    with pytest.raises(errors.BackendError, match="bucket") as caught:
        getattr(store_of(told, which, RETRY), call)("k")
    assert not isinstance(caught.value, errors.KeyNotFoundError)
