"""Settings for reaching URLs besides the URL itself: a program's settings for all, and the environment."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from zarrstore._core.urls import AZURE, GCS, S3
from zarrstore.errors import StoreLikeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Backend: TypeAlias = Literal["obstore", "fsspec"]

# Environment variables that say not to sign requests: AWS's, GDAL's and obstore's names.
_UNSIGNED = {
    "AWS_NO_SIGN_REQUEST": S3,
    "AWS_SKIP_SIGNATURE": S3,
    "GS_NO_SIGN_REQUEST": GCS,
    "GOOGLE_SKIP_SIGNATURE": GCS,
    "AZURE_NO_SIGN_REQUEST": AZURE,
    "AZURE_SKIP_SIGNATURE": AZURE,
}
_YES = ("1", "true", "yes", "on")
# Options that don't concern credentials.
_ANYBODY = {"endpoint_url", "client_kwargs", "account_name", "account_host", "project"}
_ANYBODY |= {"asynchronous", "use_listings_cache", "config_kwargs", "use_ssl"}


@dataclass(frozen=True, slots=True)
class Reach:
    """Settings that apply to all URLs.

    Attributes
    ----------
    options : dict
        Storage options, under the backend's names.
    endpoint_url, profile, region : str or None
        The server, the profile in AWS's configuration, and the region.
    anon : bool
        Whether to send requests unsigned.
    backend : {"obstore", "fsspec"} or None
        Which library opens URLs.
    """

    options: dict[str, object] = field(default_factory=dict)
    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    anon: bool = False
    backend: Backend | None = None


_given: ContextVar[Reach | None] = ContextVar("_given", default=None)


@contextmanager
def reaching(reach: Reach) -> Iterator[None]:
    """Within a block, apply settings to all URLs opened without options of their own."""
    token = _given.set(reach)
    try:
        yield
    finally:
        _given.reset(token)


def reached(
    scheme: str, options: Mapping[str, object] | None, backend: Backend | None
) -> tuple[dict[str, object] | None, Backend | None]:
    """Return the options and the backend for a URL with the given scheme.

    Raises
    ------
    StoreLikeError
        If one of the general settings has no meaning for this scheme.
    """
    reach = _given.get()
    made = None if options is None else dict(options)
    if reach is not None and options is None:
        made = _translated(reach, scheme) or None
        backend = backend or reach.backend
    if _is_unsigned(scheme) and _ANYBODY.issuperset(made or ()):
        made = {**(made or {}), **_unsigned(scheme)}
    return made, backend


def _is_unsigned(scheme: str) -> bool:
    return any(
        scheme in schemes and os.environ.get(name, "").lower() in _YES for name, schemes in _UNSIGNED.items()
    )


def _unsigned(scheme: str) -> dict[str, object]:
    return {"token": "anon"} if scheme in GCS else {"anon": True}


def _translated(reach: Reach, scheme: str) -> dict[str, object]:
    """Convert the general settings to options of fsspec's file system for a scheme."""
    made = dict(reach.options)
    unused = []
    if reach.endpoint_url is not None:
        if scheme in S3 or scheme in GCS:
            made["endpoint_url"] = reach.endpoint_url
        else:
            unused.append("an endpoint")
    if reach.profile is not None:
        if scheme in S3:
            made["profile"] = reach.profile
        else:
            unused.append("a profile")
    if reach.region is not None:
        if scheme in S3:
            more = made.get("client_kwargs")
            made["client_kwargs"] = {**(more if isinstance(more, dict) else {}), "region_name": reach.region}
        else:
            unused.append("a region")
    if reach.anon:
        if scheme in S3 or scheme in GCS or scheme in AZURE:
            made.update(_unsigned(scheme))
        else:
            unused.append("an unsigned request")
    if unused:
        raise StoreLikeError(
            f"{' and '.join(unused)} would mean nothing to {scheme}:// URLs.",
            hint="Give what its backend knows as a storage option.",
        )
    return made
