"""How `FsspecStore` removes values, and what is left of folders without values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from zarrstore._async.concurrency import batches, gather
from zarrstore._core.secrets import safe_cause
from zarrstore._core.verbs import ANY
from zarrstore.errors import KeyConflictError, RefusedError, UnsupportedOperationError
from zarrstore.storage._fsspec.listing import ListingStore
from zarrstore.storage._fsspec.reading import RENAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarrstore._core.verbs import Precondition
    from zarrstore.storage._fsspec.protocol import Direct

# Protocols whose root contains only what the user put there.
_OWN_ROOTS = frozenset(("memory", "dir", "reference", "zip", "tar", "libarchive"))


class RemovingStore(ListingStore, abstract=True):
    """The part of `FsspecStore` that removes."""

    async def _remove(self, key: str, condition: Precondition = ANY) -> None:
        if condition is not ANY:
            raise UnsupportedOperationError("this store keeps no versions.", store=self, key=key)
        await self._on_client(self._delete(self._path(key), key))

    async def _remove_many(self, keys: Iterable[str]) -> None:
        paths = {key: self._path(key) for key in keys}
        if self._files.direct is not None:
            await self._on_client(self._delete_all(self._files.direct, list(paths.values())))
            return
        await self._on_client(gather(self._delete(path, key) for key, path in paths.items()))

    async def _delete_all(self, kind: Direct, paths: list[str]) -> None:
        await self._prove("delete", "")
        retry = self._dispatcher.retry_call
        parts = batches(paths, kind.BATCH)
        await gather([retry(partial(self._delete_batch, kind, part)) for part in parts])

    async def _delete_batch(self, kind: Direct, paths: list[str]) -> None:
        try:
            await self._send_write(kind.remove, paths, self)
        except Exception as error:
            failure = self._failed(error, "delete", "")
            # The server names the key relative to its bucket.
            failure.key = failure.key and failure.key.removeprefix(self._prefix.partition("/")[2])
            raise failure from safe_cause(error)

    async def _delete(self, path: str, key: str) -> None:
        await self._dispatcher.retry_call(lambda: self._delete_once(path, key))

    async def _delete_once(self, path: str, key: str) -> None:
        # Never fsspec's `rm`, which treats '*', '?' and '[' in a name as a pattern and removes all matches.
        try:
            if self._files.direct is not None:
                await self._send_write(self._files.direct.delete, path)
            else:
                await self._call_write("rm_file", path)
        except Exception as error:
            if not await self._proves_missing(error, "delete", key):
                raise self._failed(error, "delete", key) from safe_cause(error)

    async def _remove_below(self, prefix: str) -> None:
        if not self._base.strip("/") and not prefix and self._protocol not in _OWN_ROOTS:
            raise RefusedError(
                "this store's root is the root of the whole file system: clearing it would empty that.",
                store=self,
                hint="Make a store on the folder, or on the bucket, that you mean.",
            )
        if self._files.direct is not None:
            async for page in self._pages(self._files.direct, prefix, True):
                # Everything that the server lists, whether it is a key of ours or not.
                paths = [self._prefix + entry.key for entry in page]
                await self._on_client(self._delete_all(self._files.direct, paths))
            return
        await self._on_client(self._delete_below(self._directory(prefix), prefix))

    async def _delete_below(self, directory: str, prefix: str) -> None:
        if prefix and self._files.blocks and await self._is_link(directory, prefix):
            await self._delete(directory, prefix)
            return
        folders = [directory] if prefix else []
        pending = [directory]
        while pending:
            batch = [pending.pop() for _ in range(min(len(pending), self._dispatcher.concurrency))]
            for level in await gather([self._level(path) for path in batch]):
                # A link goes itself: what it leads to may be outside.
                below = [child.path for child in level if child.is_directory and not child.is_link]
                pending += below
                folders += below
                others = [child for child in level if child.is_link or not child.is_directory]
                await gather([self._delete(child.path, prefix + child.name) for child in others])
        if self._files.blocks:
            await self._remove_folders(folders, prefix)

    async def _is_link(self, path: str, key: str) -> bool:
        try:
            return bool((await self._info(path)).get("islink"))
        except Exception as error:
            if self._is_absent(error):
                return False
            raise self._failed(error, "delete", key) from safe_cause(error)

    async def _clear_way(self, path: str, key: str) -> None:
        """Remove a link, or empty folders, at a value's path; a folder that contains a key is a conflict."""
        try:
            info = await self._info(path)
        except Exception as error:
            if self._is_absent(error):
                return
            raise self._failed(error, "write", key) from safe_cause(error)
        is_folder, is_link = info["type"] == "directory", info.get("islink")
        folders, pending = [path], [path] if is_folder else []
        while pending:
            for child in await self._level(pending.pop()):
                if is_link or child.is_link or not child.is_directory:
                    raise self._conflict(key)
                folders.append(child.path)
                pending.append(child.path)
        if is_link and (is_folder or self._protocol not in RENAMES):
            await self._delete_once(path, key)  # else the value would be written where the link leads
        elif is_folder:
            await self._remove_folders(folders, key)

    def _conflict(self, key: str) -> KeyConflictError:
        return KeyConflictError(
            "a folder is here, or a value where one of its folders is due.",
            store=self,
            key=key,
            hint="A folder can't be a value too: delete one of them, or use a store without folders.",
        )

    async def _remove_folders(self, folders: list[str], key: str) -> None:
        """Remove empty folders, innermost first; some existed only through their contents and are gone."""
        for path in sorted(folders, key=len, reverse=True):
            try:
                await self._call_write("rmdir", path)
            except (FileNotFoundError, NotADirectoryError, NotImplementedError):
                pass
            except Exception as error:
                raise self._failed(error, "remove a folder", key) from safe_cause(error)
