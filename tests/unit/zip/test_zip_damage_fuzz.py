"""Archives damaged at random: no value is wrong, and none is missing without an error or a report."""

import random

import pytest

from zarrstore.errors import CorruptError, StoreError
from zarrstore.storage import ZipStore

KEYS = ["zarr.json", "c/0", "c/1", "c/2", "größe", "d/é/x", "nested"]


def build(path, rng):
    """Write an archive in some sessions; returns its bytes, its state, all values of each key, and its ends.

    An end is where it was closed, or where the last value would have to be zeroed not to be missed.
    """
    path.unlink(missing_ok=True)
    state, past, ends = {}, {key: set() for key in KEYS}, set()
    store = ZipStore(path, mode="w", deletes=True, compression=rng.choice([0, 0, 8]))
    store.is_empty_sync("")  # makes the file
    for session in range(rng.randint(1, 3)):
        if session:
            store.close()
            ends.add(path.stat().st_size)
        for _ in range(rng.randint(1, 12)):
            key = rng.choice(KEYS)
            writer = store._archive._writer
            last = path.stat().st_size if writer is None else writer.stop
            if key in state and rng.random() < 0.15:
                store.delete_sync(key)
                del state[key]
                continue
            value = path.read_bytes()[:3000] if key == "nested" else rng.randbytes(rng.randrange(400))
            store.set_sync(key, value)
            state[key] = value
            past[key].add(value)
    data = path.read_bytes()
    if rng.random() < 0.5:
        store.close()
        data = path.read_bytes()
        last = None
        ends.add(len(data))
    store.close()
    return data, state, past, ends, last


def damaged(whole, rng, ends, last):
    data = bytearray(whole)
    # Most of what matters is near a signature; an archive that wasn't closed ends in a long hole.
    reach = len(whole[:-20].rstrip(b"\0")) + 20
    places = [at for at in range(reach) if whole.startswith(b"PK", at)]
    while True:
        place = rng.randrange(reach)
        if rng.random() < 0.7:
            place = min(reach - 1, rng.choice(places) + rng.randrange(60))
        match rng.randrange(3):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
                return bytes(data)
            case 1 if place not in ends:
                return bytes(data[:place])
            case 2:
                stop = min(len(data), place + rng.randint(1, 200))
                # All of the last member gone is as if it had never been there.
                if last is None or place > last or any(data[stop : len(data) - 20]):
                    data[place:stop] = bytes(stop - place)
                    return bytes(data)


def read(path):
    """Return the values that are there, and whether there was an error."""
    found, failed = {}, False
    try:
        with ZipStore(path, verify=True) as store:
            for key in store.list_sync():
                try:
                    found[key] = store.get_sync(key).to_bytes()
                except (StoreError, NotImplementedError):
                    failed = True
    except CorruptError:
        failed = True
    return found, failed


def check(folder, seed):
    rng = random.Random(seed)
    path = folder / "a.zip"
    whole, state, past, ends, last = build(path, rng)
    data = damaged(whole, rng, ends, last)
    path.write_bytes(data)
    before, failed = read(path)
    try:
        report = ZipStore.repair(path)
    except CorruptError:  # nothing is left to be saved
        assert failed, seed
        assert path.read_bytes() == data, seed
        return
    after, still_failing = read(path)
    assert not still_failing, seed
    for found in (before, after):
        for key, value in found.items():
            assert value in past.get(key, ()), (seed, key)
    assert before == state or failed or report.lost or after == state, (seed, report)
    assert after == state or report.lost or report.damaged, (seed, report)
    if report.lost:
        assert report.damaged.read_bytes() == data, seed
    if report.damaged:
        report.damaged.unlink()


def test_damage(tmp_path):
    for seed in range(150):
        check(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_damage_for_long(tmp_path):
    for seed in range(1000, 5000):
        check(tmp_path, seed)
