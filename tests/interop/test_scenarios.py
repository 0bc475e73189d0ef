"""Each scenario on each kind of store; ``python tests/interop/scenarios.py`` prints the table."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import scenarios

KINDS = list(scenarios.stores("."))


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    with scenarios.stores(tmp_path)[request.param]() as store:
        yield store


@pytest.mark.filterwarnings("ignore:.*Consolidated metadata is currently not part")
@pytest.mark.parametrize("name", list(scenarios.SCENARIOS))
def test_scenario(name, store):
    scenarios.SCENARIOS[name](store)
