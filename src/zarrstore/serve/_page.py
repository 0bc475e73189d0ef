"""Pages for people: a directory's links, which a script turns into a viewer, and the data it requests."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import Response

from zarrstore._core.composites import scan_sized
from zarrstore._core.text import shown, size_text
from zarrstore._core.verbs import host_memory
from zarrstore._hierarchy.documents import V2, V3, parsed_if_whole
from zarrstore._hierarchy.facts import Tally, array_facts, array_in, node_facts
from zarrstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarrstore._hierarchy.documents import Document
    from zarrstore.serve._served import Served

_FOLDER = files("zarrstore.serve") / "page"
_TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript"}
# A page runs only what is in this package, and contacts only this server. Codecs compiled to WebAssembly
# create their functions with `eval`.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)
_SAFE = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# How many groups and arrays of one level a page receives at most.
_SHOWN = 1000
_DOCUMENTS = (V3, *V2)


@cache
def _assets() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.is_file()}


def asset_response(name: str) -> Response | None:
    """Answer with one of the page's own files; None if there is no such file."""
    content, media_type = _assets().get(name), _TYPES.get(name.rpartition(".")[2])
    if content is None or media_type is None:
        return None
    return Response(content, headers={**_SAFE, "cache-control": "max-age=600"}, media_type=media_type)


async def page_response(served: Served, directory: str) -> Response | None:
    """Answer with a directory's page; None if the directory is empty."""
    try:
        entries = await served.level(directory)
    except StoreError:  # a broken link in it, for example
        entries = await served.level(directory, sizes=False)
    if directory and not entries:
        return None
    return page_of([(entry.key[len(directory) :], entry.size) for entry in entries])


def page_of(
    links: Iterable[tuple[str, int | None]], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Make a page of names and sizes."""
    lines = "\n".join(_line(name, size) for name, size in links)
    text = _assets()["page.html"].decode().replace("<!-- links -->", lines)
    told = {**_SAFE, "cache-control": "no-cache", **(headers or {})}
    return Response(text, status, told, "text/html")


def _line(name: str, size: int | None) -> str:
    told = "" if size is None else f" {size_text(size)}"
    # A name with a colon would be interpreted as a scheme.
    return f'<li><a href="./{quote(name)}">{escape(shown(name))}</a>{told}</li>'


async def node_response(served: Served, directory: str) -> Response:
    """Answer with what a group or an array is, and what is one level below it."""
    own = (await _documents(served, [directory]))[directory]
    array = array_in(own)
    names = [] if array else await _directories(served, directory)
    below = await _documents(served, names[:_SHOWN])
    told = {
        **_facts(own),
        "children": [{"name": key[len(directory) : -1], **_facts(found)} for key, found in below.items()],
        "more": max(0, len(names) - _SHOWN),
    }
    return _json(told)


async def _directories(served: Served, directory: str) -> list[str]:
    entries = await served.level(directory, sizes=False)
    return [entry.key for entry in entries if entry.key[-1] == "/"]


async def _documents(served: Served, directories: Iterable[str]) -> dict[str, dict[str, Document]]:
    """Read the documents of several directories at once."""
    places = [(directory, name) for directory in directories for name in _DOCUMENTS]
    requests = [(directory + name, None) for directory, name in places]
    values = await served.verbs.read_many(requests, host_memory) if requests else []
    found: dict[str, dict[str, Document]] = {directory: {} for directory, _ in places}
    for (directory, name), value in zip(places, values, strict=True):
        if document := parsed_if_whole(value):
            found[directory][name] = document
    return found


def _facts(found: dict[str, Document]) -> dict[str, Any]:
    array = array_in(found)
    names = found.get(V3, {}).get("dimension_names") or found.get(".zattrs", {}).get("_ARRAY_DIMENSIONS")
    return {**node_facts(found), **(array_facts(array) if array else {}), "dimension_names": names}


async def stored_response(served: Served, directory: str) -> Response:
    """Answer with how many of an array's chunks are stored, and in how many bytes."""
    array = array_in((await _documents(served, [directory]))[directory])
    tally = Tally()
    async for page in scan_sized(served.verbs, served.store._listed(directory)):
        for entry in page:
            tally.add(array, entry.key[len(directory) :], entry.size or 0)
    return _json({**tally.all(), **tally.of_chunks()})


def _json(told: dict[str, Any]) -> Response:
    """Answer with JSON; what JSON can't represent, such as NaN, becomes text."""
    plain = json.loads(json.dumps(told), parse_constant=str)
    return Response(json.dumps(plain), headers={"cache-control": "no-cache"}, media_type="application/json")
