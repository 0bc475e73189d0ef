"""The package as it is shipped."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import zarrstore

ROOT = Path(__file__).parents[3]


def test_the_types_are_shipped():
    assert (Path(zarrstore.__file__).parent / "py.typed").is_file()


def test_the_version_is_the_same_everywhere():
    assert f'version = "{zarrstore.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    pytest.importorskip("hatchling")
    code = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if name.startswith("zarrstore/")}
    source = ROOT / "src"
    assert inside == {
        str(path.relative_to(source))
        for path in (source / "zarrstore").rglob("*")
        if path.suffix in (".py", ".typed") or path.parent.name == "page"
    }
    assert all(".dist-info/" in name for name in set(names) - inside)
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "zarrstore = zarrstore._cli:main" in zipfile.ZipFile(wheel).read(entry_points).decode()


def test_only_numpy_is_required():
    try:
        needed = importlib.metadata.requires("zarrstore") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("zarrstore runs from its source here, not installed")
    always = [requirement for requirement in needed if "extra ==" not in requirement]
    assert [requirement.partition(">")[0] for requirement in always] == ["numpy"]
