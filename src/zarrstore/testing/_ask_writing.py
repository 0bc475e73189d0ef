"""Questions about writing, creating, partial writes, versions and read-only stores."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from zarrstore._core.requests import RangeByteRequest as Range
from zarrstore._core.verbs import ANY
from zarrstore.testing._question import VALUE, in_threads, question, raises

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import TypeAlias

    from zarrstore.testing._asker import Asker

    # The key, the first byte, and the bytes to write there.
    Part: TypeAlias = tuple[str, int, bytes]

# Stores may handle large values differently.
_LARGE = 300_000
# By how many seconds a server's clock may differ.
_DAY = 86_400


@question("seed", [("empty", 0), ("one", 1), ("page", 4096), ("odd", 4097), ("large", 3_000_001)])
async def value_round_trip(ask: Asker, argument: int) -> None:
    """Values of any length are read back complete."""
    data = (bytes(range(251)) * (argument // 251 + 1))[:argument]
    await ask.set("a/k", data)
    assert await ask.get("a/k") == data
    assert await ask.call("getsize", "a/k") == argument
    if argument > 10:
        assert await ask.get("a/k", Range(argument - 5, argument + 5)) == data[-5:]


@question("seed")
async def value_replaced(ask: Asker) -> None:
    """A shorter, a longer and an empty value replace the one before."""
    for data in (b"12345", b"1", b"123456789", b"", b"x"):
        await ask.set("k", data)
        assert await ask.get("k") == data
        assert await ask.call("getsize", "k") == len(data)


@question("write ours")
async def value_kinds(ask: Asker) -> None:
    """All kinds of buffers and bytes-like objects can be stored."""
    import numpy as np

    from zarrstore.buffer import cpu

    for kind in (bytes, bytearray, memoryview, cpu.Buffer.from_bytes):
        await ask.set("k", kind(VALUE))
        assert await ask.get("k") == VALUE
    await ask.set("k", np.arange(6, dtype="<i2").reshape(2, 3))
    assert await ask.get("k") == np.arange(6, dtype="<i2").tobytes()
    await ask.set("k", memoryview(VALUE)[2:5])
    assert await ask.get("k") == b"234"


@question("write ours")
async def value_in_pieces(ask: Asker) -> None:
    """A value whose pieces arrive one by one, as in large copies, is stored completely or not at all."""

    async def pieces(count: int) -> AsyncIterator[bytes]:
        for number in range(count):
            await verbs.sleep(0)
            yield bytes([number]) * 50_000
        if count < 4:
            raise LookupError("the source fails")

    verbs = ask.store._verbs_for_wrapper(sync=False)
    await ask.set("k", VALUE)
    await raises(LookupError, verbs.write("k", pieces(3), ANY))
    assert await ask.get("k") == VALUE or not ask.capabilities.atomic_create
    await verbs.write("k", pieces(5), ANY)
    assert await ask.get("k") == b"".join([bytes([number]) * 50_000 for number in range(5)])


@question("seed list ours")
async def listing_times(ask: Asker) -> None:
    """If a listing gives the time of a write, it is in seconds since 1970."""
    await ask.set("a/k", VALUE)
    now = time.time()
    async for page in ask.store._verbs_for_wrapper(sync=False).scan("a/", True, True):
        for entry in page:
            assert entry.modified is None or abs(now - entry.modified) < _DAY, entry


@question("write", [(type(value).__name__, value) for value in (1, "text", None, [1, 2], {"a": 1}, 1.5)])
async def value_refused(ask: Asker, argument: object) -> None:
    """A value that isn't bytes is refused, and the old value stays."""
    await ask.set("k", VALUE)
    await raises(TypeError, ask.set("k", argument))
    await raises(TypeError, ask.set("new", argument))
    assert await ask.get("k") == VALUE
    assert await ask.get("new") is None


@question("write ours")
async def value_not_shared(ask: Asker) -> None:
    """A store doesn't share memory with buffers that it was given or returned."""
    import numpy as np

    from zarrstore.buffer import cpu

    for value in VALUE, VALUE * (_LARGE // len(VALUE)):
        mine = bytearray(value)
        await ask.set("k", mine)
        mine[:] = b"x" * len(mine)
        assert await ask.get("k") == value
        for request in None, Range(2, 5):
            got = (await ask.store.get("k", byte_range=request)).as_numpy_array()
            try:
                got[:] = 0
            except ValueError:
                pass
        assert await ask.get("k") == value
        whole = np.frombuffer(value, "B").copy()
        larger = np.frombuffer(b"xy" + value, "B").copy()
        for owner, array in (whole, whole), (larger, larger[2:]):
            await ask.set("k", cpu.Buffer(array))
            owner[:] = 0
            assert await ask.get("k") == value


@question("write")
async def created_once(ask: Asker) -> None:
    """set_if_not_exists writes a new value and keeps an old one."""
    await ask.set_if_not_exists("a/k", b"first")
    assert await ask.get("a/k") == b"first"
    await ask.set_if_not_exists("a/k", b"second")
    assert await ask.get("a/k") == b"first"


@question("write ours")
async def create_tells(ask: Asker) -> None:
    """create returns whether it stored the value."""
    assert await ask.call("create", "a/k", b"first") is True
    assert await ask.call("create", "a/k", b"second") is False
    assert await ask.get("a/k") == b"first"


@question("write ours")
async def create_has_one_winner(ask: Asker) -> None:
    """Of several concurrent creators of a key exactly one succeeds, and the value is the one it wrote."""
    if not ask.capabilities.atomic_create:
        return
    wins: list[int] = []

    def attempt(number: int) -> None:
        if ask.store.create_sync("k", str(number).encode() * 100):
            wins.append(number)

    await in_threads(attempt, 8)
    assert len(wins) == 1
    assert await ask.get("k") == str(wins[0]).encode() * 100
    answers = await asyncio.gather(*(ask.store.create("j", str(i).encode()) for i in range(8)))
    assert sum(answers) == 1
    assert await ask.get("j") == str(answers.index(True)).encode()


@question("write")
async def value_and_directory(ask: Asker) -> None:
    """``k`` and ``k/child`` can both be keys, or the store declares ``folders`` and refuses."""
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


_PARTS: list[tuple[str, tuple[list[Part], bytes]]] = [
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
_BAD_PARTS: list[tuple[str, list[Part]]] = [
    ("overlap", [("k", 0, b"abc"), ("k", 2, b"x")]),
    ("same", [("k", 0, b"a"), ("k", 0, b"b")]),
    ("gap", [("k", 11, b"a")]),
    ("negative", [("k", -1, b"a")]),
    ("missing", [("missing", 0, b"a")]),
]


@question("write ours", _PARTS)
async def parts_written(ask: Asker, argument: tuple[list[Part], bytes]) -> None:
    """Parts of a value can be overwritten if the store supports partial writes."""
    parts, expected = argument
    await ask.set("k", VALUE)
    if not ask.store.supports_partial_writes:
        if parts:
            await raises(NotImplementedError, ask.call("set_partial_values", parts))
        return
    await ask.call("set_partial_values", parts)
    assert await ask.get("k") == expected
    assert await ask.call("getsize", "k") == len(expected)


@question("write ours", _BAD_PARTS)
async def parts_refused(ask: Asker, argument: list[Part]) -> None:
    """Overlaps, gaps and missing keys are refused before anything is written."""
    await ask.set("k", VALUE)
    kinds = (
        (ValueError, FileNotFoundError)
        if ask.store.supports_partial_writes
        else (NotImplementedError, ValueError)
    )
    await raises(kinds, ask.call("set_partial_values", argument))
    assert await ask.get("k") == VALUE
    assert await ask.get("missing") is None


@question("write ours")
async def range_written(ask: Asker) -> None:
    """set with a byte range overwrites that range if the store supports partial writes."""
    await ask.set("k", VALUE)
    if not ask.store.supports_partial_writes:
        await raises(NotImplementedError, ask.call("set", "k", b"ab", byte_range=(3, 5)))
    else:
        await ask.call("set", "k", b"ab", byte_range=(3, 5))
        assert await ask.get("k") == b"012ab56789"
        await raises(ValueError, ask.call("set", "k", b"abc", byte_range=(3, 5)))
        await raises(ValueError, ask.call("set", "k", b"a", byte_range=(20, 21)))
        await raises(FileNotFoundError, ask.call("set", "missing", b"a", byte_range=(0, 1)))


@question("write ours")
async def versions(ask: Asker) -> None:
    """Writes and removals that require a version succeed only while the value has it."""
    await ask.set("k", b"1")
    if not ask.capabilities.versions:
        await raises(NotImplementedError, ask.call("get_versioned", "k"))
        return
    value, version = await ask.call("get_versioned", "k")
    assert value.to_bytes() == b"1"
    assert await ask.call("get_versioned", "missing") is None
    assert version  # an empty one couldn't be required
    await raises(NotImplementedError, ask.call("set_if_unchanged", "k", b"2", ""))
    await raises(NotImplementedError, ask.call("delete_if_unchanged", "k", ""))
    newer = await ask.call("set_if_unchanged", "k", b"2", version)
    assert newer not in (None, "", version)
    assert await ask.call("set_if_unchanged", "k", b"3", version) is None
    assert await ask.call("delete_if_unchanged", "k", version) is False
    assert await ask.get("k") == b"2"
    assert await ask.call("delete_if_unchanged", "k", newer) is True
    assert await ask.get("k") is None
    assert await ask.call("delete_if_unchanged", "k", newer) is False
    assert await ask.call("set_if_unchanged", "k", b"4", newer) is None
    await ask.set("k", b"2")
    for stale in (version, newer):  # a version is never used twice, not even after a removal
        assert await ask.call("set_if_unchanged", "k", b"5", stale) is None


@question("write ours")
async def deleting_refused(ask: Asker) -> None:
    """A store that declares that it can't delete keeps its values; at most it can be cleared as a whole."""
    if ask.store.supports_deletes:
        return
    await ask.set("d/x", VALUE)
    await raises(NotImplementedError, ask.call("delete", "d/x"))
    await raises(NotImplementedError, ask.call("delete_dir", "d"))
    await ask.call("delete", "missing")
    await ask.call("delete_dir", "missing")
    assert await ask.get("d/x") == VALUE
    try:
        await ask.call("clear")
    except NotImplementedError:
        assert await ask.get("d/x") == VALUE
    else:
        assert await ask.get("d/x") is None


_MUTATIONS: dict[str, tuple[object, ...]] = {
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


@question("write ours", [(name, name) for name in _MUTATIONS])
async def read_only_refuses(ask: Asker, argument: str) -> None:
    """A read-only store refuses every change, with an error that names the key, and can still be read."""
    await ask.set("k", VALUE)
    await ask.set("d/x", VALUE)
    reader = ask.with_store(ask.store.with_read_only(True))
    assert reader.store.read_only
    assert not ask.store.read_only
    text = "store was opened in read-only mode and does not support writing."
    given = _MUTATIONS[argument]
    if given and isinstance(given[0], str):
        text += f" [key {given[0]!r}]"
    await raises(ValueError, reader.call(argument, *given), text)
    assert await reader.get("k") == VALUE
    assert await reader.get("d/x") == VALUE
    assert await ask.get("new") is None
    assert await ask.get("k") == VALUE
    writer = ask.with_store(reader.store.with_read_only(False))
    await writer.set("k", b"new")
    assert await reader.get("k") == b"new"
    assert await ask.get("k") == b"new"


@question("read ours")
async def read_only_is_fixed(ask: Asker) -> None:
    """read_only can't be assigned."""
    try:
        ask.store.read_only = True
    except AttributeError:
        return
    raise AssertionError("read_only was assigned")
