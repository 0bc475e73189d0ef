"""Every entry of the listing that this library implements is there, with the signature that it has there.

The listing is the documentation of `zarr.storage` in zarr-python 3.0.8, kept as ``listing.json``: for each
class its bases, parameters and members, for each member its kind, its parameters as ``[kind, name]`` or
``[kind, name, default]``, its value where one is given, and whether it awaits or belongs to the class.
"""

import ast
import inspect
import json
import zipfile
from pathlib import Path

import pytest

from zarrstore import storage

LISTING = json.loads(Path(__file__).with_name("listing.json").read_text())
CONSTANTS = {"zipfile.ZIP_STORED": zipfile.ZIP_STORED, "ALLOWED_EXCEPTIONS": storage.ALLOWED_EXCEPTIONS}
KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_POSITIONAL: "var_positional",
    inspect.Parameter.VAR_KEYWORD: "var_keyword",
}
CLASSES = [name for name, entry in LISTING.items() if entry["kind"] == "class"]
MEMBERS = [(name, member) for name in CLASSES for member in LISTING[name]["members"]]


def parsed(default):
    return CONSTANTS[default] if default in CONSTANTS else ast.literal_eval(default)


def compare_parameters(listed, function):
    """Listed parameters in order, with kind and default; more only as optional keywords."""
    actual = list(inspect.signature(function).parameters.values())
    if actual and actual[0].name in ("self", "cls"):
        del actual[0]
    names = [name for _, name, *_ in listed]
    for parameter in actual:
        if parameter.name not in names:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"extra parameter {parameter}"
            assert parameter.default is not inspect.Parameter.empty, f"extra parameter {parameter}"
    kept = {parameter.name: parameter for parameter in actual if parameter.name in names}
    assert list(kept) == names
    for kind, name, *default in listed:
        assert KINDS[kept[name].kind] == kind, name
        if default:
            assert kept[name].default == parsed(default[0]), name


def test_the_listing_is_whole():
    assert len(LISTING) + len(MEMBERS) == 141


@pytest.mark.parametrize(
    "name", [*LISTING, "ALLOWED_EXCEPTIONS", "AccessModeLiteral", "ZipStoreAccessModeLiteral"]
)
def test_name_is_exported(name):
    assert name in storage.__all__
    assert getattr(storage, name) is not None


@pytest.mark.parametrize("name", CLASSES)
def test_class_is_as_listed(name):
    cls, entry = getattr(storage, name), LISTING[name]
    if "parameters" in entry:
        compare_parameters(entry["parameters"], cls.__init__)
    assert set(entry["bases"]) <= {base.__name__ for base in cls.__mro__}


@pytest.mark.parametrize(("name", "member"), MEMBERS, ids=[".".join(pair) for pair in MEMBERS])
def test_member_is_as_listed(name, member):
    cls, entry = getattr(storage, name), LISTING[name]["members"][member]
    static = inspect.getattr_static(cls, member, None)
    if entry["kind"] in ("attribute", "property"):
        annotated = any(member in vars(base).get("__annotations__", {}) for base in cls.__mro__)
        written = any(
            f"self.{member} = " in inspect.getsource(base)
            for base in cls.__mro__
            if base.__module__.startswith("zarrstore")
        )
        assert static is not None or annotated or written
        if "value" in entry and not isinstance(static, property):
            assert static == ast.literal_eval(entry["value"])
        return
    assert static is not None
    assert isinstance(static, classmethod) == entry.get("classmethod", False)
    function = static.__func__ if isinstance(static, classmethod) else static
    assert inspect.getdoc(getattr(cls, member)), "undocumented"
    if entry.get("async"):
        # A listing is for `async for`, whatever its function returns for that.
        listing = member.startswith("list") and function.__annotations__["return"].startswith(
            "AsyncIterator["
        )
        assert inspect.iscoroutinefunction(function) or listing
    compare_parameters(entry.get("parameters", []), function)
