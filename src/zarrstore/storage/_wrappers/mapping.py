"""A store as a mapping from keys to bytes, for code without an event loop."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from zarrstore._core.keys import is_key
from zarrstore.storage._wrappers.wrapper import as_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import TypeIs
    from zarr.abc.store import Store as TheirStore

    from zarrstore._core.types import Value
    from zarrstore.abc.store import Store


class StoreMapping(MutableMapping[str, bytes]):
    """A live view of a store as a mapping, as ``store.mapping()`` returns it.

    Looking up an invalid key raises `KeyError`, setting one `InvalidKeyError`. A failure of the store never
    raises `KeyError`.

    Parameters
    ----------
    store : Store
        The store: one of ours or of zarr-python's.
    """

    def __init__(self, store: TheirStore) -> None:
        self._store = as_store(store)

    @property
    def store(self) -> Store:
        """The store behind the mapping."""
        return self._store

    def __getitem__(self, key: str) -> bytes:
        value = self._store.get_sync(key) if _is_key(key) else None
        if value is None:
            raise KeyError(key)
        return bytes(value.to_bytes())

    def __setitem__(self, key: str, value: Value) -> None:
        self._store.set_sync(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._store.delete_sync(key)

    def __contains__(self, key: object) -> bool:
        return _is_key(key) and self._store.exists_sync(key)

    def __iter__(self) -> Iterator[str]:
        return self._store.list_sync()

    def __len__(self) -> int:
        return sum(1 for _ in self._store.list_sync())

    def __bool__(self) -> bool:
        return not self._store.is_empty_sync()

    def clear(self) -> None:
        """Remove all keys and values."""
        self._store.clear_sync()

    def setdefault(self, key: str, default: Value = b"") -> bytes:
        """Return a key's value; if it has none, create it with the default.

        Parameters
        ----------
        key : str
            Which value.
        default : Buffer or bytes-like
            What to store. If another writer creates the key first, its value is returned.
        """
        while True:
            value = self.get(key)
            if value is not None:
                return value
            if self._store.create_sync(key, default):
                return self[key]

    def __repr__(self) -> str:
        return f"StoreMapping({self._store!r})"


def _is_key(key: object) -> TypeIs[str]:
    return isinstance(key, str) and is_key(key)
