"""Shapes and types of array arguments are checked in the tests (and only there)."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import tests.support.typecheck  # noqa: F401 - the hook below reaches it as an attribute of `tests`

os.environ.pop("COLUMNS", None)  # set for the processes that share the tests; a terminal's width is for each test to say

# What is called thousands of times while a model trains is left out: checking its arguments would double the time of training.
_CHECKED = [
    "rewards",
    "agent.preprocessing",
    "agent.representation.classical",
    "agent.representation.consensus",
    "agent.representation.tasks",
    "agent.representation.vae.initialisation",
    "agent.representation.vae.training",
    "agent.recommendation",
    "instrument_adapters.geometry",
]
_hook = install_import_hook(_CHECKED, "tests.support.typecheck.check")

_TESTS = Path(__file__).resolve().parent
_MARKED = ("system", "browser", "docs")  # folders whose tests carry the folder's name as a marker
_FIRST = ("docs", "system", "benchmarks", "browser")  # folders with the longest files: they start first, so that none comes last

_WRITTEN = str(Path(tempfile.gettempdir()) / "pytest-of-")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of some folders with the folder's name, and start the longest first."""
    folders = {item: item.path.relative_to(_TESTS).parts[0] for item in items}
    for item, folder in folders.items():
        if folder in _MARKED:
            item.add_marker(folder)
    items.sort(key=lambda item: _FIRST.index(folders[item]) if folders[item] in _FIRST else len(_FIRST))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real scans; tests that need them skip where they are not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real scans are not here ({SHARED_DATA})")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _no_log_configuration_is_left_behind() -> Iterator[None]:
    """A test that configures logging does not decide what the next one can capture."""
    yield
    structlog = sys.modules.get("structlog")
    if structlog is not None and structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _nothing_that_a_test_wrote_stays_imported() -> Iterator[None]:
    """A module that a test has written is gone with its folder; another one of its name must not find it still loaded."""
    yield
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if "." not in name else None
        if isinstance(file, str) and file.startswith(_WRITTEN):
            del sys.modules[name]
