"""What people try without looking it up: comparing, looking up, showing a store, a bar for a copy."""

import asyncio
import io
import json
import re
import sys

import numpy as np
import pytest

from zarrstore import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    WrapperStore,
    ZipStore,
    copy_store,
    copy_store_sync,
)
from zarrstore._copy import bar as _bar
from zarrstore.buffer import cpu
from zarrstore.errors import TransientError
from zarrstore.testing import FaultyStore


@pytest.fixture(params=["folder", "memory", "archive", "fsspec", "wrapper", "view"])
def store(request, tmp_path):
    make = {
        "folder": lambda: LocalStore(tmp_path / "data"),
        "memory": MemoryStore,
        "archive": lambda: ZipStore(tmp_path / "data.zip", mode="w"),
        "fsspec": lambda: FsspecStore.from_url(f"memory://{tmp_path}"),
        "wrapper": lambda: WrapperStore(MemoryStore()),
        "view": lambda: MemoryStore().sub("a/b"),
    }
    with make[request.param]() as made:
        yield made


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, cpu.Buffer.from_bytes])
def test_a_buffer_equals_its_bytes(kind):
    buffer = cpu.Buffer.from_bytes(b"[1, 2]")
    assert buffer == kind(b"[1, 2]")
    assert kind(b"[1, 2]") == buffer
    assert buffer != kind(b"[1, 3]")
    assert buffer[1:2] == kind(b"1")
    assert buffer != "[1, 2]"
    assert bytes(buffer) == buffer.to_bytes() == b"[1, 2]"
    assert json.loads(bytes(buffer)) == [1, 2]


def test_a_store_is_no_mapping_and_says_which_is(store):
    store.set_sync("k", b"1")
    for look in (lambda: "k" in store, lambda: store["k"], lambda: list(store)):
        with pytest.raises(TypeError, match=r"use store\.mapping\(\)"):
            look()
    assert store.mapping()["k"] == b"1"


# -- the tree --------------------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_tree_of_a_hierarchy(store, zarr_format):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    root.create_array("t", shape=(10, 10), chunks=(3, 5), dtype="f4")[:4] = 1
    root.create_array("deep/scalar", shape=(), dtype="i2")[...] = 5
    if zarr_format == 3:
        root.create_array("deep/sharded", shape=(10,), chunks=(2,), shards=(4,), dtype="i2")[:4] = 1
    store.set_sync("beside<b>/note", b"12345")
    tree = store.tree()
    lines = str(tree).splitlines()
    assert lines[0].startswith(f"{store} [group] {tree.count} values, ")
    assert lines[1] == "├── beside<b> 1 value, 5 B"
    dtypes = ("<f4", "<i2") if zarr_format == 2 else ("float32", "int16")
    assert f"├── deep [group] {tree.children['deep'].count} values" in lines[2]
    assert (
        f"│   {'├' if zarr_format == 3 else '└'}── scalar [array {dtypes[1]}, scalar, 1 of 1 chunks]"
        in lines[3]
    )
    if zarr_format == 3:
        assert "│   └── sharded [array int16, 10, 1 of 3 chunks] 2 values" in lines[4]
    assert lines[-1].startswith(f"└── t [array {dtypes[0]}, 10 x 10, 4 of 8 chunks] ")
    assert tree.size == store.getsize_prefix_sync("")
    assert repr(tree) == str(tree)
    assert str(store.tree("deep/")).splitlines()[0].startswith("deep [group] ")
    html = store._repr_html_()
    assert html.startswith("<pre>")
    assert "beside&lt;b&gt; 1 value" in html


def test_a_notebook_shows_a_large_store_in_part_and_no_error(monkeypatch):
    monkeypatch.setattr("zarrstore.abc.store._SHOWN", 100)
    store = MemoryStore({f"k{number}": b"" for number in range(5000)})
    assert "and more, which was not looked at" in store._repr_html_()
    broken = FaultyStore(MemoryStore(), fail_if=lambda verb, key: True)
    assert "failed on purpose" in broken._repr_html_()
    with pytest.raises(TransientError):
        broken.tree()
    assert MemoryStore().tree().count == 0


def test_what_metadata_do_not_say_plainly_is_left_out():
    store = MemoryStore()
    for name, document in {
        "a": {"node_type": "array", "shape": [4], "chunk_grid": {"name": "other", "configuration": {}}},
        "b": {"node_type": "array", "shape": "odd", "data_type": {"name": "mine"}},
        "c": {"node_type": "array", "shape": [4], "chunk_grid": {"configuration": {"chunk_shape": [0]}}},
        "d": ["no document"],
        "f": {"node_type": "array", "shape": [], "chunks": {}},
    }.items():
        store.set_sync(f"{name}/zarr.json", json.dumps(document).encode())
    store.set_sync("e/zarr.json", b"\xff")
    assert [line.partition("]")[0] for line in str(store.tree()).splitlines()[1:]] == [
        "├── a [array ?, 4, 0 chunks",
        "├── b [array mine, ?, 0 chunks",
        "├── c [array ?, 4, 0 chunks",
        "├── d [unknown",
        "├── e [unknown",
        "└── f [array ?, scalar, 0 chunks",
    ]


# -- the bar ---------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(_bar, "_PAUSES", {True: 0.0, False: 0.0})


@pytest.mark.parametrize("face", ["await", "block"])
def test_a_bar(face, at_once, monkeypatch):
    source = MemoryStore({f"k{number}": bytes(1000) for number in range(10)})
    monkeypatch.setattr(sys, "stderr", file := Terminal())
    if face == "await":
        asyncio.run(copy_store(source, MemoryStore(), progress=True))
    else:
        copy_store_sync(source, MemoryStore(), progress=True)
    pictures = file.getvalue().split("\r")
    assert any(re.match(r" [1-9]0% █+·+  \d\.\d KiB of 9.8 KiB", picture) for picture in pictures)
    assert re.search(r"100% █+  9\.8 KiB of 9\.8 KiB  .*/s  10 of 10 values", file.getvalue())
    assert file.getvalue().endswith(" \r")  # it is gone at the end
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    copy_store_sync(source, MemoryStore(), progress=True)
    assert file.getvalue().splitlines()[-1].startswith("9.8 KiB of 9.8 KiB, ")
    copy_store_sync(source, MemoryStore(), progress=False)


def test_a_bar_is_removed_when_the_copy_fails(at_once, monkeypatch):
    monkeypatch.setattr(sys, "stderr", file := Terminal())
    source = MemoryStore({"k": b"1", "zarr.json": b"{}"})  # which comes last
    target = FaultyStore(MemoryStore(), fail_if=lambda verb, key: verb == "write" and key == "zarr.json")
    with pytest.raises(TransientError):
        copy_store_sync(source, target, progress=True)
    assert file.getvalue().endswith(" \r")


def test_numpy_and_dask_take_no_store_for_a_sequence():
    assert np.asarray(MemoryStore()).dtype == object
