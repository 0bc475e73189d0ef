"""A store of your own: chunks in one table of an SQLite file.

It shows the four verbs, the further ones that pay off for a database, conditions that hold among processes
(a row's id is its value's version), and connections that serve any thread and never leave their process.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from zarrstore import Store
from zarrstore.abc.store import (
    ABSENT,
    ANY,
    CONFLICT,
    Allocate,
    ByteRequest,
    Capabilities,
    Conflict,
    Data,
    Entry,
    Pieces,
    Precondition,
    cut,
    join_pieces,
)
from zarrstore.errors import BackendError

# AUTOINCREMENT never gives an id twice, so a value that was removed and written again has another version.
TABLE = """CREATE TABLE IF NOT EXISTS entries
           (version INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL)"""
PAGE = 1000


def bounds(prefix: str) -> tuple[str, str | bytes]:
    """Of the keys below a directory none is less than the first, and all are less than the second."""
    # "0" comes right after "/". SQLite sorts blobs behind all texts.
    return prefix, prefix[:-1] + "0" if prefix else b""


class SQLiteStore(Store):
    _capabilities = Capabilities(atomic_create=True, versions=True)

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self.idle: dict[int, list[sqlite3.Connection]] = {}
        self.path = Path(path).resolve()

    @property
    def _location(self) -> str:
        return f"sqlite://{self.path}"

    def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        rows = self._rows("SELECT value FROM entries WHERE key = ?", key)
        return cut(rows[0][0], request) if rows else None

    def _read_versioned(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str] | None:
        rows = self._rows("SELECT value, version FROM entries WHERE key = ?", key)
        return (cut(rows[0][0], request), str(rows[0][1])) if rows else None

    def _stat(self, key: str) -> Entry | None:
        rows = self._rows("SELECT length(value), version FROM entries WHERE key = ?", key)
        return Entry(key, rows[0][0], str(rows[0][1])) if rows else None

    def _write(self, key: str, pieces: Pieces, condition: Precondition) -> str | Conflict:
        # REPLACE removes the old row and adds a new one, all in one step with the look at the condition.
        holds, value = self._condition(key, condition)
        sql = f"INSERT OR REPLACE INTO entries (key, value) SELECT ?, ? WHERE {holds} RETURNING version"
        rows = self._rows(sql, key, join_pieces(pieces), *value, create=True)
        return str(rows[0][0]) if rows else CONFLICT

    def _remove(self, key: str, condition: Precondition) -> Conflict | None:
        holds, value = self._condition(key, condition)
        rows = self._rows(f"DELETE FROM entries WHERE key = ? AND {holds} RETURNING version", key, *value)
        return None if rows or condition is ANY else CONFLICT

    def _condition(self, key: str, condition: Precondition) -> tuple[str, tuple[object, ...]]:
        if condition is ANY:
            return "1", ()
        if condition is ABSENT:
            return "NOT EXISTS (SELECT 1 FROM entries WHERE key = ?)", (key,)
        return "EXISTS (SELECT 1 FROM entries WHERE key = ? AND version = ?)", (key, condition)

    def _scan(self, prefix: str, deep: bool, sizes: bool) -> Iterator[list[Entry]]:
        # Each page is a query of its own, so a listing that somebody gives up holds nothing open.
        sql = f"""SELECT key, length(value), version FROM entries
                  WHERE key >= ? AND key < ? ORDER BY key LIMIT {PAGE}"""
        start, end = bounds(prefix)
        while rows := self._rows(sql, start, end):
            page = []
            for key, size, version in rows:
                if key < start:  # in a directory that is listed already
                    continue
                slash = -1 if deep else key.find("/", len(prefix))
                page.append(Entry(key, size, str(version)) if slash < 0 else Entry(key[: slash + 1]))
                # A key holds no NUL, so the first text that may follow a key ends in the next character.
                start = key + "\1" if slash < 0 else key[:slash] + "0"
            yield page

    def _is_empty(self, prefix: str) -> bool:
        return not self._rows("SELECT 1 FROM entries WHERE key >= ? AND key < ? LIMIT 1", *bounds(prefix))

    def _remove_below(self, prefix: str) -> None:
        self._rows("DELETE FROM entries WHERE key >= ? AND key < ?", *bounds(prefix))

    def _rows(self, sql: str, *values: object, create: bool = False) -> list[Any]:
        """The rows that a statement gives. Each statement is a transaction of its own."""
        if not create and self._is_missing():
            return []
        # A connection serves one call at a time, from any thread. A forked child leaves its parent's alone.
        idle = self.idle.setdefault(os.getpid(), [])
        try:
            try:
                connection = idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                if create:
                    connection.execute(TABLE)
                return connection.execute(sql, values).fetchall()
            finally:
                idle.append(connection)
        except sqlite3.Error as error:
            hint = "Is it an SQLite database which this process may use?"
            raise BackendError(f"SQLite says: {error}", store=self, hint=hint) from error

    def _is_missing(self) -> bool:
        # Only writes make the file. While it is empty, somebody is about to make the table in it.
        try:
            return self.path.stat().st_size == 0
        except FileNotFoundError:
            return True

    def _connect(self) -> sqlite3.Connection:
        uri = f"{self.path.as_uri()}?mode={'ro' if self.read_only else 'rwc'}"
        return sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        super().close()
        idle = self.idle.get(os.getpid(), [])
        with suppress(IndexError):  # other threads may take some meanwhile
            while True:
                idle.pop().close()

    def __del__(self) -> None:
        self.close()  # a view, a copy or a store that nobody closed

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "idle": {}}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, SQLiteStore(f"{folder}/chunks.sqlite") as store:
        for number in range(3):
            store.set_sync(f"temp/c/{number}", bytes(range(10)))
        print(sorted(store.list_sync()), "hold", store.getsize_prefix_sync("temp"), "bytes")

        print("created again:", store.create_sync("temp/c/0", b"late"))
        read = store.get_versioned_sync("temp/c/0")
        assert read is not None
        assert store.set_if_unchanged_sync("temp/c/0", b"new", read[1]) is not None
        assert store.set_if_unchanged_sync("temp/c/0", b"too late", read[1]) is None

        view = store.sub("temp").with_read_only(True)
        print("in the database now:", view.mapping()["c/0"])
    print("all is well")


if __name__ == "__main__":
    main()
