"""The location of remote data in one form for fsspec and obstore: service, server, bucket, path."""

from __future__ import annotations

import os
import re
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from zarrstore._core.urls import AZURE, GCS, S3
from zarrstore.storage._remote.settings import AWS_ENDPOINTS, aws_endpoint, aws_profile, connection_parts
from zarrstore.storage._remote.store import comes_from

# A store or a file system from a library that may not be installed.
Untyped: TypeAlias = Any

_SERVICES = {**dict.fromkeys(S3, "s3"), **dict.fromkeys(GCS, "gs"), **dict.fromkeys(AZURE, "az")}
# The services' own servers, where a bucket's name is unique, whatever form the address takes.
_PUBLIC = re.compile(r"(.*\.)?(amazonaws\.com(\.cn)?|googleapis\.com)")
# The packages whose file systems are supported; another package may define its own for such a scheme.
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
_AWS = "https://s3.amazonaws.com"


def of_obstore(store: Untyped, prefix: str) -> str:
    """Return the place of a directory in one of obstore's stores."""
    kind = type(store).__name__
    path = f"{getattr(store, 'prefix', None) or ''}/{prefix}"
    if kind == "HTTPStore":
        return _on_web_server(f"{store.url.rstrip('/')}{path}")
    config = getattr(store, "config", None) or {}
    endpoint, bucket = config.get("endpoint"), config.get("bucket", config.get("container_name", ""))
    if kind == "S3Store":
        known = map(os.environ.get, (*AWS_ENDPOINTS, "AWS_ENDPOINT"))  # obstore reads no configuration file
        return _in_bucket("s3", endpoint or next(filter(None, known), _AWS), bucket, path)
    if kind == "AzureStore":
        return _in_bucket("az", endpoint or _azure_server(config.get("account_name")), bucket, path)
    if kind == "GCSStore":
        return _in_bucket("gs", endpoint, bucket, path)
    return _joined(f"{kind}://{id(store):x}", path)


def of_fsspec(fs: Untyped, path: str, token: object) -> str:
    """Return the place of a directory in one of fsspec's file systems.

    Parameters
    ----------
    fs : fsspec.AbstractFileSystem
        The file system.
    path : str
        The directory, as the file system spells it.
    token : object
        Distinguishes two file systems whose kind isn't known here.
    """
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    service = _SERVICES.get(protocol, protocol)
    if service == "dir":
        return of_fsspec(fs.fs, f"{fs.path}/{path.lstrip('/')}", token)
    if service in ("file", "local"):
        return _joined(f"file://{os.path.realpath(path)}")
    if service in ("http", "https"):
        return _on_web_server(path)
    if service not in _PACKAGES or not comes_from(fs, _PACKAGES[service]):
        return _joined(f"fsspec-{service}://{'' if service == 'memory' else token}", path)
    bucket, _, below = path.lstrip("/").partition("/")
    if service == "s3":
        endpoint = getattr(fs, "endpoint_url", None) or (fs.client_kwargs or {}).get("endpoint_url")
        endpoint = endpoint or aws_endpoint(os.environ, aws_profile(os.environ)) or _AWS
        return _in_bucket(service, endpoint, bucket, below)
    if service == "gs":
        return _in_bucket(service, getattr(fs, "_endpoint", None), bucket, below)
    endpoint = _azure_server(fs.account_name, fs.connection_string) or getattr(fs, "account_url", None)
    return _in_bucket(service, endpoint, bucket, below)


def _in_bucket(service: str, endpoint: str | None, bucket: str, path: str) -> str:
    parts = urlsplit(endpoint or "")
    host = (parts.hostname or "").removeprefix(f"{bucket}.").replace(".dfs.core.", ".blob.core.")
    if _PUBLIC.fullmatch(host):
        return _joined(f"{service}://", bucket, path)
    host = "127.0.0.1" if host == "localhost" else host
    return _joined(f"{service}://{host}:{parts.port or ''}", parts.path, bucket, path)


def _on_web_server(url: str) -> str:
    parts = urlsplit(url)
    return _joined(f"http://{parts.netloc.rpartition('@')[2].lower()}", parts.path)


def _azure_server(account: str | None, connection: str | None = None) -> str | None:
    named = connection_parts(connection or "")
    account = account or named.get("AccountName")
    return named.get("BlobEndpoint") or (f"https://{account}.blob.core.windows.net" if account else None)


def _joined(*parts: str) -> str:
    """Join parts with single slashes; the result ends with one."""
    return "/".join([parts[0].rstrip("/"), *filter(None, (part.strip("/") for part in parts[1:]))]) + "/"
