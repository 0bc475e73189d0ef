"""A hypothesis state machine that compares a store with a dict under arbitrary sequences of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from zarrstore._core.requests import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarrstore.errors import ByteRequestError, KeyConflictError, KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    import hypothesis

    from zarrstore._core.requests import ByteRequest
    from zarrstore.abc.store import Store
    from zarrstore.buffer import Buffer

_NAMES = st.sampled_from(["a", "b", "c", "ab", ".x", "zarr.json", "é"])
KEYS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
PREFIXES = st.lists(_NAMES, max_size=2).map("/".join)
VALUES = st.binary(max_size=40)
REQUESTS = st.one_of(
    st.tuples(st.integers(0, 45), st.integers(1, 45)).map(lambda t: RangeByteRequest(t[0], t[0] + t[1])),
    st.integers(0, 45).map(OffsetByteRequest),
    st.integers(1, 45).map(SuffixByteRequest),
)


def _contents(value: Buffer | None) -> bytes | None:
    return None if value is None else value.to_bytes()


def _expected(value: bytes, request: ByteRequest) -> bytes | None:
    """Return the bytes that a request selects; None if it must be refused."""
    if isinstance(request, SuffixByteRequest):
        return value[-request.suffix :]
    start = request.offset if isinstance(request, OffsetByteRequest) else request.start
    if start >= len(value):
        return None
    return value[start:] if isinstance(request, OffsetByteRequest) else value[start : request.end]


class StoreMachine(RuleBasedStateMachine):
    """Makes the same changes to a store and to a dict, and compares them.

    A subclass defines `make`, which returns a fresh, empty store. `run_machine` needs no subclass.
    """

    make: Callable[[], Store]

    def __init__(self) -> None:
        super().__init__()
        self.store: Store = type(self).make()
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        """Close the store."""
        self.store.close()

    def _clashes(self, key: str) -> bool:
        """Whether a store with folders can't store this key now."""
        return self.store.capabilities.folders and any(
            other.startswith(key + "/") or key.startswith(other + "/") for other in self.model
        )

    @rule(key=KEYS, value=VALUES)
    def set(self, key: str, value: bytes) -> None:
        """Replace a value."""
        if self._clashes(key):
            try:
                self.store.set_sync(key, value)
            except KeyConflictError:
                return
            raise AssertionError("a store of folders held a value and a folder of one name")
        self.store.set_sync(key, value)
        self.model[key] = value

    @rule(key=KEYS, value=VALUES)
    def create(self, key: str, value: bytes) -> None:
        """Create a value."""
        if key not in self.model and self._clashes(key):
            return
        assert self.store.create_sync(key, value) is (key not in self.model)
        self.model.setdefault(key, value)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        """Read a value that may be missing."""
        value = self.store.get_sync(key)
        assert _contents(value) == self.model.get(key)
        assert self.store.exists_sync(key) is (key in self.model)

    @rule(key=KEYS, request=REQUESTS)
    def get_part(self, key: str, request: ByteRequest) -> None:
        """Read part of a value."""
        try:
            value = self.store.get_sync(key, byte_range=request)
        except ByteRequestError:
            assert key in self.model
            assert _expected(self.model[key], request) is None
            return
        if key not in self.model:
            assert value is None
        else:
            assert _contents(value) == _expected(self.model[key], request)

    @rule(keys=st.lists(KEYS, max_size=6))
    def get_many(self, keys: list[str]) -> None:
        """Read many values."""
        values = self.store.get_partial_values_sync(None, [(key, None) for key in keys])
        assert [_contents(value) for value in values] == [self.model.get(key) for key in keys]

    @precondition(lambda self: self.store.supports_partial_writes)
    @rule(key=KEYS, start=st.integers(0, 45), value=VALUES)
    def set_part(self, key: str, start: int, value: bytes) -> None:
        """Overwrite part of a value."""
        try:
            self.store.set_partial_values_sync([(key, start, value)])
        except KeyNotFoundError:
            assert key not in self.model
            return
        except ByteRequestError:
            assert start > len(self.model[key])
            return
        old = self.model[key]
        self.model[key] = old[:start] + value + old[start + len(value) :]

    @precondition(lambda self: self.store.supports_deletes)
    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Remove a value."""
        self.store.delete_sync(key)
        self.model.pop(key, None)
        if self.store.capabilities.recursive_delete:
            self._forget(key)

    @precondition(lambda self: self.store.supports_deletes)
    @rule(prefix=PREFIXES)
    def delete_dir(self, prefix: str) -> None:
        """Remove a directory."""
        self.store.delete_dir_sync(prefix)
        self._forget(prefix)

    def _forget(self, prefix: str) -> None:
        inside = prefix + "/" if prefix else ""
        self.model = {key: value for key, value in self.model.items() if not key.startswith(inside)}

    @rule()
    def reopen(self) -> None:
        """Close the store; the next call opens it again."""
        self.store.close()

    @rule(prefix=PREFIXES)
    def list(self, prefix: str) -> None:
        """List a directory, in every way that a store offers."""
        inside = prefix + "/" if prefix else ""
        below = [key for key in self.model if key.startswith(inside)]
        assert sorted(self.store.list_prefix_sync(prefix)) == sorted(below)
        names = sorted({key[len(inside) :].partition("/")[0] for key in below})
        assert sorted(self.store.list_dir_sync(prefix)) == names
        assert self.store.is_empty_sync(prefix) is (not below)
        assert self.store.getsize_prefix_sync(prefix) == sum(len(self.model[key]) for key in below)

    @invariant()
    def agrees_with_the_dict(self) -> None:
        """All keys, values and sizes are those of the dict."""
        assert sorted(self.store.list_sync()) == sorted(self.model)
        values = self.store.get_partial_values_sync(None, [(key, None) for key in self.model])
        assert [_contents(value) for value in values] == list(self.model.values())
        for key, value in self.model.items():
            assert self.store.getsize_sync(key) == len(value)


def run_machine(make: Callable[[], Store], *, settings: hypothesis.settings | None = None) -> None:
    """Run the machine on a kind of store.

    Parameters
    ----------
    make : callable
        Makes a fresh, empty store for each example.
    settings : hypothesis.settings, optional
        How long and how to search.

    Raises
    ------
    AssertionError
        If the store and the dict differ after some sequence of calls; hypothesis prints a minimal one.
    """
    machine = type("Machine", (StoreMachine,), {"make": staticmethod(make)})
    run_state_machine_as_test(machine, settings=settings)
