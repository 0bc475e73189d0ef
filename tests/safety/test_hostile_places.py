"""URLs, commands, archives and listings of servers that mean harm: an error or a harmless answer."""

import re
import warnings
import zipfile
from contextlib import suppress
from xml.sax.saxutils import escape

import pytest
from click.testing import CliRunner
from hostile import NAMES, SECRET, asked_with, outside
from hypothesis import strategies as st
from scripted_server import on, s3_listing, scripted_server, store_of

from zarrstore import RetryPolicy, copy_store_sync, make_store_sync, sync_store_sync
from zarrstore._cli.program import program
from zarrstore._core.keys import is_key
from zarrstore.errors import StoreError
from zarrstore.storage import LocalStore, ZipStore

# URLs of servers are left out: some would be connected to.
# -- URLs -------------------------------------------------------------------------------------------

HEADS = [
    "",
    "",
    "file://",
    "file:///",
    "FILE://",
    "file://localhost/",
    "memory://",
    "zip://",
    "zip::",
    "dir::",
]
HEADS += [
    "simplecache::memory://",
    "zip://a::memory://",
    "object_store://",
    "object_store://LocalStore",
]
HEADS += [
    "object_store://HTTPStore",
    "object_store://S3Store",
    "wrapping-",
    "logging-file://",
]
HEADS += ["gpumemory://", "nothing://", "://", "::", "|zip:", "a.zip", "memory://x|zip:", "zip:///"]
TAILS = [
    "",
    "",
    "|zip:",
    "|zip:../..",
    "|zip:a|zip:b",
    "::",
    "::file://",
    ".zip",
    "?a=b",
    "#1",
    "/",
    "|",
    "://",
]
TEXTS = st.tuples(st.sampled_from(HEADS), NAMES, st.sampled_from(TAILS)).map("".join)


def open_texts(place, monkeypatch, examples):
    deep = place / "root/1/2/3/4/5/6/7/8"  # so that a few ".." stay in the place
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    before = outside(place)

    @asked_with(TEXTS, examples)
    def ask(text):
        for mode in (None, "r", "r+"):
            with suppress(StoreError):
                make_store_sync(text, mode=mode).close()

    ask()
    assert outside(place) == before
    assert list(deep.iterdir()) == []
    return examples


def test_texts_that_name_a_place_badly(place, monkeypatch, record_property):
    record_property("cases", open_texts(place, monkeypatch, 40))


@pytest.mark.slow
def test_many_texts_that_name_a_place_badly(place, monkeypatch, record_property):
    record_property("cases", open_texts(place, monkeypatch, 3000))


# -- commands ---------------------------------------------------------------------------------------


def commands(url, place, name):
    """What the program does with one name below a URL."""
    yield "ls", url, name
    yield "ls", "-lr", url, name
    yield "du", url, name
    yield "tree", url, name
    yield "info", url, name
    yield "cat", url, name
    yield "check", url, name
    yield "digest", url, name
    yield "rm", "--dry-run", "-r", url, name
    yield "rm", "-y", url, name
    yield "rm", "-y", "-r", url, name


def run_commands(place, kind, examples):
    url = {"folder": f"{place}/root", "archive": f"{place}/root.zip", "memory": f"memory://{place}/root"}[
        kind
    ]
    url = url if kind != "file" else f"file://{place}/root"
    before = outside(place)
    count = 0

    @asked_with(NAMES, examples)
    def ask(name):
        nonlocal count
        with make_store_sync(url, mode="a") as store:
            store.set_sync("a/k", b"mine")
        for verb, *rest in commands(url, place, name):
            count += 1
            result = CliRunner().invoke(program, [verb, *rest[:-2], "--", *rest[-2:]])
            assert result.exception is None or isinstance(result.exception, SystemExit), (
                verb,
                result.exception,
            )
            assert result.exit_code in (0, 1, 2)
            assert SECRET not in result.stdout_bytes + result.stderr_bytes
        assert outside(place) == before

    ask()
    return count


@pytest.mark.parametrize("kind", ["folder", "archive", "memory"])
def test_commands_with_bad_names(place, kind, record_property):
    count = run_commands(place, kind, 6)
    record_property("cases", count)
    assert count > 50


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "archive", "memory"])
def test_commands_with_many_bad_names(place, kind, record_property):
    record_property("cases", run_commands(place, kind, 300))


# -- archives and listings ----------------------------------------------------------------------------

ONCE = RetryPolicy(attempts=1)
MEMBERS = st.lists(NAMES, min_size=1, max_size=6)
# What takes all that a store lists to a folder.
TRANSFERS = [
    lambda source, target: copy_store_sync(source, target),
    lambda source, target: sync_store_sync(source, target, delete=True),
    lambda source, target: copy_store_sync(source, target, target_prefix="deep/er"),
]


def pack(path, names):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # two of one name, which are to be tried as well
        for number, name in enumerate(names):
            info = zipfile.ZipInfo("n")
            info.filename, info.create_system = name, number % 2 * 3
            info.external_attr = (0o120777 << 16) if number % 3 == 2 else 0o644 << 16  # the third is a link
            with suppress(UnicodeEncodeError):
                archive.writestr(info, b"../victim")


def unpack(place, examples):
    before = outside(place)

    @asked_with(MEMBERS, examples)
    def ask(names):
        pack(place / "root.zip", names)
        for transfer in TRANSFERS:
            with suppress(StoreError), ZipStore(place / "root.zip") as archive:
                assert all(map(is_key, archive.list_sync()))
                transfer(archive, LocalStore(place / "root"))
            assert outside(place) == before
        assert not any(path.is_symlink() for path in (place / "root").rglob("*"))

    ask()
    return examples


def test_members_with_bad_names(place, record_property):
    record_property("cases", unpack(place, 10))


@pytest.mark.slow
def test_members_with_many_bad_names(place, record_property):
    record_property("cases", unpack(place, 1000))


def answers(keys):
    """What a server answers that lists keys, and has a value for each."""

    def value(request):
        if request.method in ("GET", "HEAD"):
            return 200, b"v", {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        return 200, "<DeleteResult></DeleteResult>"

    return [(on("GET", "list-type"), s3_listing(map(escape, keys))), (lambda request: True, value)]


def list_from(server, which, place, examples):
    before = outside(place)

    @asked_with(
        st.lists(st.tuples(st.sampled_from(["p/", "p/", "p/", "", "q/", "p"]), NAMES), max_size=6), examples
    )
    def ask(keys):
        server.table[:] = answers(sorted("".join(key).encode("utf-8", "ignore").decode() for key in keys))
        server.requests.clear()
        with store_of(server, which, ONCE) as store:
            for call in (
                lambda: all(map(is_key, store.list_sync())),
                lambda: all(map(is_key, store.list_dir_sync(""))),
                lambda: copy_store_sync(store, LocalStore(place / "root")),
                lambda: sync_store_sync(store, LocalStore(place / "root"), delete=True),
                store.clear_sync,
            ):
                with suppress(StoreError):
                    assert call() is not False
        assert outside(place) == before
        for request in server.requests:
            assert request.path.partition("?")[0].rstrip("/") == "/b" or request.path.startswith("/b/p/")
            for key in re.findall("<Key>(.*?)</Key>", request.body.decode(), re.DOTALL):
                assert key.startswith("p/")

    ask()
    return examples


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


@pytest.mark.parametrize("which", ["s3 by fsspec", "s3 by obstore"])
def test_keys_that_a_server_lists(server, which, place, record_property):
    record_property("cases", list_from(server, which, place, 5))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["s3 by fsspec", "s3 by obstore"])
def test_many_keys_that_a_server_lists(server, which, place, record_property):
    record_property("cases", list_from(server, which, place, 300))
