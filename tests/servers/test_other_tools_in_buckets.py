"""xarray, anndata and ome-zarr write and read through stores on an S3 server, by both backends."""

import pytest
from other_tools import TOOLS
from test_hierarchies_in_buckets import OPENED


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("backend", ["obstore", "fsspec"])
def test_round_trip(tool, backend, s3_server, place):
    with OPENED[backend]("s3", s3_server, *place) as store:
        TOOLS[tool](store)
