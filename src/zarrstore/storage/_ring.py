"""Many small files by one system call: io_uring, where the kernel has it.

Opening, reading and closing a file are three system calls of a microsecond or so each, and in Python as
many calls between which the interpreter's lock is held. A ring takes the steps for 64 files at once
and carries them out while other threads run Python: so two threads read in parallel what one lock
would have them read in turn. What lies on the medium is read from many files at a time.

Linux 6.1 is needed, and permission: containers often refuse io_uring. Elsewhere `read_each` knows nothing
and its caller reads file by file. Layouts and numbers come from Linux' ``include/uapi/linux/io_uring.h``.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from zarrstore._async import threads as _threads
from zarrstore._core.requests import RangeByteRequest
from zarrstore._core.verbs import WOULD_BLOCK
from zarrstore._os.files import HAS_NUMBERS, READ

if TYPE_CHECKING:
    from collections.abc import Sequence

# Files in a call, and the bytes of each that are read: larger ones are better read by themselves.
_FILES = 64
LARGEST = 16 * 1024 - 1
_SLOT = LARGEST + 1
# From so many files on a ring is worth a hop to a thread, and from so many on a second thread.
_ENOUGH = _FILES
_MANY = 4 * _FILES

_SETUP, _ENTER, _REGISTER = 425, 426, 427
_SUBMIT_ALL, _SINGLE_ISSUER, _DEFER_TASKRUN = 1 << 7, 1 << 12, 1 << 13
_GETEVENTS, _EXTENDED = 1 << 0, 1 << 3
_REGISTER_FILES2, _SPARSE = 13, 1
_SUBMISSIONS_AT = 0x10000000
_OPENAT, _READ, _CLOSE = 18, 22, 19
_FIXED_FILE, _LINK, _HARDLINK = 1 << 0, 1 << 2, 1 << 3
_WHEREVER = (1 << 64) - 1  # at the file's own position

# A slot isn't handed down to programs, and refuses the flag that says so.
_FLAGS = READ & ~getattr(os, "O_CLOEXEC", 0)

_STEP = np.dtype(
    [
        ("code", "u1"), ("flags", "u1"), ("priority", "u2"), ("file", "i4"), ("offset", "u8"),
        ("address", "u8"), ("size", "u4"), ("options", "u4"), ("number", "u8"), ("buffer", "u2"),
        ("personality", "u2"), ("slot", "u4"), ("rest", "u8", 2),
    ]
)  # fmt: skip
_ANSWER = np.dtype([("number", "u8"), ("result", "i4"), ("flags", "u4")])
# What is done with each file, in this order.
_OPENED, _FOUND, _BEHIND, _CLOSED = range(4)
_STEPS = 4


class _Setup(ctypes.Structure):
    _fields_ = (
        ("submissions", ctypes.c_uint32),
        ("answers", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("unused", ctypes.c_uint32 * 7),
        # Offsets of head, tail, mask, number of entries, flags, dropped, array; of head, tail, mask, number
        # of entries, overflow, answers.
        ("submission", ctypes.c_uint32 * 10),
        ("answer", ctypes.c_uint32 * 10),
    )


class _Files(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("unused", ctypes.c_uint64),
        ("data", ctypes.c_uint64),
        ("tags", ctypes.c_uint64),
    )


class _Limit(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64))


class _Waiting(ctypes.Structure):
    _fields_ = (
        ("signals", ctypes.c_uint64),
        ("size", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("limit", ctypes.c_uint64),
    )


# How long to wait for 64 files before each is read by itself. Only what isn't a file takes that long: a
# pipe that somebody holds open and writes nothing into, which the other way refuses.
_limit = _Limit(5, 0)
_waiting = _Waiting(limit=ctypes.addressof(_limit))

# Unlike `ctypes.PyDLL`, this lets other threads run meanwhile.
_call = ctypes.CDLL(None, use_errno=True).syscall if HAS_NUMBERS else None


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


class _Ring:
    """A ring for the thread that makes it: no other may use it.

    For each file it has a slot in the kernel's table, so that no descriptor of the process is used, and a
    part of its memory, so that addresses are written down once.
    """

    _descriptor = -1

    def __init__(self) -> None:
        assert _call is not None
        setup = _Setup(flags=_SUBMIT_ALL | _SINGLE_ISSUER | _DEFER_TASKRUN)
        self._descriptor = _checked(_call(_SETUP, _FILES * _STEPS, ctypes.byref(setup)))
        entries = setup.submissions
        size = max(setup.submission[6] + 4 * entries, setup.answer[5] + _ANSWER.itemsize * setup.answers)
        shared = np.frombuffer(mmap.mmap(self._descriptor, size), np.uint8)
        self._steps = np.frombuffer(
            mmap.mmap(self._descriptor, _STEP.itemsize * entries, offset=_SUBMISSIONS_AT), _STEP
        )
        table = _Files(count=_FILES, flags=_SPARSE)
        pointer = ctypes.byref(table)
        _checked(_call(_REGISTER, self._descriptor, _REGISTER_FILES2, pointer, ctypes.sizeof(table)))

        def words(offset: int, count: int = 1) -> Any:
            return shared[offset : offset + 4 * count].view(np.uint32)

        words(setup.submission[6], entries)[:] = np.arange(entries)
        self._submitted, self._answered, self._taken = (
            words(setup.submission[1]), words(setup.answer[1]), words(setup.answer[0]),
        )  # fmt: skip
        at = setup.answer[5]
        self._answers = shared[at : at + _ANSWER.itemsize * setup.answers].view(_ANSWER)
        self._tail = self._head = 0
        self._memory = np.empty((_FILES, _SLOT), np.uint8)
        self._plan = self._planned()

    def close(self) -> None:
        """Let the kernel forget the ring, and what it still has to do."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close

    def _planned(self) -> Any:
        """The steps for each file, but for what differs from call to call."""
        plan = np.zeros((_FILES, _STEPS), _STEP)
        slots = np.arange(_FILES)
        plan["number"] = slots[:, None] * _STEPS + np.arange(_STEPS)
        opens, reads, ends, closes = plan.T
        opens["code"], opens["options"], opens["slot"] = _OPENAT, _FLAGS, slots + 1
        opens["flags"] = _LINK  # without a file there is nothing more to do
        # A short answer may mean an error as well as the file's end: what comes behind it tells.
        addresses = self._memory.ctypes.data + slots * _SLOT
        for step in (reads, ends):
            step["code"], step["flags"] = _READ, _FIXED_FILE | _HARDLINK
            step["file"], step["address"] = slots, addresses
        ends["offset"] = _WHEREVER
        ends["address"] += LARGEST
        closes["code"], closes["slot"] = _CLOSE, slots + 1
        return plan

    def read(self, folder: int, requests: Sequence[tuple[str, Any]]) -> list[Any]:
        """Read at most 64 files below an open folder; see `read_each`."""
        count = len(requests)
        keys, selections = zip(*requests, strict=True)
        text = "\0".join(keys)
        names = os.fsencode(text) + b"\0"
        if len(names) == len(text) + 1:
            lengths = np.fromiter(map(len, keys), np.int64, count)
        else:
            lengths = np.fromiter((len(os.fsencode(key)) for key in keys), np.int64, count)
        memory = np.frombuffer(names, np.uint8)
        plan = self._plan[:count]
        opens, reads, ends = plan[:, _OPENED], plan[:, _FOUND], plan[:, _BEHIND]
        opens["file"] = folder
        opens["address"] = memory.ctypes.data + (lengths + 1).cumsum() - lengths - 1
        reads["offset"], reads["size"], ends["size"] = _WHEREVER, LARGEST, 1
        parts = [(at, part) for at, part in enumerate(selections) if part is not None]
        for at, part in parts:
            reads["offset"][at], reads["size"][at], ends["size"][at] = part.start, part.end - part.start, 0
        opened, found, behind, _ = self._carry_out(plan).T
        whole = (opened == 0) & (behind == 0) & (found > 0)
        for at, part in parts:
            whole[at] &= found[at] == part.end - part.start
        sizes = found.tolist()
        if whole.all():
            if sizes.count(sizes[0]) == count:
                return [value.copy() for value in self._memory[:count, : sizes[0]]]
            return [value[:size].copy() for value, size in zip(self._memory, sizes, strict=False)]
        missing = opened == -errno.ENOENT
        return [
            self._memory[at, : sizes[at]].copy() if whole[at] else None if missing[at] else WOULD_BLOCK
            for at in range(count)
        ]

    def _carry_out(self, plan: Any) -> Any:
        """Have the steps carried out; returns the result of each."""
        assert _call is not None
        steps = plan.reshape(-1)
        count, entries = len(steps), len(self._steps)
        first = self._tail % entries
        room = min(entries - first, count)
        self._steps[first : first + room] = steps[:room]
        self._steps[: count - room] = steps[room:]
        self._tail = (self._tail + count) % (1 << 32)
        self._submitted[0] = self._tail
        # The last argument goes by the stack, where a plain int would fill half of its place.
        how, size = ctypes.byref(_waiting), ctypes.c_size_t(ctypes.sizeof(_waiting))
        left, done = count, 0
        while done < count:
            answer = _call(_ENTER, self._descriptor, left, count, _GETEVENTS | _EXTENDED, how, size)
            if answer < 0 and ctypes.get_errno() != errno.EINTR:
                _checked(answer)
            before, done = done, (int(self._answered[0]) - self._head) % (1 << 32)
            if answer == left == 0 and done == before:
                raise OSError(errno.ETIME, os.strerror(errno.ETIME))
            left -= max(answer, 0)
        answers = self._answers[np.arange(self._head, self._head + count) % len(self._answers)]
        self._head = (self._head + count) % (1 << 32)
        self._taken[0] = self._head
        results = np.empty(count, np.int32)
        results[answers["number"]] = answers["result"]
        return results.reshape(-1, _STEPS)


_own = threading.local()
_refused = not HAS_NUMBERS
# Rings that somebody was torn away from: the kernel may still write into their memory.
_abandoned: list[_Ring] = []


def _after_fork() -> None:
    """Forget the parent's rings, which belong to its threads."""
    global _own
    _own = threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _ring() -> _Ring | None:
    """The calling thread's ring; None if there can be none."""
    global _refused
    ring: _Ring | None = getattr(_own, "ring", None)
    if ring is None and not _refused:
        try:
            ring = _own.ring = _Ring()
        except OSError as error:
            # Too many open files is no lasting reason.
            _refused = error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return ring


def is_worth(count: int) -> bool:
    """Whether so many reads had better be one call in the pool."""
    return count >= _ENOUGH and not _refused


def read_each(folder: int, requests: Sequence[tuple[str, Any]]) -> list[Any]:
    """Read many small files, or parts of them, by a ring each of one or two threads.

    Parameters
    ----------
    folder : int
        Descriptor of the folder that the names are relative to.
    requests : sequence of (str, ByteRequest or None)
        Names, and which bytes.

    Returns
    -------
    list of array, None or WAIT
        A value, None for a proven absence, and `WOULD_BLOCK` for whatever must be looked at by itself: large
        or empty files, folders, errors.
    """
    suited = [at for at, (_, request) in enumerate(requests) if request is None or _is_short(request)]
    if len(suited) < len(requests):
        answers: list[Any] = [WOULD_BLOCK] * len(requests)
        for at, answer in zip(suited, _shared(folder, [requests[at] for at in suited]), strict=True):
            answers[at] = answer
        return answers
    return _shared(folder, requests)


def _is_short(request: Any) -> bool:
    return (
        type(request) is RangeByteRequest
        and 0 < request.end - request.start <= LARGEST
        and request.start <= sys.maxsize
    )


def _shared(folder: int, requests: Sequence[tuple[str, Any]]) -> list[Any]:
    if len(requests) < _MANY:
        return _read_all(folder, requests)
    half = len(requests) // 2
    other = _threads.share(lambda: _read_all(folder, requests[half:]))
    return _read_all(folder, requests[:half]) + other()


def _read_all(folder: int, requests: Sequence[tuple[str, Any]]) -> list[Any]:
    global _refused
    answers: list[Any] = []
    ring = _ring()
    try:
        for first in range(0, len(requests), _FILES) if ring is not None else ():
            found = ring.read(folder, requests[first : first + _FILES])  # type: ignore[union-attr]
            answers += found
            if 2 * sum(answer is WOULD_BLOCK for answer in found) > len(found):
                break  # mostly large files: each is better read by itself
    except BaseException as error:
        _abandoned.append(_own.__dict__.pop("ring"))
        if not isinstance(error, OSError):
            raise
        _refused = True
    return answers + [WOULD_BLOCK] * (len(requests) - len(answers))
