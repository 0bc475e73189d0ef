"""A helper of an author's that would replace a private method of the base class is refused with the class."""

import pytest

from zarrstore import LocalStore, Store, WrapperStore
from zarrstore.abc.store import Entry, cut, join_pieces

VERBS = {
    "_location": "dict://",
    "_read": lambda self, key, request, allocate: cut(b"1", request),
    "_write": lambda self, key, pieces, condition: join_pieces(pieces) and None,
    "_remove": lambda self, key, condition: None,
    "_scan": lambda self, prefix, deep, sizes: iter([[Entry("k")]]),
}


@pytest.mark.parametrize(
    "name", ["_run", "_ready", "_listed", "_default", "_do_stat", "_share", "_parse_requests"]
)
@pytest.mark.parametrize("base", [Store, WrapperStore, LocalStore])
def test_a_helper_that_hides_a_method_of_the_base_is_refused(base, name):
    body = {name: lambda self, *args: []}
    with pytest.raises(TypeError, match=rf"Mine\.{name} .*replace.*another name"):
        type("Mine", (base,), (VERBS if base is Store else {}) | body)


def test_a_wrappers_own_are_reserved_too():
    with pytest.raises(TypeError, match=r"Mine\._around"):
        type("Mine", (WrapperStore,), {"_around": lambda self, store: self})


def test_other_names_and_what_is_meant_to_be_overridden_pass():
    async def _open(self):
        await Store._open(self)

    hooks = {"_open": _open, "_check_writable": lambda self: None, "_rows": lambda self: []}
    store = type("Mine", (Store,), VERBS | hooks)()
    assert store.get_sync("k").to_bytes() == b"1"
