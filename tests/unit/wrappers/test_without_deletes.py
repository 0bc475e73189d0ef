"""A class that says that it can't delete does not, whatever store it is one of and whatever wraps it."""

import asyncio

import obstore.store
import pytest

from zarrstore import LoggingStore, RetryStore, WrapperStore
from zarrstore.errors import UnsupportedOperationError
from zarrstore.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, SubStore, ZipStore

MAKE = {
    LocalStore: lambda kind, folder: kind(folder),
    MemoryStore: lambda kind, folder: kind(),
    FsspecStore: lambda kind, folder: kind.from_url(f"memory://{folder}"),
    ObjectStore: lambda kind, folder: kind(obstore.store.MemoryStore()),
    WrapperStore: lambda kind, folder: kind(LocalStore(folder)),
    LoggingStore: lambda kind, folder: kind(LocalStore(folder), "ERROR"),
    SubStore: lambda kind, folder: kind(LocalStore(folder), "a"),
    RetryStore: lambda kind, folder: kind(ZipStore(folder / "a.zip", mode="w", deletes=True)),
}
AS = {
    "attribute": lambda base: type("Keeping", (base,), {"supports_deletes": False}),
    "property": lambda base: type("Keeping", (base,), {"supports_deletes": property(lambda self: False)}),
}
AROUND = {
    "itself": lambda store: store,
    "wrapper": WrapperStore,
    "logging": lambda store: LoggingStore(store, "ERROR"),
    "view": lambda store: store.sub(""),
}


def calls(store, method, *arguments):
    """Both faces of a method."""
    yield lambda: asyncio.run(getattr(store, method)(*arguments))
    yield lambda: getattr(store, f"{method}_sync")(*arguments)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("how", AS)
@pytest.mark.parametrize("base", MAKE)
def test_nothing_is_deleted(base, how, around, tmp_path):
    store = AROUND[around](MAKE[base](AS[how](base), tmp_path))
    assert not store.supports_deletes
    store.set_sync("d/x", b"1")
    for method, arguments in (
        ("delete", ("d/x",)),
        ("delete", ("d",)),
        ("delete_dir", ("d",)),
        ("clear", ()),
    ):
        for call in calls(store, method, *arguments):
            if arguments == ("d",) and method == "delete" and not store.capabilities.recursive_delete:
                call()
            else:
                with pytest.raises(UnsupportedOperationError, match="can't delete"):
                    call()
    for method in ("delete", "delete_dir"):
        for call in calls(store, method, "missing"):
            call()
    assert store.get_sync("d/x").to_bytes() == b"1"
    store.close()


@pytest.mark.parametrize("around", AROUND)
def test_an_archive_is_cleared_all_the_same(around, tmp_path):
    with AROUND[around](ZipStore(tmp_path / "a.zip", mode="w")) as store:
        for clear in calls(store, "clear"):
            store.set_sync("d/x", b"1")
            for delete in (*calls(store, "delete", "d/x"), *calls(store, "delete_dir", "d")):
                with pytest.raises(UnsupportedOperationError, match="without deletes"):
                    delete()
            clear()
            assert store.is_empty_sync()
