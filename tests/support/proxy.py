"""A loopback proxy in front of a server: counts requests, and spoils them according to a plan."""

import asyncio
import contextlib
import random
import threading
from collections import Counter
from urllib.parse import unquote, urlsplit

REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    408: "Request Timeout",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Slow Down",
}
CODES = {
    401: "InvalidToken",
    403: "AccessDenied",
    408: "RequestTimeout",
    429: "TooManyRequests",
    500: "InternalError",
    503: "SlowDown",
}


class Proxy:
    """Forwards HTTP/1.1; requests are kept as ``(method, target)`` in ``requests``.

    ``plan(method, target)`` returns what to do with a request: None to forward it, a status to answer
    instead, "reset" to drop the connection before forwarding, "lose" to forward it and drop the response,
    "truncate" to cut the response's body short, "delay" (or a float, in seconds) to wait a moment first,
    "late" to wait before returning the response, or "stall" to never answer.
    """

    def __init__(self, target):
        parts = urlsplit(target)
        self._server = parts.hostname, parts.port
        self.requests = []
        self.plan = None
        self.done = Counter()

    def count(self, call):
        """Return how many requests a call makes, and what it returned."""
        before = len(self.requests)
        answer = call()
        return len(self.requests) - before, answer

    async def _serve(self, reader, writer):
        upstream = None
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
                if _header(head, b"expect"):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await _body(head, reader)
                self.requests.append((method, unquote(target)))
                act = self.plan and self.plan(method, unquote(target))
                self.done[act] += 1
                if isinstance(act, int):
                    words = f"<Error><Code>{CODES[act]}</Code><Message>by plan</Message></Error>".encode()
                    writer.write(
                        f"HTTP/1.1 {act} {REASONS[act]}\r\nContent-Type: application/xml\r\n"
                        f"Content-Length: {len(words)}\r\n\r\n".encode()
                        + (b"" if method == "HEAD" else words)
                    )
                    await writer.drain()
                    continue
                if act == "reset":
                    return
                if act == "stall":
                    await reader.read()  # until the client gives up
                    return
                if act == "delay" or isinstance(act, float):
                    await asyncio.sleep(0.05 if act == "delay" else act)
                if upstream is None or upstream[0].at_eof():  # the server closes it after seconds of idleness
                    if upstream is not None:
                        upstream[1].close()
                    upstream = await asyncio.open_connection(*self._server, limit=1 << 26)
                upstream[1].write(head + body)
                await upstream[1].drain()
                answer, payload = await _answer(method, upstream[0])
                if act == "lose":
                    return
                if act == "late":
                    await asyncio.sleep(0.02)
                if act == "truncate" and len(payload) > 1 and b"chunked" not in answer.lower():
                    writer.write(answer + payload[: len(payload) // 2])
                    await writer.drain()
                    return
                writer.write(answer + payload)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # only what is left when the proxy stops is cancelled
        finally:
            streams = (writer, *(upstream or ())[1:])
            for stream in streams:
                stream.close()
            for stream in streams:
                with contextlib.suppress(OSError):
                    await stream.wait_closed()


async def _body(head, reader):
    length = _header(head, b"content-length")
    if length is not None:
        return await reader.readexactly(int(length))
    if b"chunked" in (_header(head, b"transfer-encoding") or b""):
        return await _chunks(reader)
    return b""


async def _answer(method, reader):
    head = await reader.readuntil(b"\r\n\r\n")
    while head.split(b" ", 2)[1] == b"100":
        head = await reader.readuntil(b"\r\n\r\n")
    if method == "HEAD" or head.split(b" ", 2)[1] in (b"204", b"304"):
        return head, b""
    return head, await _body(head, reader)


async def _chunks(reader):
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts += [line, await reader.readexactly(size + 2)]
        if not size:
            return b"".join(parts)


def _header(head, name):
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name:
            return value.strip()
    return None


@contextlib.contextmanager
def proxied(target):
    """Run a proxy in front of a server, on its own thread; yield ``(proxy, its URL)``."""
    proxy = Proxy(target)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(proxy._serve, "127.0.0.1", 0, limit=1 << 26))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{port}"
    finally:

        async def stop():
            # Serving of new connections begins first, so that they are closed as well; asyncio leaves open
            # what it accepts while its server closes.
            await asyncio.sleep(0.05)
            server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def share(chance, acts, seed=0):
    """Return a plan that spoils a share of the requests, each in one of several ways."""
    dice = random.Random(seed)
    return lambda method, target: dice.choice(acts) if dice.random() < chance else None
