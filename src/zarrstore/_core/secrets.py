"""Removes secrets from text, wherever they can occur."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HIDDEN = "***"
# Patterns are text, which `re` compiles when it first needs it: most programs never show an error.
_URL = r"([a-zA-Z][\w+.-]*)://([^\s\"<>]*)"
_LINK = r"::(?=[a-zA-Z][\w+.-]*://)"  # between the URLs of a chain
_AFTER = r"[^\w/=&?#%+~@*$!-]*$"  # what the surrounding text adds to a URL: brackets, for example
_PLACE = r"[^/?#]*"
_PORT = r"(?:\[[^]]*\]|[^:]*)(?::\d*)?"
_MARK = r"[?#]"
_WEB = ("http", "https")
# In Azure's and Hadoop's URLs the container is in this place.
_CONTAINERS = ("abfs", "abfss", "az", "wasb", "wasbs")
# A user and a password without a scheme: "KEY:SECRET@bucket".
_USER = r"(?<![^\s\"'(\[=,])[^\s/@:\"'<>(]+:(?!//)[^\s@\"'<>]+@(?=[\w.\[-])"
_NAMES = (
    r"(?:x-(?:amz|goog|ms)-)?(?:signature|credential|security-token)|sig|(?:access_?|session_?|sas_?|id_?)?token"
    r"|pass(?:word|wd)|pwd|(?:\w+_)?secret(?:_access_key|_key)?|api[-_]?key|sas_key|account_?key"
    r"|sharedaccesssignature|private_key"
)
_NAMED = (
    rf"(?i)(?:(?<![\w-])|(?<=%3F)|(?<=%26))({_NAMES})((?:=|%3D)[\"']?|[\"']\s*[:=]\s*b?[\"'])[^\s\"'&;,<>)]+"
)
_HEADER = (
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-amz-security-token|x-api-key|x-auth-token|private-token|location|referer)"
    r"([\"']?\s*[:=]\s*(?:b?[\"'])?)[^\"'\r\n]+"
)
_BEARER = r"(?i)\b(bearer|basic)(\s+)[\w+/.~=-]{20,}"


def without_secrets(text: str) -> str:
    """Return a text without what may be secret in it.

    This removes the user, password, query and fragment of each URL, headers that carry credentials, and
    values assigned to names such as "token". In URLs of schemes other than http, ``?`` and ``#`` may belong
    to a key; there a query or fragment is removed only if it assigns something.

    Parameters
    ----------
    text : str
        An error's text, a URL, the text form of a store.
    """
    text = re.sub(_USER, "", re.sub(_URL, _clean_urls, text))
    for pattern in (_HEADER, _BEARER, _NAMED):
        text = re.sub(pattern, rf"\1\2{_HIDDEN}", text)
    return text


def safe_cause(error: BaseException) -> BaseException:
    """Return the error to chain ours to: the error itself, or a similar one if its texts contain secrets.

    Parameters
    ----------
    error : BaseException
        What a client raised; a traceback also shows the texts of the errors in its chain.
    """
    if all(without_secrets(text) == text for link in _chain(error) for text in _texts(link)):
        return error
    text = without_secrets(str(error))
    try:
        like = type(error)(text)
    except Exception:
        like = None  # its class needs more arguments
    if like is None or str(like) != text:
        like = OSError(f"{type(error).__name__}: {text}")
    return like


def _clean_urls(match: re.Match[str]) -> str:
    return "::".join(_clean_url(*url.split("://", 1)) for url in re.split(_LINK, match[0]))


def _clean_url(scheme: str, rest: str) -> str:
    after = re.search(_AFTER, rest)
    end = after[0] if after else ""
    rest = rest[: len(rest) - len(end)]
    if "://" in rest:  # a URL in a URL
        rest = without_secrets(rest)
    place = re.match(_PLACE, rest)
    host = place[0] if place else ""
    if "@" in host:
        user = host.rpartition("@")[0]
        if scheme.lower() not in _CONTAINERS or ":" in user:
            rest = rest[len(user) + 1 :]
    elif re.fullmatch(_PORT, host) is None and "@" in rest:  # the password contains a slash
        rest = rest.rpartition("@")[2]
    mark = re.search(_MARK, rest)
    if mark and (scheme.lower() in _WEB or "=" in rest[mark.start() :]):
        rest = rest[: mark.start()]
    return f"{scheme}://{rest}{end}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors that its traceback shows."""
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
