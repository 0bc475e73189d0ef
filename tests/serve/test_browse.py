"""A store's page from a notebook: how it is shown, who may read it, and how it ends."""

import asyncio
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest
import uvicorn

import zarrstore.serve
from zarrstore import MemoryStore
from zarrstore.serve import browse


def status(url, token=""):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_its_own_address_may_read():
    with browse(MemoryStore()) as one, browse(MemoryStore()) as other:
        url, _, token = one.url.partition("#token=")
        assert url.startswith("http://127.0.0.1:")
        assert len(token) == 24
        assert (status(url), status(url, token)) == (401, 200)
        assert status(url, other.url.partition("#token=")[2]) == 401


def test_closing_waits_until_the_server_has_started(monkeypatch):
    startup, seen = uvicorn.Server.startup, []

    async def slow(server, sockets=None):
        await asyncio.sleep(0.2)
        await startup(server, sockets=sockets)
        seen.append(server.should_exit)

    monkeypatch.setattr(uvicorn.Server, "startup", slow)
    browse(MemoryStore()).close()
    assert seen == [False]


def test_a_notebook_shows_a_link_and_no_token_in_text():
    class Odd(MemoryStore):
        _location = "<b>&"

    with browse(Odd()) as browsing:
        shown = browsing._repr_html_()
        assert f'href="{browsing.url}"' in shown
        assert "&lt;b&gt;&amp;</a>" in shown
        assert browsing.url.partition("#token=")[2] not in repr(browsing)


def test_it_ends_once_it_is_closed():
    before = set(threading.enumerate())
    browsing = browse(MemoryStore(), public=True)
    assert status(browsing.url) == 200
    browsing.close()
    browsing.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(urllib.error.URLError):
        status(browsing.url)


def test_a_process_ends_with_it():
    code = (
        "import urllib.request\n"
        "from zarrstore import MemoryStore\n"
        "from zarrstore.serve import browse\n"
        "browsing = browse(MemoryStore(), public=True)\n"
        "print(urllib.request.urlopen(browsing.url).status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "200\n", "")


@pytest.mark.parametrize(("name", "package"), [("app", "starlette"), ("browse", "uvicorn")])
def test_a_missing_package_is_named(monkeypatch, name, package):
    for module in [module for module in sys.modules if module.startswith("zarrstore.serve.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(vars(zarrstore.serve), name, raising=False)
    for module in [package, *(module for module in sys.modules if module.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{package}.*zarrstore\[serve\]"):
        getattr(zarrstore.serve, name)
