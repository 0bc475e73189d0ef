"""Round trips of packages built on zarr-python, through any store."""

import warnings
from contextlib import contextmanager

import numpy as np
import zarr

IMAGE = np.arange(3 * 40 * 50, dtype="u2").reshape(3, 40, 50)


@contextmanager
def _without_warnings_of(package):
    """Ignore a package's warnings about its own code, and no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
        # If zarrs is installed, anndata uses its codec pipeline, which opens obstore's stores again.
        warnings.filterwarnings("ignore", "Successfully reconstructed a store", RuntimeWarning)
        yield


def anndata(store):
    """Round-trip sparse and dense matrices, tables with categories, strings and nested dicts."""
    with _without_warnings_of("anndata"):
        import anndata
        import pandas as pd
        import scipy.sparse

        names = [f"cell{number}" for number in range(30)]
        matrix = scipy.sparse.random(30, 8, 0.2, format="csr", dtype="f4", rng=np.random.default_rng(1))
        table = pd.DataFrame({"kind": pd.Categorical(list("ab") * 15), "n": np.arange(30)}, index=names)
        data = anndata.AnnData(X=matrix, obs=table, layers={"raw": np.arange(240.0).reshape(30, 8)})
        data.uns["nested"] = {"text": "µ", "numbers": np.arange(3)}
        data.write_zarr(store)
        found = anndata.read_zarr(store)
        assert (found.X != matrix).nnz == 0
        pd.testing.assert_frame_equal(found.obs, table, check_index_type=False)
        assert np.array_equal(found.layers["raw"], data.layers["raw"])
        assert found.uns["nested"]["text"] == "µ"
        assert np.array_equal(found.uns["nested"]["numbers"], np.arange(3))


def ome_zarr(store):
    """Round-trip an image with its pyramid and labels; ome-zarr opens any store since 0.20."""
    with _without_warnings_of("ome_zarr"), _without_warnings_of("skimage"):
        from ome_zarr.io import ZarrLocation
        from ome_zarr.reader import Reader
        from ome_zarr.writer import write_image, write_labels

        root = zarr.open_group(store, mode="w")
        write_image(IMAGE, root, axes="cyx")
        write_labels(np.ones((40, 50), "u1"), root, name="cells", axes="yx")
        (scales,) = zarr.open_group(store, mode="r").attrs["ome"]["multiscales"]
        levels = [level["path"] for level in scales["datasets"]]
        assert np.array_equal(zarr.open_array(store, path=levels[0], mode="r")[:], IMAGE)
        assert zarr.open_array(store, path=f"labels/cells/{levels[0]}", mode="r")[:].all()
        if not _takes_stores():
            return
        images = [node for node in Reader(ZarrLocation(store))() if node.data]
        assert np.array_equal(np.asarray(images[0].data[0]), IMAGE)
        assert len(images[0].data) == len(levels)


def _takes_stores():
    from importlib.metadata import version

    return tuple(map(int, version("ome-zarr").split(".")[:2])) >= (0, 20)


def xarray(store):
    """Write a dataset, append to it, overwrite a region, and read it lazily."""
    import xarray as xr

    data = xr.Dataset({"t": (("time", "x"), np.arange(40.0).reshape(8, 5))}, coords={"time": np.arange(8)})
    options = {"consolidated": False}
    data.isel(time=slice(0, 4)).to_zarr(store, mode="w", encoding={"t": {"chunks": (2, 5)}}, **options)
    data.isel(time=slice(4, 8)).to_zarr(store, append_dim="time", **options)
    new = data.isel(time=slice(2, 4)) + 100
    new.drop_vars("time").to_zarr(store, region={"time": slice(2, 4)}, **options)
    expected = data.copy(deep=True)
    expected["t"][2:4] += 100
    for chunks in (None, {"time": 4}):
        with xr.open_zarr(store, chunks=chunks, **options) as opened:
            xr.testing.assert_identical(opened.load(), expected)
    with xr.open_dataset(store, engine="zarr", **options) as opened:
        assert float(opened["t"].isel(time=3).sum()) == float(expected["t"][3].sum())


TOOLS = {"anndata": anndata, "ome-zarr": ome_zarr, "xarray": xarray}
