"""How many of this package's modules one read passes through: what a reader of the code has to follow."""

import sys
import threading
from pathlib import Path

import pytest
from object_servers import BUCKET
from obstore.store import S3Store
from s3fs import S3FileSystem

import zarrstore
from zarrstore import FsspecStore, ObjectStore, RangeByteRequest
from zarrstore._async import io_loop

SOURCE = str(Path(zarrstore.__file__).parent)
# Beyond what both share: what is known of S3 alone, and what holds an answer against its request (fsspec);
# how obstore's threads end.
MOST = {"fsspec": 12, "obstore": 11}


def entered_by(call):
    """Module files below the package that calls enter, on any thread, while ``call`` runs."""
    files = set()

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(SOURCE):
            files.add(frame.f_code.co_filename.removeprefix(SOURCE))

    async def here():
        sys.setprofile(note)

    async def no_more():
        sys.setprofile(None)

    threading.setprofile(note)  # for threads that start meanwhile
    io_loop.run_on_io(here())  # for the one that runs already
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        io_loop.run_on_io(no_more())
    return files


@pytest.mark.parametrize("backend", ["fsspec", "obstore"])
def test_a_range_passes_few_modules(s3_server, s3_place, backend):
    bucket, prefix = s3_place
    if backend == "fsspec":
        fs = S3FileSystem(asynchronous=True, **s3_server.fsspec_options())
        store = FsspecStore(fs, path=f"{bucket}/{prefix}")
    else:
        store = ObjectStore(S3Store(BUCKET, prefix=prefix, **s3_server.obstore_options()))
    store.set_sync("k", b"0123456789")
    request = RangeByteRequest(2, 5)
    assert store.get_sync("k", byte_range=request).to_bytes() == b"234"
    entered = entered_by(lambda: store.get_sync("k", byte_range=request))
    assert len(entered) <= MOST[backend], sorted(entered)
