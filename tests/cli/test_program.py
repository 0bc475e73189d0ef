"""The program: what it prints, what it changes, and the code that it exits with."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from zarrstore import LocalStore, MemoryStore, ZipStore, copy_store_sync
from zarrstore._cli import cat as _cat
from zarrstore._cli import program as _program
from zarrstore._cli import progress as _progress
from zarrstore._cli import transfer as _transfer
from zarrstore._copy import CopyProgress
from zarrstore._copy import bar as _bar
from zarrstore._core.text import size_text
from zarrstore.errors import StoreError

VALUES = {
    "zarr.json": json.dumps({"zarr_format": 3, "node_type": "group"}).encode(),
    "temp/zarr.json": json.dumps(
        {"zarr_format": 3, "node_type": "array", "shape": [4, 6], "data_type": "float32"}
    ).encode(),
    "temp/c/0/0": b"x" * 2048,
    "temp/c/0/1": b"y" * 10,
    "old/.zarray": json.dumps({"shape": [7], "dtype": "<i4"}).encode(),
    "old/0": b"z",
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy_store_sync(VALUES, "data.zarr")
    return LocalStore("data.zarr")


def run(*args, code=0, **kwargs):
    result = CliRunner().invoke(_program.program, args, **kwargs)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def content(path):
    store = LocalStore(path)
    return {key: store.get_sync(key).to_bytes() for key in store.list_sync()}


# -- looking --------------------------------------------------------------------------------------


def test_ls(data):
    assert run("ls", "data.zarr").stdout.split() == ["old/", "temp/", "zarr.json"]
    for prefix in ("temp", "temp/"):
        assert run("ls", "data.zarr", prefix).stdout.split() == ["c/", "zarr.json"]
    assert run("ls", "data.zarr/temp/c/0").stdout.split() == ["0", "1"]
    assert set(run("ls", "-r", "data.zarr").stdout.split()) == set(VALUES)
    lines = run("ls", "-l", "data.zarr", "temp/c/0").stdout.splitlines()
    assert [line.split() for line in lines] == [["2048", "0"], ["10", "1"]]
    assert ["-", "c/"] in [line.split() for line in run("ls", "-l", "data.zarr", "temp").stdout.splitlines()]


def test_names_cannot_write_to_the_terminal(data):
    data.set_sync("evil\x1b[2J\nname", b"")
    assert "evil\\x1b[2J\\nname" in run("ls", "data.zarr").stdout.splitlines()


def test_du(data):
    lines = [line.split() for line in run("du", "-b", "data.zarr").stdout.splitlines()]
    sizes = {line[-1]: (int(line[0]), int(line[1])) for line in lines}
    total = sum(map(len, VALUES.values()))
    assert sizes["total"] == (total, 6)
    assert sizes["old/"] == (len(VALUES["old/.zarray"]) + 1, 2)
    assert set(sizes) == {"old/", "temp/", "total"}
    assert run("du", "-s", "data.zarr", "temp/c").stdout.split() == ["2.0", "KiB", "2", "values", "total"]


def test_tree(data):
    lines = run("tree", "data.zarr").stdout.splitlines()
    assert lines[0].startswith("file://")
    assert lines[0].endswith(f"[group] 6 values, {size_text(sum(map(len, VALUES.values())))}")
    assert lines[1].startswith("├── old [array <i4, 7, 1 chunk] 2 values")
    assert lines[2].startswith("└── temp [array float32, 4 x 6, 2 chunks] 3 values")
    assert len(lines) == 3
    assert "    └── c 2 values" in run("tree", "-a", "-d", "2", "data.zarr").stdout
    assert "c 2 values" not in run("tree", "-a", "--depth", "1", "data.zarr").stdout


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"\xff", b'{"shape": 3}', b'{"node_type": 4, "data_type": {}}']
)
def test_a_broken_document_breaks_no_tree(document, data):
    data.set_sync("temp/zarr.json", document)
    assert "temp [" in run("tree", "data.zarr").stdout


def test_info(data):
    text = run("info", "data.zarr").stdout
    assert "LocalStore at file://" in text
    assert "6 values" in text
    assert "Zarr 3, group" in text
    assert "writes, deletes" in text
    assert "atomic create" in text


def test_info_of_what_is_only_read(archive):
    text = run("info", "data.zip").stdout
    assert "ZipStore at zip://" in text
    assert "atomic create" not in text
    assert "writes" not in text


def test_cat(data, monkeypatch):
    key = "temp/c/0/1"
    assert run("cat", "data.zarr", key).stdout_bytes == VALUES[key]
    data.set_sync("digits", b"0123456789")
    for text, expected in [("2:5", b"234"), ("7:", b"789"), ("-4:", b"6789"), ("8:99", b"89")]:
        assert run("cat", "data.zarr", "digits", "--range", text).stdout_bytes == expected
    monkeypatch.setattr("zarrstore._copy.value.PIECE", 3)
    assert run("cat", "data.zarr", "digits").stdout_bytes == b"0123456789"
    assert run("cat", "data.zarr", "digits", "--range", "5", code=2).stdout == ""
    assert "zero-length" in run("cat", "data.zarr", "digits", "--range", "5:5", code=1).stderr
    assert "past the end" in run("cat", "data.zarr", "digits", "--range", "50:", code=1).stderr


def test_cat_fails_if_the_value_is_replaced_meanwhile(data, monkeypatch):
    data.set_sync("digits", b"0123456789")
    monkeypatch.setattr("zarrstore._copy.value.PIECE", 3)
    write = _cat._write_all

    def replaced_meanwhile(out, piece):
        write(out, piece)
        data.set_sync("digits", b"abcdefghij")

    monkeypatch.setattr("zarrstore._cli.cat._write_all", replaced_meanwhile)
    assert "replaced while it was read" in run("cat", "data.zarr", "digits", code=1).stderr


def test_cat_writes_all_where_a_write_takes_a_part(data, tmp_path):
    """As an unbuffered output to a pipe does, which holds 64 KiB."""
    value = os.urandom(600_000)
    data.set_sync("large", value)
    command = [sys.executable, "-m", "zarrstore", "cat", "data.zarr", "large"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, bufsize=0) as process:
        os.set_blocking(process.stdout.fileno(), True)
        read = b""
        while piece := process.stdout.read(10_000):
            read += piece
    assert process.returncode == 0
    assert read == value


# -- copying --------------------------------------------------------------------------------------


def test_copy(data):
    result = run("copy", "data.zarr", "out.zarr", "--verify")
    assert result.stdout.startswith("copied 6 values")
    assert result.stdout.endswith("0 skipped, 6 verified\n")
    assert content("out.zarr") == VALUES
    run("copy", "data.zarr", "part.zarr", "--prefix", "temp", "--target-prefix", "a/b")
    assert set(content("part.zarr")) == {"a/b/zarr.json", "a/b/c/0/0", "a/b/c/0/1"}


def test_copy_and_keys_that_exist(data):
    copy_store_sync({"old/0": b"mine"}, "out.zarr")
    error = run("copy", "data.zarr", "out.zarr", code=1).stderr
    assert error.count("\n") == 1
    assert "1 of the 6 keys" in error
    assert "[key 'old/0']" in error
    assert "out.zarr" in error
    assert "--if-exists skip" in error
    assert content("out.zarr") == {"old/0": b"mine"}
    skipped = run("copy", "data.zarr", "out.zarr", "--if-exists", "skip", code=1)
    assert "1 skipped" in skipped.stdout
    assert skipped.stderr == "skipped, though the target's value has another size: old/0\n"
    assert content("out.zarr") == {**VALUES, "old/0": b"mine"}
    run("copy", "data.zarr", "out.zarr", "--if-exists", "replace")
    assert content("out.zarr") == VALUES


def test_dry_run(data):
    for target in ("out.zarr", "out.zip"):
        result = run("copy", "data.zarr", target, "--dry-run")
        assert result.stdout.startswith("would copy 6 values")
        assert not os.path.exists(target)


def test_a_dry_run_compares(data):
    copy_store_sync({"old/0": b"z"}, "out.zarr")
    arguments = ("copy", "data.zarr", "out.zarr", "--if-exists", "skip", "--dry-run", "--verify")
    assert run(*arguments).stdout.endswith("1 skipped, 1 verified\n")
    copy_store_sync({"old/0": b"Z"}, "out.zarr", if_exists="replace")
    assert "isn't the source's" in run(*arguments, code=1).stderr


def test_a_mistyped_source(data):
    for target in ("out.zarr", "out.zip"):
        assert "nothing to copy" in run("copy", "dat.zarr", target, code=1).stderr
        assert not os.path.exists(target)


def test_progress_in_lines(data, monkeypatch):
    monkeypatch.setattr(_bar, "_PAUSES", {True: 0.0, False: 0.0})
    lines = run("copy", "data.zarr", "out.zarr").stderr.splitlines()
    size = size_text(sum(map(len, VALUES.values())))
    assert lines[-1].startswith(f"{size} of {size}, ")
    assert "6 of 6 values" in lines[-1]
    assert all(line.isprintable() for line in lines)
    assert run("copy", "data.zarr", "quiet.zarr", "--quiet").stderr == ""


def test_progress_before_anything_moved(capsys, monkeypatch):
    monkeypatch.setattr(_bar, "_PAUSES", {True: 0.0, False: 0.0})
    with _progress.progress_on(quiet=False) as show:
        show(CopyProgress(0, 10, 0, 100))
    assert "0 of 10 values" in capsys.readouterr().err


def test_progress_on_a_terminal(data):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "zarrstore", "copy", "data.zarr", "out.zarr"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE, env=environment) as process:
        os.close(theirs)
        drawn = b""
        try:
            while piece := os.read(ours, 4096):
                drawn += piece
        except OSError:  # how a terminal ends whose last writer has gone
            pass
        assert process.stdout.read().startswith(b"copied 6 values")
    os.close(ours)
    assert process.returncode == 0
    assert b"\n" not in drawn
    assert b"zarrstore: " not in drawn
    assert content("out.zarr") == VALUES


# -- removing -------------------------------------------------------------------------------------


def test_rm_asks(data):
    result = run("rm", "data.zarr", "old/0", input="n\n", code=1)
    assert "Remove old/0 (1 value, 1 B) from file://" in result.stderr
    assert "nothing was changed" in result.stderr
    unanswered = run("rm", "data.zarr", "old/0", input="", code=1)
    assert "--yes" in unanswered.stderr
    assert "--yes" not in result.stderr.splitlines()[-1]
    assert content("data.zarr") == VALUES
    answered = run("rm", "data.zarr", "old/0", input="y\n").stdout  # click 8.2 repeats the answer here
    assert answered.removeprefix(" y\n") == "removed 1 value (1 B)\n"
    assert "old/0" not in content("data.zarr")


def test_ctrl_c_at_a_question(data):
    command = [sys.executable, "-m", "zarrstore", "rm", "data.zarr", "old/0"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background may have the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            asked = b""
            while b"[y/N]" not in asked:
                asked += process.stderr.read1(100)
                assert process.poll() is None, asked
            while "(sleeping)" not in Path(f"/proc/{process.pid}/status").read_text():
                time.sleep(0.01)  # until it waits for the answer
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 130
    assert rest.strip() == b"zarrstore: interrupted."
    assert content("data.zarr") == VALUES


def test_rm_of_directories(data):
    assert "-r removes" in run("rm", "-y", "data.zarr", "temp", code=1).stderr
    assert "no such value" in run("rm", "-y", "data.zarr", "nothing", code=1).stderr
    assert "-r" in run("rm", "-y", "data.zarr", code=2).stderr
    assert content("data.zarr") == VALUES
    assert run("rm", "-ry", "data.zarr", "temp", "old/0").stdout.startswith("removed 4 values")
    assert set(content("data.zarr")) == {"zarr.json", "old/.zarray"}
    run("rm", "--yes", "-r", "data.zarr")
    assert content("data.zarr") == {}


def test_rm_refuses_a_store_that_cannot(data, monkeypatch):
    monkeypatch.setattr(LocalStore, "supports_deletes", False)
    assert "can't remove" in run("rm", "-y", "data.zarr", "old/0", code=1).stderr


# -- failing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ls", "tree", "du", "info"])
def test_a_mistyped_place_is_an_error(command, data):
    error = run(command, "dat.zarr", code=1).stderr
    assert error.count("\n") == 1
    assert error.startswith("zarrstore: no key is here. [store 'file://")
    assert "spelt right" in error
    assert not os.path.exists("dat.zarr")


def test_errors_of_one_line_and_tracebacks(data):
    for arguments in [
        ("cat", "data.zarr", "nothing"),
        ("cat", "data.zarr", "../up"),
        ("ls", "data.zarr", "a//b"),
        ("copy", "nowhere.zarr", "out.zarr"),
        ("copy", "data.zarr", "data.zarr/sub"),
        ("ls", "data.zarr/zarr.json"),
        ("ls", "nosuchscheme://x"),
    ]:
        result = run(*arguments, code=1)
        assert result.stderr.startswith("zarrstore: ")
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        for position in ([*arguments, "--debug"], ["--debug", *arguments]):
            error = run(*position, code=1).stderr
            assert error.startswith("Traceback")
            assert error.endswith(result.stderr)
    assert not os.path.exists("out.zarr")


@pytest.mark.parametrize("arguments", [["nix"], ["ls"], ["ls", "--nix", "x"], ["copy", "x"], []])
def test_wrong_usage(arguments, data):
    assert "Usage: zarrstore" in run(*arguments, code=2).stderr


def test_an_unexpected_error_names_its_kind(data, monkeypatch):
    def fail(*args, **kwargs):
        raise ExceptionGroup("several", [LookupError("what\nnow")])

    monkeypatch.setattr(_transfer, "copy_store_sync", fail)
    assert run("copy", "data.zarr", "out.zarr", code=1).stderr == "zarrstore: LookupError: what now\n"


def test_ctrl_c(data, monkeypatch):
    def slow(*args, **kwargs):
        try:
            time.sleep(30)
        except KeyboardInterrupt as error:
            error.add_note("3 of 6 values are in the target, whole; if_exists='skip' copies the rest.")
            raise

    monkeypatch.setattr(_transfer, "copy_store_sync", slow)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        error = run("copy", "data.zarr", "out.zarr", code=130).stderr
    finally:
        signal.signal(signal.SIGALRM, before)
    assert error.strip().startswith("zarrstore: interrupted. 3 of 6 values")
    assert "--if-exists skip" in error


def test_a_closed_pipe_is_no_traceback(data):
    for index in range(3000):
        data.set_sync(f"many/{index:060}", b"")
    done = subprocess.run(
        f"{sys.executable} -m zarrstore ls -r data.zarr | head -n 1",
        shell=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


# -- the program itself ---------------------------------------------------------------------------


def test_every_command_has_help():
    listed = run("--help").stdout
    for name in _program.COMMANDS:
        assert f"  {name} " in listed
        text = run(name, "--help").stdout
        assert text.startswith(f"Usage: zarrstore {name} ")
        assert "--debug" in text
    assert "zarrstore, version " in run("--version").stdout


def test_it_runs_as_a_module(data):
    done = subprocess.run(
        [sys.executable, "-m", "zarrstore", "ls", "data.zarr"], capture_output=True, check=True
    )
    assert done.stdout.split() == [b"old/", b"temp/", b"zarr.json"]


def test_without_click_it_says_what_to_install():
    code = "import sys; sys.modules['click'] = None; from zarrstore._cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "click: pip install 'zarrstore[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"), ((1 << 20) - 1, "1.0 MiB")],
)
def test_sizes(size, text):
    assert size_text(size) == text


def test_large_sizes():
    assert size_text(1 << 30) == "1.0 GiB"
    assert size_text(5 << 40) == "5.0 TiB"
    assert size_text(1 << 50) == "1.0 PiB"
    assert size_text(1 << 60) == "1024.0 PiB"


def test_memory_is_listed_too():
    # What commands use to list works over stores in memory, and so over any store.
    from zarrstore._cli.places import entries

    store = MemoryStore()
    with pytest.raises(StoreError, match="no key is here"):
        list(entries(store, "here", "", deep=True, sizes=True))
    store.set_sync("a/b", b"12")
    assert [(e.key, e.size) for e in entries(store, "here", "", deep=True, sizes=True)] == [("a/b", 2)]
    assert [e.key for e in entries(store, "here", "", deep=False, sizes=True)] == ["a/"]


# -- archives -------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ZipStore("data.zip", mode="w") as store:
        copy_store_sync(VALUES, store)
    return tmp_path / "data.zip"


def test_archives_are_looked_into_by_url(archive):
    for url in ("data.zip|zip:", f"zip::file://{archive}"):
        assert run("ls", url).stdout.split() == ["old/", "temp/", "zarr.json"]
    assert run("ls", "data.zip|zip:temp/c/0").stdout.split() == ["0", "1"]


def test_repair_leaves_what_is_whole(archive):
    def state():  # all but the time of reading
        found = archive.stat()
        return found.st_ino, found.st_size, found.st_mode, found.st_mtime_ns

    before = state()
    assert run("repair", "data.zip").stdout == (
        f"data.zip is whole: 6 values ({size_text(sum(map(len, VALUES.values())))}); nothing was changed\n"
    )
    assert state() == before


def test_repair_of_a_lost_end(archive):
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-60])
    run("ls", "data.zip", code=1)
    assert run("repair", "data.zip", "-o", "new.zip").stdout.startswith("saved 6 values (")
    assert archive.read_bytes() == whole[:-60]
    line = run("repair", "data.zip", "-o", "new.zip", code=1).stderr
    assert "there is a file where" in line
    lines = run("repair", "data.zip").stdout.splitlines()
    assert lines[0].endswith(" in data.zip; lost nothing")
    # What was added behind the directory that was cut off, if anything, nobody can tell.
    assert lines[1].endswith("data.zip.damaged")
    for path in ("new.zip", "data.zip"):
        with ZipStore(path) as store:
            assert {key: store.get_sync(key).to_bytes() for key in store.list_sync()} == VALUES


def test_repair_tells_what_was_lost(archive):
    archive.write_bytes(archive.read_bytes().replace(b"yyyy", b"yy\x1by"))
    lines = run("repair", "data.zip", code=1).stdout.splitlines()
    assert lines[0].startswith("saved 5 values (")
    assert lines[0].endswith(" in data.zip; lost 1")
    assert lines[1].startswith("lost temp/c/0/1 at byte ")
    assert lines[1].endswith("checksum.")
    assert lines[2].endswith("data.zip.damaged")
    assert len(lines) == 3
    assert run("ls", "data.zip", "temp/c/0").stdout.split() == ["0"]


def test_repair_of_nothing(archive):
    assert "no archive at this path" in run("repair", "none.zip", code=1).stderr
    assert "folder" in run("repair", ".", code=1).stderr
    assert "local file" in run("repair", "s3://bucket/data.zip", code=2).stderr
    (archive.parent / "empty.zip").touch()
    assert "holds nothing" in run("repair", "empty.zip", code=1).stderr
    assert sorted(os.listdir()) == ["data.zip", "empty.zip"]
    writer = ZipStore("data.zip", mode="a")
    writer.set_sync("k", b"")
    assert "another writer" in run("repair", "data.zip", code=1).stderr
    writer.close()
