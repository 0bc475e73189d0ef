"""What a blocking write does in a store whose class overrides the awaited one."""

from zarrstore import MemoryStore


class Overriding(MemoryStore):
    async def set(self, key, value, byte_range=None):
        await super().set(key, value, byte_range=byte_range)


def test_a_partial_write_stays_partial():
    store = Overriding()
    store.set_sync("k", b"abcdef")
    store.set_sync("k", b"XY", byte_range=(1, 3))
    assert store.get_sync("k").to_bytes() == b"aXYdef"


def test_an_override_without_byte_range_gets_none():
    class Plain(MemoryStore):
        async def set(self, key, value):
            await super().set(key, value)

    store = Plain()
    store.set_sync("k", b"abc")
    assert store.get_sync("k").to_bytes() == b"abc"
