"""Processes and threads that set, create, read, delete and list the same few keys at once."""

import os
import random
import subprocess
import sys
import threading
import time
import zlib

import pytest

from zarrstore.storage import LocalStore, MemoryStore, ZipStore

KEYS = [f"{folder}/{number}" for folder in ("a/b", "c") for number in range(3)]
ALWAYS = "a/always"  # is replaced, never deleted


def sealed(rng):
    """A value that tells whether it is whole."""
    body = rng.randbytes(rng.choice((10, 3000, 70_000)))
    return zlib.crc32(body).to_bytes(4, "big") + body


def is_whole(value):
    return zlib.crc32(value[4:]).to_bytes(4, "big") == value[:4]


def work(store, seed, seconds):
    """Do whatever comes, for a while; returns how often, and which creates won."""
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    count, won = 0, []
    while time.monotonic() < until or count < 50:
        count += 1
        key = rng.choice(KEYS)
        match rng.randrange(9):
            case 0 | 1:
                store.set_sync(key, sealed(rng))
            case 2:
                store.set_sync(ALWAYS, sealed(rng))
            case 3:
                store.delete_sync(key)
            case 4:
                store.delete_dir_sync(rng.choice(("a/b", "c")))
            case 5:
                assert set(store.list_sync()) <= {*KEYS, ALWAYS} | {f"once/{n}" for n in range(10**5)}
            case 6:
                name = f"once/{count // 20}"
                if store.create_sync(name, str(seed).encode()):
                    won.append(name)
            case _:
                value = store.get_sync(key)
                assert value is None or is_whole(value.to_bytes()), key
                assert is_whole(store.get_sync(ALWAYS).to_bytes())
    return count, won


WORKER = """
import sys, test_together
from zarrstore.storage import LocalStore
count, won = test_together.work(LocalStore(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
print(count, *won)
"""

for_some_time = pytest.mark.parametrize("seconds", [0.3, pytest.param(120.0, marks=pytest.mark.slow)])


@for_some_time
def test_processes(tmp_path, record_property, seconds):
    store = LocalStore(tmp_path / "root")
    store.set_sync(ALWAYS, sealed(random.Random(0)))
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(store.root), str(seed), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for seed in range(1, 5)
    ]
    answers = [worker.communicate(timeout=seconds + 60)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    record_property("cases", sum(int(answer[0]) for answer in answers))
    check_creates(store, {seed: answer[1:] for seed, answer in enumerate(answers, 1)})


@for_some_time
@pytest.mark.parametrize("kind", ["folder", "links", "memory", "archive"])
def test_threads(tmp_path, record_property, kind, seconds):
    makes = {
        "folder": lambda: LocalStore(tmp_path / "root"),
        "links": lambda: LocalStore(tmp_path / "root", follow_symlinks=False),
        "memory": MemoryStore,
        "archive": lambda: ZipStore(tmp_path / "a.zip", mode="w", deletes=True),
    }
    answers, errors = {}, []

    def run(seed):
        try:
            answers[seed] = work(store, seed, seconds)
        except BaseException as error:
            errors.append(error)

    with makes[kind]() as store:
        store.set_sync(ALWAYS, sealed(random.Random(0)))
        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 60)
        assert not errors
        assert len(answers) == 4
        record_property("cases", sum(count for count, _ in answers.values()))
        check_creates(store, {seed: won for seed, (_, won) in answers.items()})


def check_creates(store, winners):
    """Each key that was created has one winner, and its value."""
    names = [name for won in winners.values() for name in won]
    assert len(names) == len(set(names)) > 0
    for seed, won in winners.items():
        for name in won:
            assert store.get_sync(name).to_bytes() == str(seed).encode()
