"""What a look-up of a file tells, by whichever path it is made."""

import asyncio

import pytest

from zarrstore import LocalStore


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_both_paths_tell_the_same(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("zarrstore._os.files.file_system", lambda path: kind)
    store = LocalStore(tmp_path)
    store.set_sync("k", b"123")
    blocking = store._stat("k")
    assert (blocking.size, blocking.modified) == (3, (tmp_path / "k").stat().st_mtime)
    assert asyncio.run(_stat(store, "k")) == blocking
    store.set_sync("k", b"456")
    assert asyncio.run(_stat(store, "k")).version != blocking.version


async def _stat(store, key):
    await store.get(key)  # which surveys the file system, and brings the value into the cache
    return await store._async_verbs.stat(key)
