"""Keys of chunks: which chunk a key names, or why it names none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from zarrstore._hierarchy.documents import Array

# Whether a name is a chunk's, outside the array's shape, in another spelling, or not a chunk's at all.
Verdict: TypeAlias = Literal["chunk", "outside", "misspelt", "other"]

_ANY_SPELLING = re.compile(r"(?:c(?:[./]|$))?(?:\d+(?:[./]\d+)*)?")
_NUMBER = re.compile("0|[1-9][0-9]*")


def judged(array: Array, name: str) -> tuple[Verdict, tuple[int, ...]]:
    """Classify a key, given relative to its array's directory.

    Returns
    -------
    (str, tuple of int)
        The verdict, and the chunk's position in the grid if it has one.
    """
    if array.encoding == "other":
        return "chunk", ()
    place = _place(array, name)
    if place is None:
        return ("misspelt" if name and _ANY_SPELLING.fullmatch(name) else "other"), ()
    inside = not array.regular or all(at < count for at, count in zip(place, array.grid, strict=True))
    return ("chunk" if inside else "outside"), place


def _place(array: Array, name: str) -> tuple[int, ...] | None:
    text = name
    if array.encoding == "default":
        if not array.shape:
            return () if name == "c" else None
        if not name.startswith(f"c{array.separator}"):
            return None
        text = name[2:]
    elif not array.shape:
        return () if name == "0" else None
    numbers = text.split(array.separator)
    if len(numbers) != len(array.shape) or not all(map(_NUMBER.fullmatch, numbers)):
        return None
    return tuple(map(int, numbers))


def spelt(array: Array, place: tuple[int, ...]) -> str:
    """Return the key of a chunk, relative to its array's directory."""
    numbers = array.separator.join(map(str, place))
    if array.encoding == "v2":
        return numbers or "0"
    return f"c{array.separator}{numbers}" if place else "c"
