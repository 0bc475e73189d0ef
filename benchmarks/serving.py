"""`zarrstore serve` beside ``python -m http.server``, nginx and zarr-python's experimental server.

    python benchmarks/serving.py [--size BYTES] [--rounds N] [--seconds S] [--workers N ...]

Each server serves chunks of one folder to clients on the loopback, which keep their connections. All servers
run in turn, several times over. It prints medians: requests per second, CPU seconds of the server per
thousand requests, and its peak memory in MiB. Clients and servers share the machine's cores, so CPU seconds
say more about a server than its requests do. *uvicorn alone* sends bytes from memory: the limit for our
server, which runs on it. Missing servers are left out; ``apt-get install nginx-light`` installs nginx.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHUNKS, CONNECTIONS = 200, 8
ZARR_PYTHON = """
import sys, uvicorn, zarr
from zarr.experimental.serve import store_app
store = zarr.storage.LocalStore(sys.argv[1], read_only=True)
uvicorn.run(store_app(store), port=int(sys.argv[2]), log_level="critical", access_log=False)
"""
ALONE = """
VALUE = bytes({size})
HEADERS = [(b"content-length", b"{size}")]

async def app(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": HEADERS}})
    await send({{"type": "http.response.body", "body": VALUE}})
"""
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes {workers};
events {{}}
http {{
    access_log off; sendfile on; keepalive_requests 1000000; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def commands(root: Path, scratch: Path, workers: int, size: int) -> dict[str, tuple[list[str], int]]:
    """Return how each server is started, and the port on which it listens."""
    ports = [free_port() for _ in range(5)]
    python = sys.executable
    place = ["--port", str(ports[0]), "--workers", str(workers)]
    found = {"zarrstore": ([python, "-m", "zarrstore", "serve", str(root), *place], ports[0])}
    (scratch / "alone.py").write_text(ALONE.format(size=size))
    alone = [python, "-m", "uvicorn", "alone:app", "--app-dir", str(scratch), "--port", str(ports[4])]
    alone += ["--workers", str(workers), "--log-level", "critical", "--no-access-log"]
    found["uvicorn alone"] = (alone, ports[4])
    if nginx := shutil.which("nginx"):
        config = scratch / f"nginx-{workers}.conf"
        config.write_text(NGINX.format(folder=scratch, workers=workers, port=ports[1], root=root))
        found["nginx"] = ([nginx, "-c", str(config), "-e", str(scratch / "error.log")], ports[1])
    if workers == 1:
        http = [python, "-m", "http.server", str(ports[2]), "--bind", "127.0.0.1", "--protocol", "HTTP/1.1"]
        found["http.server"] = ([*http, "--directory", str(root)], ports[2])
        if importlib.util.find_spec("zarr.experimental.serve"):
            found["zarr-python"] = ([python, "-c", ZARR_PYTHON, str(root), str(ports[3])], ports[3])
    return found


@contextlib.contextmanager
def running(command: list[str], port: int):
    """Start a server, and wait until it listens."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()


def family(pid: int) -> list[int]:
    """Return a process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(other for child in children for other in family(int(child)))]


def used(pid: int) -> tuple[float, float]:
    """Return the CPU seconds and peak memory (MiB) of a server."""
    seconds = memory = 0.0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        peak = Path(f"/proc/{one}/status").read_text().partition("VmHWM:")[2].split()[0]
        memory += int(peak) / 1024
    return seconds, memory


def asked(port: int, size: int, seconds: float) -> float:
    """Request chunks for some seconds, over several connections at once; return requests per second."""
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    buffer, count, began = bytearray(size + 4096), 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for line in lines:
            line.sendall(b"GET /c/%d HTTP/1.1\r\nHost: x\r\n\r\n" % random.randrange(CHUNKS))
        for line in lines:
            receive(line, buffer, size)
        count += len(lines)
    took = time.perf_counter() - began
    for line in lines:
        line.close()
    return count / took


def receive(line: socket.socket, buffer: bytearray, size: int) -> None:
    """Read one response, whose body size is known."""
    got, end, view = 0, -1, memoryview(buffer)
    while end < 0 or got < end + 4 + size:
        read = line.recv_into(view[got:])
        if not read:
            raise OSError(f"the server hung up: {bytes(buffer[:200])!r}")
        got += read
        end = buffer.find(b"\r\n\r\n", 0, got) if end < 0 else end
    assert buffer.startswith(b"HTTP/1.1 200"), bytes(buffer[:200])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=64 << 10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, scratch = Path(folder, "data"), Path(folder, "scratch")
        (root / "c").mkdir(parents=True)
        scratch.mkdir()
        os.chmod(folder, 0o755)  # nginx's workers run as another user
        for number in range(CHUNKS):
            (root / "c" / str(number)).write_bytes(random.randbytes(options.size))
        for workers in options.workers:
            report(workers, measured(commands(root, scratch, workers, options.size), options))


def measured(servers, options) -> dict[str, list[tuple[float, float, float]]]:
    """Run all servers in turn."""
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in servers}
    for _ in range(options.rounds):
        for name, (command, port) in servers.items():
            with running(command, port) as pid:
                asked(port, options.size, 0.3)  # to warm it up
                before = used(pid)[0]
                rate = asked(port, options.size, options.seconds)
                cpu, memory = used(pid)
                figures[name].append((rate, 1000 * (cpu - before) / (rate * options.seconds), memory))
    return figures


def report(workers: int, figures: dict[str, list[tuple[float, float, float]]]) -> None:
    medians = {name: [*map(statistics.median, zip(*rows, strict=True))] for name, rows in figures.items()}
    print(f"\n{workers} process(es)  requests/s  CPU s/1000  MiB  ours/its requests  its/our CPU")
    ours = medians["zarrstore"]
    for name, (rate, cpu, memory) in medians.items():
        print(
            f"{name:14} {rate:10.0f} {cpu:11.3f} {memory:5.0f} {ours[0] / rate:17.2f} {cpu / ours[1]:12.2f}"
        )


if __name__ == "__main__":
    main()
