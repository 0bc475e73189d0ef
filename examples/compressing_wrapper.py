"""Two wrappers that change what they store: one compresses values, one encodes names.

Run it: python examples/compressing_wrapper.py
"""

import zlib

from zarrstore import MemoryStore, RangeByteRequest, WrapperStore, copy_store_sync
from zarrstore.abc.store import cut, gather_pieces, host_memory

# Bytes in front of a compressed value that hold its length, so that nobody has to decompress it for that.
HEAD = 8


class Compressing(WrapperStore):
    """Values are kept compressed; a part of a value can't be read without the rest."""

    async def _read(self, below, key, request, allocate):
        packed = await below.read(key, None, host_memory)
        if packed is None:
            return None
        return cut(zlib.decompress(memoryview(packed)[HEAD:]), request)

    async def _write(self, below, key, pieces, condition):
        value = await gather_pieces(pieces)
        packed = len(value).to_bytes(HEAD, "little") + zlib.compress(value)
        return await below.write(key, (packed,), condition)

    async def _stat(self, below, key):
        entry = await below.stat(key)
        head = entry and await below.read(key, RangeByteRequest(0, HEAD), host_memory)
        if head is None:
            return None
        return entry._replace(size=int.from_bytes(bytes(head), "little"))

    async def _scan(self, below, prefix, deep, sizes):
        async for page in below.scan(prefix, deep, False):
            # The sizes below are those of compressed values: without any, _stat is asked.
            yield [entry._replace(size=None) for entry in page]


def encoded(key):
    return "/".join(part.encode().hex() for part in key.split("/"))


def decoded(key):
    return "/".join(bytes.fromhex(part).decode() for part in key.split("/"))


class EncodingNames(WrapperStore):
    """Each segment of a key is kept in hexadecimal; an encryption of names would do the same."""

    async def _read(self, below, key, request, allocate):
        return await below.read(encoded(key), request, allocate)

    async def _write(self, below, key, pieces, condition):
        return await below.write(encoded(key), pieces, condition)

    async def _remove(self, below, key, condition):
        return await below.remove(encoded(key), condition)

    async def _stat(self, below, key):
        entry = await below.stat(encoded(key))
        return entry and entry._replace(key=key)

    async def _scan(self, below, prefix, deep, sizes):
        async for page in below.scan(encoded(prefix), deep, sizes):
            yield [entry._replace(key=decoded(entry.key)) for entry in page]


def main():
    inner = MemoryStore()
    store = Compressing(EncodingNames(inner))
    store.set_sync("a/b", b"0123456789" * 1000)
    assert store.get_sync("a/b", byte_range=RangeByteRequest(12, 15)).to_bytes() == b"234"
    assert store.getsize_sync("a/b") == store.getsize_prefix_sync("") == 10_000
    assert list(store.list_sync()) == ["a/b"]
    assert list(inner.list_sync()) == ["61/62"]
    plain = MemoryStore()
    assert copy_store_sync(store, plain, verify=True).bytes == 10_000
    print(f"10000 bytes are kept as {inner.getsize_sync('61/62')}")


if __name__ == "__main__":
    main()
