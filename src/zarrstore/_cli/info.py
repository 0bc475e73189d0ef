"""The command info: what a store is and can do, and what the array or group in it is."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import click

from zarrstore._check.values import shards_in
from zarrstore._cli.places import entries, json_option, opened, prefix_argument, url_argument
from zarrstore._core.text import shown, size_text, values_text
from zarrstore._hierarchy.documents import CONSOLIDATED, V2, V3, FormatError, array_of, parsed_if_whole
from zarrstore._hierarchy.names import judged
from zarrstore._hierarchy.tree import described

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarrstore._hierarchy.documents import Array, Codec, Document
    from zarrstore.abc.store import Store

# What is told of a store that can be written.
_CHANGES = ("deletes", "partial_writes")


@click.command()
@url_argument
@prefix_argument
@json_option
def info(url: str, prefix: str, as_json: bool) -> None:
    """Tell what is at URL, or below the directory PREFIX in it: the store, and the array or group.

    Of an array: shape, type, chunks, shards, codecs, fill value, and how many chunks are stored, in how many
    bytes.
    """
    with opened(url, None) as store:
        above = f"{prefix.strip('/')}/".lstrip("/")
        read = _documents(store, [above + name for name in (V3, *V2, CONSOLIDATED)])
        found = {key[len(above) :]: document for key, document in read.items() if document}
        array = _array_of(found)
        sums = _Sums()
        for entry in entries(store, url, prefix, deep=True, sizes=True):
            sums.add(array, entry.key[len(above) :], entry.size or 0)
        facts = {**_of_store(store), **sums.all(), **_of_node(found)}
        if array is not None:
            facts |= {**_of_array(array), **sums.of_chunks()}
        if _is_unclosed(store):
            facts["unclosed"] = True
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for label, text in _lines(facts):
            click.echo(f"{label:<9} {text}")


def _documents(store: Store, keys: list[str]) -> dict[str, Document]:
    """Read metadata documents, all at once; an empty one if it is damaged, which `check` tells."""
    values = store.get_partial_values_sync(None, [(key, None) for key in keys])
    whole = [None if value is None else value.to_bytes() for value in values]
    return dict(zip(keys, map(parsed_if_whole, whole), strict=True))


class _Sums:
    """Numbers and sizes of all values, and of the chunks of an array among them."""

    def __init__(self) -> None:
        self.count = self.size = self.chunks = self.chunk_size = 0

    def add(self, array: Array | None, name: str, size: int) -> None:
        self.count += 1
        self.size += size
        if array is not None and judged(array, name)[0] == "chunk":
            self.chunks += 1
            self.chunk_size += size

    def all(self) -> dict[str, Any]:
        return {"values": self.count, "bytes": self.size}

    def of_chunks(self) -> dict[str, Any]:
        return {"chunks_stored": self.chunks, "bytes_stored": self.chunk_size}


def _name_in(found: dict[str, Document]) -> str | None:
    """Return the name of the document that makes a node."""
    return next((name for name in (V3, *V2[:2]) if name in found), None)


def _array_of(found: dict[str, Document]) -> Array | None:
    name = _name_in(found)
    try:
        return None if name is None else array_of(name, found[name])
    except FormatError:
        return None


def _of_store(store: Store) -> dict[str, Any]:
    can = store.capabilities
    writable = store.supports_writes and not store.read_only
    abilities = ["listing"] if store.supports_listing else []
    if writable:
        abilities += ["writes", *(name for name in _CHANGES if getattr(store, f"supports_{name}"))]
    return {
        "kind": type(store).__name__,
        "place": str(store),
        "supports": [name.replace("_", " ") for name in abilities],
        "promises": [
            name.replace("_", " ")
            for name in can.__dataclass_fields__
            if getattr(can, name) and (writable or name != "atomic_create")
        ],
    }


def _of_node(found: dict[str, Document]) -> dict[str, Any]:
    """Tell of the node whose documents these are."""
    name = _name_in(found)
    if name is None:
        return {}
    attributes = found[name].get("attributes") if name == V3 else found.get(".zattrs")
    return {
        "format": 3 if name == V3 else 2,
        "node": described(name, found[name]),
        "attributes": attributes or {},
        "consolidated": CONSOLIDATED in found or bool(found[name].get("consolidated_metadata")),
    }


def _of_array(array: Array) -> dict[str, Any]:
    try:
        shards = shards_in(array)
    except FormatError:
        shards = None
    whole = None if array.item_size is None else prod(array.shape) * array.item_size
    return {
        "shape": array.shape,
        "dtype": array.dtype,
        "chunks": shards.chunk_shape if shards else array.chunks,
        "shards": array.chunks if shards else None,
        "codecs": [_text(codec) for codec in (*array.filters, *array.codecs)],
        "fill_value": array.fill_value,
        "chunks_in_all": array.chunk_count,
        "bytes_in_all": whole,
    }


def _text(codec: Codec) -> str:
    options = {name: value for name, value in codec.options.items() if name != "id"}
    if codec.name == "sharding_indexed":
        inner = options.get("codecs")
        names = (
            [part.get("name") for part in inner if isinstance(part, dict)] if isinstance(inner, list) else []
        )
        return f"{codec.name}({', '.join(map(str, names))})"
    told = ", ".join(f"{name}={json.dumps(value)}" for name, value in options.items())
    return f"{codec.name}({told})" if told else codec.name


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Put facts into words, in the order in which they are shown."""
    yield "store", f"{facts['kind']} at {shown(facts['place'])}"
    yield "holds", f"{values_text(facts['values'])}, {size_text(facts['bytes'])} ({facts['bytes']:,} bytes)"
    node = (
        f"Zarr {facts['format']}, {facts['node']}" if "node" in facts else "nothing at the root that says so"
    )
    yield "format", node
    yield "supports", ", ".join(facts["supports"]) or "reading by key"
    yield "promises", ", ".join(facts["promises"]) or "nothing beyond the contract"
    if "shape" in facts:
        yield from _lines_of_array(facts)
    if facts.get("consolidated"):
        yield "consolidated", "yes"
    for name, value in facts.get("attributes", {}).items():
        yield "attribute", shown(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    if "unclosed" in facts:
        yield (
            "warning",
            "this archive was never closed: its writer was killed, or is still at work. Other "
            "programs may not find all values. ZipStore(FILE, mode='a').close() makes it whole.",
        )


def _lines_of_array(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("shape", "chunks", "shards"):
        if facts[name] is not None:
            yield name, " x ".join(map(str, facts[name])) or "scalar"
    yield "type", shown(f"{facts['dtype']}, filled with {json.dumps(facts['fill_value'])}")
    yield "codecs", shown(", ".join(facts["codecs"]) or "none")
    count, whole = facts["chunks_in_all"], facts["bytes_in_all"]
    what = "shards" if facts["shards"] else "chunks"
    stored = f"{facts['chunks_stored']:,} of {'?' if count is None else f'{count:,}'} {what}"
    size = f"{size_text(facts['bytes_stored'])}"
    ratio = f" of {size_text(whole)}" if whole is not None else ""
    if whole and facts["bytes_stored"]:
        ratio += f", 1 : {whole / facts['bytes_stored']:.1f}"
    yield "stored", f"{stored}, {size}{ratio}"


def _is_unclosed(store: Store) -> bool:
    """Whether a store is in a zip archive that was never closed."""
    from zarrstore.storage import WrapperStore, ZipStore

    while isinstance(store, WrapperStore):
        store = store._below
    return isinstance(store, ZipStore) and store.unclosed
