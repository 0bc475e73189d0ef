"""A served store in a browser: read by zarrita.js from a page elsewhere, and its own page clicked through."""

import base64
import itertools
import re

import numpy as np
import pytest
import zarr
from chromium import needs_chromium, running
from file_server import serve
from playwright.sync_api import expect
from served import serving

from zarrstore import LocalStore, ZipStore, copy_store_sync
from zarrstore.serve import browse

pytestmark = [
    needs_chromium,
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning"),
    pytest.mark.filterwarnings("ignore:.*vlen-utf8.*:UserWarning"),
]

HEIGHTS = np.arange(5 * 40 * 60, dtype="f4").reshape(5, 40, 60)
IMAGE = np.arange(64 * 64, dtype="u1").reshape(64, 64)


@pytest.fixture(scope="module")
def hierarchy(tmp_path_factory):
    """A folder of arrays of each kind."""
    store = LocalStore(tmp_path_factory.mktemp("browser") / "data.zarr")
    root = zarr.create_group(store, attributes={"title": "<b>plain</b>", "none": float("nan")})
    root.create_array(
        "field/heights",
        data=HEIGHTS,
        chunks=(1, 20, 30),
        dimension_names=["time", "y", "x"],
        attributes={"u": "m"},
    )
    root.create_array("field/sharded", data=HEIGHTS, chunks=(1, 10, 10), shards=(5, 20, 30))
    root.create_array("a #1 50%/odd name?", data=np.arange(10, dtype="i8"))
    root.create_array("flags", data=np.eye(4, dtype=bool))
    root.create_array("words", shape=2, dtype=str)[:] = np.array(["one", "two"], dtype=object)
    root.create_array("scalar", data=np.array(2.5))
    image = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}, {"path": "1"}]}
    levels = root.create_group("image", attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    levels.create_array("0", data=IMAGE, chunks=(32, 32))
    levels.create_array("1", data=IMAGE[::4, ::4], chunks=(16, 16))
    for name, compressor in (("blosc", "auto"), ("plain", None)):
        zarr.create_array(
            store, name=f"two/{name}", data=HEIGHTS, chunks=(2, 40, 60), zarr_format=2, compressors=compressor
        )
    return store


@pytest.fixture(scope="module")
def chromium():
    with running() as browser:
        yield browser


@pytest.fixture
def page(chromium):
    page = chromium.new_page()
    page.set_default_timeout(20_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


# -- from another origin ----------------------------------------------------------------------------

READ = """async ([url, names]) => {
    const zarr = await import(`${url}/?asset=zarrita.js`);
    const answers = {};
    for (const name of names) {
        const array = await zarr.open(new zarr.FetchStore(`${url}/${name}`), { kind: "array" });
        const { data } = await zarr.get(array);
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        answers[name] = bytes.reduce((text, byte) => text + String.fromCharCode(byte), "");
    }
    return Object.fromEntries(Object.entries(answers).map(([name, text]) => [name, btoa(text)]));
}"""
ARRAYS = ["field/heights", "field/sharded", "two/blosc", "two/plain"]


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_zarrita_reads_every_byte_from_a_page_elsewhere(hierarchy, page, tmp_path, kind):
    (tmp_path / "page.html").write_text("<!doctype html><title>elsewhere</title>")
    store = hierarchy
    if kind == "archive":
        store = ZipStore(tmp_path / "data.zip", mode="w")
        copy_store_sync(hierarchy, store)
    with serve(tmp_path) as (elsewhere, _), serving(store) as web:
        page.goto(f"{elsewhere}/page.html")
        read = page.evaluate(READ, [web.url, ARRAYS])
        assert {name: base64.b64decode(text) for name, text in read.items()} == dict.fromkeys(
            ARRAYS, HEIGHTS.tobytes()
        )
        # An absence is told from what the browser may not see.
        status = page.evaluate("url => fetch(url).then((answer) => answer.status)", f"{web.url}/nothing")
        assert status == 404
    store.close()


# -- the store's own page ---------------------------------------------------------------------------


def test_the_page_is_clicked_through(hierarchy, page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    with serving(hierarchy) as web:
        page.goto(web.url)
        tree, node = page.locator("nav"), page.locator("main")
        expect(node).to_contain_text("<b>plain</b>")
        expect(page.locator("#links")).to_contain_text("zarr.json")
        tree.get_by_text("field").locator("xpath=..").click(
            position={"x": 2, "y": 8}
        )  # the triangle opens it
        tree.get_by_role("link", name="heights").click()
        expect(node.locator("h1")).to_have_text("field/heights")
        for fact in (
            "time 5 × y 40 × x 60",
            "float32, filled with 0",
            "1 × 20 × 30",
            "20 of 20 chunks",
            '"u": "m"',
        ):
            expect(node).to_contain_text(fact)
        canvas = node.get_by_role("img")
        expect(canvas).to_have_attribute("aria-label", "40 × 60 values from 24 to 2375")
        node.get_by_label("time").fill("3")
        expect(canvas).to_have_attribute("aria-label", "40 × 60 values from 7224 to 9575")
        node.get_by_label("to", exact=True).fill("100")
        expect(canvas).to_have_attribute("aria-label", "40 × 60 values from 7224 to 9599")
        canvas.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        expect(node.locator("p output")).to_have_text(f"[3, 1, 1] = {HEIGHTS[3, 1, 1]:.0f}")
        expect(node).to_contain_text(f'zarr.open_array("{web.url}/field/heights", mode="r")')
        for name in ("neuroglancer", "vizarr"):
            assert web.url.partition("//")[2] in node.get_by_text(name).get_attribute("href").replace(
                "%3A", ":"
            ).replace("%2F", "/")
        assert page.errors == []
    assert {url.partition("/?")[0].rpartition("//")[2].partition("/")[0] for url in asked} == {
        f"127.0.0.1:{web.port}"
    }


NODES = {
    "field/sharded": ["4 of 4 shards", "40 × 60 values"],
    "a #1 50%/odd name?": ["array of Zarr 3", "1 × 10 values"],
    "flags": ["4 × 4 values from 0 to 1"],
    "words": ["one\ntwo"],
    "scalar": ["2.5"],
    "image": ["1: 16 × 16", "16 × 16 values"],
    "two/blosc": ["array of Zarr 2", "3 of 3 chunks", "40 × 60 values"],
    "nothing": ["directory without a document of Zarr"],
}


def test_every_kind_of_node_is_shown(hierarchy, page):
    with serving(hierarchy) as web:
        page.goto(web.url)
        node = page.locator("main")
        for path, words in NODES.items():
            page.evaluate("path => { location.hash = '#/' + encodeURIComponent(path); }", path)
            for text in words:
                if "values" in text:
                    expect(node.locator(f'canvas[aria-label*="{text}"]')).to_be_visible()
                else:
                    expect(node).to_contain_text(text, use_inner_text=True)
        page.evaluate("location.hash = '#/image'")
        page.get_by_label("Level").select_option("0")
        expect(page.locator('canvas[aria-label*="64 × 64 values"]')).to_be_visible()
        assert page.errors == []


def test_a_token_is_taken_from_the_address_and_outlives_a_reload(hierarchy, page):
    with browse(hierarchy) as browsing:
        page.goto(browsing.url.partition("#")[0])
        expect(page.get_by_role("alert").first).to_contain_text("This server wants a token")
        page.goto("about:blank")
        page.goto(browsing.url)
        expect(page.locator("nav")).to_contain_text("field")
        assert "token" not in page.url
        page.reload()
        expect(page.locator("nav")).to_contain_text("field")


def test_it_fits_every_screen_in_both_themes(hierarchy, page):
    with serving(hierarchy) as web:
        page.goto(f"{web.url}/#/field/heights")
        expect(page.locator('canvas[aria-label*="values"]')).to_be_visible()
        for theme, width in itertools.product(("light", "dark"), (390, 800, 1200)):
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", colour))) < 200) == (theme == "dark")
