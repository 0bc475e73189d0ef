"""Metadata documents of Zarr 2 and 3: what they say about a node, and where they violate the format."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarrstore._core.types import Data

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Document: TypeAlias = "dict[str, Json]"

V3 = "zarr.json"
V2 = (".zarray", ".zgroup", ".zattrs")
CONSOLIDATED = ".zmetadata"
NAMES = frozenset((V3, *V2, CONSOLIDATED))
# What netCDF's library stores beside version 2 documents.
BESIDE = frozenset((".nczarray", ".nczattrs", ".nczgroup", ".nczvar"))
# The documents that make a directory a node.
OF_NODES = frozenset((V3, ".zarray", ".zgroup"))

_SIZES_V3 = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2,
    "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
    "numpy.datetime64": 8, "numpy.timedelta64": 8,
}  # fmt: skip
_V2_TYPE = re.compile(r"[<>|=]?([a-zA-Z])(\d*)(\[.*\])?")


@dataclass(frozen=True, slots=True)
class Codec:
    """One step from an array to stored bytes: the codec's name and options."""

    name: str
    options: Document = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Array:
    """The content of an array's document.

    Attributes
    ----------
    format : int
        2 or 3.
    shape, chunks : tuple of int
        Extent of the array and of its stored chunks, which in a sharded array are the shards. ``chunks`` is
        empty if the grid isn't regular: see ``regular``.
    dtype : str
        The element type, as in the document.
    item_size : int or None
        Bytes per element; None if they vary, or if the type isn't known here.
    encoding : {"default", "v2", "other"}
        How chunk keys are written; ``"other"`` is an extension that isn't known here.
    separator : str
        What separates the numbers in a chunk's key.
    filters, codecs : tuple of Codec
        From the array to bytes, in this order. ``filters`` are Zarr 2's, applied before its compressor.
    fill_value : object
        The fill value, as in the document.
    regular : bool
        Whether the grid of chunks, and which key belongs to which chunk, are known.
    """

    format: Literal[2, 3]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    item_size: int | None
    encoding: Literal["default", "v2", "other"]
    separator: str
    filters: tuple[Codec, ...]
    codecs: tuple[Codec, ...]
    fill_value: Json
    regular: bool = True

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of chunks along each dimension."""
        return tuple(
            -(-size // chunk) if chunk else 0 for size, chunk in zip(self.shape, self.chunks, strict=True)
        )

    @property
    def chunk_count(self) -> int | None:
        """The number of chunks if all are stored; None if the grid isn't known."""
        return prod(self.grid) if self.regular else None


class FormatError(ValueError):
    """A document that violates the format."""


def parsed(value: Data) -> Document:
    """Parse a document.

    Raises
    ------
    FormatError
        If it is empty, or not a JSON object.
    """
    text = bytes(value)
    if not text.strip():
        raise FormatError("it is empty")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"it isn't JSON: {error}") from None
    if not isinstance(found, dict):
        raise FormatError(f"it is a JSON {type(found).__name__}, not an object")
    return found


def parsed_if_whole(value: Data | None) -> Document:
    """Parse a document; an empty one if it is missing, or damaged, which a check reports."""
    try:
        return {} if value is None else parsed(value)
    except FormatError:
        return {}


def kind_of(name: str, document: Document) -> Literal["array", "group"]:
    """Return whether a node's document describes an array or a group.

    Raises
    ------
    FormatError
        If it describes neither.
    """
    if name != V3:
        _expect(document.get("zarr_format") == 2, "its zarr_format isn't 2")
        return "array" if name == ".zarray" else "group"
    _expect(document.get("zarr_format") == 3, "its zarr_format isn't 3")
    kind = document.get("node_type")
    _expect(kind in ("array", "group"), "its node_type is neither array nor group")
    return "array" if kind == "array" else "group"


def check_group(name: str, document: Document) -> None:
    """Raise a `FormatError` if a group's document violates the format."""
    if name == V3:
        _check_attributes(document)
        # Null if zarr-python 3.0 didn't consolidate.
        known = {"consolidated_metadata"} if document.get("consolidated_metadata") is None else set()
        _check_extra(document, {"zarr_format", "node_type", "attributes", *known})


def array_of(name: str, document: Document) -> Array:
    """Return the content of an array's document.

    Raises
    ------
    FormatError
        If it violates the format.
    """
    return _array_v3(document) if name == V3 else _array_v2(document)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise FormatError(what)


def _required(document: Document, *names: str) -> None:
    missing = [name for name in names if name not in document]
    _expect(not missing, f"it lacks {', '.join(missing)}")


def _sizes(value: Json, what: str, least: int = 0) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise FormatError(f"its {what} isn't a list")
    sizes = []
    for size in value:
        if type(size) is not int or size < least:
            raise FormatError(f"its {what} has {size!r} among its sizes")
        sizes.append(size)
    return tuple(sizes)


def _check_attributes(document: Document) -> None:
    _expect(isinstance(document.get("attributes", {}), dict), "its attributes aren't an object")


def _check_extra(document: Document, known: set[str]) -> None:
    for name in document.keys() - known:
        extra = document[name]
        _expect(
            isinstance(extra, dict) and extra.get("must_understand") is False,
            f"it has a field {name!r} that no reader knows and all must understand",
        )


# -- version 3 ------------------------------------------------------------------------------------


def _named(value: Json, what: str) -> Codec:
    """Read a value that is either a name, or an object with a name and a configuration."""
    if isinstance(value, str):
        return Codec(value)
    if isinstance(value, dict):
        name, options = value.get("name"), value.get("configuration", {})
        if isinstance(name, str) and isinstance(options, dict):
            return Codec(name, options)
    raise FormatError(f"its {what} has no name")


def codecs_of(value: Json, what: str = "codecs") -> tuple[Codec, ...]:
    """Read a list of codecs.

    Raises
    ------
    FormatError
        If it isn't a list of codecs.
    """
    if not isinstance(value, list) or not value:
        raise FormatError(f"its {what} aren't a list with a codec in it")
    return tuple(_named(codec, f"list of {what}") for codec in value)


def _array_v3(document: Document) -> Array:
    _required(document, "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs")
    _check_attributes(document)
    known = {
        "zarr_format", "node_type", "attributes", "shape", "data_type", "chunk_grid", "chunk_key_encoding",
        "fill_value", "codecs", "dimension_names", "storage_transformers",
    }  # fmt: skip
    _check_extra(document, known)
    shape = _sizes(document["shape"], "shape")
    names = document.get("dimension_names")
    if names is not None:
        _expect(
            isinstance(names, list) and len(names) == len(shape), "its dimension_names don't fit its shape"
        )
    grid = _named(document["chunk_grid"], "chunk_grid")
    chunks: tuple[int, ...] = ()
    if grid.name == "regular":
        chunks = _sizes(grid.options.get("chunk_shape"), "chunk_shape", 1)
        _expect(len(chunks) == len(shape), "its chunk_shape has another number of dimensions than its shape")
    keys = _named(document["chunk_key_encoding"], "chunk_key_encoding")
    encoding = _encoding(keys.name)
    separator = keys.options.get("separator", "/" if keys.name == "default" else ".")
    kind = _named(document["data_type"], "data_type")
    return Array(
        3,
        shape,
        chunks,
        kind.name,
        _item_size_v3(kind),
        encoding,
        "/" if encoding == "other" else _separator(separator),
        (),
        codecs_of(document["codecs"]),
        document["fill_value"],
        regular=grid.name == "regular" and encoding != "other",
    )


def _encoding(name: str) -> Literal["default", "v2", "other"]:
    if name == "default":
        return "default"
    return "v2" if name == "v2" else "other"


def _separator(value: Json) -> str:
    if not isinstance(value, str) or value not in (".", "/"):
        raise FormatError(f"its separator is {value!r}, neither '.' nor '/'")
    return value


def _item_size_v3(kind: Codec) -> int | None:
    if kind.name in _SIZES_V3:
        return _SIZES_V3[kind.name]
    if re.fullmatch(r"r\d+", kind.name):
        return int(kind.name[1:]) // 8
    if kind.name.startswith("float8_"):
        return 1
    size = kind.options.get("length_bytes")
    return size if type(size) is int else None


# -- version 2 ------------------------------------------------------------------------------------


def _array_v2(document: Document) -> Array:
    _required(document, "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters")
    shape, chunks = _sizes(document["shape"], "shape"), _sizes(document["chunks"], "chunks")
    _expect(len(shape) == len(chunks), "its chunks have another number of dimensions than its shape")
    _expect(all(chunk or not size for size, chunk in zip(shape, chunks, strict=True)), "its chunks are empty")
    _expect(document["order"] in ("C", "F"), "its order is neither C nor F")
    filters, compressor = document["filters"], document["compressor"]
    if filters is not None and not isinstance(filters, list):
        raise FormatError("its filters aren't a list")
    return Array(
        2,
        shape,
        chunks,
        _dtype_text(document["dtype"]),
        _item_size_v2(document["dtype"]),
        "v2",
        _separator(document.get("dimension_separator") or "."),
        tuple(_numcodec(found, "filters") for found in filters or ()),
        () if compressor is None else (_numcodec(compressor, "compressor"),),
        document["fill_value"],
    )


def _numcodec(value: Json, what: str) -> Codec:
    name = value.get("id") if isinstance(value, dict) else None
    if not isinstance(name, str) or not isinstance(value, dict):
        raise FormatError(f"its {what} has no id")
    return Codec(name, value)


def _dtype_text(dtype: Json) -> str:
    return dtype if isinstance(dtype, str) else json.dumps(dtype)


def _item_size_v2(dtype: Json) -> int | None:
    """Return the bytes per element of a simple or structured type.

    Raises
    ------
    FormatError
        If it isn't a type.
    """
    if isinstance(dtype, list):
        sizes = [_field_size(part) for part in dtype]
        return None if None in sizes or not sizes else sum(filter(None, sizes))
    found = _V2_TYPE.fullmatch(dtype) if isinstance(dtype, str) else None
    if found is None:
        raise FormatError(f"its dtype {dtype!r} is no type")
    letter, size = found[1], found[2]
    if letter == "O" or not size:
        return None
    return int(size) * (4 if letter == "U" else 1)


def _field_size(part: Json) -> int | None:
    if not isinstance(part, list) or len(part) not in (2, 3) or not isinstance(part[0], str):
        raise FormatError("its dtype has a field that isn't a name and a type")
    size = _item_size_v2(part[1])
    repeats = part[2] if len(part) == 3 else []
    counts = _sizes(repeats if isinstance(repeats, list) else [repeats], "dtype's field")
    return None if size is None else size * prod(counts)


# -- comparing ------------------------------------------------------------------------------------


def same(one: Document, other: Document) -> bool:
    """Whether two documents mean the same: an empty field may also be left out."""
    return _essence(one) == _essence(other)


def _essence(document: Document) -> str:
    empty: tuple[Json, ...] = ({}, [], None)
    kept = {
        name: value
        for name, value in document.items()
        if name != "consolidated_metadata"
        and (name not in ("attributes", "storage_transformers", "dimension_names") or value not in empty)
    }
    return json.dumps(kept, sort_keys=True)


def consolidated_in(name: str, document: Document) -> Iterator[tuple[str, Document]]:
    """Yield the documents in a consolidated one, with their keys relative to its directory.

    Raises
    ------
    FormatError
        If it violates the format.
    """
    if name == CONSOLIDATED:
        _expect(document.get("zarr_consolidated_format") == 1, "its zarr_consolidated_format isn't 1")
        held = document.get("metadata")
    else:
        inline = document.get("consolidated_metadata")
        if inline is None:
            return
        held = inline.get("metadata") if isinstance(inline, dict) else None
    if not isinstance(held, dict):
        raise FormatError("its consolidated metadata isn't an object")
    for key, inner in held.items():
        if not isinstance(inner, dict):
            raise FormatError(f"its consolidated metadata of {key!r} isn't an object")
        yield (key if name == CONSOLIDATED else f"{key}/{V3}"), inner
