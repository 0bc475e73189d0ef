"""What documents say about a group or an array, as facts that can be shown or sent."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

from zarrstore._hierarchy.documents import CONSOLIDATED, V2, V3, FormatError, array_of
from zarrstore._hierarchy.names import judged
from zarrstore._hierarchy.shards import shards_in
from zarrstore._hierarchy.tree import described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarrstore._hierarchy.documents import Array, Codec, Document


class Tally:
    """Counts and sizes of all values, and of the chunks of an array among them."""

    def __init__(self) -> None:
        self.count = self.size = self.chunks = self.chunk_size = 0

    def add(self, array: Array | None, name: str, size: int) -> None:
        """Count a value; ``name`` is relative to the array's directory."""
        self.count += 1
        self.size += size
        if array is not None and judged(array, name)[0] == "chunk":
            self.chunks += 1
            self.chunk_size += size

    def all(self) -> dict[str, Any]:
        """Return the sums over all values."""
        return {"values": self.count, "bytes": self.size}

    def of_chunks(self) -> dict[str, Any]:
        """Return the sums over chunks or shards only."""
        return {"chunks_stored": self.chunks, "bytes_stored": self.chunk_size}


def _name_in(found: Mapping[str, Document]) -> str | None:
    """Return the name of the document that makes a directory a node."""
    return next((name for name in (V3, *V2[:2]) if name in found), None)


def array_in(found: Mapping[str, Document]) -> Array | None:
    """Return the array that the documents describe; None if they don't describe one or are invalid."""
    name = _name_in(found)
    try:
        return None if name is None else array_of(name, found[name])
    except FormatError:
        return None


def node_facts(found: Mapping[str, Document]) -> dict[str, Any]:
    """Return facts about the node with these documents."""
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


def array_facts(array: Array) -> dict[str, Any]:
    """Return facts about an array."""
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
