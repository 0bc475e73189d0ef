"""The ASGI application: what is requested, who may read, and what all answers have in common."""

from __future__ import annotations

import logging
import time
from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import escape

from zarrstore._core.keys import check_key, check_prefix
from zarrstore._core.secrets import without_secrets
from zarrstore._core.text import shown
from zarrstore.errors import (
    InvalidKeyError,
    MissingDependencyError,
    StoreError,
    TransientError,
    UnsupportedOperationError,
)

try:
    from starlette.requests import Request
    from starlette.responses import Response
except ImportError as error:
    raise MissingDependencyError(
        "serving needs the package starlette.", hint="Install it: pip install 'zarrstore[serve]'"
    ) from error

from zarrstore.serve._listings import listing_response, xml_response
from zarrstore.serve._page import asset_response, node_response, page_of, page_response, stored_response
from zarrstore.serve._served import Served
from zarrstore.serve._values import value_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import TypeAlias

    from starlette.types import Receive, Scope, Send

    from zarrstore.abc.store import Store

    _Message: TypeAlias = MutableMapping[str, object]
    # As in the ASGI standard, and as starlette's `ASGIApp`.
    Application: TypeAlias = Callable[
        [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
    ]

log = logging.getLogger("zarrstore.serve")

_METHODS = "GET, HEAD, OPTIONS"
_EXPOSED = "accept-ranges, content-length, content-range, etag, last-modified"
# Answers to failures: the kind of error, the status, S3's error code, and our message, which reveals no more.
# The error's own text is in the log.
_FAILURES: tuple[tuple[type[Exception], tuple[int, str, str]], ...] = (
    (InvalidKeyError, (400, "InvalidURI", "This is no key.")),
    (UnicodeError, (400, "InvalidURI", "This path is no text in UTF-8.")),
    (UnsupportedOperationError, (501, "NotImplemented", "The store behind this server can't do that.")),
    (TransientError, (503, "SlowDown", "It can't be read now; another try may succeed.")),
    (Exception, (500, "InternalError", "It can't be read. The log of this server tells why.")),
)


def app(store: Store, *, origin: str = "*", token: str | None = None) -> Application:
    """Serve a store over HTTP, as an ASGI application that only reads.

    Values are served as they are stored, whole or by range. A directory is served as a page of links or, if
    requested with ``?list-type=2``, as an S3 listing.

    Parameters
    ----------
    store : Store
        The store to serve. It isn't closed.
    origin : str
        Whose pages may read from here in a browser: an origin such as ``https://example.org``, or all.
    token : str, optional
        Token that requests must send, as ``Authorization: Bearer TOKEN``.

    Returns
    -------
    callable
        For an ASGI server, or for mounting in another application.
    """
    served = Served.of(store)
    common = _common_headers(origin)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this application answers HTTP, not {scope['type']}.")
        began, request, path = time.perf_counter(), Request(scope), ""
        try:
            path = _path_of(scope)
            response = await _answer(served, request, path, token)
        except Exception as error:
            response = _failure(path, error)
        response.raw_headers += common
        if request.method == "HEAD":
            response.body = b""
        try:
            await response(scope, receive, send)
        except Exception as error:
            _note(path, error)
            raise
        if log.isEnabledFor(logging.INFO):
            size, took = response.headers.get("content-length", "0"), 1000 * (time.perf_counter() - began)
            what = f"{request.method} /{shown(path)}"
            log.info("%s %d, %s bytes, %.1f ms", what, response.status_code, size, took)

    return serve


def _common_headers(origin: str) -> list[tuple[bytes, bytes]]:
    told = {"access-control-allow-origin": origin, "access-control-expose-headers": _EXPOSED}
    if origin != "*":
        told["vary"] = "origin"
    return [(name.encode(), text.encode("latin-1")) for name, text in told.items()]


def _path_of(scope: Scope) -> str:
    """Return the path below the application's mount point, without the leading slash.

    Raises
    ------
    UnicodeError
        If it isn't UTF-8.
    """
    raw = scope.get("raw_path")
    path = scope["path"] if raw is None else unquote(raw.decode("ascii"), errors="strict")
    return str(path).removeprefix(scope.get("root_path", "")).removeprefix("/")


async def _answer(served: Served, request: Request, path: str, token: str | None) -> Response:
    if request.method == "OPTIONS":
        return _preflight(request)
    if request.method not in ("GET", "HEAD"):
        return _error_response(405, "MethodNotAllowed", "Nothing can be changed here.", {"allow": _METHODS})
    query = request.query_params if request.scope["query_string"] else {}
    if "asset" in query:
        return asset_response(query["asset"]) or _missing()
    if token is not None and not _is_known(request, token):
        return _unknown(request)
    if "list-type" in query:
        return await listing_response(served, _directory(served, path), query)
    if path and path[-1] != "/":
        check_key(path, served.store)
        return await value_response(served, path, request) or _missing()
    directory = _directory(served, path)
    if "node" in query:
        return await node_response(served, directory)
    if "stored" in query:
        return await stored_response(served, directory)
    return await page_response(served, directory) or _missing()


def _directory(served: Served, path: str) -> str:
    return check_prefix(path, served.store) if path else ""


def _preflight(request: Request) -> Response:
    """Allow whatever headers a browser wants to send, since no request can change anything."""
    asked = request.headers.get("access-control-request-headers", "authorization, range")
    headers = {
        "allow": _METHODS,
        "access-control-allow-methods": _METHODS,
        "access-control-allow-headers": asked,
        "access-control-max-age": "86400",
    }
    if "access-control-request-private-network" in request.headers:
        headers["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=headers)


def _is_known(request: Request, token: str) -> bool:
    kind, _, shown_token = request.headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and compare_digest(shown_token.strip().encode("latin-1"), token.encode())


def _unknown(request: Request) -> Response:
    """Request the token. The page contains nothing from the store, and finds the token in its address."""
    headers = {"www-authenticate": "Bearer"}
    if "text/html" in request.headers.get("accept", ""):
        return page_of([], 401, headers)
    return _error_response(401, "AccessDenied", "This server wants a token.", headers)


def _missing() -> Response:
    return _error_response(404, "NoSuchKey", "There is no such value.")


def _failure(path: str, error: Exception) -> Response:
    status, code, message = next(answer for kind, answer in _FAILURES if isinstance(error, kind))
    if status >= 500:
        _note(path, error)
    return _error_response(status, code, message, {"retry-after": "1"} if status == 503 else {})


def _note(path: str, error: Exception) -> None:
    """Log what went wrong."""
    text = str(error) if isinstance(error, (StoreError, OSError)) else f"{type(error).__name__}: {error}"
    log.warning("/%s: %s", shown(path), shown(without_secrets(text)))


def _error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with an error in S3's format."""
    response = xml_response(f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>", status)
    response.headers.update(headers or {})
    return response
