"""Neuroglancer, in a browser, draws what is served."""

import json
from urllib.parse import unquote

import neuroglancer
import numpy as np
import pytest
import zarr
from chromium import needs_chromium, running
from served import serving

from zarrstore import LocalStore, ZipStore, copy_store_sync

pytestmark = [
    needs_chromium,
    pytest.mark.once,
    pytest.mark.timeout(120),  # a source that can't be read is waited for without end
]

SHADES = np.array([[30, 90], [150, 250]], "u1")
IMAGE = SHADES.repeat(32, axis=0).repeat(32, axis=1)
WEBGL_WITHOUT_A_GPU = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One picture as arrays and as OME-NGFF images, in Zarr 2 and 3."""
    store = LocalStore(tmp_path_factory.mktemp("neuroglancer") / "data.zarr")
    zarr.create_group(store)
    for version in (2, 3):
        zarr.create_array(store, name=f"v{version}", data=IMAGE, chunks=(16, 16), zarr_format=version)
        image = zarr.create_group(store, path=f"image{version}", zarr_format=version, attributes=ome(version))
        for level in range(2):
            image.create_array(str(level), data=IMAGE[:: 2**level, :: 2**level], chunks=(16, 16))
    zarr.create_array(store, name="sharded", data=IMAGE, chunks=(8, 8), shards=(32, 32))
    return store


def ome(version):
    """Return the attributes of an image of two levels."""
    levels = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [2.0**n, 2.0**n]}]}
        for n in range(2)
    ]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    scales = {"version": "0.4", "axes": axes, "datasets": levels}
    return {"multiscales": [scales]} if version == 2 else {"ome": {"version": "0.5", "multiscales": [scales]}}


@pytest.fixture(scope="module")
def page():
    neuroglancer.set_server_bind_address("127.0.0.1")
    with running(*WEBGL_WITHOUT_A_GPU) as browser:
        yield browser.new_page(viewport={"width": 300, "height": 200})
    neuroglancer.stop()


def drawn(page, state):
    """Return the picture that neuroglancer shows, once it has loaded what it draws."""
    viewer = neuroglancer.Viewer()
    viewer.set_state(state)
    page.goto(viewer.get_viewer_url())
    return viewer.screenshot(size=(300, 200)).screenshot.image_pixels


@pytest.mark.parametrize(
    "source",
    ["zarr2://{}/v2/", "zarr3://{}/v3/", "{}/sharded/|zarr3:", "zarr://{}/image2", "{}/image3/|zarr:"],
)
def test_an_archive_is_drawn(source, folder, page, tmp_path):
    with ZipStore(tmp_path / "data.zip", mode="w") as archive:
        copy_store_sync(folder, archive)
        with serving(archive) as web:
            layer = {"type": "image", "source": source.format(web.url), "name": "picture"}
            layer["shader"] = "void main() { emitGrayscale(toNormalized(getDataValue())); }"
            pixels = drawn(page, {"layers": [layer], "layout": "xy", "showAxisLines": False})
    quarters = pixels[[[84, 84], [116, 116]], [[134, 166], [134, 166]], 0]  # around the centre
    assert quarters.T.tolist() == SHADES.tolist()  # the first axis goes to the right


def test_the_link_on_the_page_opens_an_image(folder, page):
    with serving(folder) as web:
        page.goto(f"{web.url}/#image3")
        link = page.get_by_text("Open in neuroglancer").get_attribute("href")
        with page.expect_response(f"{web.url}/image3/0/c/0/0") as chunk:
            drawn(page, json.loads(unquote(link.partition("#!")[2])))
    assert chunk.value.status == 200
