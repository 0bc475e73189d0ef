"""Names that mean harm, and a place with something beside the root that they must not reach."""

import unicodedata

import fsspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from power_loss import seen

HIDDEN, SECRET = "hidden-by-its-owner", b"a secret of somebody else"
SEGMENTS = st.one_of(
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "a",
            "A",
            "out",
            "root",
            "victim",
            HIDDEN,
            "~",
            "x" * 300,
            "\0",
            "\udcff",
            "..\\",
            "*",
            "[a]",
            "%2e%2e",
            "%2F",
            "..%2fvictim",
            "\uff0e\uff0e",
            "\u2025",
            "..\u2215victim",
            "\xe4",
            unicodedata.normalize("NFD", "\xe4"),
            "file:",
            "?x",
            "#1",
        ]
    ),
    st.text(max_size=8),
)
NAMES = st.one_of(
    st.lists(SEGMENTS, max_size=5).map("/".join),
    st.lists(SEGMENTS, max_size=3).map("\\".join),
    st.sampled_from(
        [
            "/",
            "//",
            "/etc",
            f"../victim/{HIDDEN}",
            f"a/../../victim/{HIDDEN}",
            f"%2e%2e/victim/{HIDDEN}",
            f"out/{HIDDEN}",
            "out/..",
            "out",
            "nowhere",
            f"file://../victim/{HIDDEN}",
            "x/" * 3000 + "x",
        ]
    ),
    st.text(max_size=30),
)


def asked_with(strategy, examples):
    """Have a function called with many examples; few are always the same ones."""
    options = {"deadline": None, "suppress_health_check": list(HealthCheck)}
    if examples < 100:
        options["derandomize"] = True

    def decorate(function):
        return settings(max_examples=examples, **options)(given(strategy)(function))

    return decorate


def make_victim(place):
    """Make what is beside the root, in a folder and in fsspec's memory."""
    (place / "victim/folder").mkdir(parents=True)
    (place / "victim" / HIDDEN).write_bytes(SECRET)
    fsspec.filesystem("memory").pipe_file(f"{place}/victim/{HIDDEN}", SECRET)


def outside(place):
    """All that is in a place but the root, in folders and in fsspec's memory."""
    memory = fsspec.filesystem("memory")
    files = {name: value for name, value in seen(place).items() if not name.startswith("root")}
    others = [path for path in memory.store if not path.startswith(f"{place}/root")]
    return files, {path: memory.cat_file(path) for path in others}
