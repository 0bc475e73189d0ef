"""The contract as questions: each a coroutine that puts a fresh, empty store to one test."""

from __future__ import annotations

import asyncio
import pickle
import threading
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from zarrstore._requests import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from zarrstore.testing._asker import Asker

VALUE = b"0123456789"
Range, Offset, Suffix = RangeByteRequest, OffsetByteRequest, SuffixByteRequest


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes
    ----------
    name : str
        What is asked, for reports.
    ask : callable
        Awaited with an `Asker` on a fresh store; an ``AssertionError``, or any other error, is a wrong answer.
    needs : str
        What a store must offer for the question to make sense: ``"read"`` of keys that are there,
        ``"write"``, ``"delete"``, ``"list"``, ``"ours"`` (more than zarr-python's interface), separated by spaces.
    """

    name: str
    ask: Callable[[Asker], Coroutine[Any, Any, None]]
    needs: str = "write"

    def __str__(self) -> str:
        return self.name


_questions: list[Question] = []


def _question(needs: str = "write", each: Iterable[Any] | None = None) -> Callable[[Any], Any]:
    """Add a question; with ``each``, one for every ``(label, argument)``."""

    def add(function: Any) -> Any:
        name = function.__name__.strip("_")
        if each is None:
            _questions.append(Question(name, function, needs))
            return function
        for label, argument in each:
            _questions.append(Question(f"{name}[{label}]", partial(function, argument=argument), needs))
        return function

    return add


async def raises(kinds: Any, coroutine: Coroutine[Any, Any, Any], text: str = "") -> BaseException:
    """Assert that awaiting raises one of the errors; groups count by what they hold."""
    try:
        answer = await coroutine
    except BaseExceptionGroup as group:
        assert all(isinstance(error, kinds) for error in group.exceptions), f"got {group.exceptions!r}"
        return group.exceptions[0]
    except kinds as error:
        assert text in str(error), f"{text!r} is not in {str(error)!r}"
        return error
    raise AssertionError(f"no error, but {answer!r}")


# -- byte requests --------------------------------------------------------------------------------

_GOOD = [
    (Range(0, 10), VALUE),
    (Range(0, 1), b"0"),
    (Range(3, 7), b"3456"),
    (Range(9, 10), b"9"),
    (Range(5, 50), b"56789"),
    (Range(0, 1000), VALUE),
    (Offset(0), VALUE),
    (Offset(3), b"3456789"),
    (Offset(9), b"9"),
    (Suffix(1), b"9"),
    (Suffix(5), b"56789"),
    (Suffix(10), VALUE),
    (Suffix(20), VALUE),
]
_WRONG = [Range(3, 3), Range(0, 0), Range(5, 3), Range(-3, 5), Range(-5, -3), Offset(-2), Suffix(0), Suffix(-1)]
_NO_REQUEST = [(0, 2), 5, "0-2", b"", object(), Range(0.5, 2), Range(0, "3"), Suffix(None)]  # type: ignore[arg-type]
_PAST = [Range(10, 12), Range(20, 30), Offset(10), Offset(99)]
_LENIENT = [
    (SimpleNamespace(start=3, end=7), b"3456"),
    (SimpleNamespace(start=3, end=3), b""),
    (SimpleNamespace(start=5, end=3), b""),
    (SimpleNamespace(start=10, end=12), b""),
    (SimpleNamespace(start=20, end=30), b""),
    (SimpleNamespace(start=5, end=50), b"56789"),
    (SimpleNamespace(offset=10), b""),
    (SimpleNamespace(offset=99), b""),
    (SimpleNamespace(offset=4), b"456789"),
    (SimpleNamespace(suffix=0), b""),
    (SimpleNamespace(suffix=3), b"789"),
    (SimpleNamespace(suffix=20), VALUE),
]


async def _by_get(ask: Asker, key: str, request: Any) -> bytes | None:
    return await ask.get(key, request)


async def _by_partial(ask: Asker, key: str, request: Any) -> bytes | None:
    first, again = await ask.get_partial_values([(key, request), (key, request)])
    assert first == again
    return first


async def _by_ranges(ask: Asker, key: str, request: Any) -> bytes | None:
    (value,) = await ask.get_ranges(key, [request])
    return value


_WAYS = {"get": _by_get, "get_partial_values": _by_partial, "get_ranges": _by_ranges}


def _cases(requests: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(f"{way}-{_label(case)}", (ask, case)) for way, ask in _WAYS.items() for case in requests]


def _label(case: Any) -> str:
    shown = case[0] if isinstance(case, tuple) and len(case) == 2 and isinstance(case[1], bytes) else case
    return repr(shown).replace("ByteRequest", "") if not type(shown) is object else "object"


@_question("write", _cases(_GOOD))
async def range_selects(ask: Asker, argument: Any) -> None:
    """A lawful range gives exactly its bytes."""
    way, (request, expected) = argument
    await ask.set("k", VALUE)
    assert await way(ask, "k", request) == expected


@_question("write", _cases(_WRONG))
async def range_wrong_by_itself(ask: Asker, argument: Any) -> None:
    """What is wrong by itself raises, whether the key is there or not."""
    way, request = argument
    await ask.set("k", VALUE)
    await raises(ValueError, way(ask, "k", request))
    await raises(ValueError, way(ask, "missing", request))


@_question("write", _cases(_NO_REQUEST))
async def range_is_no_request(ask: Asker, argument: Any) -> None:
    """What is no byte request raises."""
    way, request = argument
    await ask.set("k", VALUE)
    await raises((ValueError, TypeError), way(ask, "k", request))


@_question("write", _cases(_PAST))
async def range_past_the_end(ask: Asker, argument: Any) -> None:
    """A start at or past the end raises once the size is known; a missing key is missing."""
    way, request = argument
    await ask.set("k", VALUE)
    await raises(ValueError, way(ask, "k", request))
    if way is _by_ranges:
        await raises(FileNotFoundError, way(ask, "missing", request))
    else:
        assert await way(ask, "missing", request) is None


@_question("write ours", _cases(_LENIENT))
async def range_of_others_slices(ask: Asker, argument: Any) -> None:
    """Requests of other libraries, known by their fields, slice."""
    way, (request, expected) = argument
    await ask.set("k", VALUE)
    assert await way(ask, "k", request) == expected
    if way is not _by_ranges:
        assert await way(ask, "missing", request) is None


@_question("write ours", _cases([SimpleNamespace(start=-1, end=3), SimpleNamespace(offset=-1), SimpleNamespace(suffix=-1)]))
async def range_of_others_negative(ask: Asker, argument: Any) -> None:
    """A negative number is never counted from the end."""
    way, request = argument
    await ask.set("k", VALUE)
    await raises(ValueError, way(ask, "k", request))


@_question("write", _cases([None, Suffix(1), Suffix(100)]))
async def range_of_an_empty_value(ask: Asker, argument: Any) -> None:
    """The whole and any suffix of an empty value are empty."""
    way, request = argument
    await ask.set("k", b"")
    assert await way(ask, "k", request) == b""


@_question("write", _cases([Range(0, 1), Range(0, 5), Offset(0), Range(3, 5)]))
async def range_outside_an_empty_value(ask: Asker, argument: Any) -> None:
    """An empty value has no byte to start at."""
    way, request = argument
    await ask.set("k", b"")
    await raises(ValueError, way(ask, "k", request))


@_question("write")
async def ranges_coalesced(ask: Asker) -> None:
    """Ranges come back right whatever their order, overlap and limits."""
    data = bytes(range(256)) * 40
    await ask.set("k", data)
    asked = [Range(i * 97 % 9000, i * 97 % 9000 + 1 + i * 13 % 500) for i in range(60)]
    mixed = [*asked, None, Suffix(7), Offset(10000), Range(10230, 10300), Range(0, 1), Range(0, 1)]
    expected = [data[r.start : r.end] for r in asked]
    expected += [data, data[-7:], data[10000:], data[10230:], data[:1], data[:1]]
    for limits in ({}, {"max_gap_bytes": 0}, {"max_coalesced_bytes": 100}, {"max_gap_bytes": 5000}):
        assert await ask.get_ranges("k", mixed, **limits) == expected
    assert await ask.get_ranges("k", []) == []


@_question("write")
async def ranges_of_a_missing_key(ask: Asker) -> None:
    """A missing key is an error of get_ranges: its callers count on every answer."""
    await raises(FileNotFoundError, ask.get_ranges("missing", [Range(0, 3), Range(5, 6)]))


@_question("write")
async def many_values(ask: Asker) -> None:
    """Answers come in the order asked; a key may occur many times and be missing."""
    for i in range(20):
        await ask.set(f"c/{i}", str(i).encode() * 5)
    pairs: list[Any] = [(f"c/{i}", Range(0, 1)) for i in range(0, 40, 3)] + [("c/7", None), ("c/7", Suffix(2))]
    got = await ask.get_partial_values(iter(pairs))
    expected = [str(i).encode()[:1] if i < 20 else None for i in range(0, 40, 3)] + [b"77777", b"77"]
    assert got == expected
    assert await ask.get_partial_values([]) == []


# -- keys and prefixes ----------------------------------------------------------------------------

BAD_KEYS: list[Any] = [
    "", "/", "//", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/..", "a/.", "a/../b", "a/./b",
    "../../etc/passwd", "a\0b", "\0", "a\ud800", None, 3, b"a", ["a"], ("a",),
]  # fmt: skip
GOOD_KEYS = [
    "a", "a/b", ".zarray", ".a/.b", "..a", "a..", "...", "a.b/c.d", "a b", " a", "a ", "é/ü", "日本語/キー", "😀",
    "c*", "[x]", "a?b", "a#b", "a%20b", "a%2Fb", "~", "-", "--", "$HOME", "a:b", "a\\b", "a'b\"c", "a\nb", "a\tb",
    "a?versionId=1", "x" * 200, "x" * 255, "/".join("abcdefghijklmnopqrstuvwxyz"), "zarr.json", "c/0/0/0", "CON", "a.",
]  # fmt: skip
BAD_PREFIXES: list[Any] = ["//", "/a", "a//", "a//b", ".", "..", "./", "../", "a/..", "a/../b", "a\0", None, 3]


async def _set_something(ask: Asker, key: Any) -> Any:
    return await ask.set(key, b"x")


async def _create_something(ask: Asker, key: Any) -> Any:
    return await ask.set_if_not_exists(key, b"x")


_BY_KEY: dict[str, Any] = {
    "get": lambda ask, key: ask.get(key),
    "get_partial_values": lambda ask, key: ask.get_partial_values([("fine", None), (key, None)]),
    "get_ranges": lambda ask, key: ask.get_ranges(key, [Range(0, 1)]),
    "exists": lambda ask, key: ask.call("exists", key),
    "getsize": lambda ask, key: ask.call("getsize", key),
    "set": _set_something,
    "set_if_not_exists": _create_something,
    "delete": lambda ask, key: ask.call("delete", key),
}


def _shown(key: Any) -> str:
    return ascii(key) if len(ascii(key)) < 40 else f"{ascii(key)[:20]}...{len(key)}"


@_question("write ours", [(f"{way}-{_shown(key)}", (way, key)) for way in _BY_KEY for key in BAD_KEYS])
async def key_refused(ask: Asker, argument: Any) -> None:
    """What is no key is refused by every method, and leaves nothing behind."""
    way, key = argument
    await raises(ValueError, _BY_KEY[way](ask, key))
    if ask.store.supports_listing:
        assert await ask.names("list") == []


@_question("write list", [(_shown(key), key) for key in GOOD_KEYS])
async def key_round_trip(ask: Asker, argument: str) -> None:
    """Every key is held as it is, or refused in so many words where the backend can't."""
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


@_question("write delete list ours", [(_shown(key), key) for key in ["c*", "[ab]", "a?", "**"]])
async def key_is_no_pattern(ask: Asker, argument: str) -> None:
    """No character of a key is a wildcard."""
    for key in ("a1", "a", "b", "c1"):
        await ask.set(key, VALUE)
    await ask.call("delete", argument)
    await ask.call("delete_dir", argument)
    assert sorted(await ask.names("list")) == ["a", "a1", "b", "c1"]


_BY_PREFIX: dict[str, Any] = {
    "list_prefix": lambda ask, prefix: ask.names("list_prefix", prefix),
    "list_dir": lambda ask, prefix: ask.names("list_dir", prefix),
    "is_empty": lambda ask, prefix: ask.call("is_empty", prefix),
    "getsize_prefix": lambda ask, prefix: ask.call("getsize_prefix", prefix),
    "delete_dir": lambda ask, prefix: ask.call("delete_dir", prefix),
}


@_question("write list delete ours", [(f"{way}-{_shown(p)}", (way, p)) for way in _BY_PREFIX for p in BAD_PREFIXES])
async def prefix_refused(ask: Asker, argument: Any) -> None:
    """What is no directory's path is refused, and nothing is removed."""
    way, prefix = argument
    await ask.set("a/b", VALUE)
    await raises(ValueError, _BY_PREFIX[way](ask, prefix))
    assert await ask.get("a/b") == VALUE


_TREE = {"zarr.json": b"1", "t/zarr.json": b"22", "t/c/0": b"333", "t/c/1": b"4444", "temp/x": b"55555", "t2": b"6"}
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
    "": ["t", "t2", "temp", "zarr.json"],
    "/": ["t", "t2", "temp", "zarr.json"],
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


@_question("write list", [(repr(prefix), prefix) for prefix in _BELOW])
async def prefix_is_a_directory(ask: Asker, argument: str) -> None:
    """A prefix finds what lies below it, not what merely starts like it; all methods agree."""
    await _plant(ask)
    expected = _BELOW[argument]
    assert sorted(await ask.names("list_prefix", argument)) == sorted(expected)
    assert await ask.call("is_empty", argument) is (not expected)
    assert await ask.call("getsize_prefix", argument) == sum(len(_TREE[key]) for key in expected)


@_question("write list", [(repr(prefix), prefix) for prefix in _INSIDE])
async def directory_lists(ask: Asker, argument: str) -> None:
    """A directory gives relative names of keys and directories, once each."""
    await _plant(ask)
    assert sorted(await ask.names("list_dir", argument)) == _INSIDE[argument]


@_question("write delete list", [(repr(prefix), prefix) for prefix in _BELOW if prefix not in ("", "/")])
async def directory_deleted(ask: Asker, argument: str) -> None:
    """delete_dir removes what lies below, nothing else; a key is no directory."""
    await _plant(ask)
    await ask.call("delete_dir", argument)
    assert sorted(await ask.names("list")) == sorted(set(_TREE) - set(_BELOW[argument]))
    await ask.call("delete_dir", argument)


@_question("write delete list", [(name, name) for name in ("clear", "delete_dir")])
async def root_cleared(ask: Asker, argument: str) -> None:
    """Clearing removes all keys, and the store goes on."""
    await _plant(ask)
    await (ask.call("clear") if argument == "clear" else ask.call("delete_dir", ""))
    assert await ask.names("list") == []
    assert await ask.names("list_dir", "") == []
    assert await ask.call("is_empty", "")
    await ask.set("a/b", VALUE)
    assert await ask.names("list") == ["a/b"]


@_question("list")
async def empty_store(ask: Asker) -> None:
    """A store that nothing was written to is empty, and asking creates nothing."""
    assert await ask.names("list") == []
    assert await ask.names("list_prefix", "a") == []
    assert await ask.names("list_dir", "") == []
    assert await ask.call("is_empty", "") is True
    assert await ask.call("getsize_prefix", "") == 0
    assert await ask.get("a") is None
    assert await ask.call("exists", "a") is False
    assert await ask.get_partial_values([("a", None), ("b/c", Range(0, 1))]) == [None, None]


@_question("write delete list")
async def emptied_directory_is_gone(ask: Asker) -> None:
    """A directory is there only as long as it holds a key."""
    await ask.set("a/b/c/d", VALUE)
    await ask.set("a/x", VALUE)
    await ask.call("delete", "a/b/c/d")
    assert await ask.names("list_dir", "a") == ["x"]
    assert await ask.call("is_empty", "a/b") is True
    await ask.call("delete", "a/x")
    assert await ask.names("list_dir", "") == []
    await ask.set("a", VALUE)
    assert await ask.get("a") == VALUE


@_question("write list")
async def many_keys_listed(ask: Asker) -> None:
    """Listings longer than a page give every key once."""
    keys = {f"d{i % 7}/k{i}" for i in range(300)}
    for key in keys:
        await ask.set(key, b"12")
    found = await ask.names("list")
    assert sorted(found) == sorted(keys)
    assert await ask.call("getsize_prefix", "") == 600
    assert len(await ask.names("list_dir", "d3")) == len([key for key in keys if key.startswith("d3/")])


@_question("write list")
async def listing_abandoned(ask: Asker) -> None:
    """A listing may be left after its first key."""
    for i in range(50):
        await ask.set(f"a/{i}", b"1")
    if ask.face == "block":
        assert next(ask.store.list_sync()).startswith("a/")
    else:
        listing = ask.store.list()
        assert (await anext(listing)).startswith("a/")
        await listing.aclose()
    assert len(await ask.names("list")) == 50


@_question("write list delete")
async def listing_while_changing(ask: Asker) -> None:
    """Keys that stay are listed whatever comes and goes meanwhile."""
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


# -- missing and directories ----------------------------------------------------------------------


@_question("write", [(key, key) for key in ("d", "d/e", "missing", "d/missing", "k/child", "k/child/deep", "D/e/x")])
async def no_such_value(ask: Asker, argument: str) -> None:
    """A directory, a key below a value and a key that isn't there have no value."""
    await ask.set("d/e/x", VALUE)
    await ask.set("k", VALUE)
    assert await ask.get(argument) is None
    assert await ask.get(argument, Range(2, 4)) is None
    assert await ask.get(argument, Offset(1)) is None
    assert await ask.get(argument, Suffix(3)) is None
    assert await ask.get_partial_values([("k", Range(0, 2)), (argument, None)]) == [b"01", None]
    assert await ask.call("exists", argument) is False
    await raises(FileNotFoundError, ask.call("getsize", argument))


@_question("write delete")
async def deleting_nothing(ask: Asker) -> None:
    """Deleting what isn't there is no error."""
    await ask.set("k", VALUE)
    for key in ("missing", "missing/deep", "k/child"):
        await ask.call("delete", key)
        await ask.call("delete_dir", key)
    assert await ask.get("k") == VALUE


@_question("write delete list")
async def deleting_a_directory_by_delete(ask: Asker) -> None:
    """delete of a directory removes it where the store declares so, and else does nothing."""
    await ask.set("d/e/x", VALUE)
    await ask.set("dd", VALUE)
    await ask.call("delete", "d")
    expected = ["dd"] if ask.capabilities.recursive_delete else ["d/e/x", "dd"]
    assert sorted(await ask.names("list")) == expected


# -- writing --------------------------------------------------------------------------------------


@_question("write", [("empty", 0), ("one", 1), ("page", 4096), ("odd", 4097), ("large", 3_000_001)])
async def value_round_trip(ask: Asker, argument: int) -> None:
    """Values of any length come back whole."""
    data = (bytes(range(251)) * (argument // 251 + 1))[:argument]
    await ask.set("a/k", data)
    assert await ask.get("a/k") == data
    assert await ask.call("getsize", "a/k") == argument
    if argument > 10:
        assert await ask.get("a/k", Range(argument - 5, argument + 5)) == data[-5:]


@_question("write")
async def value_replaced(ask: Asker) -> None:
    """A shorter, a longer and an empty value replace the one before."""
    for data in (b"12345", b"1", b"123456789", b"", b"x"):
        await ask.set("k", data)
        assert await ask.get("k") == data
        assert await ask.call("getsize", "k") == len(data)


@_question("write ours")
async def value_kinds(ask: Asker) -> None:
    """Buffers and bytes-like objects of any kind are taken."""
    import numpy as np

    from zarrstore.buffer import cpu

    for kind in (bytes, bytearray, memoryview, cpu.Buffer.from_bytes):
        await ask.set("k", kind(VALUE))
        assert await ask.get("k") == VALUE
    await ask.set("k", np.arange(6, dtype="<i2").reshape(2, 3))
    assert await ask.get("k") == np.arange(6, dtype="<i2").tobytes()
    await ask.set("k", memoryview(VALUE)[2:5])
    assert await ask.get("k") == b"234"


@_question("write", [(type(value).__name__, value) for value in (1, "text", None, [1, 2], {"a": 1}, 1.5)])
async def value_refused(ask: Asker, argument: Any) -> None:
    """What has no bytes is refused, and the old value stays."""
    await ask.set("k", VALUE)
    await raises(TypeError, ask.set("k", argument))
    await raises(TypeError, ask.set("new", argument))
    assert await ask.get("k") == VALUE
    assert await ask.get("new") is None


@_question("write ours")
async def value_not_shared(ask: Asker) -> None:
    """Neither the caller's memory nor what a read returned reaches into the store."""
    import numpy as np

    mine = bytearray(VALUE)
    await ask.set("k", mine)
    mine[:] = b"x" * len(mine)
    assert await ask.get("k") == VALUE
    got = (await ask.store.get("k")).as_numpy_array()
    try:
        got[:] = 0
    except ValueError:
        pass
    part = (await ask.store.get("k", byte_range=Range(2, 5))).as_numpy_array()
    try:
        part[:] = 0
    except ValueError:
        pass
    assert await ask.get("k") == VALUE
    array = np.frombuffer(VALUE, "B").copy()
    from zarrstore.buffer import cpu

    await ask.set("k", cpu.Buffer(array))
    array[:] = 0
    assert await ask.get("k") == VALUE


@_question("write")
async def created_once(ask: Asker) -> None:
    """set_if_not_exists writes what isn't there and leaves what is."""
    await ask.set_if_not_exists("a/k", b"first")
    assert await ask.get("a/k") == b"first"
    await ask.set_if_not_exists("a/k", b"second")
    assert await ask.get("a/k") == b"first"


@_question("write ours")
async def create_tells(ask: Asker) -> None:
    """Create tells who wrote."""
    assert await ask.call("create", "a/k", b"first") is True
    assert await ask.call("create", "a/k", b"second") is False
    assert await ask.get("a/k") == b"first"


@_question("write ours")
async def create_has_one_winner(ask: Asker) -> None:
    """Of many that create one key at once, one wins, and the value is the winner's."""
    if not ask.capabilities.atomic_create:
        return
    wins: list[int] = []

    def attempt(number: int) -> None:
        if ask.store.create_sync("k", str(number).encode() * 100):
            wins.append(number)

    await _in_threads(attempt, 8)
    assert len(wins) == 1
    assert await ask.get("k") == str(wins[0]).encode() * 100
    answers = await asyncio.gather(*(ask.store.create("j", str(i).encode()) for i in range(8)))
    assert sum(answers) == 1
    assert await ask.get("j") == str(answers.index(True)).encode()


@_question("write")
async def value_and_directory(ask: Asker) -> None:
    """A key below a value, and a value where keys lie below: both held, or refused where declared."""
    await ask.set("k", VALUE)
    await ask.set("d/x", VALUE)
    if ask.capabilities.folders:
        await raises(FileExistsError, ask.set("k/child", b"1"))
        await raises(FileExistsError, ask.set("d", b"1"))
        await raises(FileExistsError, ask.set_if_not_exists("k/child", b"1"))
        await raises(FileExistsError, ask.set_if_not_exists("d", b"1"))
    else:
        await ask.set("k/child", b"1")
        await ask.set("d", b"2")
        assert await ask.get("k/child") == b"1"
        assert await ask.get("d") == b"2"
        assert sorted(await ask.names("list_dir", "")) == ["d", "k"]
    assert await ask.get("k") == VALUE
    assert await ask.get("d/x") == VALUE


_PARTS: list[tuple[str, Any]] = [
    ("start", ([("k", 0, b"ab")], b"ab23456789")),
    ("middle", ([("k", 3, b"abc")], b"012abc6789")),
    ("end", ([("k", 8, b"ab")], b"01234567ab")),
    ("over the end", ([("k", 8, b"abcd")], b"01234567abcd")),
    ("at the end", ([("k", 10, b"ab")], b"0123456789ab")),
    ("many", ([("k", 7, b"c"), ("k", 0, b"a"), ("k", 3, b"b")], b"a12b456c89")),
    ("touching", ([("k", 0, b"ab"), ("k", 2, b"cd")], b"abcd456789")),
    ("nothing", ([], VALUE)),
    ("empty", ([("k", 4, b"")], VALUE)),
    ("growing", ([("k", 10, b"ab"), ("k", 12, b"cd")], b"0123456789abcd")),
]
_BAD_PARTS: list[tuple[str, Any]] = [
    ("overlap", [("k", 0, b"abc"), ("k", 2, b"x")]),
    ("same", [("k", 0, b"a"), ("k", 0, b"b")]),
    ("gap", [("k", 11, b"a")]),
    ("negative", [("k", -1, b"a")]),
    ("missing", [("missing", 0, b"a")]),
]


@_question("write ours", _PARTS)
async def parts_written(ask: Asker, argument: Any) -> None:
    """Parts of a value can be overwritten where the store declares so."""
    parts, expected = argument
    await ask.set("k", VALUE)
    if not ask.store.supports_partial_writes:
        if parts:
            await raises(NotImplementedError, ask.call("set_partial_values", parts))
        return
    await ask.call("set_partial_values", parts)
    assert await ask.get("k") == expected
    assert await ask.call("getsize", "k") == len(expected)


@_question("write ours", _BAD_PARTS)
async def parts_refused(ask: Asker, argument: Any) -> None:
    """Overlaps, gaps and missing keys are refused before anything is written."""
    await ask.set("k", VALUE)
    kinds = (ValueError, FileNotFoundError) if ask.store.supports_partial_writes else (NotImplementedError, ValueError)
    await raises(kinds, ask.call("set_partial_values", argument))
    assert await ask.get("k") == VALUE
    assert await ask.get("missing") is None


@_question("write ours")
async def range_written(ask: Asker) -> None:
    """A set with a byte range overwrites that range, or says that the store can't."""
    await ask.set("k", VALUE)
    if not ask.store.supports_partial_writes:
        await raises(NotImplementedError, ask.call("set", "k", b"ab", byte_range=(3, 5)))
    else:
        await ask.call("set", "k", b"ab", byte_range=(3, 5))
        assert await ask.get("k") == b"012ab56789"
        await raises(ValueError, ask.call("set", "k", b"abc", byte_range=(3, 5)))
        await raises(ValueError, ask.call("set", "k", b"a", byte_range=(20, 21)))
        await raises(FileNotFoundError, ask.call("set", "missing", b"a", byte_range=(0, 1)))


@_question("write ours")
async def versions(ask: Asker) -> None:
    """A version lets a write or a removal through as long as the value is the one that was read."""
    await ask.set("k", b"1")
    if not ask.capabilities.versions:
        await raises(NotImplementedError, ask.call("get_versioned", "k"))
        return
    value, version = await ask.call("get_versioned", "k")
    assert value.to_bytes() == b"1"
    assert await ask.call("get_versioned", "missing") is None
    newer = await ask.call("set_if_unchanged", "k", b"2", version)
    assert newer not in (None, version)
    assert await ask.call("set_if_unchanged", "k", b"3", version) is None
    assert await ask.call("delete_if_unchanged", "k", version) is False
    assert await ask.get("k") == b"2"
    assert await ask.call("delete_if_unchanged", "k", newer) is True
    assert await ask.get("k") is None
    assert await ask.call("set_if_unchanged", "k", b"4", newer) is None
    await ask.set("k", b"2")
    assert await ask.call("set_if_unchanged", "k", b"5", newer) is None


# -- read-only ------------------------------------------------------------------------------------

_MUTATIONS: dict[str, tuple[Any, ...]] = {
    "set": ("k", b"x"),
    "set_if_not_exists": ("new", b"x"),
    "create": ("new", b"x"),
    "set_partial_values": ([("k", 0, b"x")],),
    "set_if_unchanged": ("k", b"x", "1"),
    "delete": ("k",),
    "delete_if_unchanged": ("k", "1"),
    "delete_dir": ("d",),
    "clear": (),
}


@_question("write ours", [(name, name) for name in _MUTATIONS])
async def read_only_refuses(ask: Asker, argument: str) -> None:
    """A read-only store refuses every change with the same words, and shares the data."""
    await ask.set("k", VALUE)
    await ask.set("d/x", VALUE)
    reader = ask.with_store(ask.store.with_read_only(True))
    assert reader.store.read_only
    assert not ask.store.read_only
    text = "store was opened in read-only mode and does not support writing"
    await raises(ValueError, reader.call(argument, *_MUTATIONS[argument]), text)
    assert await reader.get("k") == VALUE
    assert await reader.get("d/x") == VALUE
    assert await ask.get("new") is None
    assert await ask.get("k") == VALUE
    writer = ask.with_store(reader.store.with_read_only(False))
    await writer.set("k", b"new")
    assert await reader.get("k") == b"new"
    assert await ask.get("k") == b"new"


@_question("read ours")
async def read_only_is_fixed(ask: Asker) -> None:
    """read_only can't be assigned."""
    try:
        ask.store.read_only = True
    except AttributeError:
        return
    raise AssertionError("read_only was assigned")


# -- identity, lifecycle, loops, threads ----------------------------------------------------------


@_question("write ours")
async def identity(ask: Asker) -> None:
    """Equality and hash go by place and read-only, pickling keeps them, text forms are there."""
    store = ask.store
    await ask.set("k", VALUE)
    same = store.with_read_only(store.read_only)
    other = store.with_read_only(True)
    assert store == same
    assert hash(store) == hash(same)
    assert store != other
    assert store != "text"
    revived = pickle.loads(pickle.dumps(store))
    assert revived == store
    assert hash(revived) == hash(store)
    assert revived.read_only == store.read_only
    assert await ask.with_store(revived).get("k") == VALUE
    assert str(store)
    assert type(store).__name__ in repr(store)
    assert store.__dask_tokenize__() == revived.__dask_tokenize__()
    assert store.__dask_tokenize__() != other.__dask_tokenize__()


@_question("write")
async def closing(ask: Asker) -> None:
    """A store closes at the end of a with block, and opens again by itself."""
    with ask.store as store:
        await ask.set("k", VALUE)
        assert store._is_open
    assert not ask.store._is_open
    assert await ask.get("k") == VALUE
    await ask.set("k", b"2")
    ask.store.close()
    ask.store.close()
    assert await ask.get("k") == b"2"


@_question("write")
async def opening_twice(ask: Asker) -> None:
    """Opening an open store is an error of its own words."""
    await ask.store._ensure_open()
    await ask.store._ensure_open()
    await raises(ValueError, ask.store._open(), "store is already open")


@_question("write ours")
async def no_loop_of_its_own(ask: Asker) -> None:
    """One object serves several event loops, one after another and at once."""
    await ask.set("k", VALUE)

    async def work() -> None:
        for i in range(5):
            assert bytes(await ask.store.get("k")) == VALUE
            await ask.store.set(f"l/{i}", b"1")

    await _in_threads(lambda _: asyncio.run(work()), 3)
    assert bytes(await ask.store.get("k")) == VALUE


@_question("write ours")
async def many_threads(ask: Asker) -> None:
    """One object serves many threads, and blocks inside a running loop too."""

    def work(number: int) -> None:
        for i in range(20):
            ask.store.set_sync(f"t/{number}/{i}", str(i).encode())
            assert bytes(ask.store.get_sync(f"t/{number}/{i}")) == str(i).encode()

    await _in_threads(work, 4)
    work(9)
    if ask.store.supports_listing:
        assert len(await ask.names("list_prefix", "t")) == 100


async def _in_threads(work: Callable[[int], Any], count: int) -> None:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - handed to the asking thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await asyncio.sleep(0.001)
    if errors:
        raise errors[0]


@_question("write ours")
async def cancelled_writes_never_come_back(ask: Asker) -> None:
    """After a cancelled set has returned, nothing overwrites what is set next."""
    big = bytes(2_000_000)
    for attempt in range(12):
        task = asyncio.ensure_future(ask.store.set("k", big))
        for _ in range(attempt % 4):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        await ask.store.set("k", str(attempt).encode())
        await asyncio.sleep(0.002)
        assert bytes(await ask.store.get("k")) == str(attempt).encode()
    if ask.store.supports_listing:
        assert await ask.names("list") == ["k"]


@_question("write")
async def concurrent_writers_of_one_key(ask: Asker) -> None:
    """Whoever is last, the value is one of those written, whole."""
    values = [bytes([i]) * 50_000 for i in range(12)]
    await asyncio.gather(*(ask.store.set("k", ask.value(value)) for value in values))
    assert await ask.get("k") in values


@_question("write")
async def readers_see_whole_values(ask: Asker) -> None:
    """While a value is replaced, readers see the old one or the new one."""
    values = {bytes([i]) * 30_000 for i in range(8)}
    await ask.set("k", next(iter(values)))

    async def write() -> None:
        for value in values:
            await ask.store.set("k", ask.value(value))

    async def read() -> None:
        for _ in range(20):
            assert await ask.get("k") in values

    await asyncio.gather(write(), read(), write(), read())


QUESTIONS: tuple[Question, ...] = tuple(_questions)
