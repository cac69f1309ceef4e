"""A plugin of pytest that writes down what every test with the marker `attack` did, what was promised, and whether it held."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPORT = "VAESTAR_ATTACKS"  # environment variable with the path of the report: one JSON line for each test


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Append the result of a test once its last phase that matters is known."""
    result = yield
    marker = item.get_closest_marker("attack")
    if marker is not None and (result.when == "call" or result.outcome != "passed"):
        line = {
            "what": marker.args[0],
            "promise": marker.kwargs["promise"],
            "test": item.nodeid,
            "outcome": result.outcome,
            "seconds": result.duration,
        }
        with Path(os.environ[REPORT]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return result
