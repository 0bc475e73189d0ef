"""Thousands of archives, each damaged in one place: no value is wrong, and none is missing without a word."""

import os
import random
import re
import zipfile

import pytest

from zarrstore.errors import StoreError
from zarrstore.storage import ZipStore

VALUES = {
    "zarr.json": b'{"zarr_format": 3}',
    "c/0/0": bytes(range(256)) * 3,
    "c/0/1": b"",
    "c/1/0": b"PK\1\2 PK\3\4 PK\5\6 " * 20,
    "größe/0": b"x" * 700,
    "long/" + "k" * 150: b"y" * 40,
    "last": b"the last value",
}


# What those are replaced by, or that is removed.
BEFORE = {
    **{key: b"old value of " + key.encode() for key in list(VALUES)[:4]},
    "gone/1": b"gone",
    "gone/2": b"gone, too",
}


def plain(path, **options):
    """A closed archive."""
    with ZipStore(path, mode="w", deletes=True, **options) as store:
        for key, value in VALUES.items():
            store.set_sync(key, value)


def deflated(path):
    plain(path, compression=zipfile.ZIP_DEFLATED)


def changed(path, *, end=True):
    """One whose values were replaced and removed, closed in between."""
    store = ZipStore(path, mode="w", deletes=True)
    for key, value in BEFORE.items():
        store.set_sync(key, value)
        if key == "gone/1":
            store.close()
    for key, value in VALUES.items():
        store.set_sync(key, value)
    store.delete_dir_sync("gone")
    if end:
        store.close()
    return store


def unclosed(path):
    """The same, but its writer was killed before it closed it the second time."""
    store = changed(path, end=False)
    data = path.read_bytes()
    store.close()
    path.write_bytes(data)


def foreign(path):
    """One that Python's own module made."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in VALUES.items():
            archive.writestr(key, value)


def flipped(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def cut(rng, data):
    """Where it was closed before it is whole, and what it was then: there it isn't cut."""
    ends = {match.end() + 18 for match in re.finditer(b"PK\5\6", data)}
    return data[: rng.choice([place for place in range(len(data)) if place not in ends])]


def zeroed(rng, data):
    at = rng.randrange(len(data))
    size = min(rng.choice([1, 4, 30, 512]), len(data) - at)
    return data[:at] + bytes(size) + data[at + size :]


def overwritten(rng, data):
    at = rng.randrange(len(data))
    size = min(rng.choice([1, 2, 8, 100]), len(data) - at)
    return data[:at] + rng.randbytes(size) + data[at + size :]


def shortened(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 3, 64]) :]


def lengthened(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice([1, 3, 64])) + data[at:]


ARCHIVES = [plain, deflated, changed, unclosed, foreign]
DAMAGES = [flipped, flipped, flipped, cut, zeroed, overwritten, shortened, lengthened]


def found_in(path):
    """What an archive holds, by key: a value, or the error that reading it raises."""
    found = {}
    with ZipStore(path, verify=True) as store:
        for key in store.list_sync():
            try:
                found[key] = store.get_sync(key).to_bytes()
            except StoreError as error:
                found[key] = error
    return found


def complaint(path, data):
    """Say what is wrong or missing without a word in an archive of these bytes; None if nothing is."""
    path.write_bytes(data)
    try:
        found = found_in(path)
    except StoreError:
        found = None
    try:
        report = ZipStore.repair(path)
    except StoreError:
        report, repaired = None, None
        if found is None:
            return None
    else:
        repaired = found_in(path)
    # It keeps the damaged file where it can't know what is gone.
    lost = report is not None and (report.lost or report.damaged is not None)
    for what, values in (("opened", found), ("repaired", repaired)):
        if values is None:
            continue
        failed = [key for key, value in values.items() if isinstance(value, StoreError)]
        if what == "repaired" and failed:
            return f"{what}: {failed} can't be read"
        # Where a newer member or a removal was lost, and said to be, the old one is what is left.
        for key, value in values.items():
            known = [VALUES.get(key), BEFORE.get(key) if what == "repaired" and lost else None]
            if key not in failed and value not in known:
                return f"{what}: {key!r} is {value[:30]!r}; {report!r}"
        missing = set(VALUES) - set(values)
        if missing and not failed and not lost and report is not None:
            return f"{what}: {sorted(missing)} are missing, and repair says {report!r}"
    return None


def complaints(folder, seeds):
    for path in folder.iterdir():
        path.unlink()
    found = []
    originals = {}
    for make in ARCHIVES:
        make(folder / "original.zip")
        originals[make] = (folder / "original.zip").read_bytes()
        os.unlink(folder / "original.zip")
        assert complaint(folder / "whole.zip", originals[make]) is None
    for seed in seeds:
        rng = random.Random(seed)
        make, damage = rng.choice(ARCHIVES), rng.choice(DAMAGES)
        problem = complaint(folder / "a.zip", damage(rng, originals[make]))
        if problem is not None:
            found.append(f"seed {seed}, {make.__name__} {damage.__name__}: {problem}")
        for path in folder.iterdir():
            path.unlink()
    return found


def test_some_hundred_damaged_archives(tmp_path):
    found = complaints(tmp_path, range(300))
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
def test_four_thousand_damaged_archives(tmp_path, part):
    found = complaints(tmp_path, range(1000 * part + 300, 1000 * part + 1300))
    assert not found, "\n".join(found)
