"""What the program imports before it does anything: its start is what people wait for at each call."""

import subprocess
import sys

import click
import pytest

from zarrstore._cli.program import COMMANDS, program


def imported(*args, cwd=None):
    """Modules that are loaded once the program has done its work."""
    code = (
        "import sys, atexit\n"
        "sys.argv = ['zarrstore', *sys.argv[1:]]\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from zarrstore._cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.splitlines()[-1].split())


def top(modules):
    return {name.partition(".")[0] for name in modules}


def test_help_imports_click_and_no_command():
    text, modules = imported("--help")
    assert "Find what is wrong with the Zarr hierarchy" in text
    assert not top(modules) & {"numpy", "asyncio", "fsspec", "obstore", "zarr", "numcodecs", "ssl"}
    ours = {name for name in modules if name.startswith("zarrstore.")}
    assert not {name for name in ours if "storage" in name or "_copy" in name or "_check" in name}
    assert len(ours) <= 10


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("ls", "data"), "k\n"),
        (("ls", "-l", "data"), "         1  k\n"),
        (("du", "-b", "data"), "         1     1 value  total\n"),
        (("rm", "--dry-run", "data", "k"), "k\n"),
        (("tree", "group"), "[group] 1 value, 40 B\n"),
        (("info", "group"), "format    Zarr 3, group\n"),
    ],
)
def test_a_look_at_a_folder_imports_what_it_needs(tmp_path, args, expected):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "k").write_bytes(b"x")
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    text, modules = imported(*args, cwd=tmp_path)
    assert expected in text
    assert not top(modules) & {"numpy", "asyncio", "ssl", "concurrent", "logging", "shutil", "hashlib"}
    assert not top(modules) & {"fsspec", "obstore", "zarr", "numcodecs", "aiohttp"}
    assert not {name for name in modules if name.startswith(("zarrstore._copy", "zarrstore._check"))}
    assert not {name for name in modules if name.startswith(("zarrstore.storage._zip", "rich"))}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_begins_as_each_command_s_own_help(name):
    command = program.get_command(click.Context(program), name)
    text = " ".join(command.help.split())
    assert text.startswith(COMMANDS[name][1].removesuffix("."))
