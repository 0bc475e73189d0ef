"""Secrets in text: where they can stand, and the text without them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HIDDEN = "***"
_URL = re.compile(r"([a-zA-Z][\w+.-]*)://([^\s\"<>]*)")
_LINK = re.compile(r"::(?=[a-zA-Z][\w+.-]*://)")  # between the URLs of a chain
_AFTER = re.compile(r"[^\w/=&?#%+~@*$!-]*$")  # what the text around a URL adds to it: brackets, say
_PLACE = re.compile(r"[^/?#]*")
_PORT = re.compile(r"(?:\[[^]]*\]|[^:]*)(?::\d*)?")
_MARK = re.compile(r"[?#]")
_WEB = ("http", "https")
# Azure's and Hadoop's URLs have a container there.
_CONTAINERS = ("abfs", "abfss", "az", "wasb", "wasbs")
# A user and a password without a scheme: "KEY:SECRET@bucket".
_USER = re.compile(r"(?<![^\s\"'(\[=,])[^\s/@:\"'<>(]+:(?!//)[^\s@\"'<>]+@(?=[\w.\[-])")
_NAMES = (
    r"(?:x-(?:amz|goog|ms)-)?(?:signature|credential|security-token)|sig|(?:access_?|session_?|sas_?|id_?)?token"
    r"|pass(?:word|wd)|pwd|(?:\w+_)?secret(?:_access_key|_key)?|api[-_]?key|sas_key|account_?key"
    r"|sharedaccesssignature|private_key"
)
_NAMED = re.compile(
    rf"(?i)(?:(?<![\w-])|(?<=%3F)|(?<=%26))({_NAMES})((?:=|%3D)[\"']?|[\"']\s*[:=]\s*b?[\"'])[^\s\"'&;,<>)]+"
)
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-amz-security-token|x-api-key|x-auth-token|private-token|location|referer)"
    r"([\"']?\s*[:=]\s*(?:b?[\"'])?)[^\"'\r\n]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[\w+/.~=-]{20,}")


def without_secrets(text: str) -> str:
    """Return a text without what may be secret in it.

    That is the user, password, query and fragment of each URL (in URLs of other schemes than http, where such
    characters may belong to a key, a query or fragment that assigns something), headers that carry
    credentials, and what is assigned to a telling name.

    Parameters
    ----------
    text : str
        An error's text, a URL, the text form of a store.
    """
    text = _USER.sub("", _URL.sub(_clean_urls, text))
    for pattern in (_HEADER, _BEARER, _NAMED):
        text = pattern.sub(rf"\1\2{_HIDDEN}", text)
    return text


def safe_cause(error: BaseException) -> BaseException:
    """Return an error to chain ours to: itself, or one like it if its texts hold secrets.

    Parameters
    ----------
    error : BaseException
        What a client raised; a traceback shows the texts of all that it came from.
    """
    if all(without_secrets(text) == text for link in _chain(error) for text in _texts(link)):
        return error
    text = without_secrets(str(error))
    try:
        like = type(error)(text)
    except Exception:
        like = None  # its class wants to know more
    if like is None or str(like) != text:
        like = OSError(f"{type(error).__name__}: {text}")
    return like


def _clean_urls(match: re.Match[str]) -> str:
    return "::".join(_clean_url(*url.split("://", 1)) for url in _LINK.split(match[0]))


def _clean_url(scheme: str, rest: str) -> str:
    after = _AFTER.search(rest)
    end = after[0] if after else ""
    rest = rest[: len(rest) - len(end)]
    if "://" in rest:  # a URL in a URL
        rest = without_secrets(rest)
    place = _PLACE.match(rest)
    host = place[0] if place else ""
    if "@" in host:
        user = host.rpartition("@")[0]
        if scheme.lower() not in _CONTAINERS or ":" in user:
            rest = rest[len(user) + 1 :]
    elif _PORT.fullmatch(host) is None and "@" in rest:  # the password has a slash in it
        rest = rest.rpartition("@")[2]
    mark = _MARK.search(rest)
    if mark and (scheme.lower() in _WEB or "=" in rest[mark.start() :]):
        rest = rest[: mark.start()]
    return f"{scheme}://{rest}{end}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that a traceback of it shows."""
    pending, seen = [error], set[int]()
    while pending:
        link = pending.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        pending += [other for other in (link.__cause__, link.__context__) if other is not None]
        if isinstance(link, BaseExceptionGroup):
            pending += link.exceptions


def _texts(error: BaseException) -> Iterator[str]:
    yield str(error)
    yield from map(str, getattr(error, "__notes__", ()))
