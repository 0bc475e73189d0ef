"""Keys and prefixes that mean harm: nothing outside the root is read, written, listed or removed."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from power_loss import seen

from zarrstore import copy_store_sync
from zarrstore.errors import StoreError
from zarrstore.storage import LocalStore, MemoryStore, ZipStore

HIDDEN, SECRET = "hidden-by-its-owner", b"a secret of somebody else"
SEGMENTS = st.one_of(
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "a",
            "out",
            "root",
            "victim",
            HIDDEN,
            "~",
            "x" * 300,
            "\0",
            "\udcff",
            "..\\",
            "*",
            "[a]",
        ]
    ),
    st.text(max_size=8),
)
NAMES = st.one_of(
    st.lists(SEGMENTS, max_size=5).map("/".join),
    st.sampled_from(
        ["/", "//", "/etc", f"../victim/{HIDDEN}", f"a/../../victim/{HIDDEN}", f"out/{HIDDEN}", "out/.."]
    ),
    st.text(max_size=30),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    top = tmp_path_factory.mktemp("hostile")
    (top / "victim/folder").mkdir(parents=True)
    (top / "victim" / HIDDEN).write_bytes(SECRET)
    return top


def calls(store, name):
    """What can be asked of a store with one name."""
    yield lambda: store.get_sync(name)
    yield lambda: store.exists_sync(name)
    yield lambda: store.getsize_sync(name)
    yield lambda: list(store.list_prefix_sync(name))
    yield lambda: list(store.list_dir_sync(name))
    yield lambda: store.is_empty_sync(name)
    yield lambda: store.getsize_prefix_sync(name)
    yield lambda: store.set_sync(name, b"mine")
    yield lambda: store.create_sync(name, b"mine")
    yield lambda: store.set_partial_values_sync([(name, 0, b"mine")])
    yield lambda: store.sub(name).set_sync("k", b"mine")
    yield lambda: copy_store_sync(MemoryStore({"k": b"mine"}), store, target_prefix=name)
    yield lambda: store.delete_sync(name)
    yield lambda: store.delete_dir_sync(name)


@pytest.mark.parametrize("kind", ["folder", "links", "archive"])
def test_nothing_outside_is_touched(place, kind):
    before = seen(place / "victim")
    count = 0

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(NAMES)
    def ask(name):
        nonlocal count
        if kind == "archive":
            store = ZipStore(place / "root.zip", mode="w", deletes=True)
        else:
            store = LocalStore(place / "root", follow_symlinks=kind == "folder")
            store.set_sync("a/k", b"")
        if kind == "links" and not os.path.lexists(place / "root/out"):
            (place / "root/out").symlink_to(place / "victim")
        for call in calls(store, name):
            count += 1
            try:
                answer = call()
            except StoreError:
                continue
            told = answer.to_bytes() if hasattr(answer, "to_bytes") else repr(answer).encode()
            assert SECRET not in told
            assert HIDDEN.encode() not in told
        if kind == "archive":
            store.close()
        assert seen(place / "victim") == before

    ask()
    assert count > 300
    assert set(os.listdir(place)) <= {"victim", "root", "root.zip"}
