"""What a check reports: problems, and what it looked at."""

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
        ``archive``: a zip archive was never closed. ``consolidated``: consolidated metadata says something
        else than the documents. ``document``: a metadata document is empty, broken or against the format, or
        there is none. ``link``: a symbolic link leads nowhere. ``litter``: what operating systems and
        editors leave. ``manifest``: not what the manifest says. ``misspelt``: a chunk's key has another
        separator or encoding than its array. ``missing``: chunks aren't stored. ``orphan``: a chunk of no
        array. ``outside``: a chunk beyond its array's shape. ``shard``: the index of a shard is missing or
        corrupt, or points to where no chunk can be. ``size``: a stored size that can't be right. ``stray``:
        something else inside of an array. ``temporary``: a write that didn't finish, or is under way.
        ``unreadable``: a value that the store can't read. ``value``: a value that doesn't decode, or doesn't
        match its checksum.
    key : str
        The key.
    text : str
        What is wrong, in words.
    array : str or None
        Path of the array, where it is about one; ``""`` is the root.
    chunk : tuple of int or None
        Place of the chunk in its array's grid of chunks, where it is about one; inside of a shard that of
        the inner chunk.
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
        What is wrong, in the order in which it was found.
    unchecked : dict
        How many values nothing here could decode, by the name of the codec.
    groups, arrays : int
        Number of nodes with a document that could be read.
    chunks : int
        Number of stored values that are chunks of an array, or shards.
    bytes : int
        Size in bytes of all that is stored.
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
