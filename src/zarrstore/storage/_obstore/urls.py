"""Makes an obstore store from a URL and fsspec's options, if obstore can do the job as well."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from zarrstore._core.urls import AZURE, GCS, S3, bucket_place
from zarrstore.errors import StoreLikeError
from zarrstore.storage._remote.settings import AWS_ENDPOINTS, aws_endpoint, aws_profile, connection_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAME = {"key": "access_key_id", "secret": "secret_access_key", "token": "session_token"}
_CLIENT = {"region_name": "region", "endpoint_url": "endpoint"}
_MANNER = ("asynchronous", "use_listings_cache")  # how fsspec runs, which doesn't concern obstore
_AZURE_SAME = {
    name: "sas_key" if name == "sas_token" else name
    for name in ("account_name", "account_key", "sas_token", "client_id", "client_secret", "tenant_id")
}
_AZURE_STRING = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "SharedAccessSignature": "sas_key",
    "BlobEndpoint": "endpoint",
}


def installed() -> bool:
    """Whether obstore is installed."""
    try:
        import obstore  # noqa: F401
    except ImportError:
        return False
    return True


def open_url(url: str, options: dict[str, Any] | None, *, sure: bool) -> tuple[Any, bool]:
    """Return one of obstore's stores, or None if fsspec is better; and whether fsspec can open it too.

    Parameters
    ----------
    url : str
        A URL with one scheme.
    options : dict or None
        What the caller passed: fsspec's names or, if ``sure``, obstore's own.
    sure : bool
        Whether the caller chose obstore.
    """
    from obstore.store import AzureStore, GCSStore, S3Store, from_url

    place = bucket_place(url)
    scheme = url.partition("://")[0]
    found: dict[str, Any] | None = None
    make: type[AzureStore | GCSStore | S3Store] | None = None
    if scheme in S3:
        found, make = _s3_options(options or {}, os.environ, sure=sure), S3Store
    elif scheme in AZURE:
        found, make = _azure_options(options or {}, os.environ), AzureStore
    elif scheme in GCS:
        found, make = _gcs_options(options or {}), GCSStore
    if not sure and (place is None or found is None):
        return None, False
    own = dict(options or {})
    if place is not None and make is not None:
        # Not with `from_url`, which decodes and drops parts of the text.
        bucket, directory = place
        made = make(bucket, prefix=directory or None, **(own if found is None else found))
        return made, found is not None
    if scheme in AZURE and not {"?", "#", "%"}.isdisjoint(url):
        raise StoreLikeError("obstore would drop or decode a part of this URL.", hint="Let fsspec open it.")
    if scheme == "http":
        own["client_options"] = {**own.get("client_options", {}), "allow_http": True}
    return from_url(url, **own), False


def _s3_options(
    options: Mapping[str, Any], environ: Mapping[str, str], *, sure: bool
) -> dict[str, Any] | None:
    """Translate s3fs's options for obstore; None if some have no counterpart, or something is missing.

    s3fs finds regions and profiles by itself, but obstore doesn't. So s3fs is used if there is neither a
    region nor an endpoint, or if there are no credentials in the options or in the environment.
    """
    made: dict[str, Any] = {}
    for name, value in options.items():
        if name in _SAME:
            made[_SAME[name]] = value
        elif name == "anon":
            made["skip_signature"] = bool(value)
        elif name == "endpoint_url":
            made["endpoint"] = value
        elif name == "client_kwargs" and set(value) <= _CLIENT.keys():
            made.update({_CLIENT[inner]: given for inner, given in value.items()})
        elif name not in _MANNER:
            return None
    made = {name: value for name, value in made.items() if value is not None}
    if not made.get("skip_signature"):
        made.pop("skip_signature", None)
    profile = aws_profile(environ)
    if "endpoint" not in made:
        if endpoint := aws_endpoint(environ, profile):
            made["endpoint"] = endpoint
        elif any(map(environ.get, AWS_ENDPOINTS)) and not sure:
            return None  # obstore would use settings in the environment that it is told to ignore
    if "region" not in made:
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or profile.get("region")
        if region:
            made["region"] = region
        elif not sure and "endpoint" not in made:
            return None
    known = "skip_signature" in made or {"access_key_id", "secret_access_key"} <= made.keys()
    if not known and not sure and not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= environ.keys():
        return None
    if not known and not sure and "AWS_PROFILE" in environ:
        return None
    if "endpoint" in made:
        made["virtual_hosted_style_request"] = False
        if str(made["endpoint"]).startswith("http://"):
            made["client_options"] = {"allow_http": True}
    return made


def _azure_options(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Translate adlfs's options for obstore; None if some have no counterpart, or something is missing.

    adlfs tries all of Azure's ways to find credentials, so it is used if none are given.
    """
    given = dict(options)
    for name in ("connection_string", *_AZURE_SAME):
        found = environ.get(f"AZURE_STORAGE_{name.upper()}")
        if found and given.get(name) is None:
            given[name] = found
    made: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or name in _MANNER or name == "connection_string":
            continue
        if name in _AZURE_SAME:
            made[_AZURE_SAME[name]] = value
        elif name == "anon":
            made.update({"skip_signature": True} if value else {})
        elif name == "account_host":
            made["endpoint"] = f"https://{value}"
        else:
            return None
    if given.get("connection_string"):
        # It takes precedence for adlfs, too.
        parts = connection_parts(given["connection_string"])
        made = {_AZURE_STRING[name]: value for name, value in parts.items() if name in _AZURE_STRING}
    known = any(name in made for name in ("account_key", "sas_key", "skip_signature")) or (
        {"client_id", "client_secret", "tenant_id"} <= made.keys()
    )
    if not known or "account_name" not in made:
        return None
    if str(made.get("endpoint")).startswith("http://"):
        made["client_options"] = {"allow_http": True}
    return made


def _gcs_options(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Translate gcsfs's options for public data to obstore's; anything else is left to gcsfs."""
    if set(options) <= {"token", "project", *_MANNER} and options.get("token") == "anon":
        return {"skip_signature": True}
    return None
