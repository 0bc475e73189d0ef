"""What a power failure may leave of files and folders, computed from the system calls of a writing program.

`record` runs a program under strace. `Disk` replays its calls and knows at each moment what must be on the
medium. Everything else may be there or not:

- Each change of names (a file made, linked, renamed, removed; a folder made, removed) is on the medium or
  isn't, independently of the others, until the folders concerned have been synced. A rename is one change,
  even between two folders. A sync of a file syncs no name.
- Each sector of a file is as it was at the file's last sync (zeros beyond its size then), or after any write
  since. The file's size is any that it had since then, or one between two of these.

That allows more than journaling file systems do, which keep most changes of names in order. So what is safe
here is safe on each of them.
"""

from __future__ import annotations

import copy
import itertools
import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTOR = 512

# A tree of files and folders: the bytes at each path, None for a folder.
Tree = dict[str, bytes | None]


# -- recording --------------------------------------------------------------------------------------

_LINE = re.compile(r"(\d+) +(\w+)\((.*?)\) += (-?\w+)(.*)")
_STRING = r"(?:\\x[0-9a-f]{2})*"
_HANDLE = re.compile(rf"(-?\w+)<({_STRING})>")
_PATH = re.compile(rf'(?:(-?\w+)<({_STRING})>, )?"({_STRING})"')


@dataclass(frozen=True)
class Call:
    """A system call that succeeded.

    Attributes
    ----------
    name : str
        Its name.
    paths : tuple of str
        The paths that it names, or the path of its descriptor.
    data : bytes
        What it wrote.
    number : int
        The last number among its arguments: an offset, or a size.
    flags : str
        All arguments as strace wrote them.
    began : int
        How many calls had ended when it began.
    thread : int
        The thread that made it.
    """

    name: str
    paths: tuple[str, ...]
    data: bytes
    number: int
    flags: str
    began: int
    thread: int


def record(program: str, *arguments: str, folder: Path) -> list[Call]:
    """Run a Python program; return its calls that change files or write to stderr, in order."""
    trace = folder / "trace"
    command = ["strace", "--seccomp-bpf", "-f", "-yy", "-xx", "-s", "100000000", "-o", str(trace)]
    command += [
        "-e",
        "trace=" + ",".join([*_REPLAYS, *_NOT_REPLAYED]),
        sys.executable,
        "-c",
        program,
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return list(_parsed(trace.read_text().splitlines()))


def _parsed(lines: list[str]):
    """Yield the calls that strace recorded, separated by thread."""
    unfinished: dict[str, tuple[str, int]] = {}
    handles: dict[str, str] = {}
    ended = 0
    for line in lines:
        thread, _, rest = line.partition(" ")
        began = ended
        if rest.endswith("<unfinished ...>"):
            unfinished[thread] = line.removesuffix("<unfinished ...>"), ended
            continue
        if "resumed>" in rest:
            start, began = unfinished.pop(thread)
            line = start + rest.partition("resumed>")[2]
        found = _LINE.match(line)
        if found is None or found[4] == "-1":
            continue
        ended += 1
        text = found[3]
        for number, path in _HANDLE.findall(text + f"={found[4]}{found[5]}"):
            handles[number] = _text(path)
        yield _call(found[2], text, handles, began, int(thread))


def _call(name: str, text: str, handles: dict[str, str], began: int, thread: int) -> Call:
    paths: tuple[str, ...] = ()
    data = b""
    if name.startswith(("write", "pwrite")):
        data = b"".join(map(_bytes, re.findall(f'"({_STRING})"', text)))
    else:
        paths = tuple(
            os.path.join(_text(folder), _real(_text(path), handles))
            for _, folder, path in _PATH.findall(text)
        )
    if not paths:
        paths = tuple(_text(path) for _, path in _HANDLE.findall(text)[:1])
    number = re.search(r", (\d+)$", text)
    return Call(name, paths, data, int(number[1]) if number else 0, text, began, thread)


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _text(escaped: str) -> str:
    return os.fsdecode(_bytes(escaped))


def _real(path: str, handles: dict[str, str]) -> str:
    """Return a path relative to a descriptor as an absolute one."""
    found = re.match(r"/proc/self/fd/(\d+)(.*)", path)
    return handles[found[1]] + found[2] if found else path


# -- the medium -------------------------------------------------------------------------------------


@dataclass
class _File:
    """A file's content when it was synced, and after each change since; readers see the last."""

    contents: list[bytes] = field(default_factory=lambda: [b""])
    changes: list[tuple[int, range]] = field(default_factory=list)  # when, and which sectors were written

    def write(self, data: bytes, at: int, time: int) -> None:
        old = self.contents[-1].ljust(at, b"\0")
        self.contents.append(old[:at] + data + old[at + len(data) :])
        self.changes.append((time, range(at // SECTOR, -(-(at + len(data)) // SECTOR))))

    def cut(self, size: int, time: int) -> None:
        self.contents.append(self.contents[-1][:size].ljust(size, b"\0"))
        self.changes.append((time, range(0)))

    def sync(self, began: int) -> None:
        done = sum(time <= began for time, _ in self.changes)
        del self.contents[:done], self.changes[:done]

    def after(self, choose: random.Random | None, *, lost: bool = False) -> bytes:
        """Return what a power cut may leave: the last state of all sectors, the first, or any of each."""
        if choose is None:
            return self.contents[0] if lost else self.contents[-1]
        if len(self.contents) == 1:
            return self.contents[0]
        size = choose.choice(self._sizes())
        made = bytearray(next(content[:size] for content in reversed(self.contents) if len(content) >= size))
        for sector in sorted({sector for _, sectors in self.changes for sector in sectors}):
            at = sector * SECTOR
            if at < size:
                made[at : at + SECTOR] = choose.choice(self._versions(at, min(SECTOR, size - at)))
        return bytes(made)

    def _versions(self, at: int, size: int) -> list[bytes]:
        """Return what a sector may hold: any earlier content, or zeros if the file grew over it later."""
        lengths = [len(content) for content in self.contents]
        return [
            content[at : at + size].ljust(size, b"\0")
            for number, content in enumerate(self.contents)
            if max(lengths[number:]) > at
        ]

    def _sizes(self) -> list[int]:
        sizes = [len(content) for content in self.contents]
        ways = [
            range(first - first % SECTOR + SECTOR, second, SECTOR)
            for first, second in itertools.pairwise(sizes)
        ]
        return sizes + [way[len(way) // 2] for way in ways if way]


@dataclass
class _Names:
    """A change of names: what each means from now on (None: nothing), and the folders not synced yet."""

    names: dict[tuple[int, str], int | None]
    time: int
    unsynced: set[int]


class Disk:
    """Folders and files as running programs see them, and as a power failure may leave them.

    Parameters
    ----------
    top : Path
        The folder to watch. Its current content is on the medium.
    """

    def __init__(self, top: Path) -> None:
        self._top = str(top)
        self._files: dict[int, _File] = {}
        self._last = 0  # the number of the file or folder made last; the top is 0
        self._sure: dict[tuple[int, str], int] = {}  # the names on the medium
        self._changes: list[_Names] = []  # the changes since then, and durable ones that follow others
        self._time = 0
        self._now: dict[tuple[int, str], int] = {}
        for folder, folders, files in os.walk(top):
            for name in folders + files:
                path = os.path.join(folder, name)
                number = self._give(path)
                if name in files:
                    self._files[number] = _File([Path(path).read_bytes()])
        for change in self._changes:
            change.unsynced.clear()
        self._settle()

    # -- calls --------------------------------------------------------------------------------------

    def replay(self, call: Call) -> bool:
        """Record what a call changed; return whether it may have changed something."""
        self._time += 1
        if not self._is_inside(call) or (call.name.startswith("open") and "O_CREAT" not in call.flags):
            return False
        _REPLAYS[call.name](self, call)
        return True

    def _is_inside(self, call: Call) -> bool:
        return any((path + "/").startswith(self._top + "/") for path in call.paths)

    def _open(self, call: Call) -> None:
        number = self._find(call.paths[0])
        if number is None and "O_CREAT" in call.flags:
            self._files[self._give(call.paths[0])] = _File()
        elif "O_TRUNC" in call.flags:
            self._files[number].cut(0, self._time)

    def _write_at(self, call: Call) -> None:
        self._put(call, call.number)

    def _append(self, call: Call) -> None:
        file = self._file(call)
        if file is not None:  # only growing files are written without an offset
            self._put(call, len(file.contents[-1]))

    def _put(self, call: Call, at: int) -> None:
        file = self._file(call)
        if file is not None:
            file.write(call.data, at, self._time)

    def _truncate(self, call: Call) -> None:
        file = self._file(call)
        if file is not None:
            file.cut(call.number, self._time)

    def _rename(self, call: Call) -> None:
        source, target = (self._place(path.rstrip("/")) for path in call.paths)
        self._change({target: self._now[source], source: None})

    def _link(self, call: Call) -> None:
        self._change({self._place(call.paths[1]): self._now[self._place(call.paths[0])]})

    def _remove(self, call: Call) -> None:
        self._change({self._place(call.paths[0]): None})

    def _make_folder(self, call: Call) -> None:
        self._give(call.paths[0])

    def _sync(self, call: Call) -> None:
        number = self._find(call.paths[0])
        if number is None:
            return  # it was removed
        if number in self._files:
            self._files[number].sync(call.began)
        for change in self._changes:
            if change.time <= call.began:
                change.unsynced.discard(number)
        self._settle()

    # -- names --------------------------------------------------------------------------------------

    def _place(self, path: str) -> tuple[int, str]:
        """Return a path's folder (the top is 0) and name."""
        *folders, name = os.path.relpath(path, self._top).split("/")
        number = 0
        for folder in folders:
            number = self._now[number, folder]
        return number, name

    def _find(self, path: str) -> int | None:
        """Return the number of the file or folder at a path, if it exists."""
        if path == self._top:
            return 0
        try:
            return self._now.get(self._place(path))
        except KeyError:
            return None

    def _file(self, call: Call) -> _File | None:
        return self._files.get(self._find(call.paths[0]) or 0)

    def _give(self, path: str) -> int:
        self._last += 1
        self._change({self._place(path): self._last})
        return self._last

    def _settle(self) -> None:
        while self._changes and not self._changes[0].unsynced:
            self._sure = _names_after([self._changes.pop(0)], self._sure)

    def _change(self, names: dict[tuple[int, str], int | None]) -> None:
        self._changes.append(_Names(names, self._time, {folder for folder, _ in names}))
        self._now = _names_after([*self._changes[-1:]], self._now)

    # -- a cut --------------------------------------------------------------------------------------

    def tree(self) -> Tree:
        """Return what running programs see."""
        return self._tree(self._changes, None)

    def states(self, seed: str, most: int) -> list[Tree]:
        """Return what a power cut now may leave: the extremes, and random states."""
        choose = random.Random(seed)
        sure = [change for change in self._changes if not change.unsynced]
        open_ = [change for change in self._changes if change.unsynced]
        selections = [self._changes, sure]
        selections += [[one for one in self._changes if one is not lost] for lost in open_[-3:]]
        selections += [
            [one for one in self._changes if not one.unsynced or one is kept] for kept in open_[-3:]
        ]
        found = [self._tree(kept, None, lost=lost) for kept in selections for lost in (False, True)]
        for _ in range(most):
            share = choose.choice((0.2, 0.5, 0.8, 1.0))
            kept = [one for one in self._changes if not one.unsynced or choose.random() < share]
            found.append(self._tree(kept, choose))
        return found

    def _tree(self, kept: list[_Names], choose: random.Random | None, *, lost: bool = False) -> Tree:
        names = _names_after(kept, self._sure)
        inside: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), number in names.items():
            inside.setdefault(folder, []).append((name, number))
        tree: Tree = {}
        contents: dict[int, bytes] = {}
        waiting = [("", 0)]
        while waiting:
            path, folder = waiting.pop()
            for name, number in inside.get(folder, ()):
                if number in self._files:
                    if number not in contents:
                        contents[number] = self._files[number].after(choose, lost=lost)
                    tree[path + name] = contents[number]
                else:
                    tree[path + name] = None
                    waiting.append((f"{path}{name}/", number))
        return tree


_REPLAYS = {
    "open": Disk._open,
    "openat": Disk._open,
    "openat2": Disk._open,
    "write": Disk._append,
    "pwrite64": Disk._write_at,
    "pwritev": Disk._write_at,
    "ftruncate": Disk._truncate,
    "rename": Disk._rename,
    "renameat2": Disk._rename,
    "link": Disk._link,
    "unlink": Disk._remove,
    "unlinkat": Disk._remove,
    "rmdir": Disk._remove,
    "mkdir": Disk._make_folder,
    "fsync": Disk._sync,
    "fdatasync": Disk._sync,
}
# Other calls that change files: a KeyError says that one must be replayed, too.
_NOT_REPLAYED = ("creat", "truncate", "writev", "pwritev2", "renameat", "linkat", "mkdirat", "symlink")
_NOT_REPLAYED += ("symlinkat", "fallocate", "copy_file_range", "sendfile", "splice")


def cuts(disk: Disk, calls: list[Call], most: int, *, unless: str = "") -> Iterator[tuple[Call, list[Tree]]]:
    """Replay calls; yield each with the new states that a power cut after it may leave.

    Parameters
    ----------
    disk : Disk
        Its state before the calls; it is changed.
    calls : list of Call
        From `record`.
    most : int
        How many random states to choose after each call.
    unless : str
        The caller whose syncs have no effect: see `who_syncs`.
    """
    known: set[int] = set()
    callers: dict[int, str] = {}
    for number, call in enumerate(calls):
        told = who_syncs(call)
        if told:
            callers[call.thread] = told
        is_sync = call.name in ("fsync", "fdatasync")
        caller = callers.pop(call.thread, "") if is_sync else ""
        changes = (not caller or caller != unless) and disk.replay(call)
        if call.name == "write" and not changes and not told:
            known.clear()  # something was acknowledged, so the same state now means something else
            changes = True
        states = disk.states(str(number), most) if changes else []
        new = {mark: tree for tree in states if (mark := hash(frozenset(tree.items()))) not in known}
        yield call, list(new.values())
        known |= new.keys()


def kills(disk: Disk, calls: list[Call]) -> Iterator[tuple[Call, Tree]]:
    """Replay calls; yield each with what a kill leaves after it and, if it writes much, within it."""
    for call in calls:
        if call.name.startswith("pwrite") and len(call.data) > SECTOR:
            within = copy.deepcopy(disk)
            within.replay(replace(call, data=call.data[: len(call.data) // 2 // SECTOR * SECTOR]))
            yield replace(call, name="nothing", data=b""), within.tree()
        disk.replay(call)
        yield call, disk.tree()


def who_syncs(call: Call) -> str:
    """Return who is about to sync, if a call announces that: see `lives.live`."""
    return call.data.decode().removeprefix("sync ").strip() if call.data.startswith(b"sync ") else ""


def _names_after(changes: list[_Names], names: dict[tuple[int, str], int]) -> dict[tuple[int, str], int]:
    names = dict(names)
    for change in changes:
        for place, number in change.names.items():
            names.pop(place, None)
            if number is not None:
                names[place] = number
    return names


def materialise(tree: Tree, top: Path) -> None:
    """Create a tree of files and folders."""
    top.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        if content is None:
            (top / path).mkdir()
        else:
            (top / path).write_bytes(content)


def seen(top: Path) -> Tree:
    """Return the tree of an existing folder."""
    return {
        path.relative_to(top).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in top.rglob("*")
    }
