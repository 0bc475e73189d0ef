"""Questions about keys, prefixes, listings, and missing values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._core.requests import OffsetByteRequest as Offset
from zarrstore._core.requests import RangeByteRequest as Range
from zarrstore._core.requests import SuffixByteRequest as Suffix
from zarrstore.testing._question import VALUE, question, raises

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zarrstore.testing._asker import Asker

BAD_KEYS: list[object] = [
    "", "/", "//", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/..", "a/.", "a/../b", "a/./b",
    "../../etc/passwd", "a\0b", "\0", "a\ud800", None, 3, b"a", ["a"], ("a",),
]  # fmt: skip
GOOD_KEYS = [
    "a", "a/b", ".zarray", ".a/.b", "..a", "a..", "...", "a.b/c.d", "a b", " a", "a ", "é/ü", "日本語/キー",
    "😀", "c*", "[x]", "a?b", "a#b", "a%20b", "a%2Fb", "~", "-", "--", "$HOME", "a:b", "a\\b", "a'b\"c",
    "a\nb", "a\tb", "a?versionId=1", "x" * 200, "x" * 255, "/".join("abcdefghijklmnopqrstuvwxyz"),
    "zarr.json", "c/0/0/0", "CON", "a.",
]  # fmt: skip
BAD_PREFIXES: list[object] = [
    "//", "/a", "a//", "a//b", ".", "..", "./", "../", "a/..", "a/../b", "a\0", None, 3,
]  # fmt: skip


_BY_KEY: dict[str, Callable[[Asker, object], Awaitable[object]]] = {
    "get": lambda ask, key: ask.get(key),
    "get_partial_values": lambda ask, key: ask.get_partial_values([("fine", None), (key, None)]),
    "get_ranges": lambda ask, key: ask.get_ranges(key, [Range(0, 1)]),
    "exists": lambda ask, key: ask.call("exists", key),
    "getsize": lambda ask, key: ask.call("getsize", key),
    "set": lambda ask, key: ask.set(key, b"x"),
    "set_if_not_exists": lambda ask, key: ask.set_if_not_exists(key, b"x"),
    "delete": lambda ask, key: ask.call("delete", key),
}


def _shown(key: object) -> str:
    text = ascii(key)
    return text if len(text) < 40 else f"{text[:20]}...{len(str(key))}"


@question(
    "write ours", [(f"{way}-{_shown(key)}", (way, key)) for way in _BY_KEY for key in BAD_KEYS], together=True
)
async def key_refused(ask: Asker, argument: tuple[str, object]) -> None:
    """Every method refuses an invalid key, and nothing is stored."""
    way, key = argument
    await raises(ValueError, _BY_KEY[way](ask, key))
    if ask.store.supports_listing:
        assert await ask.names("list") == []


@question("write list", [(_shown(key), key) for key in GOOD_KEYS])
async def key_round_trip(ask: Asker, argument: str) -> None:
    """A valid key is kept unchanged, or refused with InvalidKeyError if the backend can't store it."""
    try:
        await ask.set(argument, VALUE)
    except ValueError as error:
        assert type(error).__name__ == "InvalidKeyError", repr(error)
        assert await ask.names("list") == []
        return
    assert await ask.get(argument) == VALUE
    assert await ask.call("exists", argument)
    assert await ask.call("getsize", argument) == len(VALUE)
    assert await ask.names("list") == [argument]
    parent, _, name = argument.rpartition("/")
    assert await ask.names("list_dir", parent) == [name]
    if ask.store.supports_deletes:
        await ask.call("delete", argument)
        assert await ask.get(argument) is None
        assert await ask.names("list") == []


@question("write delete list ours", [(_shown(key), key) for key in ["c*", "[ab]", "a?", "**"]])
async def key_is_no_pattern(ask: Asker, argument: str) -> None:
    """No character of a key is a wildcard."""
    for key in ("a1", "a", "b", "c1"):
        await ask.set(key, VALUE)
    for method in ("delete", "delete_dir"):
        try:
            await ask.call(method, argument)
        except ValueError as error:  # a key that this backend can't store
            assert type(error).__name__ == "InvalidKeyError", repr(error)
    assert sorted(await ask.names("list")) == ["a", "a1", "b", "c1"]


_BY_PREFIX: dict[str, Callable[[Asker, object], Awaitable[object]]] = {
    "list_prefix": lambda ask, prefix: ask.names("list_prefix", prefix),
    "list_dir": lambda ask, prefix: ask.names("list_dir", prefix),
    "is_empty": lambda ask, prefix: ask.call("is_empty", prefix),
    "getsize_prefix": lambda ask, prefix: ask.call("getsize_prefix", prefix),
    "delete_dir": lambda ask, prefix: ask.call("delete_dir", prefix),
}


@question(
    "write list delete ours",
    [(f"{way}-{_shown(p)}", (way, p)) for way in _BY_PREFIX for p in BAD_PREFIXES],
    together=True,
)
async def prefix_refused(ask: Asker, argument: tuple[str, object]) -> None:
    """Every method refuses an invalid prefix, and nothing is removed."""
    way, prefix = argument
    await ask.set("a/b", VALUE)
    await raises(ValueError, _BY_PREFIX[way](ask, prefix))
    assert await ask.get("a/b") == VALUE


_TREE = {
    "zarr.json": b"1",
    "t/zarr.json": b"22",
    "t/c/0": b"333",
    "t/c/1": b"4444",
    "temp/x": b"55555",
    "t2": b"6",
    "deep/er/est": b"777",  # a directory that holds only a directory
}
_BELOW: dict[str, list[str]] = {
    "": list(_TREE),
    "/": list(_TREE),
    "t": ["t/zarr.json", "t/c/0", "t/c/1"],
    "t/": ["t/zarr.json", "t/c/0", "t/c/1"],
    "t/c": ["t/c/0", "t/c/1"],
    "t/c/": ["t/c/0", "t/c/1"],
    "te": [],
    "t/c/0": [],
    "zarr.json": [],
    "none": [],
    "none/at/all/": [],
}
_INSIDE: dict[str, list[str]] = {
    "": ["deep", "t", "t2", "temp", "zarr.json"],
    "/": ["deep", "t", "t2", "temp", "zarr.json"],
    "t": ["c", "zarr.json"],
    "t/": ["c", "zarr.json"],
    "t/c": ["0", "1"],
    "t/c/": ["0", "1"],
    "te": [],
    "t/c/0": [],
    "none": [],
}


async def _plant(ask: Asker) -> None:
    for key, value in _TREE.items():
        await ask.set(key, value)


@question("seed list", [(repr(prefix), prefix) for prefix in _BELOW])
async def prefix_is_a_directory(ask: Asker, argument: str) -> None:
    """A prefix is a directory, not the start of a name; all methods agree."""
    await _plant(ask)
    expected = _BELOW[argument]
    assert sorted(await ask.names("list_prefix", argument)) == sorted(expected)
    assert await ask.call("is_empty", argument) is (not expected)
    assert await ask.call("getsize_prefix", argument) == sum(len(_TREE[key]) for key in expected)


@question("seed list", [(repr(name), name) for name in ("a_b", "a%b", "a[bc]", "a.b", "a+b", "$a")])
async def prefix_is_no_pattern(ask: Asker, argument: str) -> None:
    """Characters with a meaning in SQL, shells or regular expressions are literal in a prefix."""
    for name in (argument, "axb", "ab", "a/b", "a"):
        await ask.set(f"{name}/k", VALUE)
    assert await ask.names("list_prefix", argument) == [f"{argument}/k"]
    assert await ask.names("list_dir", argument) == ["k"]
    assert await ask.call("is_empty", argument) is False
    if ask.store.supports_deletes and not ask.store.read_only:
        await ask.call("delete_dir", argument)
        assert sorted(await ask.names("list")) == ["a/b/k", "a/k", "ab/k", "axb/k"]


@question("seed list", [(repr(prefix), prefix) for prefix in _INSIDE])
async def directory_lists(ask: Asker, argument: str) -> None:
    """list_dir returns the relative names of keys and directories, once each."""
    await _plant(ask)
    assert sorted(await ask.names("list_dir", argument)) == _INSIDE[argument]


@question("write delete list", [(repr(prefix), prefix) for prefix in _BELOW if prefix not in ("", "/")])
async def directory_deleted(ask: Asker, argument: str) -> None:
    """delete_dir removes the keys below a directory and nothing else; a key isn't a directory."""
    await _plant(ask)
    await ask.call("delete_dir", argument)
    assert sorted(await ask.names("list")) == sorted(set(_TREE) - set(_BELOW[argument]))
    await ask.call("delete_dir", argument)


@question("write delete list", [(name, name) for name in ("clear", "delete_dir")])
async def root_cleared(ask: Asker, argument: str) -> None:
    """Clearing removes all keys, and the store stays usable."""
    await _plant(ask)
    await (ask.call("clear") if argument == "clear" else ask.call("delete_dir", ""))
    assert await ask.names("list") == []
    assert await ask.names("list_dir", "") == []
    assert await ask.call("is_empty", "")
    await ask.set("a/b", VALUE)
    assert await ask.names("list") == ["a/b"]


@question("list")
async def empty_store(ask: Asker) -> None:
    """A new store is empty, and reading creates nothing."""
    assert await ask.names("list") == []
    assert await ask.names("list_prefix", "a") == []
    assert await ask.names("list_dir", "") == []
    assert await ask.call("is_empty", "") is True
    assert await ask.call("getsize_prefix", "") == 0
    assert await ask.get("a") is None
    assert await ask.call("exists", "a") is False
    assert await ask.get_partial_values([("a", None), ("b/c", Range(0, 1))]) == [None, None]


@question("write delete list")
async def emptied_directory_is_gone(ask: Asker) -> None:
    """A directory exists only as long as there is a key below it."""
    await ask.set("a/b/c/d", VALUE)
    await ask.set("a/x", VALUE)
    await ask.call("delete", "a/b/c/d")
    assert await ask.names("list_dir", "a") == ["x"]
    assert await ask.call("is_empty", "a/b") is True
    await ask.call("delete", "a/x")
    assert await ask.names("list_dir", "") == []
    await ask.set("a", VALUE)
    assert await ask.get("a") == VALUE


@question("seed list")
async def many_keys_listed(ask: Asker) -> None:
    """Listings longer than a page return every key once."""
    keys = {f"d{i % 7}/k{i}" for i in range(300)}
    for key in keys:
        await ask.set(key, b"12")
    found = await ask.names("list")
    assert sorted(found) == sorted(keys)
    assert await ask.call("getsize_prefix", "") == 600
    assert len(await ask.names("list_dir", "d3")) == len([key for key in keys if key.startswith("d3/")])


@question("seed list")
async def listing_abandoned(ask: Asker) -> None:
    """A listing may be closed after its first key."""
    for i in range(50):
        await ask.set(f"a/{i}", b"1")
    if ask.face == "block":
        assert next(ask.store.list_sync()).startswith("a/")
    else:
        listing = ask.store.list()
        assert (await anext(listing)).startswith("a/")
        await listing.aclose()
    assert len(await ask.names("list")) == 50


@question("write list delete")
async def listing_while_changing(ask: Asker) -> None:
    """Keys that aren't changed are listed while others are written and deleted."""
    for i in range(100):
        await ask.set(f"stay/{i}", b"1")
        await ask.set(f"go/{i}", b"1")
    seen = []
    if ask.face == "block":
        for i, key in enumerate(ask.store.list_sync()):
            seen.append(key)
            if i < 100:
                ask.store.delete_sync(f"go/{i}")
                ask.store.set_sync(f"come/{i}", ask.value(b"1"))
    else:
        i = 0
        async for key in ask.store.list():
            seen.append(key)
            if i < 100:
                await ask.call("delete", f"go/{i}")
                await ask.set(f"come/{i}", b"1")
            i += 1
    assert len(seen) == len(set(seen))
    assert {f"stay/{i}" for i in range(100)} <= set(seen)


@question(
    "seed", [(key, key) for key in ("d", "d/e", "missing", "d/missing", "k/child", "k/child/deep", "D/e/x")]
)
async def no_such_value(ask: Asker, argument: str) -> None:
    """A directory, a key below a value and a missing key have no value."""
    await ask.set("d/e/x", VALUE)
    await ask.set("k", VALUE)
    assert await ask.get(argument) is None
    assert await ask.get(argument, Range(2, 4)) is None
    assert await ask.get(argument, Offset(1)) is None
    assert await ask.get(argument, Suffix(3)) is None
    assert await ask.get_partial_values([("k", Range(0, 2)), (argument, None)]) == [b"01", None]
    assert await ask.call("exists", argument) is False
    await raises(FileNotFoundError, ask.call("getsize", argument))


@question("write delete")
async def deleting_nothing(ask: Asker) -> None:
    """Deleting a missing key is not an error."""
    await ask.set("k", VALUE)
    for key in ("missing", "missing/deep", "k/child"):
        await ask.call("delete", key)
        await ask.call("delete_dir", key)
    assert await ask.get("k") == VALUE


@question("write delete list")
async def deleting_a_directory_by_delete(ask: Asker) -> None:
    """delete of a directory removes it if the store has ``recursive_delete``, and otherwise does nothing."""
    await ask.set("d/e/x", VALUE)
    await ask.set("dd", VALUE)
    await ask.call("delete", "d")
    expected = ["dd"] if ask.capabilities.recursive_delete else ["d/e/x", "dd"]
    assert sorted(await ask.names("list")) == expected
