"""A web server for tests: serves files of a folder, with ranges, on a free loopback port."""

import contextlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves ranges; ``plan`` maps a path to ``(status, body)`` or to a function of the handler."""

    plan: ClassVar[dict] = {}
    lists = True
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def list_directory(self, path):
        if self.lists:
            return super().list_directory(path)
        self.send_error(403, "no listings here")
        return None

    def do_HEAD(self):
        self.requests.append(("HEAD", self.path))
        if not self._planned():
            super().do_HEAD()

    def do_GET(self):
        self.requests.append(("GET", self.path))
        if self._planned():
            return
        path = self.translate_path(self.path)
        wanted = self.headers.get("Range")
        try:
            with open(path, "rb") as file:
                value = file.read()
        except OSError:
            super().do_GET()
            return
        if not wanted:
            self.answer(200, value)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if not first:
            start, stop = max(0, len(value) - int(last)), len(value)
        else:
            start, stop = int(first), min(int(last) + 1, len(value)) if last else len(value)
        if start >= len(value):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(value)}"})
        else:
            told = f"bytes {start}-{stop - 1}/{len(value)}"
            self.answer(206, value[start:stop], {"Content-Range": told})

    def _planned(self):
        act = self.plan.get(self.path.partition("?")[0])
        if act is None:
            return False
        if callable(act):
            act(self)
        else:
            self.answer(*act)
        return True

    def answer(self, status, body, headers=None, length=None):
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if length is not None:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # with five, many concurrent calls must retry, for seconds


@contextlib.contextmanager
def serve(folder, *, lists=True):
    """Serve a folder; yield the server's URL and its handler class, whose ``plan`` may be filled."""
    handler = type("Handler", (RangeHandler,), {"plan": {}, "lists": lists, "requests": []})
    server = _Server(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
