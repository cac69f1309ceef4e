"""Copies of runs that the real service wrote (tests/golden/history/make.py), for tests to change as they like."""

import shutil
from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "history"
VERSIONS = ("v1", "v2")  # the same events in both schemas
LATER = ("v2-approvals",)  # schema 2 with approvals


def golden_run(directory: Path, version: str = "v2") -> Path:
    """A copy of a golden run."""
    run = directory / f"golden-{version}"
    shutil.copytree(GOLDEN / version, run)
    return run
