"""A web server that answers from a table: a mock, since no real server answers so on demand.

It listens on a free loopback port. Each row of its table is ``(matches, answer)``: the first whose
``matches(request)`` is true answers. An answer is ``(status, body)``, ``(status, body, headers)`` or a
function of the request that returns one. Requests that no row matches are answered with 501 and kept in
``unforeseen``.
"""

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from object_servers import AzureServer, GcsServer, S3Server

HTML = "<!DOCTYPE html><html><body>Please log in to this network.</body></html>"


@dataclass(frozen=True)
class Request:
    """One request, as the table's functions see it."""

    method: str
    path: str
    query: dict
    headers: dict
    body: bytes = field(repr=False)  # may be long


def on(method, *words, path=""):
    """Match a method, names or ``name=value`` of the query, and the end of the path."""

    def matches(request):
        told = {f"{name}={value}" for name, value in request.query.items()} | set(request.query)
        return request.method == method and told.issuperset(words) and request.path.endswith(path)

    return matches


def s3_error(status, code, message="as told"):
    """Return S3's answer for a failure."""
    return status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


def azure_error(status, code):
    """Return Azure's answer for a failure."""
    return status, f"<Error><Code>{code}</Code><Message>as told</Message></Error>", {"x-ms-error-code": code}


def gcs_error(status, reason):
    """Return Google's answer for a failure, in its JSON API."""
    told = {"code": status, "message": reason, "errors": [{"reason": reason}]}
    return status, json.dumps({"error": told}), {"Content-Type": "application/json"}


class ScriptedServer:
    """The server's address, its table, and the requests it received."""

    def __init__(self, url):
        self.url = url
        self.table = []
        self.requests = []
        self.unforeseen = []

    @property
    def s3(self):
        """Return how to reach it as an S3 server."""
        return S3Server(self.url)

    @property
    def azure(self):
        """Return how to reach it as an Azure server."""
        return AzureServer(self.url)

    @property
    def gcs(self):
        """Return how to reach it as a Google server."""
        return GcsServer(self.url)

    def answer(self, request):
        """Look an answer up."""
        self.requests.append(request)
        for matches, answer in self.table:
            if matches(request):
                return answer(request) if callable(answer) else answer
        self.unforeseen.append(request)
        return 501, "no row of the table matches"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: otherwise each answer waits for an acknowledgement
    told = None

    def log_message(self, *args):
        pass

    def handle_expect_100(self):
        told = super().handle_expect_100()
        self.wfile.flush()
        return told

    def _body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _serve(self):
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request(self.command, unquote(parts.path), query, headers, self._body())
        status, body, *more = self.told.answer(request)
        body = body if isinstance(body, bytes) else body.encode()
        headers = more[0] if more else {}
        self.send_response(status)
        for name, text in {"Content-Type": "application/xml", **headers}.items():
            self.send_header(name, text)
        if "Content-Length" not in headers and status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve


@contextlib.contextmanager
def scripted_server():
    """Run such a server until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {}))
    server.daemon_threads = True
    told = ScriptedServer(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass.told = told
    thread = threading.Thread(target=server.serve_forever, args=(0.002,), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def store_of(told, which, retry, **more):
    """Make a store at ``b/p`` of a kind such as ``"s3 by obstore"``."""
    kind, _, backend = which.partition(" by ")
    if kind == "http":
        return _web_store(told.url, backend, retry, more)
    server = getattr(told, kind)
    if backend == "obstore":
        from obstore.store import AzureStore, GCSStore, S3Store

        from zarrstore import ObjectStore

        make = {"s3": S3Store, "azure": AzureStore, "gcs": GCSStore}[kind]
        return ObjectStore(make("b", prefix="p", **server.obstore_options()), retry=retry, **more)
    from zarrstore import FsspecStore

    if kind == "s3":
        from s3fs import S3FileSystem as make
    elif kind == "azure":
        from adlfs import AzureBlobFileSystem as make
    else:
        from gcsfs import GCSFileSystem as make
    fs = make(asynchronous=True, skip_instance_cache=True, **server.fsspec_options())
    return FsspecStore(fs, path="b/p", retry=retry, **more)


def _web_store(url, backend, retry, more):
    if backend == "obstore":
        from obstore.store import HTTPStore

        from zarrstore import ObjectStore

        theirs = HTTPStore(f"{url}/b/p", client_options={"allow_http": True})
        return ObjectStore(theirs, retry=retry, **more)
    from zarrstore import FsspecStore

    return FsspecStore.from_url(f"{url}/b/p", {"skip_instance_cache": True}, retry=retry, **more)


def s3_listing(keys, *, truncated=False, token=None, name="b"):
    """Return S3's answer to a listing: full keys, and the token for the next page."""
    row = (
        "<Contents><Key>{}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
        "<ETag>1</ETag><Size>1</Size></Contents>"
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return 200, (
        f"<ListBucketResult><Name>{name}</Name><IsTruncated>{str(truncated).lower()}</IsTruncated>{more}"
        f"{''.join(map(row.format, keys))}</ListBucketResult>"
    )


def gcs_listing(keys, **more):
    """Return Google's answer to a listing, in its JSON API."""
    told = {"items": [{"name": key, "size": "1"} for key in keys], **more}
    return 200, json.dumps(told), {"Content-Type": "application/json"}
