"""The command info: what a store is and can do, and facts about the array or group in it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from zarrstore._cli.places import documents, entries, json_option, opened, prefix_argument, url_argument
from zarrstore._core.text import shown, size_text, values_text
from zarrstore._hierarchy.documents import CONSOLIDATED, V2, V3, parsed_if_whole
from zarrstore._hierarchy.facts import Tally, array_facts, array_in, node_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarrstore._hierarchy.documents import Document
    from zarrstore.abc.store import Store

# Capabilities that are shown only for writable stores.
_CHANGES = ("deletes", "partial_writes")


@click.command()
@url_argument
@prefix_argument
@json_option
def info(url: str, prefix: str, as_json: bool) -> None:
    """Describe what is at URL, or below the directory PREFIX in it: the store, and the array or group.

    For an array: shape, type, chunks, shards, codecs, fill value, and how many chunks are stored in how many
    bytes.
    """
    with opened(url, None) as store:
        above = f"{prefix.strip('/')}/".lstrip("/")
        read = _documents(store, [above + name for name in (V3, *V2, CONSOLIDATED)])
        found = {key[len(above) :]: document for key, document in read.items() if document}
        array = array_in(found)
        tally = Tally()
        for entry in entries(store, url, prefix, deep=True, sizes=True):
            tally.add(array, entry.key[len(above) :], entry.size or 0)
        facts = {**_of_store(store), **tally.all(), **node_facts(found)}
        if array is not None:
            facts |= {**array_facts(array), **tally.of_chunks()}
        if _is_unclosed(store):
            facts["unclosed"] = True
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for label, text in _lines(facts):
            click.echo(f"{label:<9} {text}")


def _documents(store: Store, keys: list[str]) -> dict[str, Document]:
    """Read metadata documents, all at once; damaged ones, which `check` reports, count as empty."""
    return dict(zip(keys, map(parsed_if_whole, documents(store, keys)), strict=True))


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


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Put facts into words, in the order shown."""
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
    if "zarrstore.storage._zip.store" not in sys.modules:
        return False  # no archive was opened
    from zarrstore._copy.places import innermost
    from zarrstore.storage import ZipStore

    inner, _ = innermost(store)
    return isinstance(inner, ZipStore) and inner.unclosed
