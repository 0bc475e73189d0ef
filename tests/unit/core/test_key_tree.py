"""Trees of keys: what is below each directory, whatever was added and removed before."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from zarrstore._core.key_tree import PAGE_SIZE, KeyTree, pages

SEGMENTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)
KEYS = SEGMENTS.map("/".join)
STEPS = st.lists(
    st.tuples(st.just("add"), KEYS) | st.tuples(st.just("discard"), KEYS),
    max_size=40,
)


def names_below(keys, directory):
    """What the names one level below a directory must be, the long way."""
    names = set()
    for key in keys:
        if key.startswith(directory):
            name, inner, _ = key[len(directory) :].partition("/")
            names.add(name + inner)
    return names


@given(STEPS)
def test_a_tree_knows_what_a_set_of_keys_would_say(steps):
    tree, keys = KeyTree(), set()
    for verb, path in steps:
        getattr(tree, verb)(path)
        if verb == "add":
            keys.add(path)
        else:
            keys.discard(path)
    directories = {key[: at + 1] for key in keys for at, sign in enumerate(key) if sign == "/"}
    for directory in {"", "a/", "a/a/", "none/", "b/c/a/"} | directories:
        expected = names_below(keys, directory)
        assert (directory in tree) == bool(expected)
        within = tree.within(directory)
        assert set(within) == expected
        assert len(within) == len(expected)
        names = list(chain(*tree.names(directory)))
        assert set(names) == {name.removesuffix("/") for name in expected}
        assert len(names) == len(set(names))
        below = [key for key in keys if key.startswith(directory)]
        assert sorted(chain(*tree.below(directory))) == sorted(below)
        first = tree.first_below(directory)
        assert first in below if below else first is None


def test_a_long_directory_comes_in_pages_and_its_first_key_at_once():
    tree = KeyTree()
    keys = [f"a/{number}" for number in range(2 * PAGE_SIZE + 5)]
    for key in keys:
        tree.add(key)
    found = list(tree.below(""))
    assert len(found[0]) == 1
    assert max(map(len, found)) <= PAGE_SIZE
    assert sorted(chain(*found)) == sorted(keys)


def test_pages_hold_everything_once():
    assert list(pages([])) == []
    assert list(chain(*pages([str(number) for number in range(PAGE_SIZE + 1)]))) == [
        str(number) for number in range(PAGE_SIZE + 1)
    ]
