"""What a check reports: problems, and what was checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal[
    "archive",
    "consolidated",
    "document",
    "link",
    "litter",
    "manifest",
    "misspelt",
    "missing",
    "orphan",
    "outside",
    "shard",
    "size",
    "stray",
    "temporary",
    "unreadable",
    "value",
]


class Problem(NamedTuple):
    """One thing that is wrong with a hierarchy.

    Attributes
    ----------
    kind : str
        ``archive``: a zip archive was never closed. ``consolidated``: consolidated metadata differs from the
        documents. ``document``: a metadata document is empty, broken or invalid, or there is none. ``link``:
        a symbolic link is broken. ``litter``: a file left by an operating system or an editor. ``manifest``:
        a difference from the manifest. ``misspelt``: a chunk's key has another separator or encoding than its
        array. ``missing``: chunks aren't stored. ``orphan``: a chunk without an array. ``outside``: a chunk
        beyond its array's shape. ``shard``: the index of a shard is missing or corrupt, or points to where no
        chunk can be. ``size``: a stored size that can't be right. ``stray``: something else inside an array.
        ``temporary``: a write that didn't finish, or is still running. ``unreadable``: a value that the store
        can't read. ``value``: a value that can't be decoded, or doesn't match its checksum.
    key : str
        The key.
    text : str
        What is wrong, in words.
    array : str or None
        Path of the array, if the problem is about one; ``""`` is the root.
    chunk : tuple of int or None
        Place of the chunk in its array's grid of chunks, if the problem is about one; within a shard, the
        place of the inner chunk.
    """

    kind: Kind
    key: str
    text: str
    array: str | None = None
    chunk: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found.

    Attributes
    ----------
    problems : tuple of Problem
        What is wrong, in the order found.
    unchecked : dict
        How many values couldn't be decoded here, by the name of the codec.
    groups, arrays : int
        Number of nodes with a readable document.
    chunks : int
        Number of stored values that are chunks of an array, or shards.
    bytes : int
        Size in bytes of everything stored.
    values_read : int
        Number of chunks and shards that were read.
    seconds : float
        Duration in seconds.
    """

    problems: tuple[Problem, ...]
    unchecked: dict[str, int]
    groups: int
    arrays: int
    chunks: int
    bytes: int
    values_read: int
    seconds: float

    def __bool__(self) -> bool:
        """Whether there is a problem."""
        return bool(self.problems)
