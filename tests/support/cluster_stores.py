"""Stores that workers of a cluster unpickle: they log what is written, are slow, or fail."""

import os

from zarrstore import WrapperStore


class Noted(WrapperStore):
    """Logs each key that is written, or optionally read, and the process that does it, to a file."""

    def __init__(self, store, log, *, pause=0.0, reads=False):
        super().__init__(store)
        self.log, self.pause, self.reads = str(log), pause, reads

    async def _write(self, below, key, pieces, condition):
        answer = await below.write(key, pieces, condition)
        await self._note(below, key)
        return answer

    async def _read(self, below, key, request, allocate):
        if self.reads:
            await self._note(below, key)
        return await below.read(key, request, allocate)

    async def _note(self, below, key):
        append(self.log, f"{os.getpid()} {key}\n")
        await below.sleep(self.pause)


def append(path, text):
    with open(path, "a") as file:
        file.write(text)


class Lossy(WrapperStore):
    """Lists a key whose value is gone when it is read."""

    def __init__(self, store, key):
        super().__init__(store)
        self.key = key

    async def _read(self, below, key, request, allocate):
        return None if key == self.key else await below.read(key, request, allocate)


def notes(log):
    """Return what a file of `Noted` has: keys in the order of writing, and the processes."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [key for _, key in lines], {int(process) for process, _ in lines}


class Deadly(WrapperStore):
    """Kills the process that reads a key."""

    def __init__(self, store, key):
        super().__init__(store)
        self.key = key

    async def _read(self, below, key, request, allocate):
        if key == self.key:
            os._exit(1)
        return await below.read(key, request, allocate)
