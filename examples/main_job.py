"""The main job: keep a hierarchy of arrays in a store, and move it from one store to another.

Writes a real brain scan (one that nibabel ships) with zarr-python as a Zarr 3 and as a Zarr 2
hierarchy, copies each from a folder to memory, from there to another folder and into a zip archive,
and reads everything back: byte for byte, and as arrays through zarr-python.

    python examples/main_job.py [FOLDER]

Without a FOLDER, which must be empty, it works in a temporary one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import zarr

from zarrstore import LocalStore, MemoryStore, Store, copy_store_sync

try:
    from zarrstore.storage import ZipStore
except ImportError:  # a build without it
    ZipStore = None

if TYPE_CHECKING:
    from collections.abc import Callable


def read_scan() -> tuple[np.ndarray, np.ndarray]:
    """Return the scan's voxels (x, y, z, time) and its affine matrix."""
    image = nibabel.load(Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz")
    return np.asanyarray(image.dataobj), image.affine


def write_hierarchy(store: Store, zarr_format: int, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write the scan, its mean over time and its affine matrix, with zarr-python."""
    root = zarr.create_group(store, zarr_format=zarr_format, attributes={"subject": "nibabel example4d"})
    scan = root.create_array("scan", shape=voxels.shape, chunks=(32, 32, 8, 1), dtype=voxels.dtype)
    scan[:] = voxels
    derived = root.create_group("derived")
    mean = voxels.mean(axis=3, dtype="f4")
    derived.create_array("mean", shape=mean.shape, chunks=(64, 64, 24), dtype=mean.dtype)[:] = mean
    root.create_array("affine", shape=affine.shape, chunks=affine.shape, dtype=affine.dtype)[:] = affine


def copy_with_progress(source: Store, target: Store, label: str) -> None:
    """Copy and verify, drawing a bar meanwhile."""
    report = copy_store_sync(source, target, verify=True, progress=sys.stderr.isatty())
    print(
        f"  {label:<18} {report.keys:4} values {report.bytes / 1e6:8.2f} MB {report.seconds:8.3f} s"
        f"   {report.verified} verified"
    )


def check_bytes(first: Store, second: Store) -> None:
    """Make sure that two stores hold the same keys and the same bytes."""
    keys = sorted(first.list_sync())
    assert keys == sorted(second.list_sync()), "the keys differ"
    for key in keys:
        assert first.get_sync(key) == second.get_sync(key), f"{key} differs"


def check_arrays(store: Store, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Make sure that zarr-python finds the scan in a store."""
    root = zarr.open_group(store, mode="r")
    np.testing.assert_array_equal(root["scan"][:], voxels)
    np.testing.assert_array_equal(root["affine"][:], affine)
    np.testing.assert_array_equal(root["derived/mean"][:], voxels.mean(axis=3, dtype="f4"))


def timed(label: str, action: Callable[..., Any], *arguments: Any) -> None:
    """Do something, and print how long it took."""
    began = time.perf_counter()
    action(*arguments)
    print(f"  {label:<51} {time.perf_counter() - began:8.3f} s")


def main(folder: Path) -> None:
    """Do the job below a folder."""
    voxels, affine = read_scan()
    print(f"a scan of {' x '.join(map(str, voxels.shape))} {voxels.dtype}, {voxels.nbytes / 1e6:.2f} MB")
    for zarr_format in (3, 2):
        print(f"\nZarr {zarr_format}, below {folder}")
        source = LocalStore(folder / f"scan.v{zarr_format}.zarr")
        timed("written with zarr-python", write_hierarchy, source, zarr_format, voxels, affine)
        memory = MemoryStore()
        copy_with_progress(source, memory, "folder to memory")
        target = LocalStore(folder / f"copy.v{zarr_format}.zarr")
        copy_with_progress(memory, target, "memory to folder")
        goals: list[Store] = [memory, target]
        if ZipStore is not None:
            with ZipStore(folder / f"copy.v{zarr_format}.zip", mode="w") as archive:
                copy_with_progress(target, archive, "folder to zip")
            goals.append(ZipStore(folder / f"copy.v{zarr_format}.zip", mode="r"))
        for goal in goals:
            name = type(goal).__name__
            timed(
                f"{name}: {goal.getsize_prefix_sync('') / 1e6:.2f} MB, equal byte for byte",
                check_bytes,
                source,
                goal,
            )
            timed(f"{name}: equal arrays through zarr-python", check_arrays, goal, voxels, affine)
            goal.close()
    print("\nall is well")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        chosen = Path(sys.argv[1])
        if chosen.exists() and any(chosen.iterdir()):
            sys.exit(f"{chosen} isn't empty: name a folder that can be filled")
        main(chosen)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
