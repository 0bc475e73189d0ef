"""A store behind its own loopback web server, and requests to it that no client normalises."""

import contextlib
import http.client
from dataclasses import dataclass

from zarrstore import MemoryStore
from zarrstore.serve._running import LOOPBACK, Browsing, Service, listening


@dataclass(frozen=True)
class Answer:
    """Status, headers by lower-case name, and body."""

    status: int
    headers: dict
    body: bytes


@dataclass(frozen=True)
class Web:
    """Where a store is served."""

    url: str  # without a trailing slash
    port: int

    def ask(self, path, method="GET", **headers):
        """Send one request as it is: ``if_range="x"`` is the header ``if-range``."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, text in headers.items():
                connection.putheader(name.replace("_", "-"), text)
            connection.endheaders()
            answer = connection.getresponse()
            return Answer(
                answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()


def filled(values):
    """Return a memory store with some values."""
    store = MemoryStore()
    for key, value in values.items():
        store.set_sync(key, value)
    return store


@contextlib.contextmanager
def serving(store, **options):
    """Serve a store on a free port; ``origin`` and ``token`` as for `zarrstore.serve.app`."""
    listener = listening(LOOPBACK, 0)
    port = listener.getsockname()[1]
    with Browsing(Service(store, **options), listener):
        yield Web(f"http://{LOOPBACK}:{port}", port)
