"""Commands that look and change nothing: ls, tree, du, info, cat."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from zarrstore._cli.places import (
    echo_row,
    entries,
    opened,
    prefix_argument,
    url_argument,
)
from zarrstore._core.checksum import Checksum
from zarrstore._core.requests import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarrstore._core.text import shown, size_text, values_text
from zarrstore._core.tree import NODES, Tree, words
from zarrstore.errors import ChangedError, StoreError

if TYPE_CHECKING:
    from zarrstore.abc.store import Store

# What `info` tells of a store that can be written.
_CHANGES = ("deletes", "partial_writes")
# How much of a large value `cat` holds at once, in bytes.
_PIECE = 16 << 20


@click.command()
@url_argument
@prefix_argument
@click.option("-l", "long", is_flag=True, help="Show sizes in bytes.")
@click.option("-r", "deep", is_flag=True, help="List all keys below, as they are found.")
def ls(url: str, prefix: str, long: bool, deep: bool) -> None:
    """List keys and directories at URL, or below the directory PREFIX in it."""
    with opened(url) as store:
        found = entries(store, url, prefix, deep=deep, sizes=long)
        for entry in found if deep else sorted(found):
            name = shown(entry.key if deep else entry.key[len(prefix.strip("/")) :].lstrip("/"))
            if long:
                echo_row("-" if entry.size is None else entry.size, name)
            else:
                click.echo(name)


@click.command()
@url_argument
@prefix_argument
@click.option("-s", "total_only", is_flag=True, help="Show the total only.")
@click.option("-b", "in_bytes", is_flag=True, help="Show sizes in bytes.")
def du(url: str, prefix: str, total_only: bool, in_bytes: bool) -> None:
    """Sum up sizes: of each directory one level below, and of all."""
    below: dict[str, list[int]] = {}
    total = [0, 0]
    with opened(url) as store:
        skip = len(f"{prefix.strip('/')}/".lstrip("/"))
        for entry in entries(store, url, prefix, deep=True, sizes=True):
            name, slash, _ = entry.key[skip:].partition("/")
            for sums in (total, below.setdefault(name + slash, [0, 0])) if slash else (total,):
                sums[0] += 1
                sums[1] += entry.size or 0
    for name, (count, size) in [*(() if total_only else sorted(below.items())), ("total", total)]:
        echo_row(str(size) if in_bytes else size_text(size), values_text(count), shown(name))


@click.command()
@url_argument
@prefix_argument
@click.option("-a", "all_directories", is_flag=True, help="Show directories inside of arrays too.")
@click.option("-d", "--depth", type=click.IntRange(min=1), help="How many levels to show.")
def tree(url: str, prefix: str, all_directories: bool, depth: int | None) -> None:
    """Draw the groups and arrays at URL, with the number and size of what is in each."""
    with opened(url) as store:
        root = Tree(prefix or str(store))
        skip = len(f"{prefix.strip('/')}/".lstrip("/"))
        for entry in entries(store, url, prefix, deep=True, sizes=True):
            node, name = root.add(entry, skip), entry.key.rpartition("/")[2]
            if name in NODES:
                value = store.get_sync(entry.key)
                node.describe(name, None if value is None else value.to_bytes())
    for line in root.lines(all_directories=all_directories, depth=depth):
        click.echo(line)


@click.command()
@url_argument
def info(url: str) -> None:
    """Tell what kind of store is at URL, what it can do, and how much it holds."""
    with opened(url, None) as store:
        count = size = 0
        for entry in entries(store, url, "", deep=True, sizes=True):
            count += 1
            size += entry.size or 0
        kind = "nothing at the root that says so"
        for version, names in ((3, ("zarr.json",)), (2, (".zarray", ".zgroup"))):
            for name in names:
                value = store.get_sync(name)
                if value is not None:
                    kind = f"Zarr {version}, {words(name, value.to_bytes())}"
        can = store.capabilities
        writable = store.supports_writes and not store.read_only
        promises = [
            name.replace("_", " ")
            for name in can.__dataclass_fields__
            if getattr(can, name) and (writable or name != "atomic_create")
        ]
        abilities = ["listing"] if store.supports_listing else []
        if writable:
            abilities += ["writes", *(name for name in _CHANGES if getattr(store, f"supports_{name}"))]
        for label, text in (
            ("store", f"{type(store).__name__} at {shown(str(store))}"),
            ("holds", f"{values_text(count)}, {size_text(size)} ({size:,} bytes)"),
            ("format", kind),
            ("supports", ", ".join(name.replace("_", " ") for name in abilities) or "reading by key"),
            ("promises", ", ".join(promises) or "nothing beyond the contract"),
        ):
            click.echo(f"{label:<9} {text}")
        if _is_unclosed(store):
            click.echo(
                "warning   this archive was never closed: its writer was killed, or is still at work. Other "
                "programs may not find all values. ZipStore(FILE, mode='a').close() makes it whole."
            )


def _is_unclosed(store: Store) -> bool:
    """Whether a store is in a zip archive that was never closed."""
    from zarrstore.storage import WrapperStore, ZipStore

    while isinstance(store, WrapperStore):
        store = store._below
    return isinstance(store, ZipStore) and store.unclosed


def _parse_range(ctx: click.Context, param: click.Parameter, text: str | None) -> ByteRequest | None:
    """Turn ``START:END``, ``START:`` or ``-LENGTH:`` (the last bytes) into a byte request."""
    if text is None:
        return None
    start, _, end = text.partition(":")
    try:
        if start.startswith("-") and text.endswith(":") and not end:
            return SuffixByteRequest(int(start[1:]))
        if text.endswith(":"):
            return OffsetByteRequest(int(start))
        return RangeByteRequest(int(start), int(end))
    except ValueError:
        raise click.BadParameter(f"{text!r} is none of START:END, START: and -LENGTH:") from None


@click.command()
@url_argument
@click.argument("key")
@click.option("--range", "request", callback=_parse_range, help="Bytes START:END, START: or -LENGTH: only.")
def cat(url: str, key: str, request: ByteRequest | None) -> None:
    """Write the value of KEY, as it is, to the standard output."""
    out = sys.stdout.buffer
    with opened(url) as store:
        size = store.getsize_sync(key) if request is None else 0
        if size <= _PIECE:
            _write_all(out, store._get_bytes_sync(key, byte_range=request))
        else:
            entry = store._run("", store._do_stat, key)
            checksum = Checksum(None if entry is None else entry.version)
            for start in range(0, size, _PIECE):
                piece = store._get_bytes_sync(key, byte_range=RangeByteRequest(start, start + _PIECE))
                if len(piece) != min(_PIECE, size - start):
                    raise ChangedError("the value changed while it was read.", store=store, key=key)
                checksum.update(piece)
                _write_all(out, piece)
            try:
                checksum.check()
            except StoreError as error:
                raise error.about(store, key) from None
        out.flush()


def _write_all(out: BinaryIO, data: bytes) -> None:
    """Write all of it: an unbuffered output (``PYTHONUNBUFFERED``) may take a part only."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]
