"""Which questions of the contract do zarr-python's stores answer wrongly, and which do ours?

Prints a table in markdown: python examples/conformance.py
"""

import logging
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import fsspec
import zarr
import zarr.storage
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

import zarrstore
from zarrstore.storage import FsspecStore, LocalStore, MemoryStore, ZipStore
from zarrstore.testing import QUESTIONS, applies, ask

# What a question is about, by the name that it begins with.
SUBJECTS = {
    "keys": ("key_",),
    "prefixes and listings": ("prefix_", "directory_lists", "empty_store", "many_keys", "listing_"),
    "byte requests": (
        "range_selects",
        "range_wrong",
        "range_is_no",
        "range_past",
        "range_of",
        "range_outside",
    ),
    "many reads at once": ("ranges_", "many_values"),
    "missing keys": ("no_such_value",),
    "writing": ("value_", "created_once", "create_", "parts_", "range_written", "versions"),
    "deleting": ("directory_deleted", "root_cleared", "emptied_", "deleting_"),
    "read-only": ("read_only_",),
    "identity and opening": ("identity", "closing", "opening_"),
    "many users at once": ("no_loop", "many_threads", "cancelled_", "concurrent_", "readers_"),
}


def memory_file_system():
    return AsyncFileSystemWrapper(fsspec.filesystem("memory"), asynchronous=True)


STORES = {
    "zarr Local": lambda place: zarr.storage.LocalStore(place),
    "zarr Memory": lambda place: zarr.storage.MemoryStore(),
    "zarr Zip": lambda place: zarr.storage.ZipStore(place.with_suffix(".zip"), mode="w"),
    "zarr Fsspec": lambda place: zarr.storage.FsspecStore(memory_file_system(), path=str(place)),
    "Local": lambda place: LocalStore(place),
    "Memory": lambda place: MemoryStore(),
    "Zip": lambda place: ZipStore(place.with_suffix(".zip"), mode="w", deletes=True),
    "Fsspec": lambda place: FsspecStore(memory_file_system(), path=str(place)),
}


def subject_of(question):
    fitting = [subject for subject, begins in SUBJECTS.items() if question.name.startswith(begins)]
    assert len(fitting) == 1, (question.name, fitting)
    return fitting[0]


def examine(make, folder):
    """Put every question that applies to a fresh store each: how many of each subject, and how many wrong."""
    asked, wrong = Counter(), Counter()
    for number, question in enumerate(QUESTIONS):
        store = make(folder / f"s{number}")
        if not applies(question, store):
            continue
        asked[subject_of(question)] += 1
        try:
            ask(question, store)
        except Exception:
            wrong[subject_of(question)] += 1
        finally:
            close(store)
    return asked, wrong


def close(store):
    try:
        store.close()
    except Exception:  # zarr-python's zip store can't be closed before it is opened
        pass


def main():
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    found = {}
    for name, make in STORES.items():
        folder = Path(tempfile.mkdtemp(prefix="conformance-"))
        try:
            found[name] = examine(make, folder)
        finally:
            shutil.rmtree(folder)
    print(f"zarr-python {zarr.__version__}, zarrstore {zarrstore.__version__}; wrong/asked\n")
    print("| questions about |", " | ".join(found), "|")
    print("|---|" + "---|" * len(found))
    for subject in SUBJECTS:
        counts = [(wrong[subject], asked[subject]) for asked, wrong in found.values()]
        print("|", subject, "|", " | ".join(f"{bad}/{all_}" if all_ else "" for bad, all_ in counts), "|")
    totals = [f"{wrong.total()}/{asked.total()}" for asked, wrong in found.values()]
    print("| all |", " | ".join(totals), "|")


if __name__ == "__main__":
    main()
