"""Shapes and types of array arguments are checked in the tests (and only there)."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401 - the hook below reaches it as an attribute of `tests`

os.environ.pop("COLUMNS", None)  # set for the processes that share the tests; a terminal's width is for each test to say

_hook = install_import_hook(
    ["rewards", "agent.workflow", "agent.ordering", "agent.recommend", "instrument_adapters.geometry"], "tests.typecheck.check"
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real scans; tests that need them skip where they are not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real scans are not here ({SHARED_DATA})")
    return SHARED_DATA
