"""Zarr hierarchies as other tools create and store them: trees of values, and containers for a tree.

A tree is made by zarr-python or written by hand; its container is a folder, an archive or a set of objects.
Each container function returns what must be found in it, so that tests notice what was lost or invented.
"""

import io
import itertools
import json
import os
import shutil
import subprocess
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pytest

# -- trees ----------------------------------------------------------------------------------------

PLAIN_NAMES = ("temp", "temp_bounds", "x")
ODD_NAMES = (
    "with space", "100%", "a%20b", "a%2Fb", "a#b", "q?x", "q?versionId=1", ".hidden", "größe", "日本語",
    "e\u0301tude", "a&b;c", "a+b", "[0-9]*", "~tilde", "it's \"so\"", "a|b", "a:b", "ends.", "-rf", "{x}",
)  # fmt: skip
GRID = np.arange(35, dtype="<i4").reshape(5, 7)
WORDS = np.array(["one", "größe", "", "日本語"])


@dataclass(frozen=True)
class Hierarchy:
    """What a store must contain: values by key, and the arrays that zarr-python reads from them."""

    values: dict
    arrays: dict


@cache
def _by_zarr_python(version, separator, consolidated, odd_names):
    encoding = {"name": "v2" if version == 2 else "default", "separator": separator}
    zarr = pytest.importorskip("zarr")
    arrays = {}
    store = zarr.storage.MemoryStore()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from zarr-python: parts of the format aren't final
        root = zarr.create_group(store, zarr_format=version, attributes={"title": "größe"})

        def add(path, data, **more):
            array = root.create_array(
                path, shape=data.shape, dtype=data.dtype, chunk_key_encoding=encoding, **more
            )
            array[...] = data
            arrays[path] = data

        for name in odd_names:
            add(f"{name}/a", GRID[:2, 0], chunks=(1,))
        if not odd_names:
            for name in PLAIN_NAMES:
                add(name, GRID, chunks=(2, 3))
            add("deep/er/scalar", np.array(7.5))
            add("deep/er/empty", np.zeros((0, 3)), chunks=(1, 3))
            add("deep/unwritten", np.zeros((4,)), chunks=(2,))
            words = root.create_array(
                "deep/words", shape=WORDS.shape, dtype=str, chunks=(2,), chunk_key_encoding=encoding
            )
            words[...] = arrays["deep/words"] = WORDS.astype(object)
            if version == 3:
                add("sharded", GRID, chunks=(1, 2), shards=(3, 4))
        if consolidated:
            zarr.consolidate_metadata(store)
    return Hierarchy({key: value.to_bytes() for key, value in store._store_dict.items()}, arrays)


def _blosc(data):
    return pytest.importorskip("numcodecs").Blosc(cname="lz4", clevel=5, shuffle=1).encode(data)


COMPRESSORS = {
    "raw": (None, bytes),
    "zlib": ({"id": "zlib", "level": 1}, zlib.compress),
    "blosc": (
        {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0},
        _blosc,
    ),
}


@cache
def _by_hand(compressor, separator, order):
    """Return version 2 as older programs wrote it: also without separator, fill value and chunks."""
    described, encode = COMPRESSORS[compressor]

    def document(**fields):
        return json.dumps(fields, indent=4).encode()

    def array(shape, chunks, fill, **more):
        fields = {"chunks": chunks, "compressor": described, "dtype": "<i4", "fill_value": fill}
        return document(**fields, filters=None, order=order, shape=shape, zarr_format=2, **more)

    told = {} if separator == "." else {"dimension_separator": separator}
    values = {
        ".zgroup": document(zarr_format=2),
        ".zattrs": document(title="by hand"),
        "g/.zgroup": document(zarr_format=2),
        "g/grid/.zarray": array([5, 7], [3, 4], -1, **told),
        "g/grid/.zattrs": document(_ARRAY_DIMENSIONS=["y", "x"]),
        "g/none/.zarray": array([0], [1], None, **told),
        "g/scalar/.zarray": array([], [], 0, **told),
        "g/scalar/0": bytes(encode(np.array(9, "<i4").tobytes())),
    }
    padded = np.full((6, 8), -1, "<i4")
    padded[:5, :7] = GRID
    grid = GRID.copy()
    for row, column in itertools.product(range(2), repeat=2):
        chunk = padded[3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
        if (row, column) == (1, 1):
            grid[3:, 4:] = -1  # a chunk that was never written
        else:
            values[f"g/grid/{row}{separator}{column}"] = bytes(encode(chunk.tobytes(order)))
    arrays = {"g/grid": grid, "g/none": np.zeros(0, "<i4"), "g/scalar": np.array(9, "<i4")}
    return Hierarchy(values, arrays)


FORMS = {".": "flat", "/": "nested"}


def trees(odd_names=ODD_NAMES):
    """Return the functions that make all trees, by name."""
    made = {}
    for version, separator, consolidated, names in itertools.product(
        (2, 3), FORMS, (False, True), ((), odd_names)
    ):
        name = f"v{version}, {FORMS[separator]}{', consolidated' * consolidated}{', odd names' * bool(names)}"
        made[name] = partial(_by_zarr_python, version, separator, consolidated, names)
    for compressor, separator, order in itertools.product(COMPRESSORS, FORMS, "CF"):
        made[f"by hand, {compressor}, {FORMS[separator]}, {order}"] = partial(
            _by_hand, compressor, separator, order
        )
    return made


def directories(values):
    """Return the directories above keys, except the root."""
    return sorted({key[:at] for key in values for at, character in enumerate(key) if character == "/"})


# -- folders --------------------------------------------------------------------------------------

LITTER = {
    ".DS_Store": b"\0\0\0\1Bud1",
    "._zarr.json": b"\0\5\x16\7",
    "desktop.ini": b"[.ShellClassInfo]\r\n",
    "Thumbs.db": b"\xd0\xcf",
    ".nfs000000000000002a00000001": b"",
    "zarr.json~": b"{",
    ".zgroup.swp": b"",
}


def with_litter(values):
    """Return the values and the litter of desktops, editors and network file systems: ordinary keys."""
    first = (directories(values) or [""])[0]
    return {**values, **LITTER, **{f"{first}/{name}": value for name, value in LITTER.items()}}


def write_folder(folder, values):
    """Write values as files."""
    for key, value in values.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)


def plain(tree, root):
    write_folder(root, tree.values)
    return tree.values


def littered(tree, root):
    values = with_litter(tree.values)
    write_folder(root, values)
    return values


def empty_folders(tree, root):
    """Write a folder with subfolders without keys, which aren't part of a hierarchy."""
    write_folder(root, tree.values)
    for name in ("left", "left/over", *(f"{above}/left" for above in directories(tree.values))):
        (root / name).mkdir(exist_ok=True)
    return tree.values


def linked(tree, root):
    """Write a folder in which every second file is a link into a pool beside it, every third a hard link."""
    write_folder(root, tree.values)
    pool = root.parent / f"{root.name}.pool"
    pool.mkdir()
    for number, key in enumerate(tree.values):
        path, kept = root / key, pool / str(number)
        if number % 2:
            path.rename(kept)
            path.symlink_to(os.path.relpath(kept, path.parent))
        elif not number % 3:
            os.link(path, kept)
    return tree.values


def linked_folders(tree, root):
    """Write a folder whose top-level folders are links to folders elsewhere."""
    write_folder(root, tree.values)
    pool = root.parent / f"{root.name}.pool"
    pool.mkdir()
    for path in [path for path in root.iterdir() if path.is_dir()]:
        shutil.move(path, pool / path.name)
        path.symlink_to(pool / path.name, target_is_directory=True)
    return tree.values


FOLDERS = {
    "folder": plain,
    "folder with litter": littered,
    "folder with empty folders": empty_folders,
    "folder of links": linked,
    "folder of linked folders": linked_folders,
}

# -- archives -------------------------------------------------------------------------------------


def _by_program(*command):
    """Pack a folder with a program, which is run in it; ``{}`` is replaced by the archive."""

    def pack(tree, path):
        folder = path.parent / f"{path.name}.folder"
        write_folder(folder, tree.values)
        subprocess.run(
            [str(path) if word == "{}" else word for word in command],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        return tree.values

    return pack


def _jar_with_manifest(tree, path):
    _by_program("jar", "-cf", "{}", ".")(tree, path)
    with zipfile.ZipFile(path) as archive:
        return {**tree.values, "META-INF/MANIFEST.MF": archive.read("META-INF/MANIFEST.MF")}


class _Pipe(io.RawIOBase):
    """A file that can only be written sequentially, like a pipe."""

    def __init__(self, path):
        self._file = open(path, "wb")  # noqa: SIM115

    def write(self, data):
        return self._file.write(data)

    def writable(self):
        return True

    def seekable(self):
        return False

    def close(self):
        self._file.close()
        super().close()


def _by_zipfile(
    *, method=zipfile.ZIP_STORED, zip64=False, piped=False, folders=False, comment=b"", front=b"",
    system=3, rename=lambda key: key, beside=None, twice=False,
):  # fmt: skip
    """Pack a tree with Python's module, which can imitate most other programs."""

    def pack(tree, path):
        members = {f"{name}/": b"" for name in directories(tree.values)} if folders else {}
        members |= {**tree.values, **(beside or {})}
        target = _Pipe(path) if piped else open(path, "wb")  # noqa: SIM115
        target.write(front)
        with target, zipfile.ZipFile(target, "w") as archive:
            if twice:  # a first version of each value, replaced by a second one
                for key in tree.values:
                    archive.writestr(key, b"old")
            for key, value in members.items():
                info = zipfile.ZipInfo(rename(key), (2024, 2, 29, 23, 59, 58))
                info.create_system, info.compress_type = system, method
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of the second version
                    with archive.open(info, "w", force_zip64=zip64) as member:
                        member.write(value)
            archive.comment = comment
        return {**tree.values, **(beside or {})}

    return pack


AROUND = "data.zarr"

ARCHIVES = {
    "zip": _by_program("zip", "-q", "-r", "{}", "."),
    "zip, no folders": _by_program("zip", "-q", "-r", "-D", "-0", "{}", "."),
    "zip, bzip2": _by_program("zip", "-q", "-r", "-Z", "bzip2", "{}", "."),
    "zip, streamed": _by_program("sh", "-c", 'zip -q -r - . | cat > "$0"', "{}"),
    "7z": _by_program("7z", "a", "-tzip", "-bd", "{}", "."),
    "7z, stored": _by_program("7z", "a", "-tzip", "-bd", "-mx=0", "{}", "."),
    "7z, lzma": _by_program("7z", "a", "-tzip", "-bd", "-mm=LZMA", "{}", "."),
    "jar": _by_program("jar", "-cfM", "{}", "."),
    "jar with manifest": _jar_with_manifest,
    "Python, stored": _by_zipfile(),
    "Python, deflated": _by_zipfile(method=zipfile.ZIP_DEFLATED),
    "Python, Zip64": _by_zipfile(zip64=True),
    "Python, piped": _by_zipfile(method=zipfile.ZIP_DEFLATED, piped=True),
    "Python, stored and piped": _by_zipfile(piped=True, zip64=True),
    "Python, folders": _by_zipfile(folders=True),
    "Python, comment": _by_zipfile(comment="größe PK\5\6".encode()),
    "Python, written twice": _by_zipfile(twice=True),
    "self-extracting": _by_zipfile(front=b"#!/bin/sh\nexit 0\n"),
    ".NET": _by_zipfile(system=0, rename=lambda key: key.replace("/", "\\"), folders=True),
    "dots in front": _by_zipfile(rename="./{}".format, folders=True),
    "macOS": _by_zipfile(
        method=zipfile.ZIP_DEFLATED, piped=True, folders=True, beside={"__MACOSX/._zarr.json": b"\0\5"}
    ),
    "folder around": _by_zipfile(rename=f"{AROUND}/{{}}".format, folders=True),
}

# -- objects --------------------------------------------------------------------------------------


def with_marks(values):
    """Return the values and the folder markers of consoles: empty objects whose names end in a slash."""
    return {**dict.fromkeys(["", *(f"{name}/" for name in directories(values))], b""), **values}


OBJECTS = {
    "objects": lambda tree: (tree.values, tree.values),
    "objects with marks": lambda tree: (with_marks(tree.values), tree.values),
    "objects with litter": lambda tree: (with_litter(tree.values),) * 2,
}
