"""Lives that were recorded, one for each module of tests here, and a place for what is left of them."""

import copy
import os
import tempfile
from pathlib import Path

import fsspec
import lives
import pytest
from hostile import make_victim
from power_loss import Disk, record

from zarrstore.storage._zip import opening as _opening

_LIVE = "import sys, lives; lives.live(*sys.argv[1:])"


@pytest.fixture(scope="package")
def recorded(tmp_path_factory):
    """Return a life's folder, the disk before it, and its calls."""
    known = {}

    def recorded(kind, mode):
        if (kind, mode) not in known:
            folder = tmp_path_factory.mktemp("life")
            top = folder / "top"
            top.mkdir()
            with lives.make(kind, top) as store:
                for key, value in lives.BEFORE[kind].items():
                    store.set_sync(key, value)
            disk = Disk(top)
            known[kind, mode] = top, disk, record(_LIVE, kind, str(top), mode, folder=folder)
        top, disk, calls = known[kind, mode]
        return top, copy.deepcopy(disk), calls

    return recorded


@pytest.fixture
def cut(tmp_path, monkeypatch):
    """Where to put what a cut leaves: in memory, if there is a place, since each is soon removed."""
    monkeypatch.setattr(_opening, "_MOMENT", 0)  # nobody else writes there, so there is nothing to wait for
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else tmp_path) as folder:
        yield Path(folder) / "cut"


@pytest.fixture
def place(tmp_path):
    """A place where only what is named "root" may be touched."""
    top = tmp_path / "hostile"
    make_victim(top)
    yield top
    fsspec.filesystem("memory").rm(str(top), recursive=True)
