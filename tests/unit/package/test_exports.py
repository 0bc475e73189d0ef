"""Exported names: complete, sorted, importable; and what importing the package costs."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import zarrstore
from zarrstore import errors, storage

PUBLIC = ["zarrstore", "zarrstore.storage", "zarrstore.abc.store", "zarrstore.buffer", "zarrstore.buffer.cpu"]
# Those of the extras import packages that need not be there.
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(zarrstore.__path__, "zarrstore.")
    if not name.endswith("__main__")
    and not any(f".{part}" in name for part in ("_cli", "_fsspec", "_obstore"))
]


def in_order(name):
    """Constants, classes, functions and modules; each by the alphabet."""
    return (not name.isupper(), not name[0].isupper(), name)


@pytest.mark.parametrize("name", [*PUBLIC, "zarrstore.errors"])
def test_names_are_sorted_and_importable(name):
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(set(module.__all__), key=in_order)
    for exported in module.__all__:
        assert getattr(module, exported) is not None
        assert not exported.startswith("_")


@pytest.mark.parametrize("module", [zarrstore, storage])
def test_lazy_names_are_listed_and_others_refused(module):
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = module.nonsense
    namespace = {}
    exec(f"from {module.__name__} import *", namespace)
    assert set(module.__all__) <= set(namespace)


def test_every_store_is_exported():
    def below(cls):
        return {cls}.union(*map(below, cls.__subclasses__()))

    for name in MODULES:
        importlib.import_module(name)
    stores = {
        cls.__name__
        for cls in below(zarrstore.Store)
        if cls.__module__.startswith("zarrstore.storage.") and not cls.__name__.startswith("_")
    }
    # Nobody makes one of these.
    bases = {"ReadingStore", "ListingStore", "NowaitStore", "ReadingFolder", "RemoteStore", "RemovingStore"}
    bases |= {"WritingFolder", "ZarrStoreAdapter"}
    assert stores - bases <= set(storage.__all__)


def test_every_error_is_exported():
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)} - {"Any"}
    assert defined == set(errors.__all__)


def test_names_are_the_same_wherever_they_are_found():
    for name in zarrstore.__all__:
        if name in storage.__all__:
            assert getattr(zarrstore, name) is getattr(storage, name)
    assert zarrstore.Store is importlib.import_module("zarrstore.abc.store").Store


# Each module is imported in a child of its own, which has NumPy and asyncio already: most of the time would
# be theirs.
IMPORT_EACH = """
import asyncio, importlib, os, sys, traceback, numpy
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_module_imports_alone():
    command = [sys.executable, "-W", "error", "-c", IMPORT_EACH, *MODULES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_package_loads_little():
    code = (
        "import sys, zarrstore; "
        "print(*{'numpy', 'asyncio', 'zarr', 'click', 'fsspec', 'concurrent'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_importing_the_package_is_quick():
    code = (
        "from time import process_time; began = process_time(); import zarrstore; "
        "print(1000 * (process_time() - began))"
    )
    # The processor's time, and the least of several runs: a busy machine only adds to either.
    costs = []
    while min(costs, default=30) >= 30 and len(costs) < 20:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        costs.append(float(done.stdout))
    assert min(costs) < 30, costs
