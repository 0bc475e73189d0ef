"""What copies and comparisons report, while they run and at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a copy has got.

    Attributes
    ----------
    keys_done, keys_total : int
        Number of values.
    bytes_done, bytes_total : int
        Their size in bytes; a large value counts piece by piece.
    listed : bool
        Whether the totals are final. A copy writes values while it lists, so the totals grow until then.
    """

    keys_done: int
    keys_total: int
    bytes_done: int
    bytes_total: int
    listed: bool = True


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did, or would do after a dry run.

    Attributes
    ----------
    keys : int
        Number of values that were written.
    bytes : int
        Their size in bytes.
    skipped : int
        Number of values that weren't written because the target had the key.
    verified : int
        Number of values that were read back and found equal, including skipped ones.
    seconds : float
        Duration in seconds.
    differing : tuple of str
        Keys of skipped values whose size in the target differs from the source's, in order.
    replaced : int
        How many of the written values replaced a different one found by a comparison (``if_exists="update"``
        or ``"resume"``).
    deleted : int
        Number of removed keys: from the target by a mirroring copy, from the source by a move.
    """

    keys: int
    bytes: int
    skipped: int
    verified: int
    seconds: float
    differing: tuple[str, ...] = ()
    replaced: int = 0
    deleted: int = 0


Mark: TypeAlias = Literal["=", "+", "-", "*", "!"]


class Difference(NamedTuple):
    """One key of two compared directories.

    Attributes
    ----------
    mark : {"=", "+", "-", "*", "!"}
        ``=`` both have the same value, ``+`` only the source has the key, ``-`` only the target has it, ``*``
        the values differ, ``!`` a value can't be read.
    key : str
        The key, relative to the directories.
    """

    mark: Mark
    key: str


@dataclass(frozen=True, slots=True)
class DiffReport:
    """How two directories differ.

    Attributes
    ----------
    equal : int
        Number of keys with the same value in both.
    differences : tuple of Difference
        All other keys, in order.
    seconds : float
        Duration in seconds.
    """

    equal: int
    differences: tuple[Difference, ...]
    seconds: float

    def __bool__(self) -> bool:
        """Whether there is a difference."""
        return bool(self.differences)
