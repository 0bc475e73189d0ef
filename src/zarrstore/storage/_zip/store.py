"""A store in a zip archive, with one member per value."""

from __future__ import annotations

import errno
import os
import zipfile
from copy import copy
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Literal, cast
from weakref import WeakValueDictionary

from zarrstore._async.nowait import MAX_INLINE_SIZE
from zarrstore._async.threads import to_thread
from zarrstore._core.checksum import crc_version
from zarrstore._core.key_tree import pages
from zarrstore._core.requests import by_key
from zarrstore._core.urls import check_path
from zarrstore._core.verbs import ABSENT, ANY, WOULD_BLOCK, Capabilities, Entry, host_memory
from zarrstore._os.files import UNABLE, file_system, is_memory
from zarrstore._os.fsync import MODES as FSYNC_MODES
from zarrstore.errors import BackendError, ChangedError, StoreError, UnsupportedOperationError, from_os_error
from zarrstore.storage._nowait import NowaitStore
from zarrstore.storage._path import StorePath
from zarrstore.storage._zip.archive import Archive, archives_by_token
from zarrstore.storage._zip.ozx import is_named_ozx
from zarrstore.storage._zip.source import FileSource, StoreSource, source_of
from zarrstore.storage._zip.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Self, TypeAlias

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, Data, Pieces
    from zarrstore._core.verbs import Conflict, Precondition, Request, WouldBlock, Write
    from zarrstore.storage._zip.format import Member
    from zarrstore.storage._zip.index import Index
    from zarrstore.storage._zip.reader import View
    from zarrstore.storage._zip.repair import RepairReport
    from zarrstore.storage._zip.source import Source

ZipStoreAccessModeLiteral: TypeAlias = Literal["r", "w", "a", "x"]
_MODES = ("r", "w", "a", "x")

_MAX_COMMENT = 0xFFFF
# Stores in open files by their text form, which shows only an address.
in_files: WeakValueDictionary[str, ZipStore] = WeakValueDictionary()
# Hint for file systems that can't do what a call needs.
_CANNOT = (
    "Check the owner and mode of the file. If this file system can't rename or sync files, as mounts of "
    "buckets can't, write the archive on a local disk and copy it there; fsync='none' needs no syncs."
)
# Names at the root of a hierarchy.
_DOCUMENTS = ("zarr.json", ".zgroup", ".zarray")
# The folder that macOS adds for file attributes.
_MACOS = "__MACOSX/"


class ZipStore(NowaitStore):
    """A store whose keys are the members of a zip archive.

    A value survives a crash of the process once ``set`` has returned, and this class finds it when the
    archive is opened again. Other programs find it once the store is closed.

    Parameters
    ----------
    path : str, Path, binary file or StorePath
        Path of the archive, which is resolved once, here. Or an open binary file, or a value of another
        store, which is read by ranges: first its end, for the index, then what is requested. A value of a
        store can only be read. What is written to a file is kept in a temporary file until `close` copies it;
        for mode ``"w"`` a write-only object, such as a socket's, can be used once.
    mode : str
        ``"r"`` reads an existing file, ``"w"`` replaces any existing file with a new one, ``"a"`` adds to an
        existing file or creates one, ``"x"`` creates a new file and fails if one exists. ``"w"`` and ``"x"``
        apply to the first use only: a store that is closed and used again, or unpickled, adds to what it
        wrote.
    read_only : bool, optional
        Whether to refuse all changes; by default if ``mode`` is ``"r"``. A read-only store changes no file,
        whatever its mode.
    compression : int
        How to compress new members: ``zipfile.ZIP_STORED``, ``ZIP_DEFLATED``, ``ZIP_BZIP2``, ``ZIP_LZMA``.
    allowZip64 : bool
        Whether the archive may grow beyond 2 GiB or 65,535 members. If not, a write that needs more
        raises an error before it changes anything.
    deletes : bool
        Whether keys can be deleted. If not, deleting an existing key raises an error (`clear` still works,
        and any key can be overwritten).
    mmap : bool
        Whether to map the file into memory and return slices of it. If another process truncates the
        file, the operating system kills this one.
    verify : bool
        Whether to verify the checksum even if only part of a value is read, which takes reading the whole
        value. Whole values and compressed ones are always checked.
    fsync : str
        What a write waits for: ``"none"`` for nothing, ``"data"`` for its bytes to reach the medium,
        ``"full"`` for the file's name in its folder as well.
    ozx : bool, optional
        Whether the archive is an OME single-file archive (RFC-9); by default if its name ends in ``.ozx``.
        Its members are stored without compression.

    Raises
    ------
    ValueError
        If an argument is out of range, or if ``compression`` or ``allowZip64=False`` contradicts an OME
        single-file archive.

    Attributes
    ----------
    compression : int
        Compression method of new members.
    allowZip64 : bool
        Whether the archive may grow beyond 2 GiB or 65,535 members.
    allowed_exceptions : tuple of type
        Errors that mean a missing key.

    Notes
    -----
    Only one store (and its copies from `with_read_only`) can write an archive at a time, from its first write
    until `close`. Others get a `LockedError` if they write, and read the archive as it was when they opened
    it. Overwriting and deleting leave dead bytes. `compact` reclaims them, as does `close` if they are more
    than half of the file.
    """

    supports_deletes: bool = False

    _capabilities: ClassVar[Capabilities] = Capabilities(atomic_create=True)
    _clears_anyway = True
    _takes_pieces = True

    allowed_exceptions: tuple[type[Exception], ...] = (KeyError,)
    compression: int
    allowZip64: bool

    def __init__(
        self,
        path: Path | str | BinaryIO | StorePath,
        *,
        mode: ZipStoreAccessModeLiteral = "r",
        read_only: bool | None = None,
        compression: int = zipfile.ZIP_STORED,
        allowZip64: bool = True,
        deletes: bool = False,
        mmap: bool = False,
        verify: bool = False,
        fsync: Literal["none", "data", "full"] = "none",
        ozx: bool | None = None,
    ) -> None:
        if mode not in _MODES:
            raise ValueError(f"a ZipStore's mode is one of {', '.join(_MODES)}, not {mode!r}")
        if fsync not in FSYNC_MODES:
            raise ValueError(f"fsync is one of {', '.join(FSYNC_MODES)}, not {fsync!r}")
        super().__init__(read_only=mode == "r" if read_only is None else read_only)
        self._origin: StorePath | BinaryIO | None = None
        place = ""
        if isinstance(path, (str, os.PathLike)):
            text = os.fspath(path)
            if not isinstance(text, str) or not text:
                raise ValueError(f"a ZipStore's path is a file's path, not {text!r}")
            check_path(text, "file")
            place = os.path.realpath(text)
        elif isinstance(path, StorePath) or _is_file(path, writes=not self.read_only):
            if not self.read_only and (mode == "r" or isinstance(path, StorePath)):
                raise UnsupportedOperationError(
                    f"an archive in {type(path).__name__} can only be read.", hint="Use mode='r'."
                )
            self._origin = path
        else:
            raise TypeError(
                "a ZipStore's path is a str, a Path, an open binary file or a StorePath, "
                f"not {type(path).__name__}"
            )
        self._ozx = is_named_ozx(place) if ozx is None else ozx
        if self._ozx and not self.read_only and (compression != zipfile.ZIP_STORED or not allowZip64):
            raise ValueError("OME's single file (.ozx) has no compression of its own, and Zip64 in any case")
        self.compression = compression
        self.allowZip64 = allowZip64
        self.supports_deletes = deletes
        self._verify = verify
        self._mmap = mmap
        self._fsync = fsync
        # A read-only store neither replaces nor creates a file.
        self._archive = self._make_archive(place, "a" if self.read_only and mode != "r" else mode)
        if self._origin is not None and not isinstance(self._origin, StorePath):
            in_files[self._location] = self

    def _make_archive(self, path: str, mode: str) -> Archive:
        origin = self._origin
        spool = None
        if origin is not None and not isinstance(origin, StorePath) and not self.read_only:
            spool = Spool(origin, keep=mode == "a")
        return Archive(
            path if spool is None else spool.path,
            open_source=None if origin is None or spool is not None else partial(_open_source, origin),
            spool=spool,
            ozx=self._ozx,
            mode=mode,
            compression=self.compression,
            zip64=self.allowZip64,
            mmap=self._mmap,
            fsync=self._fsync,
        )

    @property
    def path(self) -> Path | None:
        """Path of the archive; None if it isn't a file at a path."""
        return Path(self._archive.path) if self._origin is None else None

    @property
    def _location(self) -> str:
        if self.path is not None:
            return f"zip://{self.path.as_posix()}"
        if isinstance(self._origin, StorePath):
            return f"{self._origin}|zip:"
        return f"zip://{type(self._origin).__name__}-{id(self._origin):x}"

    def _place(self, prefix: str) -> str:
        if self.path is not None:
            return f"file://{os.path.realpath(self.path)}/{prefix}"
        if isinstance(self._origin, StorePath):
            return f"{self._origin.store._place('').rstrip('/')}/{self._origin.path}/{prefix}"
        return super()._place(prefix)

    # -- opening, closing, copying ----------------------------------------------------------------

    async def _open(self) -> None:
        await super()._open()
        try:
            await to_thread(self._view)
        except BaseException:
            self._is_open = False
            raise

    def _view(self) -> View:
        view = self._archive.view
        if view is None:
            with _ErrorContext(self, "open", None):
                view = self._archive.open(read_only=self.read_only)
            if self._archive.is_written:  # so that even the first small value needs no thread
                self._check_medium()
        return view

    def _check_medium(self) -> None:
        """Find out whether the file system is in memory, where writes don't wait."""
        if self._archive.in_memory is None:
            self._archive.in_memory = is_memory(file_system(self._archive.path))

    def close(self) -> None:
        """Write the archive's directory, if anything was written, and close the file.

        After that, any program that reads zip archives finds all values. If this store may write, that also
        holds for an archive whose last writer was killed. The next use of the store opens the archive again.

        Raises
        ------
        ChangedError
            If the file was removed or replaced meanwhile, so that what was written is gone.
        """
        super().close()
        with _ErrorContext(self, "close", None):
            self._archive.close(mend=not self.read_only)

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return a store on the same open archive that is read-only, or not.

        Parameters
        ----------
        read_only : bool
            Whether the new store is read-only.
        """
        if not (read_only or self._archive.path):
            raise UnsupportedOperationError("this archive can only be read.", store=self)
        return super().with_read_only(read_only)

    def __copy__(self) -> Self:
        return self._share()

    def __getstate__(self) -> dict[str, object]:
        if self._origin is not None and not isinstance(self._origin, StorePath):
            raise TypeError("a ZipStore on an open file can't be pickled; make it from a path")
        state = super().__getstate__()
        state.pop("_archive")
        archive = self._archive
        if not self.read_only:
            # Otherwise each copy would replace the archive on its first use.
            with _ErrorContext(self, "open", None):
                archive.prepare()
        mode = "r" if archive.mode == "r" else "a"
        return {**state, "_token": archive.token, "_path": archive.path, "_mode": mode}

    def __setstate__(self, state: dict[str, object]) -> None:
        path, mode, token = (str(state.pop(name)) for name in ("_path", "_mode", "_token"))
        self.__dict__.update(state)
        self._archive = archives_by_token.get(token) or self._make_archive(path, mode)

    # -- reading ----------------------------------------------------------------------------------

    def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        view = self._view()
        if request is None and allocate is host_memory:
            value = view.read_stored(key, True)
            if value is not WOULD_BLOCK:
                return value
        try:
            return self._read_from(view, key, request, allocate)
        except (BackendError, ChangedError) as error:
            view = self._renewed(view, error)
        return self._read_from(view, key, request, allocate)

    def _renewed(self, view: View, error: BackendError | ChangedError) -> View:
        """Open the archive again if another one has replaced it; otherwise raise the error."""
        if isinstance(error, BackendError) and error.errno != errno.ESTALE:
            raise error
        with _ErrorContext(self, "open", None):
            return self._archive.renew(view)

    def _read_from(
        self, view: View, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | None:
        member = view.index.find(key)
        if member is None:
            return None
        with _ErrorContext(self, "read", key):
            return view.read(member, key, request, allocate, verify=self._verify)

    def _read_nowait(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | WouldBlock | None:
        view = self._archive.view
        if view is None:
            return WOULD_BLOCK
        if request is None and allocate is host_memory:
            value = view.read_stored(key, False)
            if value is not WOULD_BLOCK:
                return value
        member = view.index.find(key)
        return None if member is None else self._from_nowait(view, member, key, request, allocate)

    def _read_many_nowait(
        self, requests: Iterable[Request], allocate: Allocate
    ) -> Generator[Data | WouldBlock | None]:
        for key, group in groupby(requests, itemgetter(0)):
            asked = [request for _, request in group]
            view = self._archive.view
            if view is None or len(asked) == 1:
                yield from [self._read_nowait(key, request, allocate) for request in asked]
                continue
            member = view.index.find(key)
            for request in asked:
                yield None if member is None else self._from_nowait(view, member, key, request, allocate)

    def _from_nowait(
        self, view: View, member: Member, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | WouldBlock:
        source = view.source
        verified = self._verify and request is not None
        if verified or allocate is not host_memory or not isinstance(source, FileSource):
            return WOULD_BLOCK
        if not source.can_nowait and (source.can_nowait is False or not self._allow_nowait_in_memory(source)):
            return WOULD_BLOCK
        return view.read_nowait(member, key, request, source, allocate)

    def _allow_nowait_in_memory(self, source: FileSource) -> bool:
        """If nowait reads are refused, allow ordinary ones for files in memory; return whether it is one."""
        source.now_flags = 0
        path = self._archive.path
        source.can_nowait = bool(path) and is_memory(file_system(path))
        return source.can_nowait

    def _read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        asked = list(requests)
        view = self._view()
        if isinstance(view.source, StoreSource):
            try:
                return self._read_together(view, asked, allocate)
            except ChangedError as error:
                return self._read_together(self._renewed(view, error), asked, allocate)
        answers: list[Data | None] = [None] * len(asked)
        for key, group in by_key(asked).items():
            parts = self._read_parts(key, [asked[index][1] for index in group], allocate)
            for index, part in zip(group, parts, strict=True):
                answers[index] = part
        return answers

    def _read_parts(
        self, key: str, requests: list[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        if len(requests) == 1:
            return [self._read(key, requests[0], allocate)]
        view = self._view()
        try:
            return self._parts_from(view, key, requests, allocate)
        except (BackendError, ChangedError) as error:
            view = self._renewed(view, error)
        return self._parts_from(view, key, requests, allocate)

    def _parts_from(
        self, view: View, key: str, requests: list[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        """Read parts of one member, even if another one replaces it meanwhile."""
        member = view.index.find(key)
        if member is None:
            return [None] * len(requests)
        with _ErrorContext(self, "read", key):
            return [view.read(member, key, request, allocate, verify=self._verify) for request in requests]

    def _read_together(self, view: View, asked: list[Request], allocate: Allocate) -> list[Data | None]:
        """Read from an archive in a store, with all requests at once."""
        found = [(member, key, request) for key, request in asked if (member := view.index.find(key))]
        with _ErrorContext(self, "read", None):
            fetched = view.fetched(found, cast("StoreSource", view.source))
        return [self._read_from(fetched, key, request, allocate) for key, request in asked]

    def _stat(self, key: str) -> Entry | None:
        index = self._view().index
        size = index.size(key)
        if size is None or size <= MAX_INLINE_SIZE:
            return None if size is None else Entry(key, size)
        # A large value may be read in pieces. This version, which writes can't be conditional on, has its
        # checksum.
        member = index.find(key)
        return None if member is None else Entry(key, member.size, crc_version(member.crc, member.offset))

    def _stat_nowait(self, key: str) -> Entry | WouldBlock | None:
        return WOULD_BLOCK if self._archive.view is None else self._stat(key)

    def _can_list_nowait(self) -> bool:
        view = self._archive.view
        return view is not None and view.index.has_tree

    def _scan(self, prefix: str, deep: bool, sizes: bool) -> Iterator[list[Entry]]:
        index = self._view().index
        tree = index.tree()
        if deep:
            for page in tree.below(prefix):
                yield _entries(page, index, sizes)
        else:
            for page in pages(tree.within(prefix)):
                yield _entries([prefix + name for name in page], index, sizes)

    def _names(self, prefix: str) -> Iterator[list[str]]:
        return self._view().index.tree().names(prefix)

    def _keys(self, prefix: str) -> Iterator[list[str]]:
        return self._view().index.tree().below(prefix)

    # -- writing ----------------------------------------------------------------------------------

    def _write(self, key: str, pieces: Pieces, condition: Precondition) -> Conflict | None:
        if condition not in (ANY, ABSENT):
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        with _ErrorContext(self, "write", key):
            return self._archive.put(key, pieces, condition)

    def _write_nowait(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> Conflict | WouldBlock | None:
        if condition is not ANY and condition is not ABSENT:
            return WOULD_BLOCK
        try:
            return self._archive.put_nowait(key, pieces, condition)
        except (StoreError, OSError):
            with _ErrorContext(self, "write", key):
                raise

    def _write_many(self, writes: list[Write]) -> list[object]:
        if any(write[2] not in (ANY, ABSENT) for write in writes):
            return [_attempt(self._write, *write) for write in writes]
        archive = self._archive
        try:
            self._check_medium()
            answers = archive.put_many(writes)
        except Exception as error:
            answers = [copy(error) for _ in writes]
        return [
            _attempt(self._fail, key, answer) if isinstance(answer, Exception) else answer
            for (key, _, _), answer in zip(writes, answers, strict=True)
        ]

    def _fail(self, key: str, error: Exception) -> None:
        with _ErrorContext(self, "write", key):
            raise error

    def _remove(self, key: str, condition: Precondition = ANY) -> None:
        if condition is not ANY:
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        if self._view().index.find(key) is None:
            return
        self._check_deletes(key)
        with _ErrorContext(self, "delete", key):
            self._archive.remove(key)

    def _remove_below(self, prefix: str) -> None:
        if not prefix:
            with _ErrorContext(self, "clear", None):
                self._archive.clear()
        elif self._view().index.tree().first_below(prefix) is not None:
            self._check_deletes(prefix)
            with _ErrorContext(self, "delete all of", prefix):
                self._archive.remove_below(prefix)

    def _check_deletes(self, key: str) -> None:
        if not self.supports_deletes:
            raise self._refused_delete(key)

    def _refused_delete(self, key: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(
            "this store was made without deletes.",
            store=self,
            key=key,
            hint="Use ZipStore(..., deletes=True), or overwrite the value.",
        )

    async def move(self, path: Path | str) -> None:
        """Close the archive and move it to another path, where no file may exist.

        Parameters
        ----------
        path : str or Path
            The new path.

        Raises
        ------
        FileExistsError
            If the new path exists.
        """
        self._check_writable()
        if self.path is None:
            raise UnsupportedOperationError(
                "an archive that isn't a file at a path can't be moved.", store=self
            )
        await to_thread(self._move, os.fspath(path))

    def _move(self, path: str) -> None:
        with _ErrorContext(self, "move", None):
            self._archive.move(os.path.realpath(path))

    # -- dead bytes -------------------------------------------------------------------------------

    async def compact(self) -> int:
        """Rewrite the archive without overwritten and deleted values.

        The new file replaces the old one once it is complete.

        Returns
        -------
        int
            By how many bytes the file shrank.
        """
        return await to_thread(self.compact_sync)

    def compact_sync(self) -> int:
        """Blocking form of `compact`."""
        self._check_writable()
        with _ErrorContext(self, "compact", None):
            return self._archive.compact()

    @classmethod
    def repair(cls, path: Path | str, *, output: Path | str | None = None) -> RepairReport:
        """Repair an archive that was truncated or damaged.

        A new archive with all intact values replaces the old one; if anything may be lost, the old one is
        kept beside it.

        Parameters
        ----------
        path : str or Path
            The archive.
        output : str or Path, optional
            Where to write the new archive instead; no file may exist there.

        Returns
        -------
        RepairReport
            What was saved, and what was lost and why.
        """
        from zarrstore.storage._zip.repair import repair

        try:
            return repair(path, output=output)
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            told = from_os_error(error, action="repair", store=f"zip://{path}")
            if error.errno in UNABLE:
                told.hint = "If this file system can't rename or link files, give an output on another one."
            raise told from error

    def _outer_folder(self) -> str:
        """Return the folder that holds the whole hierarchy, as ``zip -r x.zip data.zarr`` packs it."""
        names = self._view().index.rows
        folder = _first_folder(names)
        if (
            not folder
            or not any(f"{folder}/{document}" in names for document in _DOCUMENTS)
            or any(document in names for document in _DOCUMENTS)
        ):
            return ""
        around = (f"{folder}/", _MACOS)
        return folder if all(name.startswith(around) for name in names) else ""

    @property
    def comment(self) -> bytes:
        """The archive's comment, of at most 65,535 bytes. `close` writes a new one."""
        view = self._view()
        return self._archive.comment if self._archive.is_written else view.comment

    @comment.setter
    def comment(self, comment: bytes) -> None:
        self._check_writable()
        if not isinstance(comment, bytes):
            raise TypeError(f"a zip archive's comment is bytes, not {type(comment).__name__}")
        if len(comment) > _MAX_COMMENT:
            raise ValueError(
                f"a zip archive's comment has at most {_MAX_COMMENT:,} bytes, not {len(comment):,}"
            )
        if comment != self.comment:
            with _ErrorContext(self, "write the comment of", None):
                self._archive.set_comment(comment)

    @property
    def unclosed(self) -> bool:
        """Whether another writer hasn't closed the archive: it was killed, or is still working.

        Other programs may then miss some values. Opening the archive for writing and closing it fixes that.
        """
        view = self._view()
        return not (view.is_closed or self._archive.is_written) and view.size > 0

    @property
    def dead_bytes(self) -> int:
        """The number of dead bytes: of overwritten or deleted values.

        This is an upper bound, since headers written by other programs are counted at their minimal size.
        """
        with _ErrorContext(self, "open", None):
            return self._archive.dead_bytes()


def _first_folder(names: Iterable[str]) -> str:
    """Return the top-level folder of the first name; empty if it has none."""
    for name in names:
        if not name.startswith(_MACOS):
            folder, slash, _ = name.partition("/")
            return folder if slash else ""
    return ""


def _attempt(call: Callable[..., object], *args: object) -> object:
    """Return a call's result, or the error that it raises."""
    try:
        return call(*args)
    except Exception as error:
        return error


def _entries(paths: list[str], index: Index, sizes: bool) -> list[Entry]:
    """Make the entries of a listing; with sizes, keys that were removed meanwhile are left out."""
    new = tuple.__new__  # makes an Entry in half the time
    if not sizes:
        return [new(Entry, (path, None, None, None)) for path in paths]
    sized = [(path, None if path[-1] == "/" else index.size(path)) for path in paths]
    return [
        new(Entry, (path, size, None, None)) for path, size in sized if size is not None or path[-1] == "/"
    ]


def _is_file(value: object, *, writes: bool) -> bool:
    """Whether something has what is needed of an open file."""
    reads = hasattr(value, "read") and hasattr(value, "seek")
    return reads or (writes and hasattr(value, "write"))


def _open_source(origin: StorePath | BinaryIO) -> Source:
    if isinstance(origin, StorePath):
        return StoreSource(origin.store, origin.path)
    return source_of(origin)


class _ErrorContext:
    """Adds the store and key to the archive's errors, and translates those of the system."""

    __slots__ = ("_action", "_key", "_store")

    def __init__(self, store: ZipStore, action: str, key: str | None) -> None:
        self._store = store
        self._action = action
        self._key = key

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, StoreError):
            error.about(self._store, self._key)
        elif isinstance(error, OSError):
            told = from_os_error(error, action=self._action, store=self._store, key=self._key)
            if error.errno in UNABLE:
                told.hint = _CANNOT
            raise told from error
