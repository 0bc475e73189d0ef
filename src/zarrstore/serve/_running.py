"""Runs servers: one until it is interrupted, and one in a thread beside a notebook."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial
from html import escape
from multiprocessing.connection import wait
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from zarrstore.errors import BackendError, MissingDependencyError, UnsupportedOperationError, from_os_error

try:
    import uvicorn
except ImportError as error:
    raise MissingDependencyError(
        "serving needs the package uvicorn.", hint="Install it: pip install 'zarrstore[serve]'"
    ) from error

from zarrstore.serve._app import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Self

    from zarrstore.abc.store import Store

LOOPBACK = "127.0.0.1"
# How long to wait at the end for answers that are being sent, in seconds.
_PATIENCE = 1


@dataclass(frozen=True)
class Service:
    """What is served, and to whom.

    Attributes
    ----------
    store : Store
        The store to serve.
    origin : str
        Whose pages may read it in a browser.
    token : str or None
        Token that requests must send.
    prepare : callable, optional
        Called in each process before it serves.
    """

    store: Store
    origin: str = "*"
    token: str | None = None
    prepare: Callable[[], object] | None = None

    def server(self) -> uvicorn.Server:
        """Prepare this process, and create its server."""
        if self.prepare is not None:
            self.prepare()
        config = uvicorn.Config(
            app(self.store, origin=self.origin, token=self.token),
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            log_level="critical",
            server_header=False,
            timeout_graceful_shutdown=_PATIENCE,
        )
        return uvicorn.Server(config)


def listening(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Parameters
    ----------
    host : str
        An address or a name of this machine.
    port : int
        The port; 0 for any free one.

    Raises
    ------
    BackendError
        If it can't be opened.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address, family=family, backlog=2048)
        # Connections inherit this. Without it the kernel delays the end of an answer by 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise from_os_error(error, action=f"listen at {host}, port {port}", store=None) from error


def url_of(listener: socket.socket, token: str | None = None) -> str:
    """Return a page's URL; a token comes after the hash, which browsers never send."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/" + (f"#token={token}" if token else "")


def serve_until_interrupted(service: Service, listener: socket.socket, workers: int = 1) -> None:
    """Serve in this process, or in several others, until Ctrl-C or SIGTERM.

    Raises
    ------
    BackendError
        If one of the other processes exits.
    """
    if workers == 1:
        service.server().run(sockets=[listener])
        return
    if not service.store.capabilities.shared:
        raise UnsupportedOperationError(
            "this store is in the memory of one process, so others can't serve it.",
            store=service.store,
            hint="Leave out --workers.",
        )
    start = multiprocessing.get_context("spawn").Process
    processes = [start(target=_work, args=(service, listener)) for _ in range(workers)]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        for process in processes:
            process.start()
        wait([process.sentinel for process in processes])
        raise BackendError("a worker ended by itself.", store=service.store, hint="Its log tells why.")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _work(service: Service, listener: socket.socket) -> None:
    """Serve in a process of its own, and exit with the one that started it."""
    server = service.server()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.join, server), daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass


def _follow(join: Callable[[], None], server: uvicorn.Server) -> None:
    join()
    server.should_exit = True


class Browsing:
    """A store's page, served from a thread of this process until `close` or until the process ends.

    Attributes
    ----------
    url : str
        The page's address, including the token that it needs.
    """

    def __init__(self, service: Service, listener: socket.socket) -> None:
        self.url: str = url_of(listener, service.token)
        self._text = str(service.store)
        self._server = service.server()
        self._thread = threading.Thread(
            target=partial(self._server.run, sockets=[listener]), name="zarrstore-browse", daemon=True
        )
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Stop the server."""
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)  # older versions of uvicorn never end if they are stopped while they start
        self._server.should_exit = True
        self._thread.join()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Browsing({self._text!r})"

    def _repr_html_(self) -> str:
        url = escape(self.url)
        return f'<a href="{url}" target="_blank" rel="noopener">{escape(self._text)}</a>'


def browse(store: Store, *, port: int = 0, public: bool = False) -> Browsing:
    """Serve a store's page on this machine, from a thread of this process.

    Parameters
    ----------
    store : Store
        The store to look at. It isn't closed.
    port : int
        Port on the loopback address; any free port by default.
    public : bool
        Whether anyone who can reach the port may read: other users of this machine, and pages in your
        browser, such as viewers. By default reading requires the page's own address.

    Returns
    -------
    Browsing
        Displays a link to the page in a notebook; use its ``url`` elsewhere.
    """
    token = None if public else token_urlsafe(18)
    return Browsing(Service(store, token=token), listening(LOOPBACK, port))
