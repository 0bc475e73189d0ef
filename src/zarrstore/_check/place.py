"""The directory to check: of a store, or of one that is opened for the check."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zarrstore._async import threads
from zarrstore._copy.places import joined
from zarrstore._core.zarr_compat import is_zarr_path
from zarrstore.abc.store import Store
from zarrstore.storage._path import StorePath
from zarrstore.storage._places.like import open_place

if TYPE_CHECKING:
    from typing import Self


class Place:
    """A directory of a store, as a context manager that closes a store opened here.

    Parameters
    ----------
    place : StoreLike
        A store, a store path, or what `make_store` opens.
    prefix : str
        A directory in it.
    """

    def __init__(self, place: object, prefix: str) -> None:
        if isinstance(place, Store):
            self.store, path = place, ""
        else:
            path = place.path if isinstance(place, StorePath) or is_zarr_path(place) else ""
            self.store = open_place(place, mode=None if path else "r")
        self._is_own = isinstance(place, (str, os.PathLike))
        self.prefix = self.store._listed(joined(path, prefix, self.store))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_own:
            self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._is_own:
            await threads.to_thread(self.store.close)
