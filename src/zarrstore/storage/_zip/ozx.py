"""OME's single file (RFC-9): which archives are one, and what their comment says."""

from __future__ import annotations

import json

ENDING = ".ozx"
ROOT = "zarr.json"
# The first version of OME-Zarr that is stored in such a file: what a root says that names none.
_VERSION = "0.5"


def is_named_ozx(path: str) -> bool:
    """Whether a path ends as those of OME's single files do."""
    return path.lower().endswith(ENDING)


def comment_for(document: bytes) -> bytes:
    """Return the archive's comment for a hierarchy with this metadata document at its root."""
    said = {"version": _version(document), "zipFile": {"centralDirectory": {"jsonFirst": True}}}
    return json.dumps({"ome": said}).encode()


def is_whole(comment: bytes) -> bool:
    """Whether a comment is JSON: one that was cut off isn't."""
    try:
        json.loads(comment)
    except ValueError:
        return False
    return True


def _version(document: bytes) -> str:
    try:
        return str(json.loads(document)["attributes"]["ome"]["version"])
    except (ValueError, KeyError, TypeError):
        return _VERSION
