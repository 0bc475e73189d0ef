"""The compared libraries, each behind the same few calls."""

from __future__ import annotations

import asyncio
import os
import shutil
import zipfile
from pathlib import Path

import fsspec
import icechunk
import numpy as np
import obstore
import tensorstore
import zarr.storage
from obstore.store import LocalStore as ObstoreFolder
from obstore.store import MemoryStore as ObstoreMemory
from obstore.store import S3Store
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import cpu, default_buffer_prototype

import zarrstore

PROTOTYPE = default_buffer_prototype()
icechunk.set_logs_filter("error")


class Peer:
    """One library's access to a store.

    A subclass defines what its library can do; a question leaves out peers without the calls that it needs.
    """

    name = ""
    is_fresh = True  # whether a place can be emptied and written again

    async def ready(self):
        """Open the store."""

    async def get_all(self, keys, in_flight):
        """Get values, ``in_flight`` at a time."""
        await in_turns(self.get, keys, in_flight)

    async def set_all(self, items, in_flight):
        """Set values, ``in_flight`` at a time."""
        await in_turns(lambda item: self.set(*item), items, in_flight)

    async def close(self):
        """Make written values durable, if that takes a step of its own."""


async def in_turns(call, arguments, in_flight):
    """Await a call for each argument, ``in_flight`` at a time."""
    if in_flight == 1:
        for argument in arguments:
            await call(argument)
        return
    if in_flight >= len(arguments):
        await asyncio.gather(*map(call, arguments))
        return
    left = iter(arguments)

    async def work():
        for argument in left:
            await call(argument)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def count(listing):
    """Return the number of names in an asynchronous listing."""
    number = 0
    async for _ in listing:
        number += 1
    return number


class ZarrLike(Peer):
    """A store with zarr-python's interface: ours, theirs, icechunk's."""

    def __init__(self, name, store):
        self.name = name
        self.store = store
        if hasattr(store, "get_sync"):
            self.get_now = lambda key: store.get_sync(key, prototype=PROTOTYPE)

    async def ready(self):
        if hasattr(self.store, "_ensure_open"):
            await self.store._ensure_open()

    async def get(self, key):
        return await self.store.get(key, PROTOTYPE)

    async def set(self, key, value):
        await self.store.set(key, cpu.Buffer.from_bytes(value))

    async def get_batch(self, keys):
        await self.store.get_partial_values(PROTOTYPE, [(key, None) for key in keys])

    async def get_range(self, key, start, stop):
        return await self.store.get(key, PROTOTYPE, RangeByteRequest(start, stop))

    async def list(self):
        return await count(self.store.list())

    async def size(self):
        return await self.store.getsize_prefix("")

    async def is_empty(self):
        return await self.store.is_empty("")

    async def delete(self):
        await self.store.delete_dir("")

    async def close(self):
        if isinstance(self.store, zarrstore.ZipStore | zarr.storage.ZipStore):
            self.store.close()


class Icechunk(ZarrLike):
    """A session of a new icechunk repository; `close` commits what was written."""

    is_fresh = False
    get_batch = size = is_empty = delete = None

    def __init__(self, storage):
        self.repository = icechunk.Repository.open_or_create(storage)
        self.session = self.repository.writable_session("main")
        super().__init__("icechunk", self.session.store)
        zarr.create_array(
            self.store, name="c", shape=(1 << 30,), chunks=(1,), dtype="u1",
            filters=None, compressors=None, overwrite=True,
        )  # fmt: skip

    def _key(self, key):
        """Return a chunk's key, since icechunk accepts no others."""
        return f"c/c/{abs(hash(key)) % (1 << 30)}"

    async def get(self, key):
        return await super().get(self._key(key))

    async def get_range(self, key, start, stop):
        return await super().get_range(self._key(key), start, stop)

    async def set(self, key, value):
        await super().set(self._key(key), value)

    async def close(self):
        self.session.commit("values", allow_empty=True)
        self.session = self.repository.writable_session("main")
        self.store = self.session.store


class Obstore(Peer):
    """obstore without a store class around it."""

    name = "obstore"

    def __init__(self, store):
        self.store = store

    async def get(self, key):
        return await (await obstore.get_async(self.store, key)).bytes_async()

    def get_now(self, key):
        return obstore.get(self.store, key).bytes()

    async def set(self, key, value):
        await obstore.put_async(self.store, key, value)

    async def get_range(self, key, start, stop):
        return await obstore.get_range_async(self.store, key, start=start, end=stop)

    async def list(self):
        return sum(len(page) for page in [page async for page in obstore.list(self.store)])

    async def size(self):
        return sum(item["size"] for page in [p async for p in obstore.list(self.store)] for item in page)

    async def delete(self):
        names = [item["path"] for page in [p async for p in obstore.list(self.store)] for item in page]
        await obstore.delete_async(self.store, names)


class Tensorstore(Peer):
    """tensorstore's key-value store; its calls in flight are futures."""

    name = "tensorstore"

    def __init__(self, spec):
        self.store = tensorstore.KvStore.open(spec).result()

    async def get(self, key):
        return (await self.store.read(key)).value

    def get_now(self, key):
        return self.store.read(key).result().value

    async def set(self, key, value):
        await self.store.write(key, value)

    async def get_all(self, keys, in_flight):
        self._in_windows(self.store.read, [(key,) for key in keys], in_flight)

    async def set_all(self, items, in_flight):
        self._in_windows(self.store.write, items, in_flight)

    def _in_windows(self, call, arguments, in_flight):
        waiting = []
        for argument in arguments:
            waiting.append(call(*argument))
            if len(waiting) >= in_flight:
                waiting.pop(0).result()
        for future in waiting:
            future.result()

    async def get_range(self, key, start, stop):
        return (await self.store.read(key, byte_range=slice(start, stop))).value

    async def list(self):
        return len(self.store.list().result())

    async def delete(self):
        self.store.delete_range(tensorstore.KvStore.KeyRange()).result()


class Fsspec(Peer):
    """fsspec without a store class around it."""

    name = "fsspec"

    def __init__(self, fs, root):
        self.fs = fs
        self.root = root
        self.is_async = fs.async_impl
        self.made = set()

    async def get(self, key):
        path = f"{self.root}/{key}"
        return await self.fs._cat_file(path) if self.is_async else self.fs.cat_file(path)

    def get_now(self, key):
        return self.fs.cat_file(f"{self.root}/{key}")

    async def set(self, key, value):
        path = f"{self.root}/{key}"
        if self.is_async:
            await self.fs._pipe_file(path, value)
            return
        folder = path.rpartition("/")[0]
        if folder not in self.made:
            self.fs.makedirs(folder, exist_ok=True)
            self.made.add(folder)
        self.fs.pipe_file(path, value)

    async def get_range(self, key, start, stop):
        path = f"{self.root}/{key}"
        return (
            await self.fs._cat_file(path, start, stop)
            if self.is_async
            else self.fs.cat_file(path, start, stop)
        )

    async def list(self):
        self.fs.invalidate_cache()
        return len(await self.fs._find(self.root) if self.is_async else self.fs.find(self.root))

    async def size(self):
        self.fs.invalidate_cache()
        if self.is_async:
            return await self.fs._du(self.root)
        return self.fs.du(self.root)

    async def delete(self):
        self.made.clear()
        await self.fs._rm(self.root, recursive=True) if self.is_async else self.fs.rm(
            self.root, recursive=True
        )


class Bare(Peer):
    """System calls in a Python loop: the minimum from Python, one call at a time."""

    name = "bare calls"

    def __init__(self, root, *, fsync=False):
        self.root = str(root)
        self.fsync = fsync
        self.made = set()

    def get_now(self, key):
        descriptor = os.open(f"{self.root}/{key}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            memory = np.empty(os.lseek(descriptor, 0, os.SEEK_END), np.uint8)
            os.preadv(descriptor, [memory], 0)
            return memory
        finally:
            os.close(descriptor)

    async def get_all(self, keys, in_flight):
        for key in keys:
            self.get_now(key)

    async def get_range(self, key, start, stop):
        descriptor = os.open(f"{self.root}/{key}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            memory = np.empty(stop - start, np.uint8)
            os.preadv(descriptor, [memory], start)
            return memory
        finally:
            os.close(descriptor)

    async def set_all(self, items, in_flight):
        for key, value in items:
            path = f"{self.root}/{key}"
            folder = path.rpartition("/")[0]
            if folder not in self.made:
                os.makedirs(folder, exist_ok=True)
                self.made.add(folder)
            descriptor = os.open(path + ".t", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            os.write(descriptor, value)
            if self.fsync:
                os.fsync(descriptor)
            os.close(descriptor)
            os.replace(path + ".t", path)

    async def list(self):
        return sum(len(names) for _, _, names in os.walk(self.root))

    async def size(self):
        return sum(
            os.stat(f"{folder}/{name}").st_size for folder, _, names in os.walk(self.root) for name in names
        )

    async def is_empty(self):
        with os.scandir(self.root) as found:
            return next(found, None) is None

    async def delete(self):
        self.made.clear()
        shutil.rmtree(self.root)
        os.mkdir(self.root)


class Zipfile(Peer):
    """Python's own zipfile."""

    name = "zipfile"

    def __init__(self, path):
        self.path = path
        self.file = zipfile.ZipFile(path, "w" if not Path(path).exists() else "r")

    async def get_all(self, keys, in_flight):
        for key in keys:
            self.file.read(key)

    async def set_all(self, items, in_flight):
        for key, value in items:
            self.file.writestr(key, value)

    async def list(self):
        return len(self.file.namelist())

    async def close(self):
        self.file.close()


# -- by place ---------------------------------------------------------------------------------------


def in_folder(root):
    """Return peers whose stores are folders, each in its own folder below ``root``."""
    root = Path(root)
    for name in ("zarrstore", "zarr-python", "obstore", "tensorstore", "fsspec", "icechunk", "bare calls"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return [
        ZarrLike("zarrstore", zarrstore.LocalStore(root / "zarrstore")),
        ZarrLike("zarr-python", zarr.storage.LocalStore(root / "zarr-python")),
        Obstore(ObstoreFolder(root / "obstore", mkdir=True)),
        Tensorstore({"driver": "file", "path": f"{root}/tensorstore/"}),
        Fsspec(fsspec.filesystem("file"), f"{root}/fsspec"),
        Icechunk(icechunk.local_filesystem_storage(f"{root}/icechunk")),
        Bare(root / "bare calls"),
    ]


def in_folder_synced(root):
    """Return peers that can make a value survive a power failure before they report it as written."""
    root = Path(root)
    (root / "bare calls").mkdir(parents=True)
    return [
        ZarrLike("zarrstore", zarrstore.LocalStore(root / "zarrstore", fsync="full")),
        Tensorstore({"driver": "file", "path": f"{root}/tensorstore/"}),
        Bare(root / "bare calls", fsync=True),
    ]


def in_memory():
    """Return peers whose stores are in memory."""
    return [
        ZarrLike("zarrstore", zarrstore.MemoryStore()),
        ZarrLike("zarr-python", zarr.storage.MemoryStore()),
        Obstore(ObstoreMemory()),
        Tensorstore({"driver": "memory"}),
        Fsspec(fsspec.filesystem("memory", skip_instance_cache=True), "/fsspec"),
        Icechunk(icechunk.in_memory_storage()),
    ]


def in_zip(root, mode):
    """Return peers whose stores are zip archives."""
    root = Path(root)
    return [
        ZarrLike("zarrstore", zarrstore.ZipStore(root / "zarrstore.zip", mode=mode)),
        ZarrLike("zarr-python", zarr.storage.ZipStore(root / "zarr-python.zip", mode=mode)),
        Zipfile(root / "zipfile.zip"),
    ]


def on_s3(server, bucket, key, secret):
    """Return peers whose stores are prefixes in a bucket."""
    options = server.fsspec_options()

    def fs():
        return fsspec.filesystem("s3", asynchronous=True, skip_instance_cache=True, **options)

    def s3(prefix):
        return S3Store(bucket, prefix=prefix, **server.obstore_options())

    os.environ.update(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)
    spec = {"driver": "s3", "bucket": bucket, "endpoint": server.endpoint, "aws_region": "us-east-1"}
    return [
        ZarrLike("zarrstore", zarrstore.ObjectStore(s3("zarrstore"))),
        ZarrLike("zarrstore, s3fs", zarrstore.FsspecStore(fs(), path=f"{bucket}/zarrstore-s3fs")),
        ZarrLike("zarr-python", zarr.storage.ObjectStore(s3("zarr-python"))),
        ZarrLike("zarr-python, s3fs", zarr.storage.FsspecStore(fs(), path=f"{bucket}/zarr-python-s3fs")),
        Obstore(s3("obstore")),
        Tensorstore({**spec, "path": "tensorstore/"}),
        Fsspec(fs(), f"{bucket}/s3fs"),
    ]
