"""Short lives of stores, step by step: a separate program carries them out; and their effect on values.

The program announces each step on stderr, before and after it, and each sync of a file or folder with the
places in the source that call it. See `power_loss.record`.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from zarrstore import LocalStore, MemoryStore, ZipStore, copy_store_sync
from zarrstore._core.verbs import ANY
from zarrstore._os import fsync as _fsync
from zarrstore.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

Values = dict[str, bytes]


def value(seed: int, size: int = 1000) -> bytes:
    return random.Random(seed).randbytes(size)


OLD: Values = {"old/kept": value(1), "old/replaced": value(2, 3000), "old/deleted": value(3), "b/c": value(4)}
COPIED: Values = {f"copied/{i}": value(90 + i, 700 * i) for i in range(4)}
PATCHED = [(0, b"__"), (2990, value(5, 100))]

# What each step does, and its arguments.
FOLDER = [
    ("set", {"a/b/k": value(10)}),
    ("set", {"a/b/k": value(11)}),
    (
        "set",
        {f"a/{i}": value(20 + i, 10 + 500 * i) for i in range(4)} | {"a/b/d/e": value(25), "b/c": value(26)},
    ),
    ("set", {"old/replaced": value(12, 3000)}),
    ("create", {"old/new": value(13)}),
    ("create", {"old/kept": b"not this"}),
    ("patch", {"old/replaced": PATCHED}),
    ("delete", ["old/deleted", "a/0"]),
    ("delete_dir", "a/b"),
    ("set", {"a/b/d/e": value(14)}),
    ("copy", COPIED),
    ("by_another", {"c/d/k": value(15, 3000)}),
    ("patch", {"c/d/k": PATCHED}),
    ("by_another_synced", {"c/e/k": value(16)}),
    ("create", {"c/e/k": b"not this"}),
    ("delete", ["a/b/d/e"]),
    ("move", "some/where/else"),
    ("set", {"a/b/k": value(17)}),
    ("clear", None),
    ("set", {"a/last": value(18)}),
]
ARCHIVE = [
    ("set", {"zarr.json": b"{}"}),
    ("set", {"a/k": value(10)}),
    ("set", {"a/k": value(11)}),
    ("set", {f"a/{i}": value(20 + i, 10 + 500 * i) for i in range(6)}),
    ("set", {"old/replaced": value(12, 3000)}),
    ("set", {"large": value(13, 70_000)}),
    ("create", {"new": value(14)}),
    ("stream", {"streamed": [value(15, 5000), value(16, 4000)]}),
    ("delete", ["old/deleted"]),
    ("close", None),
    ("set", {"a/k": value(17)}),
    ("fail", {"failed": [value(32, 90_000), value(33, 90_000)]}),
    ("delete_dir", "a"),
    ("set", {"a/again": value(18, 40)}),
    ("close", None),
    ("copy", COPIED),
    ("close", None),
    ("set", {"after": value(19)}),
    ("compact", None),
    ("set", {"more": value(30)}),
    ("close", None),
    ("delete", ["large", "streamed"]),
    ("close", None),
    ("clear", None),
    ("set", {"last": value(31)}),
    ("close", None),
]

NEW_ARCHIVE = [
    ("set", {"zarr.json": b"{}"}),
    ("set", {f"a/{i}": value(20 + i, 10 + 500 * i) for i in range(4)}),
    ("close", None),
]
STEPS = {
    "folder": FOLDER,
    "folder without links out": FOLDER,
    # Without atomic creates, a create that finds its key promises nothing about the key's durability.
    "folder in place": [step for step in FOLDER if step[0] != "by_another_synced"],
    "archive": ARCHIVE,
    "new archive": NEW_ARCHIVE,
}
BEFORE = {kind: {} if kind == "new archive" else OLD for kind in STEPS}


def apply(step: tuple[str, object], values: Values) -> Values:
    """Return the values after a step."""
    kind, what = step
    match kind:
        case "set" | "put" | "by_another" | "by_another_synced" | "copy":
            return values | what
        case "create":
            return what | values
        case "stream":
            return values | {key: b"".join(pieces) for key, pieces in what.items()}
        case "patch":
            return values | {key: _patched(values[key], parts) for key, parts in what.items()}
        case "delete":
            return {key: kept for key, kept in values.items() if key not in what}
        case "delete_dir":
            return {key: kept for key, kept in values.items() if not key.startswith(what + "/")}
        case "clear":
            return {}
    return values


def _patched(old: bytes, parts: list[tuple[int, bytes]]) -> bytes:
    for start, part in parts:
        old = old[:start].ljust(start, b"\0") + part + old[start + len(part) :]
    return old


def take(step: tuple[str, object], store: LocalStore | ZipStore) -> None:
    """Carry out a step."""
    kind, what = step
    match kind:
        case "set":
            asyncio.run(_set_all(store, what))
        case "put":
            for key, content in what.items():
                store.set_sync(key, content)
        case "create":
            for key, content in what.items():
                store.create_sync(key, content)
        case "stream":
            for key, pieces in what.items():
                store._write(key, iter(pieces), ANY)
        case "patch":
            store.set_partial_values_sync([(key, *part) for key, parts in what.items() for part in parts])
        case "fail":
            for key, pieces in what.items():
                with suppress(BackendError):
                    store._write(key, _failing(pieces), ANY)
        case "read":
            assert {key: store.get_sync(key).to_bytes() for key in store.list_sync()} == OLD
        case "delete":
            for key in what:
                store.delete_sync(key)
        case "delete_dir":
            store.delete_dir_sync(what)
        case "clear" | "close" | "compact":
            getattr(store, "close" if kind == "close" else f"{kind}_sync")()
        case "copy":
            copy_store_sync(MemoryStore(dict(what)), store)
        case "by_another" | "by_another_synced":
            for key, content in what.items():
                LocalStore(store.root, fsync="none" if kind == "by_another" else "data").set_sync(
                    key, content
                )
        case "move":
            asyncio.run(store.move(store.root.parent / what))


def _failing(pieces: list[bytes]) -> Iterator[bytes]:
    yield from pieces
    raise InterruptedError


async def _set_all(store: LocalStore | ZipStore, values: Values) -> None:
    await asyncio.gather(*(store.set(key, content) for key, content in values.items()))


OPTIONS = {"folder without links out": {"follow_symlinks": False}, "folder in place": {"atomic": False}}


def make(kind: str, top: Path, **options: object) -> LocalStore | ZipStore:
    if kind.startswith("folder"):
        return LocalStore(top / "root", **OPTIONS.get(kind, {}), **options)
    path = top / ("new/folder/a.zip" if kind == "new archive" else "a.zip")
    return ZipStore(path, mode="a", deletes=True, **options)


class Promise:
    """The values that each key may have, during a life and after it was interrupted.

    Parameters
    ----------
    steps : list
        The life.
    values : Values
        The values before it.
    keeps : bool
        Whether acknowledged values must not be lost.
    torn : tuple of str
        The kinds of steps that may leave any bytes in their keys' values, until they are acknowledged.
    mends : bool
        Whether acknowledgement ends that; if not, all written keys may be gone as well.
    follows : bool
        Whether values acknowledged by another store count as well.
    """

    def __init__(
        self,
        steps: list,
        values: Values,
        *,
        keeps: bool,
        torn: tuple[str, ...],
        mends: bool = True,
        follows: bool = False,
    ) -> None:
        self._follows = follows
        self._steps, self._values = steps, dict(values)
        self._keeps, self._tears, self._mends = keeps, torn, mends
        self._possible: dict[str, set[bytes | None]] = {key: {value} for key, value in values.items()}
        self._torn: set[str] = set()

    def begin(self, number: int) -> None:
        """Record that a step begins."""
        kind, after, keys = self._of(number)
        for key in keys:
            self._possible.setdefault(key, {None}).add(after.get(key))
            if not self._mends:
                self._possible[key].add(None)
        if kind in self._tears:
            self._torn |= keys

    def end(self, number: int) -> None:
        """Record that a step was acknowledged."""
        kind, after, keys = self._of(number)
        if self._mends and (self._follows or kind != "by_another"):
            self._torn -= keys
        if self._keeps and (self._follows or not kind.startswith("by_another")):
            self._possible |= {key: {after.get(key)} for key in keys}
        self._values = after

    def _of(self, number: int) -> tuple[str, Values, set[str]]:
        """Return a step's kind, the values after it, and the keys about which it promises something."""
        kind, what = self._steps[number]
        after = apply(self._steps[number], self._values)
        changed = {key for key in self._values | after if self._values.get(key) != after.get(key)}
        return kind, after, changed | (set(what) if kind == "create" else set())

    def broken(self, found: Values) -> set[str]:
        """Return the keys with values that they can't have."""
        return {
            key
            for key in found.keys() | self._possible.keys()
            if key not in self._torn and found.get(key) not in self._possible.get(key, {None})
        }


MANY: Values = {f"c/{number}": value(number, 200 + 37 * number) for number in range(300)}


def copy_many(kind: str, path: Path | str) -> None:
    """Copy values into a folder or an archive, unless they exist."""
    with LocalStore(path) if kind == "folder" else ZipStore(path, mode="a") as target:
        copy_store_sync(MemoryStore(dict(MANY)), target, if_exists="skip")


def live(kind: str, top: str, mode: str) -> None:
    """Carry out a life, and announce its steps."""
    for name in ("fsync", "fdatasync"):
        setattr(os, name, _telling(getattr(os, name)))
    store = make(kind, Path(top), fsync=mode)
    for number, step in enumerate(STEPS[kind]):
        os.write(2, b"begin %d\n" % number)
        take(step, store)
        os.write(2, b"end %d\n" % number)
    os.write(2, b"done\n")


def _telling(sync):
    def call(descriptor):
        os.write(2, b"sync " + _caller().encode() + b"\n")
        return sync(descriptor)

    return call


def _caller() -> str:
    """Return who syncs: the functions up to the second one outside the sync module, with line numbers."""
    frame, names, outside = sys._getframe(2), [], 0
    while frame is not None and outside < 2:
        outside += frame.f_code.co_filename != _fsync.__file__
        names.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(names)
