"""What a copy of a great many keys takes of memory: no more than one of a few."""

import subprocess
import sys

import pytest

# Listings out of order, of a million keys, whose values nobody keeps.
CHILD = """
import sys
from zarrstore import Store, copy_store_sync, sync_store_sync, diff_stores_sync
from zarrstore.abc.store import Capabilities, Entry, cut

class Many(Store):
    _capabilities = Capabilities(atomic_create=True)

    def __init__(self, name, count, *, read_only=False):
        super().__init__(read_only=read_only)
        self.name, self.count = name, count

    @property
    def _location(self):
        return f"many://{self.name}"

    def _read(self, key, request, allocate):
        return cut(b"12345678", request)

    def _write(self, key, pieces, condition):
        return None

    def _remove(self, key, condition):
        return None

    def _stat(self, key):
        return None

    def _scan(self, prefix, deep, sizes):
        for start in range(self.count - 1000, -1, -1000):
            yield [Entry(f"measurements/{n % 97}/c/{n}/0", 8, None, 1.0) for n in range(start, start + 1000)]

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024

count = int(sys.argv[1])
assert copy_store_sync(Many("a", count), Many("b", 0)).keys == count
print(peak())
report = sync_store_sync(Many("a", count), Many("b", count - 1000), delete=True)
assert (report.keys, report.skipped) == (1000, count - 1000), report
print(peak())
"""


@pytest.mark.parametrize(
    ("count", "most"),
    [(60_000, 120), pytest.param(1_000_000, 200, marks=[pytest.mark.slow, pytest.mark.timeout(300)])],
)
def test_memory_does_not_grow_with_the_number_of_keys(count, most):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(count)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert max(map(int, done.stdout.split())) < most, done.stdout
