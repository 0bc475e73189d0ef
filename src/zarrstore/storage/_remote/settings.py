"""Reads server settings from the environment, AWS's configuration file and Azure connection strings."""

from __future__ import annotations

import os
from configparser import RawConfigParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

AWS_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def aws_profile(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a profile from AWS's configuration file; S3's options under its services begin with ``s3.``."""
    config = RawConfigParser(default_section="", strict=False)
    config.read(os.path.expanduser(environ.get("AWS_CONFIG_FILE") or "~/.aws/config"), "utf-8")
    name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    found: dict[str, str] = {}
    for section in (name, f"profile {name}") if name == "default" else (f"profile {name}",):
        if config.has_section(section):
            found.update(config[section])
    # An indented block below a name is read as text with several lines.
    for line in config.get(f"services {found.get('services')}", "s3", fallback="").splitlines():
        option, _, value = line.partition("=")
        found[f"s3.{option.strip()}"] = value.strip()
    return found


def aws_endpoint(environ: Mapping[str, str], profile: Mapping[str, str]) -> str | None:
    """Return the S3 endpoint that AWS's own clients would use, if one is configured."""
    ignore = "ignore_configured_endpoint_urls"
    if (environ.get(f"AWS_{ignore.upper()}") or profile.get(ignore) or "").lower() == "true":
        return None
    found = [*map(environ.get, AWS_ENDPOINTS), profile.get("s3.endpoint_url"), profile.get("endpoint_url")]
    return next(filter(None, found), None)


def connection_parts(text: str) -> dict[str, str]:
    """Return the parts of an Azure connection string, by name."""
    return dict(part.split("=", 1) for part in text.split(";") if "=" in part)
