"""A store as a mapping from keys to bytes."""

from collections.abc import MutableMapping

import pytest

from zarrstore.errors import InvalidKeyError, ReadOnlyError
from zarrstore.storage import FsspecStore, LocalStore, MemoryStore, StoreMapping


@pytest.fixture(params=["memory", "local", "fsspec", "sub"])
def mapping(request, tmp_path):
    stores = {
        "memory": MemoryStore,
        "local": lambda: LocalStore(tmp_path),
        "fsspec": lambda: FsspecStore.from_url(f"memory://{tmp_path}"),
        "sub": lambda: MemoryStore().sub("a"),
    }
    return stores[request.param]().mapping()


def test_it_behaves_as_a_dict(mapping):
    assert isinstance(mapping, MutableMapping)
    assert not mapping
    mapping["a/k"] = b"v"
    mapping["l"] = bytearray(b"w")
    assert mapping["a/k"] == b"v"
    assert type(mapping["l"]) is bytes
    assert dict(mapping) == {"a/k": b"v", "l": b"w"}
    assert len(mapping) == 2
    assert mapping
    assert "l" in mapping
    assert "a" not in mapping
    assert mapping.get("missing") is None
    assert mapping == {"a/k": b"v", "l": b"w"}
    assert mapping.pop("l") == b"w"
    assert mapping.setdefault("a/k", b"x") == b"v"
    assert mapping.setdefault("m", b"x") == b"x"
    mapping.update({"n": b"y"})
    del mapping["n"]
    with pytest.raises(KeyError):
        del mapping["n"]
    with pytest.raises(KeyError):
        mapping["n"]
    assert sorted(mapping.items()) == [("a/k", b"v"), ("m", b"x")]
    mapping.clear()
    assert list(mapping) == []


@pytest.mark.parametrize("key", ["", "../k", "a//b", "/a", 3, None])
def test_what_is_no_key_is_in_no_mapping(mapping, key):
    assert key not in mapping
    with pytest.raises(KeyError):
        mapping[key]
    with pytest.raises(InvalidKeyError):
        mapping[key] = b"v"


def test_views_share(tmp_path):
    store = MemoryStore()
    mapping = StoreMapping(store)
    store.set_sync("k", b"v")
    assert mapping["k"] == b"v"
    assert mapping.store is store
    with pytest.raises(ReadOnlyError):
        store.with_read_only(True).mapping()["k"] = b"w"
    with pytest.raises(TypeError):
        StoreMapping({})


def test_zarr_pythons_stores_too():
    zarr = pytest.importorskip("zarr")
    mapping = StoreMapping(zarr.storage.MemoryStore())
    mapping["k"] = b"v"
    assert dict(mapping) == {"k": b"v"}
