"""An archive that several stores share: opened on first use, written by one process at a time.

Readers use the current `View` and need no lock. A writer holds the archive's lock against other threads.
Against other processes it holds ``flock`` on the file, from the first write until `Archive.close`. A forked
child inherits the file's lock, but isn't a writer.
"""

from __future__ import annotations

import atexit
import errno
import os
import threading
import uuid
from copy import copy
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary

from zarrstore._async.threads import PatientLock
from zarrstore._core.forks import in_forked_child
from zarrstore._core.verbs import ABSENT, CONFLICT, WOULD_BLOCK, host_memory
from zarrstore._os import files, fsync
from zarrstore._os.files import MAKE, READ, unlock_and_close
from zarrstore._os.fsync import make_folder, sync_file
from zarrstore._os.moving import move
from zarrstore._os.temporary import reap
from zarrstore.errors import (
    ChangedError,
    CorruptError,
    KeyConflictError,
    KeyNotFoundError,
    LockedError,
    RootError,
    StoreError,
    UnsupportedOperationError,
)
from zarrstore.storage._zip import ozx, rewriting
from zarrstore.storage._zip import writer as _writer
from zarrstore.storage._zip.file import (
    beside,
    check_regular,
    closed_on_error,
    is_at,
    lock_file,
    locked_error,
    new_file,
    open_locked,
)
from zarrstore.storage._zip.format import GUARD, STORED
from zarrstore.storage._zip.index import Index
from zarrstore.storage._zip.opening import guard_at_end, open_view
from zarrstore.storage._zip.reader import View
from zarrstore.storage._zip.source import FileSource, ObjectSource, stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarrstore._core.types import Pieces
    from zarrstore._core.verbs import Conflict, Precondition, WouldBlock, Write
    from zarrstore.storage._zip.source import Source
    from zarrstore.storage._zip.spool import Spool

# Closing rewrites an archive if more than this share of it, and more than this many bytes, are dead.
DEAD_SHARE = 0.5
DEAD_BYTES = 1 << 16

# The most small values in one batch.
_RUN = 64

# How many bytes to read first, at the end of an archive that isn't a file: they may hold its directory.
_TAIL = 1 << 20

_archives: WeakSet[Archive] = WeakSet()
# Archives of this process by token: a store unpickled in the process that pickled it shares its archive.
archives_by_token: WeakValueDictionary[str, Archive] = WeakValueDictionary()


class Archive:
    """A zip archive at a path.

    Parameters
    ----------
    path : str
        Absolute path of the file.
    mode : str
        ``"r"``, ``"a"``, ``"w"`` or ``"x"``; the first opening turns ``"w"`` and ``"x"`` into ``"a"``.
    compression : int
        Method for new members.
    zip64 : bool
        Whether Zip64 may be used.
    mmap : bool
        Whether to map the file into memory for reading.
    fsync : str
        ``"none"``, ``"data"`` or ``"full"``.
    open_source : callable, optional
        Opens an archive that isn't a file at a path; it can only be read.
    ozx : bool
        Whether it is an OME single-file archive: with a comment of its own, Zip64, and all documents first.
    spool : Spool, optional
        Delivers the archive elsewhere when it is closed; ``path`` is the spool's path.
    """

    def __init__(
        self,
        path: str,
        *,
        mode: str,
        compression: int,
        zip64: bool,
        mmap: bool,
        fsync: str,
        open_source: Callable[[], Source] | None = None,
        spool: Spool | None = None,
        ozx: bool = False,
    ) -> None:
        self.path = path
        self.mode = mode
        self.compression = compression
        self.zip64 = zip64
        self.mmap = mmap
        self.fsync = fsync
        self._can_put_one = compression == STORED and fsync == "none"
        self.token = uuid.uuid4().hex
        self.view: View | None = None
        self._open_source = open_source
        self._spool = spool
        self._ozx = ozx
        self._is_due = False  # whether the spool has something to deliver
        self._lock = PatientLock()
        self._writer: _writer.Appender | None = None
        self._is_for_writing = False  # whether a writable store has opened it
        self.in_memory: bool | None = None  # None until the first write finds out
        _archives.add(self)
        archives_by_token[self.token] = self

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:
            pass  # all values are in the file; only the directory is missing

    # -- opening ----------------------------------------------------------------------------------

    @property
    def is_written(self) -> bool:
        """Whether it is open for writing in this process."""
        return self._writer is not None

    def open(self, *, read_only: bool = False) -> View:
        """Return the current view, opening the archive if necessary; a read-only store replaces nothing."""
        view = self.view
        if not read_only:
            self._is_for_writing = True
        if view is None:
            with self._lock:
                if read_only and self.mode in ("w", "x"):
                    return self._look()  # not kept: the first use by a writer replaces or creates the archive
                self.prepare()
                view = self.view
                if view is None:
                    view = self.view = self._look()
        return view

    def renew(self, stale: View) -> View:
        """Open the archive again after a network file system's server has lost its file."""
        with self._lock:
            if self._writer is None and self.view is stale:
                self.view = None
            return self.open(read_only=True)

    def prepare(self) -> None:
        """Replace or create the file if it is opened for the first time with mode ``"w"`` or ``"x"``."""
        with self._lock:
            if self.mode == "w":
                self._replace()
            elif self.mode != "x":
                return
            elif not self._create():
                raise KeyConflictError(
                    "there is a file at this path already, and mode 'x' makes a new one.",
                    hint="Use mode='a' to add to it, or 'w' to replace it.",
                )
            self.mode = "a"

    def _look(self) -> View:
        if self._open_source is not None:
            return open_view(self._open_source(), tail_size=_TAIL)
        try:
            view = self._view_now()
        except FileNotFoundError:
            if self.mode == "r":
                raise _missing() from None
            return View(_Nothing(), Index(), None, 0, 0, 0)
        if not view.size and self.mode == "r":
            raise CorruptError("the file is empty, which a zip archive never is.")
        return view

    def _view_now(self) -> View:
        descriptor = os.open(self.path, READ)
        with closed_on_error(descriptor):
            check_regular(descriptor)
        view = open_view(FileSource(descriptor))
        if self.mmap and view.size:
            import mmap

            import numpy as np

            try:
                mapped = mmap.mmap(descriptor, view.size, access=mmap.ACCESS_READ)
            except (OSError, ValueError):
                pass  # unsupported by the file system, or a writer has truncated the file: it is read instead
            else:
                view.mapped = np.frombuffer(mapped, np.uint8)
        return view

    # -- locking ----------------------------------------------------------------------------------

    def _begin(self) -> tuple[_writer.Appender, View]:
        """Become the file's writer if we aren't yet; the caller holds the lock."""
        self.prepare()  # may make us the writer
        while True:
            writer, view = self._writer, self.view
            if writer is not None and view is not None:
                if writer.pid != os.getpid():
                    raise locked_error("This process was forked from the one that writes it.")
                return writer, view
            try:
                descriptor = open_locked(self.path)
            except FileNotFoundError:
                if self.mode == "r":
                    raise _missing() from None
                self._create()  # unless another process is faster
            else:
                self._adopt(descriptor)

    def _create(self) -> bool:
        """Create a new file and become its writer; False if there is a file already."""
        make_folder(os.path.dirname(self.path), self.fsync)
        try:
            descriptor = os.open(self.path, MAKE, 0o666)
        except FileExistsError:
            return False
        with closed_on_error(descriptor):
            lock_file(descriptor)
            is_ours = is_at(descriptor, self.path)
        if is_ours:
            self._adopt(descriptor)
        else:
            unlock_and_close(descriptor)
        return is_ours

    def _adopt(self, descriptor: int) -> None:
        """Become the writer of a locked file."""
        with closed_on_error(descriptor):
            if self._spool is not None:
                self._spool.check()
                self._is_due = True
            self._sync_folder()
            view = self.view
            known = None if view is None else getattr(view.source, "stamp", None)
            # An archive that wasn't closed may have grown without a change of size, before its guard.
            if view is None or not view.is_closed or known != stamp_of(descriptor):
                view = self._view_now()
            if not view.size:
                self._start(descriptor)
                view = self._view_now()
            reap(beside(self.path))
            self._writer = _writer.Appender(
                descriptor, view, fsync=self.fsync, zip64=self.zip64, ozx=self._ozx
            )
            self.view = view

    def _start(self, descriptor: int) -> None:
        _writer.write_start(descriptor, _writer.OZX_GAP if self._ozx else _writer.GAP)

    def _replace(self) -> None:
        """Replace the file with a new, empty archive, and become its writer."""
        if self._writer is not None:
            if self._writer.pid != os.getpid():
                raise locked_error("This process was forked from the one that writes it.")
            self._rename_new(self._start)
            return
        while True:
            try:
                old = open_locked(self.path)
            except FileNotFoundError:
                if self._create():
                    return
                continue  # another process was faster
            self._rename_new(self._start, old=old)
            return

    def _rename_new(self, fill: Callable[[int], None], *, keep: bool = True, old: int = -1) -> None:
        """Create a new file, fill it, and rename it over the old one; with ``keep`` become its writer.

        Without ``keep``, it replaces values that may be on the medium already, so it is always synced. The
        descriptor ``old``, if given, is closed.
        """
        self._check_place()
        try:
            mode = os.stat(self.path).st_mode
            with new_file(self.path, mode) as (descriptor, temporary):
                fill(descriptor)
                if self.fsync != "none" or not keep:
                    with fsync.required(self.fsync != "none"):
                        sync_file(descriptor, "full")
                if files.MOVES_OPEN:
                    os.replace(temporary, self.path)
        finally:
            if old >= 0:
                unlock_and_close(old)
        if not files.MOVES_OPEN:
            descriptor = self._replace_closed(descriptor, temporary)
        self._release()
        if keep:
            self._adopt(descriptor)
        else:
            unlock_and_close(descriptor)
        if self.fsync == "data" or not keep:
            self._sync_rename()

    def _replace_closed(self, descriptor: int, temporary: str) -> int:
        """Close both files, rename the new one over the old one, and open it again."""
        unlock_and_close(descriptor)
        self._release()
        try:
            files.replace(temporary, self.path)
        except OSError:
            os.unlink(temporary)
            raise
        return open_locked(self.path)

    def _check_place(self) -> None:
        """Raise if the file that we are writing is no longer at the path."""
        if self._writer is not None and not is_at(self._writer.descriptor, self.path):
            raise ChangedError(
                "the archive was removed, or another file put in its place, while it was being written.",
                hint="What was written since it was opened is gone with it; write it again.",
            )

    def _sync_folder(self) -> None:
        if self.fsync == "full":
            folder = os.path.dirname(self.path)
            fsync.FOLDERS.sync_name(folder, folder, fsync.FOLDERS.ticket())

    def _sync_rename(self) -> None:
        """Sync the name of a file that replaced an archive; with "data" only if the file system can."""
        if self.fsync != "none":
            with fsync.required(self.fsync == "full"):
                fsync.FOLDERS.sync(os.path.dirname(self.path))

    def _release(self) -> None:
        """Drop the view and the writer, and release the file's lock."""
        writer, self._writer = self._writer, None
        self.view = None
        if writer is not None:
            if writer.pid == os.getpid():
                unlock_and_close(writer.descriptor)
            else:
                os.close(writer.descriptor)

    # -- writing ----------------------------------------------------------------------------------

    def put(self, key: str, pieces: Pieces, condition: Precondition) -> Conflict | None:
        """Store a value; return `CONFLICT` if the condition doesn't hold."""
        (answer,) = self.put_many([(key, pieces, condition)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def put_nowait(self, key: str, pieces: Pieces, condition: Precondition) -> Conflict | WouldBlock | None:
        """Store a small value if that needs no waiting, else return `WOULD_BLOCK`."""
        if not self.in_memory or not self._can_put_one:
            return WOULD_BLOCK
        if not self._lock.acquire(blocking=False):
            return WOULD_BLOCK
        try:
            writer, view = self._writer, self.view
            if writer is None or view is None or writer.pid != os.getpid():
                return WOULD_BLOCK
            if not writer.is_small(pieces, key, alone=True):
                return WOULD_BLOCK
            if condition is ABSENT and key in view.index.rows:
                return CONFLICT
            try:
                member = writer.put_one(key, pieces)
            except BaseException:
                _cut_torn(writer)
                raise
            view.index.put(key, member)
            return None
        finally:
            self._lock.release()

    def put_many(self, writes: list[Write]) -> list[Conflict | Exception | None]:
        """Store values, small ones in batches; return the result of `put` for each, or its error."""
        answers: list[Conflict | Exception | None] = [None] * len(writes)
        run: dict[str, int] = {}  # indexes of small values in the current batch, by key
        with self._lock:
            writer, view = self._begin()
            for place, (key, pieces, condition) in enumerate(writes):
                small = writer.is_small(pieces, key)
                if run and (not small or key in run or len(run) >= _RUN):
                    self._put_run(writer, view, writes, run, answers)
                if condition is ABSENT and key in view.index.rows:
                    answers[place] = CONFLICT
                elif small:
                    run[key] = place
                else:
                    try:
                        with _CutOnError(writer):
                            member = writer.put(key, pieces, self.compression)
                        view.index.put(key, member)
                        writer.check_synced()
                    except Exception as error:
                        answers[place] = error
            if run:
                self._put_run(writer, view, writes, run, answers)
        return answers

    def _put_run(
        self,
        writer: _writer.Appender,
        view: View,
        writes: list[Write],
        run: dict[str, int],
        answers: list[Conflict | Exception | None],
    ) -> None:
        """Store the small values of a batch, and empty it."""
        try:
            with _CutOnError(writer):
                members = writer.put_small(
                    [(key, writes[place][1]) for key, place in run.items()], self.compression
                )
            for key, member in zip(run, members, strict=True):
                view.index.put(key, member)
            writer.check_synced()
        except Exception as error:
            for place in run.values():
                answers[place] = copy(error)
        run.clear()

    def remove(self, key: str) -> None:
        """Remove a key if it exists."""
        with self._lock:
            writer, view = self._begin()
            if key in view.index.rows:
                with _CutOnError(writer):
                    writer.remove(key)
                view.index.drop(key)
                writer.check_synced()

    def remove_below(self, prefix: str) -> None:
        """Remove all keys below a directory."""
        with self._lock:
            writer, view = self._begin()
            with _CutOnError(writer):
                writer.remove_below(prefix)
            view.index.drop_below(prefix)
            writer.check_synced()

    def clear(self) -> None:
        """Replace the archive with an empty one; readers that have the old one open keep it."""
        with self._lock:
            if self.mode == "x":
                self.prepare()
            else:
                self._replace()
                self.mode = "a"

    @property
    def comment(self) -> bytes:
        """The archive's comment."""
        writer = self._writer
        return self.open().comment if writer is None else writer.comment

    def set_comment(self, comment: bytes) -> None:
        """Change the comment; `close` writes it."""
        with self._lock:
            self._begin()[0].comment = comment

    def dead_bytes(self) -> int:
        """Return an upper bound of the file's dead bytes."""
        with self._lock:
            view = self.open()
            writer = self._writer
            size = view.size if writer is None else writer.stop
            end = view.end
            needed = rewriting.live_bytes(view)
            if end is None:
                needed += view.chain_start
            else:
                needed += end.prefix + end.stop - end.directory if size == view.size else end.prefix
            return max(0, size - needed)

    def compact(self) -> int:
        """Rewrite the archive without its dead bytes; return by how many bytes it shrank."""
        with self._lock:
            self._say_ozx(*self._begin())
            before = self.open().source.size()
            self._compact()
            return before - os.stat(self.path).st_size

    def _compact(self) -> None:
        end = self.open().end
        if end is not None and end.prefix and len(self.open().source.read(0, end.prefix)):
            # A self-extracting program may depend on the layout.
            raise UnsupportedOperationError(
                "other bytes are in front of the archive, so it can't be rewritten.",
                hint="Copy its keys to a new store.",
            )

        def fill(descriptor: int) -> None:
            view = self.open()
            rewriting.write_archive(
                view.source,
                rewriting.live_members(view),
                descriptor,
                self.comment,
                fsync=False,
                zip64=self.zip64,
                always64=self._ozx,
            )

        self._rename_new(fill, keep=False)

    def move(self, target: str) -> None:
        """Close the archive, and move its file to another path."""
        with self._lock:
            self._begin()  # so that the file exists, and no other writer has it
            self.close()
            if os.path.lexists(target):
                raise KeyConflictError(f"{target!r} exists already.", hint="Move to a new path.")
            move(self.path, target, self.fsync)
            self.path = target
            self.in_memory = None

    # -- closing ----------------------------------------------------------------------------------

    def close(self, *, mend: bool = False) -> None:
        """Write the directory if anything changed, and close the file; the next use opens it again.

        Parameters
        ----------
        mend : bool
            Whether to write the directory if another writer was killed before it could. That is also done if
            a writable store has opened the archive.
        """
        with self._lock:
            if self._writer is None and (mend or (self._is_for_writing and self.view is not None)):
                self._mend()
            writer, view = self._writer, self.view
            try:
                if writer is not None and view is not None and writer.pid == os.getpid():
                    if writer.is_dirty:
                        self._check_place()
                        self._finish(writer, view)
                    else:
                        writer.cut_torn()  # what a killed writer left after the end
            finally:
                self._release()
            if self._spool is not None and self._is_due:
                self._spool.deliver()
                self._is_due = False

    def _mend(self) -> None:
        """Become the writer of an archive that was never closed, if we may and nobody else is."""
        if self.mode in ("w", "x") or self._open_source is not None:
            return
        try:
            if _is_unclosed(self.path):
                self._begin()
        except (LockedError, CorruptError, RootError, PermissionError, FileNotFoundError):
            pass  # it is being written, or read-only, or damaged, which its next use reports
        except OSError as error:
            if error.errno != errno.EROFS:
                raise

    def _say_ozx(self, writer: _writer.Appender, view: View) -> None:
        """Give an OME single-file archive its comment, unless it has one or holds no hierarchy."""
        root = view.index.find(ozx.ROOT) if self._ozx and not writer.comment else None
        if root is not None:
            document = view.read(root, ozx.ROOT, None, host_memory, verify=False)
            writer.comment = ozx.comment_for(bytes(document or b""))

    def _finish(self, writer: _writer.Appender, view: View) -> None:
        self._say_ozx(writer, view)
        writer.fill_gap(view.index)
        dead = self.dead_bytes()
        mostly_dead = dead > DEAD_BYTES and dead > DEAD_SHARE * writer.stop
        # A file that can't be replaced while it is open is compacted only on request.
        if files.MOVES_OPEN and (mostly_dead or not writer.leads(view.index)):
            try:
                self._compact()
            except (StoreError, OSError):
                if self._writer is not writer:
                    raise  # the file was replaced already, and the writer is closed
                # No space, or a broken member: the archive keeps its dead bytes.
            else:
                return
        writer.finish(view.index)

    def after_fork(self) -> None:
        """In a forked child: renew the locks, and stop being a writer."""
        self._is_due = False
        self._lock = PatientLock()
        if self.view is not None:
            self.view.index.lock = threading.RLock()
            if isinstance(self.view.source, ObjectSource):
                self.view.source.lock = threading.Lock()
        writer, self._writer = self._writer, None
        if writer is not None:
            os.close(writer.descriptor)


class _CutOnError:
    """Cuts off what a write left in the file if the block fails."""

    def __init__(self, writer: _writer.Appender) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is not None:
            _cut_torn(self._writer)


def _cut_torn(writer: _writer.Appender) -> None:
    """Cut off what a failed write left, if possible now."""
    try:
        writer.cut_torn()
    except OSError:
        pass  # the next write tries again


class _Nothing:
    """The source of an archive that doesn't exist yet."""

    at_once = 0

    def size(self) -> int:
        return 0

    def read(self, start: int, size: int) -> bytes:
        return b""


def _is_unclosed(path: str) -> bool:
    """Whether a file is empty, ends in zeros, or ends like an archive that was never closed."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - GUARD.size))
        last = file.read()
        return not last.strip(b"\0") or guard_at_end(last, size) is not None


def _missing() -> KeyNotFoundError:
    return KeyNotFoundError("there is no archive at this path.", hint="Use mode='a' or 'w' to make one.")


@in_forked_child
def _after_fork() -> None:
    for archive in list(_archives):
        archive.after_fork()


def _at_exit() -> None:
    for archive in list(_archives):
        try:
            archive.close()
        except Exception:
            pass  # as in __del__


atexit.register(_at_exit)
