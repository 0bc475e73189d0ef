"""A store of very many small values that keeps nothing: all memory used is that of the copy itself."""

from __future__ import annotations

from zarrstore import Store
from zarrstore.abc.store import Capabilities, Entry, cut

VALUE = b"0123456789abcdef"


class Many(Store):
    """``count`` keys, listed out of order; writes are forgotten."""

    _capabilities = Capabilities(atomic_create=True)

    def __init__(self, count, *, read_only=False):
        super().__init__(read_only=read_only)
        self.count = count

    @property
    def _location(self):
        return f"many://{self.count}"

    def _read(self, key, request, allocate):
        return cut(VALUE, request)

    def _stat(self, key):
        return Entry(key, len(VALUE)) if self.count else None

    def _write(self, key, pieces, condition):
        return None

    def _remove(self, key, condition):
        return None

    def _scan(self, prefix, deep, sizes):
        for start in range(self.count - 1000, -1, -1000):
            yield [
                Entry(f"measurements/temperature/c/{number}/0/0", len(VALUE))
                for number in range(start, start + 1000)
            ]
