"""Listings as S3 gives them: in order, page by page, whatever the keys are, and pages for people."""

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from urllib.parse import quote, unquote

import pytest
from served import filled, serving

from zarrstore import LocalStore, MemoryStore, ZipStore
from zarrstore.serve import _served

SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
KEYS = [
    "a",
    "a/b",
    "a-b/c",
    "a.b",
    "b/0/0",
    "b/0/1",
    "b/1/0",
    "b0",
    "c d/e&f",
    "c d/<x>",
    "é/日本",
    "z\x01/k",
    "zarr.json",
]


@pytest.fixture(scope="module")
def web():
    with serving(filled({key: key.encode() for key in KEYS})) as web:
        yield web


def listed(web, bucket="", **query):
    """All pages of a listing: keys, common prefixes, and how many pages they were."""
    keys, prefixes, pages, token = [], [], 0, None
    query = {
        "list-type": "2",
        "encoding-type": "url",
        **{name.replace("_", "-"): text for name, text in query.items()},
    }
    while pages == 0 or token:
        more = {} if token is None else {"continuation-token": token}
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in {**query, **more}.items())
        answer = web.ask(f"/{quote(bucket)}?{text}")
        assert answer.status == 200, answer.body
        found = ElementTree.fromstring(answer.body)
        keys += [unquote(line.text) for line in found.iterfind(f"{SPACE}Contents/{SPACE}Key")]
        prefixes += [unquote(line.text) for line in found.iterfind(f"{SPACE}CommonPrefixes/{SPACE}Prefix")]
        token = found.findtext(f"{SPACE}NextContinuationToken")
        assert found.findtext(f"{SPACE}IsTruncated") == ("true" if token else "false")
        pages += 1
    return keys, prefixes, pages


@pytest.mark.parametrize("size", ["1", "2", "3", "1000"])
def test_all_keys_in_order_whatever_the_pages(web, size):
    keys, prefixes, pages = listed(web, max_keys=size)
    assert keys == sorted(KEYS)
    assert prefixes == []
    assert pages == -(-len(KEYS) // int(size))


@pytest.mark.parametrize("size", ["1", "2", "1000"])
def test_one_level(web, size):
    keys, prefixes, _ = listed(web, delimiter="/", max_keys=size)
    assert keys == ["a", "a.b", "b0", "zarr.json"]
    assert prefixes == ["a-b/", "a/", "b/", "c d/", "z\x01/", "é/"]


@pytest.mark.parametrize(
    "prefix", ["a", "a/", "b/", "b/0", "b/0/", "c d/", "é", "nothing", "nothing/", "a//", "../", "/"]
)
def test_a_prefix_is_the_beginning_of_a_key(web, prefix):
    assert listed(web, prefix=prefix)[0] == [key for key in sorted(KEYS) if key.startswith(prefix)]


@pytest.mark.parametrize("after", ["a", "a.", "b", "b/", "b/0/0", "b/0/00", "é", "~", "zz"])
def test_keys_behind_a_name(web, after):
    assert listed(web, start_after=after)[0] == [key for key in sorted(KEYS) if key > after]


def test_a_directory_is_a_bucket(web):
    for bucket in ("b", "b/"):
        assert listed(web, bucket)[0] == ["0/0", "0/1", "1/0"]
        assert listed(web, bucket, prefix="0/")[0] == ["0/0", "0/1"]
        assert listed(web, bucket, delimiter="/", prefix="")[1] == ["0/", "1/"]
    assert listed(web, "nothing")[0] == []


def test_pages_go_on_where_they_were_though_nothing_was_kept(web, monkeypatch):
    monkeypatch.setattr(_served, "_KEPT", 0)
    assert listed(web, max_keys="2")[0] == sorted(KEYS)


def test_pages_of_a_large_directory_list_it_once():
    class Counting(MemoryStore):
        scans = 0

        def _scan(self, prefix, deep, sizes):
            self.scans += 1
            return super()._scan(prefix, deep, sizes)

    store = Counting({f"c/{number}": b"" for number in range(3000)})
    with serving(store) as web:
        keys, _, pages = listed(web)
        assert len(set(keys)) == len(keys) == 3000
        assert (pages, store.scans) == (3, 2)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_listing_tells_what_a_value_tells(tmp_path, kind):
    store = LocalStore(tmp_path) if kind == "folder" else ZipStore(tmp_path / "x.zip", mode="w")
    store.set_sync("a/k", b"123")
    with serving(store) as web:
        (line,) = ElementTree.fromstring(web.ask("/?list-type=2").body).iterfind(f"{SPACE}Contents")
        value = web.ask("/a/k")
        assert line.findtext(f"{SPACE}Size") == value.headers["content-length"] == "3"
        assert line.findtext(f"{SPACE}ETag") == value.headers.get("etag")
        if kind == "folder":
            assert line.findtext(f"{SPACE}LastModified")[14:19] in value.headers["last-modified"]
    store.close()


def test_what_is_not_known_is_said(web):
    for query in ("list-type=1", "list-type=2&delimiter=x"):
        assert web.ask(f"/?{query}").status == 501
    assert b"<Code>NotImplemented</Code>" in web.ask("/?list-type=1").body


def test_a_page_links_to_what_is_in_a_directory(web):
    page = web.ask("/c%20d/").body.decode()
    assert [unquote(html.unescape(link)) for link in re.findall(r'<a href="([^"]+)"', page)] == [
        "./<x>",
        "./e&f",
    ]
    assert "<x>" not in page
    links = re.findall(r'<a href="\./([^"]+)"', web.ask("/").body.decode())
    assert len(links) == 10
    for link in links:
        assert web.ask(f"/{link}").status == 200


def test_a_broken_link_spoils_no_page(tmp_path):
    store = LocalStore(tmp_path)
    store.set_sync("k", b"")
    store.set_sync("group/zarr.json", json.dumps({"zarr_format": 3, "node_type": "group"}).encode())
    (tmp_path / "broken").symlink_to("nowhere")
    with serving(store) as web:
        links = re.findall(r'<a href="\./([^"]+)"', web.ask("/").body.decode())
        assert links == ["broken", "group/", "k"]
        [child] = json.loads(web.ask("/?node").body)["children"]
        assert child["name"] == "group"
        assert web.ask("/broken").status == web.ask("/?list-type=2").status == 500
