"""An asynchronous file system of buckets in memory, which behaves like s3fs, for tests.

Like a connection pool, it belongs to the event loop that used it first. Its errors hide their causes like
those of s3fs, its listings can be cached, and its ``_rm`` accepts patterns.
"""

import asyncio
import fnmatch

from fsspec.asyn import AsyncFileSystem

BUCKETS: dict[str, dict[str, bytes]] = {}


class ClientError(Exception):
    """Like botocore's: it contains the response."""

    def __init__(self, code, status):
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


def refused(kind, text, code, status):
    error = kind(text) if kind is not OSError else OSError(22, text)
    error.__cause__ = ClientError(code, status)
    return error


class BucketFileSystem(AsyncFileSystem):
    protocol = "s3"
    cachable = False
    root_marker = ""

    def __init__(self, *args, secret=None, plan=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.secret = secret
        # By a call's name: an exception to raise, or a function that changes its result.
        self.plan = plan if plan is not None else {}
        self.home = None
        self.calls = self.plan.setdefault("calls", [])

    def split_path(self, path):
        bucket, _, key = path.partition("/")
        return bucket, key.partition("?versionId=")[0], None  # not "version aware", but cut off all the same

    async def _enter(self, name, path):
        loop = asyncio.get_running_loop()
        self.home = self.home or loop
        if self.home is not loop:
            raise RuntimeError("this connection belongs to another event loop")
        self.calls.append((name, path))
        await asyncio.sleep(0)
        act = self.plan.get(name)
        if isinstance(act, BaseException):
            raise act
        bucket, key, _ = self.split_path(self._strip_protocol(path))
        if bucket not in BUCKETS:
            raise refused(FileNotFoundError, "The specified bucket does not exist", "NoSuchBucket", 404)
        return BUCKETS[bucket], key, act or (lambda answer: answer)

    async def _cat_file(self, path, start=None, end=None, **kwargs):
        values, key, act = await self._enter("cat_file", path)
        if key not in values:
            raise refused(FileNotFoundError, "The specified key does not exist.", "NoSuchKey", 404)
        value = values[key]
        if start == 0 and end == 0:
            start = end = None  # "no range", as in s3fs and others
        if start is not None and (start >= len(value) or (start < 0 and not value)):
            raise refused(OSError, "The requested range is not satisfiable", "InvalidRange", 416)
        return act(value[start:end])

    async def _info(self, path, **kwargs):
        values, key, act = await self._enter("info", path)
        if self._parent(path) in self.dircache:
            for info in self.dircache[self._parent(path)]:
                if info["name"] == path:
                    return info
        if key in values:
            return act({"name": path, "type": "file", "size": len(values[key])})
        if not key or any(name.startswith(key + "/") for name in values):
            return {"name": path, "type": "directory", "size": 0}
        raise FileNotFoundError(path)

    async def _ls(self, path, detail=True, **kwargs):
        values, key, act = await self._enter("ls", path)
        path = self._strip_protocol(path)
        if path in self.dircache:
            return self.dircache[path]
        start = key + "/" if key else ""
        bucket = path.partition("/")[0]
        found = {}
        for name in list(values):
            if name.startswith(start) and name != start:
                head, mark, _ = name[len(start) :].partition("/")
                full = f"{bucket}/{start}{head}"
                size = 0 if mark else len(values[name])
                found[full, mark] = {"name": full, "type": "directory" if mark else "file", "size": size}
        if not found and key in values:
            found[path, ""] = {"name": path, "type": "file", "size": len(values[key])}
        if not found and key:
            raise FileNotFoundError(path)
        self.dircache[path] = list(found.values())
        return act(list(found.values()))

    async def _pipe_file(self, path, value, mode="overwrite", **kwargs):
        values, key, act = await self._enter("pipe_file", path)
        if mode == "create" and key in values:
            raise refused(OSError, "At least one of the pre-conditions failed", "PreconditionFailed", 412)
        values[key] = bytes(act(value))

    async def _rm_file(self, path, **kwargs):
        values, key, _ = await self._enter("rm_file", path)
        values.pop(key, None)

    async def _rm(self, path, recursive=False, **kwargs):
        values, key, _ = await self._enter("rm", path)
        for name in fnmatch.filter(list(values), key):
            del values[name]
