"""Each public name has a type, the same for mypy and basedpyright as it had, and no `Any` hides in it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from reveal import CHECKERS, kept, public_names, text

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

# What is generic in the standard library and in NumPy, and what is passed through as it comes.
FINE = re.compile(
    r"Coroutine(?:Type)?\[Any, Any, |Generator\[Any, Any, |tuple\[Any, \.\.\.\], |\[tuple\[Any, \.\.\.\], |"
    r"dtype\[Any\]|\*args: Any|\*\*kwargs: Any|\*Any, \*\*Any|def \(\*args: Any, \*\*kwargs: Any\)"
)


@pytest.fixture(scope="module", params=CHECKERS)
def checker(request):
    return request.param


@pytest.fixture(scope="module")
def revealed(checker):
    return CHECKERS[checker](public_names())


def test_each_public_name_reveals_the_type_that_it_had(checker, revealed):
    assert text(revealed) == kept(checker).read_text(), "if this is meant: python tests/typing/reveal.py"


def test_no_public_signature_hides_any(revealed):
    # NumPy's own aliases have some.
    said_of_ours = {
        name: said for name, said in revealed.items() if not re.search(r"\.ND(Buffer|ArrayLike)\.", name)
    }
    hiding = {name: said for name, said in said_of_ours.items() if re.search(r"\bAny\b", FINE.sub("", said))}
    unknown = {name: said for name, said in revealed.items() if "Unknown" in said and "[Unknown]" not in said}
    assert not hiding | unknown


def test_no_checker_has_to_guess_a_public_type():
    """Types that are only inferred may differ between checkers."""
    here = Path(sys.executable).parent
    done = subprocess.run(
        [here / "basedpyright", "--verifytypes", "zarrstore", "--ignoreexternal", "--outputjson"],
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},  # where it finds packages
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout)["typeCompleteness"]
    guessed = [symbol["name"] for symbol in told["symbols"] if not symbol["isTypeKnown"]]
    assert told["symbols"]
    assert not guessed
