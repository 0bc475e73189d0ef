"""The arguments of a copy besides its places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from zarrstore._copy.plan import IfExists

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarrstore._copy.cluster import Client
    from zarrstore._copy.meter import Progress


@dataclass
class Options:
    """Arguments of a copy, in the order in which `copy_store` takes them."""

    if_exists: IfExists = "raise"
    checksum: bool = False
    verify: bool = False
    delete: bool = False
    dry_run: bool = False
    progress: Progress = None
    concurrency: int | tuple[int, int] | None = None
    client: Client | None = None
    selected: Callable[[str], bool] | None = None
    # Whether an interrupted run of the same work may have written some of the values.
    is_repeated: bool = False

    def __post_init__(self) -> None:
        if self.if_exists not in get_args(IfExists):
            known = ", ".join(map(repr, get_args(IfExists)))
            raise ValueError(f"if_exists is one of {known}, not {self.if_exists!r}")
        given = self.concurrency if isinstance(self.concurrency, tuple) else (self.concurrency or 1,)
        if self.concurrency == 0 or min(given) < 1:
            raise ValueError(f"concurrency is at least 1, not {self.concurrency!r}")
