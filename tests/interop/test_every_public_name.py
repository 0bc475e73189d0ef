"""Each public name of zarr-python's storage, in the installed version, is here or in the migration page.

A name is here if it is in our module of the same subject, has every attribute that theirs has, and may be
called in every way that theirs may be. What isn't has a row in the page's table of names that are elsewhere.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
import zarr

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "migrate.md").read_text()
HEADING = "## Names that are elsewhere"
MODULES = {
    "zarr.storage": "zarrstore.storage",
    "zarr.abc.store": "zarrstore.abc.store",
    "zarr.core.buffer": "zarrstore.buffer",
    "zarr.core.buffer.cpu": "zarrstore.buffer.cpu",
    "zarr.core.buffer.gpu": "zarrstore.buffer.gpu",
    "zarr.testing.store": "zarrstore.testing",
}
P = inspect.Parameter


def public_names(module):
    """Names that a module exports, or that come from it or below it."""
    exported = set(getattr(module, "__all__", ()))
    for name, value in vars(module).items():
        home = getattr(value, "__module__", None) or ""
        own = home == module.__name__ or home.startswith(f"{module.__name__}.")
        is_variable = type(value).__name__ in ("TypeVar", "module")
        if name in exported or (own and not name.startswith("_") and not is_variable):
            yield name, value


def places():
    return [
        pytest.param(theirs, name, id=f"{theirs}.{name}")
        for theirs in MODULES
        for name, _ in public_names(import_module(theirs))
    ]


def elsewhere():
    """The page's table: what isn't where zarr-python has it, and what to use."""
    _, _, table = PAGE.partition(HEADING)
    rows = re.findall(r"^\| `(zarr\.[\w.]+)`.*? \| (.+) \|$", table, re.MULTILINE)
    assert rows
    return dict(rows)


ELSEWHERE = elsewhere()


def signature(function):
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def refusals(theirs, ours):
    """Ways to call theirs that ours doesn't take."""
    mine = ours.parameters
    any_position = any(p.kind is P.VAR_POSITIONAL for p in mine.values())
    any_name = any(p.kind is P.VAR_KEYWORD for p in mine.values())
    in_order = [p for p in mine.values() if p.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    for place, (name, parameter) in enumerate(theirs.parameters.items()):
        kind = parameter.kind
        if kind is P.VAR_POSITIONAL:
            if not any_position:
                yield f"*{name}"
        elif kind is P.VAR_KEYWORD:
            if not any_name:
                yield f"**{name}"
        else:
            if kind is not P.KEYWORD_ONLY and not any_position:
                at = in_order[place] if place < len(in_order) else None
                if at is None or (kind is not P.POSITIONAL_ONLY and at.name != name):
                    yield f"{name} as argument {place}"
            if kind is not P.POSITIONAL_ONLY:
                # By name: spelled out, for who reads the signature, and not merely swallowed by **kwargs.
                if name not in mine or mine[name].kind is P.POSITIONAL_ONLY:
                    yield f"{name}="
                elif parameter.default is not P.empty and mine[name].default is P.empty:
                    yield f"{name} left out"
    for name, parameter in mine.items():
        needed = parameter.default is P.empty and parameter.kind not in (P.VAR_POSITIONAL, P.VAR_KEYWORD)
        if (
            needed
            and name not in theirs.parameters
            and not any(p.kind in (P.VAR_POSITIONAL, P.VAR_KEYWORD) for p in theirs.parameters.values())
        ):
            yield f"without {name}"


def members(kind):
    for name in dir(kind):
        if not name.startswith("_"):
            yield name, inspect.getattr_static(kind, name)


def unwrapped(member):
    return member.__func__ if isinstance(member, (classmethod, staticmethod)) else member


def call_of(member):
    """How a method is called, without what it is called on; None for what is no method."""
    found = None if isinstance(member, property) else signature(unwrapped(member))
    if found is None or isinstance(member, staticmethod):
        return found
    return found.replace(parameters=list(found.parameters.values())[1:])


def passes_all_on(call):
    return [p.kind for p in call.parameters.values()] == [P.VAR_POSITIONAL, P.VAR_KEYWORD]


def differences(theirs, ours, path):
    """What theirs has and ours lacks, as paths with the reason."""
    if path in ELSEWHERE:
        return
    if inspect.isclass(theirs) and inspect.isclass(ours):
        wanted, given = signature(theirs), signature(ours)
        if wanted and given and not getattr(theirs, "_is_protocol", False):
            yield from ((path, reason) for reason in refusals(wanted, given))
        for name, member in members(theirs):
            below = f"{path}.{name}"
            if below in ELSEWHERE:
                continue
            if not hasattr(ours, name):
                yield below, "missing"
                continue
            mine = inspect.getattr_static(ours, name)
            if inspect.isfunction(unwrapped(member)):
                given = call_of(mine)
                if given is None:
                    yield below, "no method"
                    continue
                # A class may be called where theirs has an instance, and never the other way round.
                if isinstance(member, (classmethod, staticmethod)) and inspect.isfunction(mine):
                    yield below, "needs an instance"
                wanted = call_of(member)
                if passes_all_on(wanted) and not passes_all_on(given):
                    wanted = signature(theirs)  # `open`, which may say what the constructor takes
                yield from ((below, reason) for reason in refusals(wanted, given))
    elif callable(theirs) and signature(theirs) and signature(ours):
        yield from ((path, reason) for reason in refusals(signature(theirs), signature(ours)))


@pytest.mark.parametrize(("module", "name"), places())
def test_a_name_of_zarr_is_here_or_in_the_page(module, name):
    path = f"{module}.{name}"
    if path in ELSEWHERE:
        return
    ours = getattr(import_module(MODULES[module]), name, None)
    assert ours is not None, f"{path} is neither in {MODULES[module]} nor in the migration page's table"
    theirs = getattr(import_module(module), name)
    assert list(differences(theirs, ours, path)) == []


def test_the_walk_sees_what_is_missing_or_takes_other_arguments():
    class Theirs:
        def a(self, key, *, mode=None): ...
        def b(self): ...
        @classmethod
        def c(cls): ...
        def d(self, key): ...

    class Ours:
        def a(self, key, **kwargs): ...
        def c(self): ...
        def d(self, name, more): ...

    assert list(differences(Theirs, Ours, "x")) == [
        ("x.a", "mode="),
        ("x.b", "missing"),
        ("x.c", "needs an instance"),
        ("x.d", "key as argument 0"),
        ("x.d", "key="),
        ("x.d", "without name"),
        ("x.d", "without more"),
    ]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_page_says_what_takes_a_names_place(name):
    replacements = re.findall(r"`(zarrstore\.[\w.]+)", ELSEWHERE[name])
    assert replacements or ELSEWHERE[name].startswith("not needed")
    for replacement in replacements:
        module, _, last = replacement.rpartition(".")
        try:
            home = import_module(module)
        except ModuleNotFoundError:
            module, _, kind = module.rpartition(".")
            home = getattr(import_module(module), kind)
        assert hasattr(home, last), replacement


def test_the_page_names_things_where_they_are():
    """But for what came with a later version than the one that is installed."""
    later = {"zarr.storage.ManagedMemoryStore"} if zarr.__version__.startswith("3.1.") else set()
    rows = [row for row in PAGE.splitlines() if row.startswith("| `zarr.")]
    assert len(rows) > 10
    for row in rows:
        first, *others = re.findall(r"`([\w.]+)", row.split("|")[1])
        module = max(_parents(first), key=len)
        for name in (first, *others):
            path = name if name.startswith("zarr.") else f"{module}.{name}"
            home = max(_parents(path), key=len)
            value = import_module(home)
            for part in [] if path in later else path.removeprefix(f"{home}.").split("."):
                value = getattr(value, part)


def _parents(path):
    """Modules that a path begins with."""
    parts = path.split(".")
    for end in range(1, len(parts)):
        try:
            import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            return
        yield ".".join(parts[:end])


def test_the_page_names_nothing_that_zarr_has_not():
    """In one of the versions that are tested, which here are told apart by the Python that runs them."""
    if zarr.__version__.startswith("3.1."):
        return
    for name in ELSEWHERE:
        module = max((m for m in MODULES if name.startswith(f"{m}.")), key=len)
        value = import_module(module)
        for part in name.removeprefix(f"{module}.").split("."):
            value = getattr(value, part)
