"""Memory with a name, so that other code in the same process can find it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrstore._core.urls import with_lower_scheme
from zarrstore._faces.overrides import own_face
from zarrstore.errors import StoreLikeError
from zarrstore.storage._memory import MemoryStore, find_memory, named_memory
from zarrstore.storage._wrappers.views import SubStore

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Self

    from zarrstore._core.types import Value
    from zarrstore.storage._memory import Kept

_SCHEME = "memory://"


class ManagedMemoryStore(SubStore[MemoryStore]):
    """A directory in memory that has a name.

    Stores with the same name in one process share their values, which are freed with the last of the stores.
    ``make_store("memory://NAME/path")`` finds them as long as one exists.

    Parameters
    ----------
    name : str, optional
        The name, without slashes; by default a unique one.
    path : str
        The directory that keys are relative to.
    read_only : bool
        Whether to refuse every call that changes the store.

    Raises
    ------
    ValueError
        If the name is empty or contains a slash.
    """

    def __init__(self, name: str | None = None, *, path: str = "", read_only: bool = False) -> None:
        if name is not None and (not name or "/" in name):
            raise ValueError(
                f"a memory's name is text without slashes, not {name!r}; path= names a directory"
            )
        memory = MemoryStore() if name is None else named_memory(name)
        super().__init__(memory.with_read_only(read_only), _joined(path))
        self._name = memory._data.token if name is None else name

    @property
    def _store_dict(self) -> MutableMapping[str, Kept]:
        return self._store._store_dict

    @classmethod
    async def open(  # type: ignore[override]  # the caller can't choose the memory
        cls, name: str | None = None, *, path: str = "", read_only: bool = False
    ) -> Self:
        """Create a store and open it.

        Parameters
        ----------
        name, path, read_only
            See the constructor.
        """
        store = cls(name, path=path, read_only=read_only)
        await store._open()
        return store

    @property
    def name(self) -> str:
        """The name of the memory."""
        return self._name

    @classmethod
    def from_url(cls, url: str, *, read_only: bool = False) -> Self:
        """Find the memory that a URL names.

        Parameters
        ----------
        url : str
            ``memory://NAME`` or ``memory://NAME/path``.
        read_only : bool
            Whether to refuse every call that changes the store.

        Raises
        ------
        StoreLikeError
            If this process has no memory with this name (a `ValueError`).
        """
        found = cls._find(url)
        if found is None:
            raise StoreLikeError(
                f"{url!r} names no memory of this process.",
                hint="Make it by ManagedMemoryStore(name), and hold on to that store.",
            )
        return found.with_read_only(read_only)

    @classmethod
    def _find(cls, url: str) -> Self | None:
        url = with_lower_scheme(url)
        name, _, path = url.removeprefix(_SCHEME).partition("/")
        memory = find_memory(name) if url.startswith(_SCHEME) else None
        if memory is None:
            return None
        found = cls.__new__(cls)
        SubStore.__init__(found, memory, _joined(path))
        found._name = name
        return found

    @own_face
    async def set(self, key: str, value: Value, byte_range: tuple[int, int] | None = None) -> None:
        """Replace a value, or part of it; see `MemoryStore.set`."""
        await super().set(key, value, byte_range=byte_range)

    def __str__(self) -> str:
        return f"{_SCHEME}{self._name}/{self.path}".rstrip("/")


def _joined(path: str) -> str:
    """Remove leading, trailing and doubled slashes, as a `StorePath` does."""
    return "/".join(filter(None, path.split("/")))
