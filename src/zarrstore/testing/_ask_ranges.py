"""Questions about byte requests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeAlias

from zarrstore._core.requests import OffsetByteRequest as Offset
from zarrstore._core.requests import RangeByteRequest as Range
from zarrstore._core.requests import SuffixByteRequest as Suffix
from zarrstore.testing._question import VALUE, question, raises

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from zarrstore.testing._asker import Asker

    # A method that takes a request; then a case: a request, or a request and the bytes that it selects.
    Way: TypeAlias = Callable[[Asker, str, object], Awaitable[bytes | None]]
    Request: TypeAlias = tuple[Way, object]
    Selection: TypeAlias = tuple[Way, tuple[object, bytes]]

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
    (Suffix(15), VALUE),
    (Suffix(20), VALUE),
]
_WRONG = [
    Range(3, 3),
    Range(0, 0),
    Range(5, 3),
    Range(-3, 5),
    Range(-5, -3),
    Offset(-2),
    Suffix(0),
    Suffix(-1),
]
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
    (SimpleNamespace(suffix=15), VALUE),
    (SimpleNamespace(suffix=20), VALUE),
]


async def _by_get(ask: Asker, key: str, request: object) -> bytes | None:
    return await ask.get(key, request)


async def _by_partial(ask: Asker, key: str, request: object) -> bytes | None:
    first, again = await ask.get_partial_values([(key, request), (key, request)])
    assert first == again
    return first


async def _by_ranges(ask: Asker, key: str, request: object) -> bytes | None:
    (value,) = await ask.get_ranges(key, [request])
    return value


_WAYS: dict[str, Way] = {"get": _by_get, "get_partial_values": _by_partial, "get_ranges": _by_ranges}


def _cases(requests: Iterable[object]) -> list[tuple[str, object]]:
    return [(f"{way}-{_label(case)}", (ask, case)) for way, ask in _WAYS.items() for case in requests]


def _label(case: object) -> str:
    shown = case[0] if isinstance(case, tuple) and len(case) == 2 and isinstance(case[1], bytes) else case
    return repr(shown).replace("ByteRequest", "") if type(shown) is not object else "object"


@question("seed", _cases(_GOOD), together=True)
async def range_selects(ask: Asker, argument: Selection) -> None:
    """A valid range returns exactly its bytes."""
    way, (request, expected) = argument
    await ask.set("k", VALUE)
    assert await way(ask, "k", request) == expected


@question("seed", _cases(_WRONG), together=True)
async def range_wrong_by_itself(ask: Asker, argument: Request) -> None:
    """A request that is invalid for any value raises, also for a missing key."""
    way, request = argument
    await ask.set("k", VALUE)
    await raises(ValueError, way(ask, "k", request))
    await raises(ValueError, way(ask, "missing", request))


@question("seed", _cases(_NO_REQUEST), together=True)
async def range_is_no_request(ask: Asker, argument: Request) -> None:
    """Anything but a byte request raises."""
    way, request = argument
    await ask.set("k", VALUE)
    await raises((ValueError, TypeError), way(ask, "k", request))


@question("seed", _cases(_PAST), together=True)
async def range_past_the_end(ask: Asker, argument: Request) -> None:
    """A start at or past the end raises; a missing key still has no value."""
    way, request = argument
    await ask.set("k", VALUE)
    await raises(ValueError, way(ask, "k", request))
    if way is _by_ranges:
        await raises(FileNotFoundError, way(ask, "missing", request))
    else:
        assert await way(ask, "missing", request) is None


@question("seed ours", _cases(_LENIENT), together=True)
async def range_of_others_slices(ask: Asker, argument: Selection) -> None:
    """Other libraries' requests, recognised by their fields, work like slices."""
    way, (request, expected) = argument
    await ask.set("k", VALUE)
    assert await way(ask, "k", request) == expected
    if way is not _by_ranges:
        assert await way(ask, "missing", request) is None


@question(
    "seed ours",
    _cases([SimpleNamespace(start=-1, end=3), SimpleNamespace(offset=-1), SimpleNamespace(suffix=-1)]),
    together=True,
)
async def range_of_others_negative(ask: Asker, argument: Request) -> None:
    """Negative numbers raise rather than count from the end."""
    way, request = argument
    await ask.set("k", VALUE)
    await raises(ValueError, way(ask, "k", request))


@question("seed", _cases([None, Suffix(1), Suffix(100)]), together=True)
async def range_of_an_empty_value(ask: Asker, argument: Request) -> None:
    """An empty value and any suffix of it are empty."""
    way, request = argument
    await ask.set("k", b"")
    assert await way(ask, "k", request) == b""


@question("seed", _cases([Range(0, 1), Range(0, 5), Offset(0), Range(3, 5)]), together=True)
async def range_outside_an_empty_value(ask: Asker, argument: Request) -> None:
    """Any range or offset of an empty value raises."""
    way, request = argument
    await ask.set("k", b"")
    await raises(ValueError, way(ask, "k", request))


@question("seed")
async def ranges_coalesced(ask: Asker) -> None:
    """get_ranges returns the right bytes for any order, overlap and limits."""
    data = bytes(range(256)) * 40
    await ask.set("k", data)
    asked = [Range(i * 97 % 9000, i * 97 % 9000 + 1 + i * 13 % 500) for i in range(60)]
    mixed = [*asked, None, Suffix(7), Offset(10000), Range(10230, 10300), Range(0, 1), Range(0, 1)]
    expected = [data[r.start : r.end] for r in asked]
    expected += [data, data[-7:], data[10000:], data[10230:], data[:1], data[:1]]
    for limits in ({}, {"max_gap_bytes": 0}, {"max_coalesced_bytes": 100}, {"max_gap_bytes": 5000}):
        assert await ask.get_ranges("k", mixed, **limits) == expected
    assert await ask.get_ranges("k", []) == []


@question("seed")
async def ranges_of_a_missing_key(ask: Asker) -> None:
    """get_ranges of a missing key raises."""
    await raises(FileNotFoundError, ask.get_ranges("missing", [Range(0, 3), Range(5, 6)]))


@question("seed")
async def many_values(ask: Asker) -> None:
    """Results are in the order of the requests; a key may occur more than once and may be missing."""
    for i in range(20):
        await ask.set(f"c/{i}", str(i).encode() * 5)
    pairs: list[tuple[object, object]] = [(f"c/{i}", Range(0, 1)) for i in range(0, 40, 3)] + [
        ("c/7", None),
        ("c/7", Suffix(2)),
    ]
    got = await ask.get_partial_values(iter(pairs))
    expected = [str(i).encode()[:1] if i < 20 else None for i in range(0, 40, 3)] + [b"77777", b"77"]
    assert got == expected
    assert await ask.get_partial_values([]) == []
