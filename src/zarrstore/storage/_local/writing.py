"""How `LocalStore` writes values: through a temporary file, in place, or in part, and synced if asked."""

from __future__ import annotations

import errno
import os
from functools import partial
from inspect import GEN_CREATED, getgeneratorstate, isgenerator
from typing import TYPE_CHECKING, Literal, cast

from zarrstore._async.nowait import MAX_INLINE_SIZE
from zarrstore._async.threads import Continuation
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, WOULD_BLOCK, check_parts
from zarrstore._os import files
from zarrstore._os import fsync as syncing
from zarrstore._os.temporary import claim, make_name
from zarrstore.errors import (
    BackendError,
    KeyConflictError,
    KeyNotFoundError,
    NoSpaceError,
    StoreError,
    UnsupportedOperationError,
)
from zarrstore.storage._local import rmtree as removal
from zarrstore.storage._local.reading import NOT_FOUND, PATIENCE, ReadingFolder, anew

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarrstore._core.types import Data, Pieces
    from zarrstore._core.verbs import Conflict, Precondition, WouldBlock
    from zarrstore.storage._local.confined import Confined

# Hints for file systems that can't do what a call needs.
CANNOT_RENAME = (
    "If this file system can't rename, as mounts of buckets can't, use LocalStore(..., atomic=False), "
    "which works in place."
)
_CANNOT_CREATE = (
    "If this file system has neither hard links nor a rename that never replaces, use "
    "LocalStore(..., atomic=False), which works in place."
)
_CANNOT_SYNC = "If this file system can't sync files, use fsync='none'."
_CANNOT_SYNC_FOLDERS = "The value is written. If this file system can't sync folders, use fsync='data'."


class WritingFolder(ReadingFolder, abstract=True):
    """The part of `LocalStore` that writes."""

    fsync: Literal["none", "data", "full"]
    atomic: bool

    def _write(self, key: str, pieces: Pieces, condition: Precondition) -> Conflict | None:
        answer = self._begin_write(key, pieces, condition)
        return cast("None", answer.rest()) if isinstance(answer, Continuation) else answer

    def _write_in_steps(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | Continuation | None:
        return self._begin_write(key, pieces, condition)

    def _begin_write(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | Continuation | None:
        if condition is not ANY and condition is not ABSENT:
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        again = isinstance(pieces, (tuple, list))
        if not again:
            pieces = (piece for piece in pieces)  # a generator, which tells whether it was begun
        write = self._write_at if self._confined is None else self._write_confined
        for _ in range(PATIENCE):
            try:
                return anew(write, key, pieces, condition) if again else write(key, pieces, condition)
            except FileNotFoundError as error:
                # Another process removed the folder and our temporary file in it.
                if isgenerator(pieces) and getgeneratorstate(pieces) != GEN_CREATED:  # partly used up
                    raise self._error(error, "write", key) from error
        raise self._folder_vanishes(key)

    def _write_confined(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | Continuation | None:
        """Write where no link can lead out of the root; if the folder is missing, make it and raise."""
        confined = cast("Confined", self._confined)
        folder, _, name = key.rpartition("/")
        self._target(key)
        try:
            with confined.folder(folder) as place:
                return self._write_at(key, pieces, condition, f"{place}/{name}")
        except StoreError:
            raise
        except FileNotFoundError:
            try:
                confined.make(folder, self.fsync)
            except FileNotFoundError:
                pass  # another process pruned an empty parent
            except NotADirectoryError:
                raise self._conflict(key) from None
            except OSError as error:
                raise self._error(error, "write", key) from error
            raise
        except NotADirectoryError:
            self._check_root()
            raise self._conflict(key) from None
        except OSError as error:
            raise self._error(error, "write", key) from error

    def _write_at(
        self, key: str, pieces: Pieces, condition: Precondition, path: str | None = None
    ) -> Conflict | Continuation | None:
        """Write a value, by default to the file at the key's path."""
        write = self._write_once if self.atomic else self._write_in_place
        return write(key, pieces, condition, path or self._target(key))

    def _write_once(
        self, key: str, pieces: Pieces, condition: Precondition, path: str
    ) -> Conflict | Continuation | None:
        folder = path[: path.rindex("/")]
        temporary = f"{folder}/{make_name()}"
        descriptor = -1
        named = False
        try:
            descriptor = self._make(temporary, folder, key)
            claim(descriptor)
            for piece in pieces:
                files.write_all(descriptor, piece)
            self._sync_value(descriptor, key)
            if self._fails_late:
                # A network file system may report a full disk only on close. Closing a duplicate makes it
                # do so before the old value is replaced, and keeps our lock.
                os.close(os.dup(descriptor))
            if not files.MOVES_OPEN:
                descriptor = _closed(descriptor)
            if condition is ABSENT:
                if not self._publish_new(temporary, path, key):
                    return self._exists(key)
            else:
                self._publish(temporary, path, key)
                named = True
            if self.fsync != "full":
                return None
            # Concurrent writes then share one sync of the folder.
            return Continuation(partial(self._sync_name, key, syncing.FOLDERS.ticket()))
        except (StoreError, FileNotFoundError):
            raise
        except OSError as error:
            raise self._error(error, "write", key) from error
        finally:
            # Clean up however this ends, even if interrupted between two steps.
            if descriptor >= 0:
                files.close_quietly(descriptor)
            if not named:
                _unlink_quietly(temporary)

    def _write_in_place(
        self, key: str, pieces: Pieces, condition: Precondition, path: str
    ) -> Conflict | Continuation | None:
        folder = path[: path.rindex("/")]
        try:
            descriptor = self._open_in_place(path, folder, key, condition)
        except (StoreError, FileNotFoundError):
            raise
        except FileExistsError:
            return self._exists(key)
        except OSError as error:
            raise self._error(error, "write", key) from error
        try:
            try:
                for piece in pieces:
                    files.write_all(descriptor, piece)
                self._sync_value(descriptor, key)
            finally:
                os.close(descriptor)  # a mounted bucket may store the value only here, and fail
        except BaseException as error:
            _unlink_quietly(path)
            if not isinstance(error, OSError):
                raise
            told = error if isinstance(error, StoreError) else self._error(error, "write", key)
            rest = "" if isinstance(told, NoSpaceError) or not told.hint else f" {told.hint}"
            told.hint = f"The old value is lost: atomic=False writes in place. Write it again.{rest}"
            raise told from error
        self._sync_name_if_asked(key)
        return None

    def _exists(self, key: str) -> Conflict:
        """Return `CONFLICT` for an existing key; sync its name, as its writer may not have done so yet."""
        self._sync_name_if_asked(key)
        return CONFLICT

    def _open_in_place(self, path: str, folder: str, key: str, condition: Precondition) -> int:
        """Open a file to write a value into it; a link, or a folder without keys, is removed first."""
        if os.path.islink(path):
            if condition is ABSENT:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            os.unlink(path)  # its target may belong to others
        flags = files.MAKE if condition is ABSENT else files.MODIFY | os.O_CREAT | os.O_TRUNC
        try:
            descriptor = self._make(path, folder, key, flags)
        except IsADirectoryError:
            self._clear_way(path, key)
            descriptor = self._make(path, folder, key, flags)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a pipe without a reader
                raise self._no_file(key) from None
            raise
        try:
            self._is_value(descriptor, key)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _sync_value(self, descriptor: int, key: str) -> None:
        if self.fsync != "none":
            try:
                syncing.sync_file(descriptor, self.fsync)
            except OSError as error:
                raise self._unable(error, key, _CANNOT_SYNC) from error

    def _unable(self, error: OSError, key: str, cure: str, action: str = "write") -> StoreError:
        """Return the error of a call that this file system may not support at all."""
        told = self._error(error, action, key)
        if error.errno in files.UNABLE:
            told.hint = cure if told.hint is None else f"{told.hint} {cure}"
        return told

    def _sync_name_if_asked(self, key: str) -> None:
        if self.fsync == "full":
            self._sync_name(key, syncing.FOLDERS.ticket())

    def _sync_name(self, key: str, ticket: int) -> None:
        """Sync the folder of a new name, and the new ones among its parents."""
        try:
            syncing.FOLDERS.sync_name(os.path.dirname(self._base + key), self._root, ticket)
        except (FileNotFoundError, NotADirectoryError):
            pass  # the folder was removed meanwhile, with the value
        except OSError as error:
            raise self._unable(error, key, _CANNOT_SYNC_FOLDERS) from error

    def _write_nowait(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | WouldBlock | None:
        if self._in_memory and self.follow_symlinks and sum(map(len, pieces)) <= MAX_INLINE_SIZE:
            return self._write(key, pieces, condition)
        return WOULD_BLOCK

    def _make(self, path: str, folder: str, key: str, flags: int = files.MAKE) -> int:
        """Create a file, and its folder if that is missing or removed meanwhile."""
        for _ in range(PATIENCE):
            try:
                return files.open_patiently(path, flags)
            except FileNotFoundError:
                if self._confined is not None:  # nothing can be in this folder any more
                    raise
                self._make_folder(folder, key)
            except NotADirectoryError:
                self._check_root()
                raise self._conflict(key) from None
        raise self._folder_vanishes(key)

    def _folder_vanishes(self, key: str) -> BackendError:
        link = self._lowest(key)
        if self._is_broken(link):
            return self._broken(link, key)
        return BackendError("its folder is removed again and again while it is written.", store=self, key=key)

    def _make_folder(self, folder: str, key: str) -> None:
        """Create a folder and its parents."""
        try:
            syncing.make_folder(folder, self.fsync)
        except FileNotFoundError:
            pass  # another process pruned an empty parent; the caller retries
        except (FileExistsError, NotADirectoryError):
            self._check_root()
            raise self._conflict(key) from None

    def _conflict(self, key: str) -> KeyConflictError:
        parts = key.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if os.path.isfile(self._base + above):
                return KeyConflictError(
                    f"{above!r} is a value, so no key can be below it.",
                    store=self,
                    key=key,
                    hint="A folder can't be a value too: delete one of them, or use a store without folders.",
                )
        return KeyConflictError(
            "there are keys below it, so it can't be a value.",
            store=self,
            key=key,
            hint="A folder can't be a value too: delete one of them, or use a store without folders.",
        )

    def _publish(self, temporary: str, path: str, key: str) -> None:
        try:
            try:
                files.replace(temporary, path)
            except (IsADirectoryError, PermissionError):
                if not os.path.isdir(path):
                    raise
                self._clear_way(path, key)
                files.replace(temporary, path)
        except (StoreError, FileNotFoundError):
            raise
        except OSError as error:
            raise self._unable(error, key, CANNOT_RENAME) from error

    def _publish_new(self, temporary: str, path: str, key: str) -> bool:
        """Give the temporary file its final name; False if that name is taken."""
        for _ in range(2):
            try:
                files.name_new(temporary, path)
                return True
            except FileExistsError:
                if not os.path.isdir(path) or os.path.islink(path):
                    return False
                self._clear_way(path, key)
            except FileNotFoundError:
                raise
            except OSError as error:
                if os.path.lexists(path) and not os.path.isdir(path):
                    return False
                raise self._unable(error, key, _CANNOT_CREATE) from error
        return False

    def _clear_way(self, path: str, key: str) -> None:
        """Remove a folder without keys from the path of a new value."""
        if os.path.islink(path) or self._tree().has_key(key + "/"):
            raise self._conflict(key)
        syncing.FOLDERS.forget(self._base + key)
        if not removal.remove_hollow(path):
            raise self._conflict(key)

    def _patch(self, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        anew(self._patch_once, key, list(parts))

    def _patch_once(self, key: str, parts: list[tuple[int, Data]]) -> None:
        self._target(key)
        try:
            descriptor = self._open_file(key, files.MODIFY)
        except OSError as error:
            if error.errno == errno.EISDIR or (error.errno in NOT_FOUND and self._is_absent(key)):
                raise KeyNotFoundError("there is no value to write into.", store=self, key=key) from None
            if error.errno == errno.ENXIO:  # a pipe without a reader
                raise self._no_file(key) from None
            raise self._error(error, "write", key) from error
        try:
            try:
                self._is_value(descriptor, key)
                check_parts(key, os.lseek(descriptor, 0, os.SEEK_END), parts)
                for start, part in parts:
                    files.write_all(descriptor, part, start)
                self._sync_value(descriptor, key)
            finally:
                os.close(descriptor)  # a network file system may report a failed write only here
            self._sync_name_if_asked(key)  # another writer may have made the file and not synced its name
        except StoreError:
            raise
        except OSError as error:
            raise self._error(error, "write", key) from error


def _closed(descriptor: int) -> int:
    os.close(descriptor)
    return -1


def _unlink_quietly(path: str) -> None:
    """Remove a file, and ignore a failure."""
    try:
        os.unlink(path)
    except OSError:
        pass
