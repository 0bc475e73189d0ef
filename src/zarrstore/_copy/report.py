"""What a copy reports: while it runs, and at its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a copy has come.

    Attributes
    ----------
    keys_done, keys_total : int
        Number of values.
    bytes_done, bytes_total : int
        Their size in bytes; a large value counts piece by piece.
    """

    keys_done: int
    keys_total: int
    bytes_done: int
    bytes_total: int


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
        Number of values that were read back and were equal, including skipped ones.
    seconds : float
        Duration in seconds.
    differing : tuple of str
        Keys of skipped values that have another size in the target than in the source, in order.
    """

    keys: int
    bytes: int
    skipped: int
    verified: int
    seconds: float
    differing: tuple[str, ...] = ()
