"""The program in a real terminal: the bar in one line, Ctrl-C, and what is left on the screen."""

import os
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from zarrstore import LocalStore, diff_stores_sync

COUNT = 200
BAR = ("█", "·")
# No disk here is slow enough to be watched, so values take their time.
PROGRAM = """
import time
from zarrstore._check.job import Check
from zarrstore._cli import main
from zarrstore._copy.job import Copy

def slowly(function, count):
    async def call(self, *args):
        time.sleep(0.008 * count(args))
        return await function(self, *args)
    return call

Copy._copy_small = slowly(Copy._copy_small, lambda args: len(args[0]))
Check._examine_one = slowly(Check._examine_one, lambda args: 1)
main()
"""


class Terminal:
    """A shell in tmux."""

    def __init__(self, folder, columns):
        self.tmux = [shutil.which("tmux") or "tmux", "-u", "-S", str(folder / "socket"), "-f", os.devnull]
        shell = "PS1='$ ' exec bash --norc --noprofile"
        size = ["-x", str(columns), "-y", "24"]
        self._run("new-session", "-d", *size, "-c", str(folder), shell)

    def _run(self, *command):
        return subprocess.run([*self.tmux, *command], check=True, capture_output=True, text=True).stdout

    def type(self, *keys):
        self._run("send-keys", *keys)

    def start(self, *command):
        """Run the program; its exit code is printed behind it."""
        self.type("clear", "Enter")
        while self.screen() != ["$"]:
            time.sleep(0.02)  # what is typed before the prompt would be shown twice
        self.type(f"{shlex.join([sys.executable, 'program.py', *command])}; echo code $?", "Enter")

    def screen(self, *options):
        """Lines on the screen but empty ones; ``-J`` joins those that were too long for one."""
        return [line for line in self._run("capture-pane", "-p", *options).splitlines() if line.strip()]

    def wait_for(self, what):
        limit = time.monotonic() + 30
        while not any(what in line and "echo" not in line for line in self.screen("-J")):
            assert time.monotonic() < limit, self.screen()
            time.sleep(0.05)
        return self.screen("-J")

    def watch(self, count):
        """Return so many pictures of the bar, which is always the last line, and the only one of its kind."""
        found = []
        limit = time.monotonic() + 30
        while len(found) < count:
            screen = self.screen()
            bars = [line for line in screen if any(mark in line for mark in BAR)]
            if bars and bars[0] not in found:
                assert bars == screen[-1:]
                found += bars
            assert time.monotonic() < limit, screen
            time.sleep(0.02)
        return found

    def close(self):
        self._run("kill-server")


@pytest.fixture
def terminal(request, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    shell = Terminal(tmp_path, request.param)
    yield shell
    shell.close()


@pytest.fixture
def data(tmp_path):
    store = LocalStore(tmp_path / "data.zarr")
    for number in range(COUNT):
        store.set_sync(f"a/c/{number}", bytes(10_000))
    store.set_sync("zarr.json", b'{"zarr_format": 3, "node_type": "group"}')
    return store


def of_width(*columns):
    slow = [pytest.param(width, marks=pytest.mark.slow) for width in columns if width != 80]
    return pytest.mark.parametrize("terminal", [80, *slow], indirect=True)


@of_width(40, 80, 200)
def test_a_copy_is_shown_interrupted_and_resumed(terminal, data, tmp_path):
    terminal.start("copy", "data.zarr", "out.zarr", "--concurrency=1")
    pictures = terminal.watch(3)
    assert all("%" in picture and " of 1.9 MiB" in picture for picture in pictures)
    terminal.type("C-c")
    screen = terminal.wait_for("code 130")
    (told,) = [line for line in screen if line.startswith("zarrstore: ")]
    assert told.startswith("zarrstore: interrupted. ")
    assert told.endswith("--if-exists resume copies the rest.")
    assert not any(mark in line for line in screen for mark in BAR)
    whole = int(told.split()[2])
    assert 0 < whole < COUNT
    terminal.start("copy", "data.zarr", "out.zarr", "--resume", "--concurrency=1")
    terminal.watch(2)
    screen = terminal.wait_for("code 0")
    assert screen[-3].startswith(f"copied {COUNT + 1 - whole} values (")
    assert f"{whole} skipped" in screen[-3]
    assert len(screen) == 4  # beside these, the command and the prompt
    assert not diff_stores_sync(data, tmp_path / "out.zarr", checksum=True)


@pytest.mark.slow
@of_width(40, 80, 200)
def test_problems_are_told_above_the_bar(terminal, tmp_path):
    store = LocalStore(tmp_path / "data.zarr")
    array = (
        '{"zarr_format": 3, "node_type": "array", "shape": [200], "data_type": "uint8", "fill_value": 0, '
        '"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}, '
        '"chunk_key_encoding": {"name": "default"}, "codecs": [{"name": "bytes"}, {"name": "crc32c"}]}'
    )
    store.set_sync("zarr.json", array.encode())
    for number in range(COUNT):
        store.set_sync(f"c/{number}", b"12345")
    terminal.start("check", "data.zarr")
    terminal.wait_for("c/2 (chunk 2)")
    screen = terminal.wait_for("code 1")
    assert not any(mark in line for line in screen for mark in BAR)
    problems = [line for line in screen if line.startswith("value ")]
    assert len(problems) >= 4
    assert all("checksum" in line for line in problems)
    assert screen[-3].startswith(f"{COUNT} problems in ")


@pytest.mark.slow
@of_width(80)
def test_into_a_pipe_and_a_file_go_plain_lines(terminal, data, tmp_path):
    terminal.start("digest", "data.zarr")
    screen = terminal.wait_for("code 0")
    assert screen[-3].endswith(f"-{COUNT + 1}--{COUNT * 10_000 + 40}")
    command = shlex.join([sys.executable, "program.py", "copy", "data.zarr", "out.zarr"])
    terminal.type(f"{command} 2>errors | cat; echo code $?", "Enter")
    terminal.wait_for(f"copied {COUNT + 1} values")
    assert (tmp_path / "errors").read_text() == ""  # it was done before there was a line to print
