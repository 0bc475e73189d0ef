"""Commands that list and change nothing: ls, tree, du."""

from __future__ import annotations

import json

import click

from zarrstore._cli.places import (
    documents,
    echo_row,
    entries,
    json_option,
    opened,
    prefix_argument,
    url_argument,
)
from zarrstore._core.text import shown, size_text, values_text


@click.command()
@url_argument
@prefix_argument
@click.option("-l", "long", is_flag=True, help="Show sizes in bytes.")
@click.option("-h", "for_people", is_flag=True, help="With -l, show sizes in KiB, MiB and so on.")
@click.option("-r", "deep", is_flag=True, help="List all keys below, as they are found.")
@json_option
def ls(url: str, prefix: str, long: bool, for_people: bool, deep: bool, as_json: bool) -> None:
    """List keys and directories at URL, or below the directory PREFIX in it."""
    text = size_text if for_people else str
    with opened(url) as store:
        found = entries(store, url, prefix, deep=deep, sizes=long)
        for entry in found if deep else sorted(found):
            name = shown(entry.key if deep else entry.key[len(prefix.strip("/")) :].lstrip("/"))
            if as_json:
                click.echo(json.dumps({"key": entry.key, **({"size": entry.size} if long else {})}))
            elif long:
                echo_row("-" if entry.size is None else text(entry.size), name)
            else:
                click.echo(name)


@click.command()
@url_argument
@prefix_argument
@click.option("-s", "total_only", is_flag=True, help="Show the total only.")
@click.option("-b", "in_bytes", is_flag=True, help="Show sizes in bytes.")
@json_option
def du(url: str, prefix: str, total_only: bool, in_bytes: bool, as_json: bool) -> None:
    """Add up sizes: of each directory one level below, and of everything."""
    below: dict[str, list[int]] = {}
    total = [0, 0]
    with opened(url) as store:
        skip = len(f"{prefix.strip('/')}/".lstrip("/"))
        for entry in entries(store, url, prefix, deep=True, sizes=True):
            name, slash, _ = entry.key[skip:].partition("/")
            for sums in (total, below.setdefault(name + slash, [0, 0])) if slash else (total,):
                sums[0] += 1
                sums[1] += entry.size or 0
    if as_json:
        named = {name: {"values": count, "bytes": size} for name, (count, size) in below.items()}
        told = {"values": total[0], "bytes": total[1]}
        click.echo(json.dumps(told if total_only else {**told, "below": named}))
        return
    for name, (count, size) in [*(() if total_only else sorted(below.items())), ("total", total)]:
        echo_row(str(size) if in_bytes else size_text(size), values_text(count), shown(name))


@click.command()
@url_argument
@prefix_argument
@click.option("-a", "all_directories", is_flag=True, help="Show directories inside arrays too.")
@click.option("-d", "--depth", type=click.IntRange(min=1), help="How many levels to show.")
@json_option
def tree(url: str, prefix: str, all_directories: bool, depth: int | None, as_json: bool) -> None:
    """Draw the groups and arrays at URL, with the number and size of what is in each."""
    from zarrstore._hierarchy.tree import NODES, Tree

    with opened(url) as store:
        root = Tree(prefix or str(store))
        skip = len(f"{prefix.strip('/')}/".lstrip("/"))
        nodes: dict[str, Tree] = {}
        for entry in entries(store, url, prefix, deep=True, sizes=True):
            node = root.add(entry, skip)
            if entry.key.rpartition("/")[2] in NODES:
                nodes[entry.key] = node
        for (key, node), value in zip(nodes.items(), documents(store, nodes), strict=True):
            node.describe(key.rpartition("/")[2], value)
    if as_json:
        click.echo(json.dumps(root.as_json(all_directories=all_directories, depth=depth)))
    else:
        for line in root.lines(all_directories=all_directories, depth=depth):
            click.echo(line)
