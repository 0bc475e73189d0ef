"""How many modules of zarrstore a reader has to follow from a call down to the operating system."""

from __future__ import annotations

import asyncio

from module_trace import modules_passed

from zarrstore.storage import LocalStore, ZipStore


def test_a_cold_read_of_a_file(tmp_path):
    LocalStore(tmp_path).set_sync("group/key", b"value")
    store = LocalStore(tmp_path)  # hasn't surveyed its file system, and so reads in a thread
    with modules_passed() as passed:
        assert asyncio.run(store.get("group/key")) is not None
    assert len(passed) <= 7, sorted(passed)


def test_a_later_write_to_an_archive(tmp_path):
    async def trace():
        with ZipStore(tmp_path / "a.zip", mode="w") as store:
            await store.set("first", b"value")
            with modules_passed() as passed:
                await store.set("second", b"value")
        return passed

    passed = asyncio.run(trace())
    assert len(passed) <= 10, sorted(passed)
