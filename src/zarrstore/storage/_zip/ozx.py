"""OME single-file archives (RFC-9): how to recognise them, and their comment."""

from __future__ import annotations

import json

ENDING = ".ozx"
ROOT = "zarr.json"
# The first OME-Zarr version with such files, for a root that names no version.
_VERSION = "0.5"


def is_named_ozx(path: str) -> bool:
    """Whether a path ends like that of an OME single-file archive."""
    return path.lower().endswith(ENDING)


def comment_for(document: bytes) -> bytes:
    """Return the archive's comment for a hierarchy with this metadata document at its root."""
    said = {"version": _version(document), "zipFile": {"centralDirectory": {"jsonFirst": True}}}
    return json.dumps({"ome": said}).encode()


def is_whole(comment: bytes) -> bool:
    """Whether a comment is JSON, which a truncated one isn't."""
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
