"""What URLs of buckets and files mean, whichever backend opens them; refuses URLs given as paths.

In a bucket's URL everything after the scheme is literal: a bucket and a directory in it. Nothing is decoded,
and there is no query or fragment. In a file's URL ``%20`` is a space.
"""

from __future__ import annotations

import os
import re

from zarrstore._core.keys import check_azure_key, is_key
from zarrstore.errors import InvalidKeyError, StoreLikeError

S3 = frozenset(("s3", "s3a"))
GCS = frozenset(("gs", "gcs"))
AZURE = frozenset(("az", "abfs", "abfss"))
_BUCKETS = S3 | GCS | AZURE
_LIKE_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
# What fsspec's file systems interpret as the version of a value.
_VERSIONS = {**dict.fromkeys(S3, re.compile(r"\?versionId=")), **dict.fromkeys(GCS, re.compile(r"#\d+$"))}


def with_lower_scheme(text: str) -> str:
    """Return a URL with its scheme in lower case, since the case of a scheme has no meaning."""
    scheme, mark, rest = text.partition("://")
    return f"{scheme.lower()}{mark}{rest}" if mark and scheme.isascii() and "::" not in scheme else text


def bucket_place(url: str) -> tuple[str, str] | None:
    """Return the bucket and the directory that a URL names; None if it isn't a bucket's URL.

    Raises
    ------
    StoreLikeError
        If it names no place in a bucket, or not the same one in every backend.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in _BUCKETS or rest.startswith("arn:"):
        return None
    bucket, _, directory = rest.partition("/")
    directory = directory.removesuffix("/")
    if not bucket:
        raise StoreLikeError(
            f"a URL of {scheme}:// names no bucket.", hint=f"Write {scheme}://bucket/directory."
        )
    if ":" in bucket or ("@" in bucket and scheme not in AZURE):
        raise StoreLikeError(
            f"the bucket in a URL of {scheme}:// isn't a bucket's name.",
            hint="Credentials go into storage_options.",
        )
    check_directory(scheme, directory)
    # Only adlfs understands an account name in an Azure URL.
    return None if "@" in bucket else (bucket, directory)


def check_directory(scheme: str, directory: str) -> None:
    """Refuse a directory that can't be in a bucket, or that a backend would mistake for another."""
    shown = directory.partition("?")[0]
    if directory and (not is_key(directory) or _CONTROL.search(directory)):
        raise StoreLikeError(
            "no backend finds such a directory in a bucket.",
            key=shown,
            hint="Write names between single slashes, none of them '.' or '..', without control characters.",
        )
    if (version := _VERSIONS.get(scheme)) and (found := version.search(directory)):
        raise StoreLikeError(
            f"a name with {found[0]!r} stands for a version of a value.",
            key=shown,
            hint="Open the directory above, and take its sub() of that name.",
        )
    if scheme in AZURE and directory:
        try:
            check_azure_key(directory, None)
        except InvalidKeyError as error:
            raise StoreLikeError(error.message, key=shown, hint=error.hint) from None


def file_path(url: str) -> str:
    """Return the path that a file URL names."""
    host, _, path = url.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise StoreLikeError(
            f"{url.partition('?')[0].rpartition('@')[2]!r} names the host {host.rpartition('@')[2]!r}.",
            hint="A file URL has three slashes, and an absolute path: file:///folder/data.zarr",
        )
    if "?" in path or "#" in path:
        raise StoreLikeError(
            "a file URL with a query or a fragment names no file.", hint="Write %3F for '?' and %23 for '#'."
        )
    from urllib.parse import unquote_to_bytes

    try:
        decoded = os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        decoded = ""
    if not decoded or "\0" in decoded or "%2f" in path.lower():
        shown = path.encode("utf-8", "backslashreplace").decode()
        raise StoreLikeError(f"file:///{shown} names no file.", hint="Write file:///folder/data.zarr")
    return "/" + decoded


def check_path(text: str, what: str) -> None:
    """Refuse a URL where a path is expected: it would create a folder named ``s3:``."""
    found = _LIKE_A_URL.match(text)
    if found is not None:
        raise StoreLikeError(
            f"text that begins with {found[0]!r} is no {what}'s path.",
            hint=f"make_store opens URLs, {found[0]}/...; a {what} of that name has an absolute path, too.",
        )
