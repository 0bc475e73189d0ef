"""What all answers need: the store, and state kept between requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING

from zarrstore._core.composites import scan_sized
from zarrstore.serve._ranges import etag_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarrstore._core.verbs import Entry, Verbs
    from zarrstore.abc.store import Store

# How many unfinished listings are kept.
_KEPT = 16


@dataclass(frozen=True)
class Served:
    """A store that is being served.

    Attributes
    ----------
    store : Store
        The store to read.
    salt : str
        Part of each ETag. A memory store numbers its versions, so another process's may coincide.
    walks : dict
        Unfinished listings, by what they list and the last key of their latest page.
    """

    store: Store
    salt: str
    walks: dict[tuple[str, str], AsyncIterator[Entry]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store) -> Served:
        """Prepare a store for serving."""
        return cls(store, "" if store.capabilities.shared else token_hex(8))

    @property
    def verbs(self) -> Verbs:
        """The store's verbs, for the server's event loop."""
        return self.store._async_verbs

    def etag(self, entry: Entry) -> str | None:
        """Return the ETag of a value."""
        return etag_of(entry, self.salt)

    def keep(self, listing: str, last: str, rest: AsyncIterator[Entry]) -> None:
        """Keep the rest of a listing, so that its next page needn't start from the beginning."""
        self.walks[listing, last] = rest
        while len(self.walks) > _KEPT:
            del self.walks[next(iter(self.walks))]

    async def level(self, directory: str, *, sizes: bool = True) -> list[Entry]:
        """List one level below a directory, in the order of keys, with or without sizes."""
        below, verbs = self.store._listed(directory), self.verbs
        pages = scan_sized(verbs, below, deep=False) if sizes else verbs.scan(below, False, False)
        found = {entry.key: entry async for page in pages for entry in page}
        return [found[key] for key in sorted(found)]
