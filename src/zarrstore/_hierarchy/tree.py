"""A hierarchy as a tree of groups and arrays, with the number and size of the values in each."""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

from zarrstore._core.composites import scan_sized
from zarrstore._core.text import shown, size_text, values_text
from zarrstore._core.verbs import host_memory
from zarrstore._hierarchy.documents import parsed_if_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zarrstore._core.verbs import Entry, Verbs
    from zarrstore._hierarchy.documents import Document

NODES = ("zarr.json", ".zarray", ".zgroup")
_DOCUMENTS = frozenset((*NODES, ".zattrs", ".zmetadata"))


class Tree:
    """A directory of a store and everything below it. Its text form is a drawing of the tree.

    Attributes
    ----------
    name : str
        Last segment of its path.
    kind : str
        ``"group"``, ``"array"``, or empty for a directory that is neither.
    count : int
        Number of values below.
    size : int
        Sum of their sizes in bytes.
    chunks : int
        For an array, the number of stored chunks or shards.
    children : dict of str to Tree
        The directories one level below.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind: str = ""
        self.count = self.size = self.chunks = 0
        self.children: dict[str, Tree] = {}
        self.is_partial = False
        self._document: Document = {}

    def add(self, entry: Entry, skip: int) -> Tree:
        """Count a value below this directory; return the directory that contains it."""
        *parents, name = entry.key[skip:].split("/")
        node = self
        path = [node := node.children.setdefault(parent, Tree(parent)) for parent in parents]
        for node in (self, *path):
            node.count += 1
            node.size += entry.size or 0
            node.chunks += name not in _DOCUMENTS
        return path[-1] if path else self

    def describe(self, name: str, value: bytes | None) -> None:
        """Set what this is from a metadata document; a damaged one is ignored."""
        self._document = parsed_if_whole(value)
        self.kind = _kind(name, self._document)

    @property
    def _words(self) -> str:
        """A short description of what this is."""
        if self.kind != "array":
            return self.kind
        possible = _possible_chunks(self._document)
        of = "" if possible is None else f" of {possible:,}"
        unit = "chunk" if self.chunks == 1 and not of else "chunks"
        return f"{_words_of_array(self._document)}, {self.chunks:,}{of} {unit}"

    def as_json(self, *, all_directories: bool = False, depth: int | None = None) -> dict[str, object]:
        """Return the tree in a form for JSON, with the same children as in the drawing."""
        deeper = None if depth is None else depth - 1
        return {
            "name": self.name,
            "kind": (_words_of_array(self._document) if self.kind == "array" else self.kind) or None,
            "values": self.count,
            "bytes": self.size,
            "children": [
                child.as_json(all_directories=all_directories, depth=deeper)
                for child in self._drawn(all_directories, depth)
            ],
        }

    def _drawn(self, all_directories: bool, depth: int | None) -> list[Tree]:
        """Return the children to draw, in order."""
        if depth == 0 or (self.kind == "array" and not all_directories):
            return []
        return [self.children[name] for name in sorted(self.children)]

    def line(self) -> str:
        """Return its line in the drawn tree."""
        kind = f" [{shown(self._words)}]" if self.kind else ""
        return f"{shown(self.name)}{kind} {values_text(self.count)}, {size_text(self.size)}"

    def lines(
        self, *, all_directories: bool = False, depth: int | None = None, lead: str = "", below: str = ""
    ) -> Iterator[str]:
        """Draw the tree.

        Parameters
        ----------
        all_directories : bool
            Whether to draw directories inside arrays, too.
        depth : int, optional
            How many levels to draw.
        lead, below : str
            What precedes the first line, and the other lines.
        """
        yield lead + self.line()
        children = self._drawn(all_directories, depth)
        for child in children:
            branch, trunk = ("└── ", "    ") if child is children[-1] else ("├── ", "│   ")
            yield from child.lines(
                all_directories=all_directories,
                depth=None if depth is None else depth - 1,
                lead=below + branch,
                below=below + trunk,
            )

    def __str__(self) -> str:
        more = ["... and more, which was not looked at"] if self.is_partial else []
        return "\n".join([*self.lines(), *more])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def described(name: str, document: Mapping[str, object]) -> str:
    """Return a short description of what a metadata document with this name describes."""
    kind = _kind(name, document)
    return shown(_words_of_array(document) if kind == "array" else kind)


def _kind(name: str, document: Mapping[str, object]) -> str:
    of_two = {".zarray": "array", ".zgroup": "group"}.get(name)
    return of_two or str(document.get("node_type") or "unknown")


def _words_of_array(document: Mapping[str, object]) -> str:
    dtype = document.get("data_type", document.get("dtype", "?"))
    if isinstance(dtype, dict):
        dtype = dtype.get("name", "?")
    shape = document.get("shape")
    sizes = " x ".join(map(str, shape)) if isinstance(shape, list) else "?"
    return f"array {dtype}, {sizes or 'scalar'}"


def _possible_chunks(document: Mapping[str, object]) -> int | None:
    """Return how many chunks (or shards) an array has; None if its metadata doesn't say so plainly."""
    grid = document.get("chunk_grid")
    if isinstance(grid, dict) and isinstance(grid.get("configuration"), dict):
        chunks = grid["configuration"].get("chunk_shape")
    else:
        chunks = document.get("chunks")
    shape = document.get("shape")
    if not isinstance(shape, list) or not isinstance(chunks, list):
        return None
    try:
        count: int = prod(ceil(size / chunk) for size, chunk in zip(shape, chunks, strict=True))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return count


async def read_tree(verbs: Verbs, prefix: str, name: str, limit: int | None = None) -> Tree:
    """Build the tree of what is below a directory.

    Parameters
    ----------
    verbs : Verbs
        The store's verbs.
    prefix : str
        The directory, in the form that verbs take.
    name : str
        The name of the root.
    limit : int, optional
        How many values to look at, at most.
    """
    root = Tree(name)
    documents = []
    async for page in scan_sized(verbs, prefix):
        for entry in page:
            node = root.add(entry, len(prefix))
            if entry.key.rpartition("/")[2] in NODES:
                documents.append((node, entry.key))
        if limit is not None and root.count >= limit:
            root.is_partial = True
            break
    values = await verbs.read_many([(key, None) for _, key in documents], host_memory)
    for (node, key), value in zip(documents, values, strict=True):
        node.describe(key.rpartition("/")[2], None if value is None else bytes(value))
    return root
